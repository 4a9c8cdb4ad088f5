"""What must be set before grpc is imported is set before grpc is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("command", ["homing_gateway.cli", "homing_node.cli"])
def test_a_command_leaves_grpc_to_be_imported_after_it_has_tuned(command: str) -> None:
    """Seen to fail when settings import grpc: a gateway polled in three threads, and an echo cost a tenth more."""
    program = f"import {command}, sys; print('grpc' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == ("False", "")
