"""`httpx`, `requests`, `urllib3` and `urllib.request` in object code: what they send goes out through the broker.

In the jail there are no sockets. Each library has one place below which it would open one, and there it is given what
`homing.fetch` gives: `httpcore`, which is under httpx, its pools' `handle_request`; `http.client`, which is under the
standard library's `urllib`, and `urllib3`, which is under requests, their connections' `connect`. Redirects, cookies,
encodings, retries and errors stay the library's own.

The places are changed when their module is imported, by a hook of the import system: a worker that does not use them
pays nothing. What may be reached is decided by the broker alone; without these changes the libraries would only fail.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from homing.compat import waiting

CHANGED = {
    "http.client": "homing.compat.outbound.lines",
    "urllib3.connection": "homing.compat.outbound.lines",
    "httpcore": "homing.compat.outbound.pools",
}
"""What is changed when it is imported, and the module here whose `change` does it."""

_WITHOUT_ASYNC = frozenset(("httpx", "requests", "urllib3"))


def install() -> None:
    """Change them as they are imported, from now on; the process of a worker does this once."""
    sys.meta_path.insert(0, _Finder())
    for name in CHANGED:
        if name in sys.modules:
            _change(sys.modules[name])


def prepare(packages: str) -> None:
    """Have coroutines wait for what functions ask, if a library among an application's packages will.

    Args:
        packages: their folder, or empty.
    """
    if packages and not _WITHOUT_ASYNC.isdisjoint(os.listdir(packages)):
        waiting.give_stacks()


def _change(module: ModuleType) -> None:
    waiting.give_stacks()
    importlib.import_module(CHANGED[module.__name__]).change(module)


class _Finder(MetaPathFinder):
    """Finds what the others find, and has it changed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if fullname not in CHANGED:
            return None
        for finder in sys.meta_path:
            spec = finder.find_spec(fullname, path, target) if finder is not self else None
            if spec is not None and spec.loader is not None:
                spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Loads as another does, and changes what was loaded."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """See `importlib.abc.Loader`."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib.abc.Loader`."""
        module.__loader__ = self._loader  # whoever asks for it later, as for its files, asks the one that knows
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _change(module)
