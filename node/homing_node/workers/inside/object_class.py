"""A class of an application, as the runtime sees it: its handlers, the methods that may be called, its instances."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

from homing.objects import HANDLERS
from homing_node.workers.inside.channel import MESSAGE, SOCKET_CLOSE, SOCKET_ERROR


class ObjectClass:
    """One class of objects.

    Attributes:
        name: the class's name.
        make: the class.
        adapt: gives what it is given the face that it knows.
        exclusive: its calls run one after the other, each to its end: `concurrency = "exclusive"`.
        methods: the functions that clients may call, by name.
        fetch: its handler of HTTP requests, if it has one.
        alarm: its handler of alarms, if it has one.
        scheduled: its handler of cron triggers, if it has one.
        sockets: its handlers of what comes on sockets, by the kind of the event.
    """

    __slots__ = ("adapt", "alarm", "exclusive", "fetch", "make", "methods", "name", "scheduled", "sockets")

    def __init__(self, make: type[Any], name: str = "") -> None:
        self.name = name or make.__name__
        self.make = make
        self.adapt: Callable[[Any], Any] = make.homing_adapt
        concurrency = getattr(make, "concurrency", None)
        if concurrency not in (None, "exclusive"):
            raise ValueError(f'{self.name}.concurrency is "exclusive", or is not set: {concurrency!r}')
        self.exclusive = concurrency == "exclusive"
        functions = _functions(make)
        self.methods = {
            name: function for name, function in functions.items() if not name.startswith("_") and name not in HANDLERS
        }
        self.fetch = functions.get("fetch")
        self.alarm = functions.get("alarm")
        self.scheduled = functions.get("scheduled")
        self.sockets = {
            kind: functions.get(f"websocket_{what}") or functions.get(f"webSocket{what.capitalize()}")
            for kind, what in ((MESSAGE, "message"), (SOCKET_CLOSE, "close"), (SOCKET_ERROR, "error"))
        }

    def instance(self, context: Any, env: Any) -> Any:
        """A new instance, which has what it is given even if its `__init__` does not call its parent's."""
        make: Any = self.make
        made: Any = make.__new__(make)
        made.ctx, made.env = self.adapt(context), self.adapt(env)
        made.__init__(made.ctx, made.env)
        return made


def _functions(make: type[Any]) -> dict[str, FunctionType]:
    """The functions of a class and of what it extends, up to the SDK's own classes."""
    found: dict[str, Any] = {}
    for base in make.__mro__:
        if base is object or vars(base).get("homing_base"):
            continue
        for name, value in vars(base).items():
            found.setdefault(name, value)  # the nearest wins, even where it is no function
    return {name: value for name, value in found.items() if isinstance(value, FunctionType)}
