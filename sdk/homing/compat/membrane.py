"""The camelCase face of what an object is given: `ctx.storage.sql.exec(…).toArray()`, `env.ROOMS.idFromName(…)`.

A `Camel` stands for one object of homing. It finds an attribute under its snake_case name, and whatever comes out is
given the same face: contexts, storage, cursors and namespaces become `Camel`s, dicts and lists can be read as those of
JavaScript are. What goes in loses it again. Options that JavaScript takes as an object in the last place are keywords.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Generator
from inspect import isawaitable
from types import BuiltinMethodType, CoroutineType, FunctionType, MethodType
from typing import Any, cast

from homing.alarms import Alarm
from homing.bindings.assets import Assets
from homing.bindings.cron import ScheduledController
from homing.bindings.d1 import D1Database, D1PreparedStatement
from homing.bindings.kv import KvNamespace
from homing.bindings.loader import LoadedEntrypoint, WorkerLoader, WorkerStub
from homing.bindings.services import Service
from homing.bindings.workflows import Workflow, WorkflowInstance
from homing.facets import Facets, FacetStub
from homing.http import Request, Response
from homing.ids import ObjectId
from homing.objects import DurableObjectState, Env, ExecutionContext
from homing.sockets import SocketEvent, WebSocket, WebSocketRequestResponsePair
from homing.storage import AsyncKv, Done, Kv, Sql, SqlCursor
from homing.stubs import DurableObjectNamespace, DurableObjectStub

_FACED = (
    DurableObjectState,
    ExecutionContext,
    DurableObjectNamespace,
    KvNamespace,
    D1Database,
    D1PreparedStatement,
    Workflow,
    WorkflowInstance,
    ObjectId,
    AsyncKv,
    Kv,
    Sql,
    SqlCursor,
    Alarm,
    ScheduledController,
    Env,
    WorkerStub,
    SocketEvent,
    WebSocket,
    WebSocketRequestResponsePair,
)
_CALLABLE = (FunctionType, MethodType, BuiltinMethodType)
# Where an object with options may stand, by method.
_OPTIONS_AT = {
    "list": 0,
    "new_unique_id": 0,
    "raw": 0,
    "delete_all": 0,
    "get_alarm": 0,
    "delete_alarm": 0,
    "create": 0,
    "restart": 0,
    "terminate": 0,
    "send_event": 0,
    "get": 1,
    "get_by_name": 1,
    "get_entrypoint": 1,
    "get_durable_object_class": 1,
    "get_with_metadata": 1,
    "delete": 1,
    "set_alarm": 1,
    "put": 2,
}
# Who is given a function that it will be asked for again: it gets that very one.
_AS_THEY_ARE = frozenset(("add_event_listener", "remove_event_listener"))
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def snake_case(name: str) -> str:
    """The name that homing has for one of JavaScript's.

    Example:
        >>> snake_case("idFromName"), snake_case("getWebSockets"), snake_case("n")
        ('id_from_name', 'get_websockets', 'n')
    """
    return _HUMP.sub("_", name.replace("WebSocket", "Websocket")).lower() if not name.islower() else name


class JsObject(dict[str, Any]):
    """A dict whose entries are attributes, as those of a JavaScript object are, before the methods of a dict.

    Example:
        >>> JsObject(n=1).n, JsObject(items=2).items, JsObject(n=1).to_py()
        (1, 2, {'n': 1})
    """

    def __getattribute__(self, name: str) -> Any:
        if name in self and name != "to_py" and not name.startswith("_"):
            return self[name]
        return super().__getattribute__(name)

    def to_py(self, **_: Any) -> dict[str, Any]:
        """A plain dict of plain values."""
        return plain(self)

    def object_values(self) -> JsArray:
        """The values of its entries."""
        return JsArray(self.values())


class JsMap(dict[str, Any]):
    """A dict as a Map of JavaScript: it has methods, and its entries are no attributes."""

    def to_py(self, **_: Any) -> dict[str, Any]:
        """A plain dict of plain values."""
        return plain(self)


class JsArray(list[Any]):
    """A list as JavaScript has it."""

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self)

    def to_py(self, **_: Any) -> list[Any]:
        """A plain list of plain values."""
        return plain(self)


class Camel:
    """One object of homing, under JavaScript's names.

    Args:
        target: the object.
    """

    __slots__ = ("_target",)

    def __init__(self, target: Any) -> None:
        object.__setattr__(self, "_target", target)

    def __getattr__(self, name: str) -> Any:
        target = self._target
        if isinstance(target, ObjectId) and name in ("toString", "equals"):
            return target.__str__ if name == "toString" else self.__eq__
        snake = snake_case(name)
        found = getattr(target, name if hasattr(target, name) else snake)  # bindings have names of their own
        return _Method(found, snake) if isinstance(found, _CALLABLE) else faced(found)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._target, name, value)

    def __iter__(self) -> Any:
        return map(faced, iter(self._target))

    def __str__(self) -> str:
        return str(self._target)

    def __repr__(self) -> str:
        return repr(self._target)

    def __eq__(self, other: object) -> bool:
        return self._target == plain(other)

    def __hash__(self) -> int:
        return hash(self._target)


class _Method:
    """A method of a faced object."""

    __slots__ = ("_function", "_name")

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._function = function
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        at = _OPTIONS_AT.get(self._name)
        if at is not None and len(args) == at + 1 and isinstance(args[at], dict):
            options = cast("dict[str, Any]", args[at])
            args, kwargs = args[:at], {**options, **kwargs}
        inward = plain if self._name in _AS_THEY_ARE else _inward
        given = {snake_case(key): inward(value) for key, value in kwargs.items()}
        found = self._function(*map(inward, args), **given)
        if isinstance(found, (Done, CoroutineType)):
            several = self._name.startswith("get") and bool(args) and not isinstance(args[0], str)
            listed = isinstance(found, Done) and self._name == "list"
            return _Faced(cast("Awaitable[Any]", found), as_map=several or listed)
        if self._name == "next":
            return JsObject(done=found is None, value=faced(found))
        return faced(found)


class _Faced:
    """The result of an operation; whoever awaits it gets a faced one."""

    __slots__ = ("_as_map", "_result")

    def __init__(self, result: Awaitable[Any], *, as_map: bool) -> None:
        self._result = result
        self._as_map = as_map

    def __await__(self) -> Any:
        found = yield from self._result.__await__()
        return JsMap({key: faced(value) for key, value in found.items()}) if self._as_map else faced(found)


class JsNamed:
    """Has each of its attributes under JavaScript's name, too: `arrayBuffer` is `array_buffer`."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        snake = snake_case(name)
        if snake == name:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return faced(getattr(self, snake))


class FetchResponse(JsNamed, Response):
    """What a request was answered with."""

    status_text = ""

    @property
    def js_object(self) -> FetchResponse:
        """Itself: there is no other."""
        return self

    async def json(  # pyright: ignore[reportIncompatibleMethodOverride] - Cloudflare has one name for both: it reads here
        self,
    ) -> Any:
        """The value of the body's JSON."""
        return faced(json.loads(await self.bytes()))

    async def buffer(self) -> bytes:
        """The body."""
        return await self.bytes()


class Fetcher:
    """What can be sent requests, and has methods to be called, as Cloudflare has it.

    Args:
        target: what is behind it: a stub, a service, or static assets.
    """

    __slots__ = ("_target",)

    def __init__(self, target: Any) -> None:
        self._target = target

    def fetch(self, request: Any, **options: Any) -> Awaitable[FetchResponse]:
        """Send a request, or ask for a URL."""
        asked = request if isinstance(request, Request) else str(request)
        return _Fetched(self._target.fetch(asked, **options))

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._target, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            return found(*map(plain, args), **{name: plain(value) for name, value in kwargs.items()})

        return call


class Stub(Fetcher):
    """The address of an object."""

    __slots__ = ()

    @property
    def id(self) -> Camel:
        """Of the object."""
        return Camel(self._target.id)

    @property
    def name(self) -> str | None:
        """The object's name where it was addressed by one."""
        return self._target.name


class Loader:
    """A loader of dynamic workers; stubs in the code that it is given are those of homing."""

    __slots__ = ("_target",)

    def __init__(self, target: WorkerLoader) -> None:
        self._target = target

    def load(self, code: Any) -> Any:
        """See `WorkerLoader`."""
        return faced(self._target.load(plain(code)))

    def get(self, worker_id: str | None, callback: Callable[[], Any]) -> Any:
        """See `WorkerLoader`."""
        return faced(self._target.get(worker_id, _giving_plain(callback)))


class FacetsOf:
    """The facets of an object; their stubs are as those of other objects."""

    __slots__ = ("_target",)

    def __init__(self, target: Facets) -> None:
        self._target = target

    def get(self, name: str, callback: Callable[[], Any]) -> Any:
        """See `Facets`."""
        return faced(self._target.get(name, _giving_plain(callback)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def _giving_plain(callback: Callable[[], Any]) -> Callable[[], Any]:
    async def given() -> Any:
        found = callback()
        return plain(await found if isawaitable(found) else found)

    return given


class _Fetched:
    """The response of a request that is under way, for whoever awaits it."""

    __slots__ = ("_future",)

    def __init__(self, future: Awaitable[Response]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, Any, FetchResponse]:
        found = yield from self._future.__await__()
        return FetchResponse(
            found.homing_body, status=found.status, headers=found.headers, web_socket=found.web_socket
        )  # fmt: skip


def faced(value: Any) -> Any:
    """A value as JavaScript's names have it."""
    kind = cast("type[Any]", type(value))
    if kind is dict:
        return JsObject({key: faced(item) for key, item in value.items()})
    if kind is list or (kind is tuple):
        return JsArray(faced(item) for item in value)
    if kind is DurableObjectStub:
        return Stub(value)
    if kind is WorkerLoader:
        return Loader(value)
    if kind is Facets:
        return FacetsOf(value)
    if kind is Service or kind is Assets or kind is LoadedEntrypoint or kind is FacetStub:
        return Fetcher(value)
    return Camel(value) if isinstance(value, _FACED) else value


def plain(value: Any) -> Any:
    """What a faced value stands for, and all that is in it."""
    if isinstance(value, (Camel, Fetcher, Loader, FacetsOf)):
        return object.__getattribute__(value, "_target")
    if isinstance(value, dict):
        entries = dict(cast("dict[Any, Any]", value))  # without the names that entries hide
        return {key: plain(item) for key, item in entries.items()}
    if isinstance(value, list):
        return [plain(item) for item in cast("list[Any]", value)]
    return value


def _inward(value: Any) -> Any:
    """A value that goes in; a callback's own arguments come out."""
    if not isinstance(value, _CALLABLE):
        return plain(value)

    def callback(*args: Any) -> Any:
        return value(*map(faced, args))

    return callback
