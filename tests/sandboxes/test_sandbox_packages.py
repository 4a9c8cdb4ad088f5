"""Packages in sandboxes: numpy as it is published, and wheels made here that a zygote cannot import."""

from __future__ import annotations

from pathlib import Path

import pytest

from homing.errors import SandboxError, Unavailable
from homing_node.sandboxes.wheels import Wheels, read_wheels
from homing_node.workers.app_requirements import Requirements
from sandboxed import EVERY, run, sandboxes
from wheels import looking_in, wheel

NUMPY = Path(__file__).with_name("sandbox-requirements.txt")
SUMS = """
import numpy as np
import numpy.random
import os, threading
rows = np.arange(12.0).reshape(3, 4)
drawn = np.random.default_rng(7).integers(0, 9, 3).tolist()
[float((rows @ rows.T).trace()), drawn, threading.active_count(), dict(os.environ)]
"""


@pytest.mark.parametrize("strict", [(), EVERY], ids=["forked", "strict"])
async def test_numpy_computes_in_a_sandbox(strict: tuple[str, ...]):
    """Broken by: importing after the path is empty; leaving numpy its threads, which do not live through a fork."""
    wheels = read_wheels(NUMPY, "numpy,numpy.random")
    async with sandboxes(wheels=wheels, strict=strict) as node:
        for _ in range(2):  # forked on demand, then one that waited
            ran = await run(node, SUMS, memory_bytes=256 << 20)
            assert ran.check() == [506.0, [8, 5, 6], 1, {}]
        refused = await run(node, "import numpy.testing")
        assert isinstance(refused.error, SandboxError)
        assert "numpy.testing" in refused.error.message
        own = await run(node, "open('/packages/numpy/__init__.py')")
        assert own.error is not None


async def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Broken by: a zygote that goes on without it; code would find out one run at a time."""
    for name, value in looking_in(tmp_path).items():
        monkeypatch.setenv(name, value)
    wheel(tmp_path, "broken_thing", {"broken_thing/__init__.py": "1 / 0\n"})
    async with sandboxes(wheels=Wheels(Requirements("list.txt", ("broken_thing",)))) as node:
        with pytest.raises(Unavailable, match="cannot have broken_thing: ZeroDivisionError: division by zero"):
            await run(node, "1")
