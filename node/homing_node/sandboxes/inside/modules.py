"""Modules that came over the channel: imported from memory, by the names that their paths are."""

from __future__ import annotations

import importlib.abc
import json
import linecache
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from homing.loading import DATA, JSON, PY, TEXT, import_name

ROOT = "/"  # where the modules would be, if they were files
_KEPT = frozenset(("sys", "builtins", "importlib", "homing", "homing_node", "workers", "js", "pyodide"))


class _Loader(importlib.abc.InspectLoader):
    """Runs one module.

    Args:
        path: its name, as it was given; empty: it is a folder that has modules and is none.
        kind, content: of it.
        siblings: the content of every module, by path.
    """

    def __init__(self, path: str, kind: str, content: bytes, siblings: Mapping[str, bytes]) -> None:
        self._path, self._kind, self._content = path, kind, content
        self._siblings = siblings

    def get_source(self, fullname: str) -> str | None:
        """Its text, for tracebacks."""
        return self._content.decode() if self._kind == PY else None

    def is_package(self, fullname: str) -> bool:
        """Whether it has modules of its own."""
        return self._path.endswith("/__init__.py")

    def get_data(self, path: str) -> bytes:
        """The content of a module, for `pkgutil.get_data`.

        Raises:
            OSError: there is none of that name.
        """
        try:
            return self._siblings[path.removeprefix(ROOT)]
        except KeyError:
            raise FileNotFoundError(path) from None

    def get_code(self, fullname: str) -> CodeType:
        """What is run, with its lines for tracebacks."""
        text = self._content.decode()
        linecache.cache[self._path] = (len(text), None, text.splitlines(keepends=True), self._path)
        return self.source_to_code(text, self._path)

    def exec_module(self, module: ModuleType) -> None:
        """Run it, or give it its value."""
        if self._kind == PY:
            super().exec_module(module)
        else:
            vars(module)["default"] = _value(self._kind, self._content)


def _value(kind: str, content: bytes) -> Any:
    if kind == JSON:
        return json.loads(content)
    return content.decode() if kind == TEXT else content


class Finder(importlib.abc.MetaPathFinder):
    """Finds modules that were given, before all others.

    Args:
        modules: path, kind and content of each. One of Python is imported by its path, without `.py`; the others by
            theirs without an ending, if that is nobody else's, and have their value as `default`.

    Example:
        >>> Finder([("lib/a.py", "py", b"x = 1")]).find_spec("lib").submodule_search_locations
        ['/lib']
    """

    def __init__(self, modules: Iterable[tuple[str, str, bytes]]) -> None:
        self._found: dict[str, tuple[str, str, bytes]] = {}
        self._siblings: dict[str, bytes] = {}
        others: dict[str, list[tuple[str, str, bytes]]] = {}
        for path, kind, content in modules:
            if kind not in (PY, TEXT, JSON, DATA):
                raise ValueError("a module of no kind")
            self._siblings[path] = content
            if kind == PY:
                self._found[import_name(path)] = (path, kind, content)
            else:
                folder, _, last = path.rpartition("/")
                stem = last.partition(".")[0] or last
                name = f"{folder}/{stem}" if folder else stem
                others.setdefault(name.replace("/", "."), []).append((path, kind, content))
        for name, several in others.items():
            if len(several) == 1:
                self._found.setdefault(name, several[0])
        self._folders = {name.rpartition(".")[0] for name in self._found} - {""}
        for name in list(self._folders):
            while name := name.rpartition(".")[0]:
                self._folders.add(name)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        found = self._found.get(fullname)
        if found is not None:
            loader = _Loader(*found, self._siblings)
            spec = ModuleSpec(fullname, loader, origin=ROOT + found[0], is_package=loader.is_package(fullname))
            spec.has_location = True  # `__file__` is where it would be
        elif fullname in self._folders:
            spec = ModuleSpec(fullname, None, is_package=True)
        else:
            return None
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(ROOT + fullname.replace(".", "/"))
        return spec

    def install(self) -> None:
        """From now on imports find them; what was imported before under a name of theirs is no more in the way."""
        own = {name.partition(".")[0] for name in (*self._found, *self._folders)} - _KEPT
        for name in [name for name in sys.modules if name.partition(".")[0] in own]:
            del sys.modules[name]
        sys.meta_path.insert(0, self)

    @property
    def paths(self) -> frozenset[str]:
        """The names of the modules, which are those of files in tracebacks."""
        return frozenset(self._siblings)
