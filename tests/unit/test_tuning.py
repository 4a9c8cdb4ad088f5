"""What must be set before grpc is imported is set before grpc is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

from homing.tuning import GRPC_WITHOUT, tune_process


@pytest.mark.parametrize("command", ["homing_gateway.cli", "homing_node.cli"])
def test_a_command_does_not_import_grpc_before_it_tunes(command: str) -> None:
    """Seen to fail when settings import grpc: a gateway polled in three threads, and an echo cost a tenth more."""
    program = f"import {command} as _, os, homing.tuning as t; t.tune_process(); print(os.environ['GRPC_EXPERIMENTS'])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == (GRPC_WITHOUT, "")


def test_it_is_refused_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", sys)
    with pytest.raises(RuntimeError, match="grpc was imported"):
        tune_process()
