"""Run pip as a program that cannot start others: `python -I pip_alone.py install …`.

Wheels are unpacked. Anything else would first be built, which runs code of its authors; pip starts programs for that,
and is refused here, whatever an index or a package made it want.
"""

from __future__ import annotations

import runpy
import sys
from typing import Any

_STARTS = ("subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn")


def _refuse(event: str, _: tuple[Any, ...]) -> None:
    if event.startswith(_STARTS):
        raise PermissionError("a package that is no wheel would have to be built, which is not done here")


if __name__ == "__main__":
    sys.addaudithook(_refuse)  # there is no way to take it back
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
