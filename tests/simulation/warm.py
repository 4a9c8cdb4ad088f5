"""Programs of Python in forks of one warm process, which has imported what is the same for all of them.

Only what others wrote is imported there: homing itself comes from the folders that each program is given. The warm
process is the fork server of `multiprocessing`: a Python of its own that does nothing but those imports.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
THEIRS = (
    "pytest", "_pytest.assertion.rewrite", "_pytest.junitxml", "_pytest.python", "pytest_asyncio.plugin",
    "pytest_timeout", "anyio.pytest_plugin", "hypothesis", "hypothesis.stateful", "hypothesis.strategies",
    "_hypothesis_pytestplugin", "apsw", "click", "cryptography.x509", "google.protobuf.internal.builder", "grpc.aio",
    "httpx", "httptools", "msgspec", "packaging.requirements", "prometheus_client", "rocksdict", "structlog", "uvicorn",
    "uvloop", "websockets.asyncio.client",
)  # fmt: skip
OURS = ("homing", "homing_node", "homing_placement", "homing_gateway")
NOT_WARM = 70  # an exit code that no program here has

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["__main__", *THEIRS])


def run(command: Sequence[str], paths: Sequence[Path], timeout_s: float) -> tuple[int, str]:
    """Run a program in a fork, from the root of the repository.

    Args:
        command: a script, or `-m` and a module; then the arguments.
        paths: folders that come before others in its path, and in that of what it starts.
        timeout_s: after so long it is killed.

    Returns:
        Its exit code, -1 when it was killed, `NOT_WARM` when it could not begin as it should; and what it wrote.
    """
    with tempfile.NamedTemporaryFile(prefix="homing-fork-") as output:
        process = _forks.Process(target=_begin, args=(list(command), [str(path) for path in paths], output.name))
        process.start()
        process.join(timeout_s)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
        process.close()
        return (-1, "timed out") if code is None else (code, output.read().decode(errors="replace"))


def _begin(command: list[str], paths: list[str], output: str) -> None:
    """What the fork does: become the program."""
    with open(output, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if wrong := not_warm():
        print(f"the warm process: {wrong}", flush=True)
        os._exit(NOT_WARM)
    sys.dont_write_bytecode = False  # what one fork compiles, the next need not
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    module = command[1] if command[0] == "-m" else ""
    sys.argv = command[1:] if module else command
    sys.path[:0] = ["" if module else str((ROOT / command[0]).parent), *paths]
    if module:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(command[0], run_name="__main__")


def not_warm() -> str:
    """Why this fork would not be as a process that began by itself, or would not be sooner; empty: it will do."""
    early = [name for name in OURS if name in sys.modules]
    late = [name for name in THEIRS if name not in sys.modules]
    threads = len(os.listdir(f"/proc/{os.getppid()}/task"))
    if early or late:
        return f"has imported {early} and not {late}"
    return f"has {threads} threads" if threads != 1 else ""
