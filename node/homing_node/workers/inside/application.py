"""The application: its classes, the methods that may be called, and the bindings that it is given."""

from __future__ import annotations

import importlib
import re
import sys
from inspect import isclass
from types import FunctionType, ModuleType
from typing import Any

from homing.objects import HANDLERS, DurableObject, DurableObjectNamespace, Env, WorkerEntrypoint


class ObjectClass:
    """One class of objects.

    Attributes:
        name: the class's name.
        make: the class.
        methods: the functions that clients may call, by name.
        fetch: its handler of HTTP requests, if it has one.
    """

    __slots__ = ("fetch", "make", "methods", "name")

    def __init__(self, make: type[Any]) -> None:
        self.name = make.__name__
        self.make = make
        functions = _functions(make)
        self.methods = {
            name: function for name, function in functions.items() if not name.startswith("_") and name not in HANDLERS
        }
        self.fetch = functions.get("fetch")


def _functions(make: type[Any]) -> dict[str, FunctionType]:
    """The functions of a class and of what it extends, up to the SDK's own classes."""
    found: dict[str, Any] = {}
    for base in make.__mro__:
        if base in (DurableObject, WorkerEntrypoint, object):
            continue
        for name, value in vars(base).items():
            found.setdefault(name, value)  # the nearest wins, even where it is no function
    return {name: value for name, value in found.items() if isinstance(value, FunctionType)}


class Application:
    """What the main module defines.

    Args:
        module: the application's main module.
        bindings: name in `env` to class name; None binds each class under its name in upper snake case.
    """

    def __init__(self, module: ModuleType, bindings: dict[str, str] | None = None) -> None:
        self.classes: dict[str, ObjectClass] = {}
        self.default: ObjectClass | None = None
        for value in vars(module).values():
            if not isclass(value) or value in (DurableObject, WorkerEntrypoint):
                continue
            if issubclass(value, DurableObject):
                self._add(value)
            elif issubclass(value, WorkerEntrypoint) and value.__name__ == "Default":
                self.default = ObjectClass(value)
        if bindings is None:
            bindings = {upper_snake_case(name): name for name in self.classes}
        self.env = Env(**{name: DurableObjectNamespace(class_name) for name, class_name in bindings.items()})

    def _add(self, make: type[DurableObject]) -> None:
        known = self.classes.get(make.__name__)
        if known is not None and known.make is not make:
            raise ValueError(f"two classes of objects are named {make.__name__}")
        self.classes[make.__name__] = ObjectClass(make)

    def summary(self) -> dict[str, Any]:
        """What READY says."""
        return {
            "classes": {name: sorted(kind.methods) for name, kind in self.classes.items()},
            "default": self.default is not None,
        }


def load(folder: str, main: str, bindings: dict[str, str] | None = None) -> Application:
    """Import an application.

    Args:
        folder: where its modules are; it comes first on the path.
        main: the name of its main module.
        bindings: see `Application`.

    Raises:
        BaseException: whatever importing the application raises.
    """
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return Application(importlib.import_module(main), bindings)


def upper_snake_case(name: str) -> str:
    """The name under which a class is bound.

    Example:
        >>> upper_snake_case("ChatRoom"), upper_snake_case("HTTPCache2")
        ('CHAT_ROOM', 'HTTP_CACHE2')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()
