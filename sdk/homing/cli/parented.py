"""Run a program that dies with the process that started it, even when that one is killed with -9.

`python -I -S parented.py PARENT_PID PROGRAM ARGUMENT…` asks the kernel for a SIGKILL at the parent's death, makes sure
that the parent is still there, and becomes PROGRAM. The wish survives the exec. It is a program of its own because code
that runs between fork and exec (`preexec_fn`) can deadlock in a process with threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become `arguments[1:]`, as a child that process `arguments[0]` cannot leave behind."""
    parent = int(arguments[0])
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        return  # the parent died before the wish was made
    os.execvp(arguments[1], arguments[1:])  # noqa: S606 - the very purpose; no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
