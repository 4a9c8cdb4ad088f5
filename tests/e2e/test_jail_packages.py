"""The packages of an application in a real jail: read-only, and in nobody else's place."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest

from homing_node.workers.pool import PoolConfig, WorkerPool
from jailed import SMALL, cache_dir
from wheels import looking_in, wheel

STANDING_IN = ("apsw", "asgi", "greenlet", "homing", "js", "json", "msgspec", "pyodide", "workers", "wsgi")
EXTRA = f"extra{zlib.crc32(repr(STANDING_IN).encode()):x}"  # trees are kept by name: other files, another name
APP = f"""
import errno, importlib, importlib.metadata
import extra
from homing import DurableObject

for name in {STANDING_IN}:
    place = importlib.import_module(name).__file__
    assert not place.startswith("/packages/"), place
assert extra.__file__ == "/packages/extra.py"
assert importlib.metadata.version({EXTRA!r}) == "1.0"
try:
    open("/packages/written", "w")
except OSError as error:
    assert error.errno == errno.EROFS, error
else:
    raise AssertionError("it can be written")

class Some(DurableObject): pass
"""
ALONE = """
import os
from homing import DurableObject

assert os.listdir("/packages") == []

class Alone(DurableObject): pass
"""


async def test_they_are_read_only_and_stand_in_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The applications assert it while they are imported. Seen to fail when packages come before what homing brings."""
    for name, value in looking_in(tmp_path).items():
        monkeypatch.setenv(name, value)
    shadows = {f"{name}.py": "raise AssertionError('a package stood in')" for name in STANDING_IN}
    wheel(tmp_path, EXTRA, {"extra.py": "", **shadows})
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.py").write_text(APP)
    (app / "pyproject.toml").write_text(f"[project]\ndependencies = [{EXTRA!r}]\n")
    config = PoolConfig(workers=1, cache_dir=str(cache_dir()), jail_limits=SMALL)
    pool = WorkerPool(config, lambda *_: None, lambda *_: None)
    await pool.start(await pool.bundle(app))
    try:
        assert pool.classes() == {"Some"}
        (app / "main.py").write_text(ALONE)
        (app / "pyproject.toml").unlink()
        await pool.reload(await pool.bundle(app))
        assert pool.classes() == {"Alone"}
    finally:
        await pool.close()
