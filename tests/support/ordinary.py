"""Another user of this machine, without any right, for tests that root runs: programs as that user would run them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UID = 64_321  # nobody's: no account is needed, and none has it
TIMEOUT_S = 900


class OrdinaryUser:
    """Runs Python as that user, with all that the tests can import.

    Args:
        home: the user's folder.
        python: an interpreter that this user may execute.
    """

    def __init__(self, home: Path, python: str) -> None:
        self._home, self._python = home, python

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments; its output is text, both streams together."""
        return subprocess.run(
            [self._python, *arguments],
            user=UID, group=UID, extra_groups=[], cwd=ROOT, timeout=TIMEOUT_S, check=False, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={
                "HOME": str(self._home), "PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment,
            },
        )  # fmt: skip


@contextlib.contextmanager
def ordinary_user() -> Iterator[OrdinaryUser | None]:
    """Such a user; None where there is no Python that it could execute. The caller is root."""
    home = Path(tempfile.mkdtemp(prefix="homing-user-", dir="/tmp"))
    try:
        os.chown(home, UID, UID)
        home.chmod(0o755)
        python = next(filter(_can_be_executed, (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")), None)
        yield OrdinaryUser(home, python) if python is not None else None
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _can_be_executed(python: str) -> bool:
    """Whether that user can; one below root's home it cannot reach."""
    if not Path(python).exists():
        return False
    tried = subprocess.run(
        ["/usr/bin/env", "-i", python, "-I", "-c", "import encodings"], user=UID, group=UID, extra_groups=[],
        check=False, capture_output=True,
    )  # fmt: skip
    return tried.returncode == 0
