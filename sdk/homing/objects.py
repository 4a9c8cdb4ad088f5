"""What an application extends and is given: objects, entrypoints, their context, and the bindings of `env`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Protocol, TypeVar

from homing.errors import BadRequest
from homing.http import Request, Response, as_request
from homing.ids import ObjectId, first_id
from homing.listing import LIST_OBJECTS_MAX, ObjectList
from homing.sockets import Sockets, WebSocket, WebSocketRequestResponsePair, checked_tags

if TYPE_CHECKING:
    from homing.storage import Storage

T = TypeVar("T")

# Handlers answer events; they cannot be called as methods.
HANDLERS = frozenset(
    ("fetch", "alarm", "connect", "scheduled", "websocket_message", "websocket_close", "websocket_error",
     "webSocketMessage", "webSocketClose", "webSocketError")
)  # fmt: skip


class Waits(Protocol):
    """Who can keep an activation in memory."""

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """Keep the activation until the awaitable is done."""
        ...


class Runtime(Waits, Protocol):
    """What a context stands on; the worker's runtime implements it."""

    def open_storage(self) -> Storage:
        """The object's storage, opened at its first use."""
        ...

    def block_concurrency_while(self, callback: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Run a callback while no event is delivered."""
        ...

    def abort(self, reason: str, *, retry_alarm: bool = True) -> NoReturn:
        """End the activation."""
        ...

    def sockets(self) -> Sockets:
        """The object's WebSockets."""
        ...


class ExecutionContext:
    """The context of an entrypoint's call.

    Attributes:
        props: what the configuration gives along with the service binding that is called; else empty.
    """

    def __init__(self, runtime: Waits, props: dict[str, Any] | None = None) -> None:
        self._runtime = runtime
        self.props = props or {}

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """Let work go on after the answer; it has 15 minutes."""
        self._runtime.wait_until(awaitable)


class DurableObjectState:
    """An object's context, `self.ctx`.

    Attributes:
        id: the object's id; `id.name` is its name where it was addressed by one.
    """

    __slots__ = ("_runtime", "_storage", "id")

    def __init__(self, runtime: Runtime, object_id: ObjectId) -> None:
        self._runtime = runtime
        self._storage: Storage | None = None
        self.id = object_id

    @property
    def storage(self) -> Storage:
        """The object's private database."""
        storage = self._storage
        if storage is None:
            storage = self._storage = self._runtime.open_storage()
        return storage

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """Keep the object in memory until the awaitable is done, at most 15 minutes; no answer waits for it."""
        self._runtime.wait_until(awaitable)

    def block_concurrency_while(self, callback: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Run an async callback while no other event reaches the object; the usual place is the constructor.

        It starts whether or not the result is awaited. If it raises, or takes more than 30 seconds, the object is
        reset: the next event makes a new instance.

        Example:
            >>> class Users(DurableObject):
            ...     def __init__(self, ctx, env):
            ...         super().__init__(ctx, env)
            ...         ctx.block_concurrency_while(self.migrate)
        """
        return self._runtime.block_concurrency_while(callback)

    def abort(self, reason: str = "", *, retry_alarm: bool = True) -> NoReturn:
        """Reset the object at once: what the current turn wrote is dropped, and calls that wait for it fail.

        Args:
            reason: what those calls are told.
            retry_alarm: an alarm whose handler runs rings again; False: it does not.
        """
        self._runtime.abort(reason, retry_alarm=retry_alarm)

    def accept_websocket(self, ws: WebSocket, tags: Iterable[str] = ()) -> None:
        """Take the server's end of a `WebSocketPair`. The object may leave memory while the socket stays open.

        Args:
            ws: `pair.server`.
            tags: at most 10 texts of at most 256 characters, by which `get_websockets` finds it.

        Raises:
            BadRequest: it is no such end, or accepted already; or the tags are too many or too long.
            Overloaded: the object has 32,768 sockets.
        """
        self._runtime.sockets().accept(ws, checked_tags(tags))

    def get_websockets(self, tag: str | None = None) -> list[WebSocket]:
        """The sockets that are open, or those of a tag, in the order in which they were accepted."""
        return self._runtime.sockets().all(tag)

    def get_tags(self, ws: WebSocket) -> list[str]:
        """The tags of a socket.

        Raises:
            BadRequest: this object did not accept it, or it is closed.
        """
        return self._runtime.sockets().tags(ws)

    def set_websocket_auto_response(self, pair: WebSocketRequestResponsePair | None = None) -> None:
        """Have a message answered without waking the object; None: no more."""
        self._runtime.sockets().set_auto_response(pair)

    def get_websocket_auto_response(self) -> WebSocketRequestResponsePair | None:
        """The automatic response that was set, or None."""
        return self._runtime.sockets().auto_response()

    def get_websocket_auto_response_timestamp(self, ws: WebSocket) -> datetime | None:
        """When an automatic response was last sent on a socket; None: never."""
        at_ms = self._runtime.sockets().answered_at_ms(ws)
        return datetime.fromtimestamp(at_ms / 1_000, UTC) if at_ms else None


def as_it_is(value: Any) -> Any:
    """What a class is given; `homing.compat` gives another face to it."""
    return value


class DurableObject:
    """The base of an application's objects. Public methods are called by clients and objects; `fetch` answers HTTP.

    While a call awaits, others run. With `concurrency = "exclusive"` in a class each of its calls runs to its end
    before the next begins, but for those that it waits for itself.

    Attributes:
        ctx: the object's context.
        env: the application's bindings, such as `env.COUNTER`.

    Handlers:
        fetch(self, request): answers an HTTP request with a `Response`.
        alarm(self, alarm): an alarm rings; it may also take nothing.
        websocket_message(self, ws, message): text or bytes came on a socket.
        websocket_close(self, ws, code, reason, was_clean): a socket has ended.
        websocket_error(self, ws, error): a socket broke off.

    Example:
        >>> class Counter(DurableObject):
        ...     def increment(self):
        ...         kv = self.ctx.storage.kv
        ...         kv.put("n", (kv.get("n") or 0) + 1)
        ...         return kv.get("n")
    """

    homing_base = True  # a class that says so itself, rather than inherits it, is none of the application's
    homing_adapt = staticmethod(as_it_is)

    ctx: DurableObjectState
    env: Any

    def __init__(self, ctx: DurableObjectState, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class WorkerEntrypoint:
    """The base of the application's `Default` class, whose `fetch` answers what is not addressed to an object.

    Attributes:
        ctx: the context of this call.
        env: the application's bindings, such as `env.COUNTER`.

    Example:
        >>> class Default(WorkerEntrypoint):
        ...     async def fetch(self, request):
        ...         return Response("hello")
    """

    homing_base = True
    homing_adapt = staticmethod(as_it_is)

    ctx: ExecutionContext
    env: Any

    def __init__(self, ctx: ExecutionContext, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class Env(SimpleNamespace):
    """The application's bindings, as attributes: `env.COUNTER`."""


class RpcTarget:
    """What is passed between objects by reference: whoever gets it calls its public methods, where it was made.

    It lives as long as the call that it was passed with; one that is returned, as long as its object is in memory.

    Example:
        >>> class Cursor(RpcTarget):
        ...     def __init__(self, rows):
        ...         self._rows = rows
        ...
        ...     def next(self):
        ...         return next(self._rows, None)
    """


class Reference(NamedTuple):
    """Where something lives that was passed by reference.

    Attributes:
        class_key, object_id: the object that passed it.
        activation: the number of its activation.
        target: its number there.
    """

    class_key: str
    object_id: ObjectId
    activation: int
    target: int


class Caller(Protocol):
    """Who takes a stub's calls to their object; the worker's runtime implements it."""

    def runtime(self) -> Runtime:
        """Whose code runs.

        Raises:
            RuntimeError: nobody's.
        """
        ...

    def call_target(
        self, reference: Reference, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> asyncio.Future[Any]:
        """Begin a call of something that was passed by reference; a function has no method."""
        ...

    def call_method(
        self, class_key: str, object_id: ObjectId, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> asyncio.Future[Any]:
        """Begin a call of a public method."""
        ...

    def call_fetch(self, class_key: str, object_id: ObjectId, request: Request) -> asyncio.Future[Response]:
        """Begin a request to the object's `fetch`."""
        ...

    def list_objects(self, class_key: str, above: ObjectId, limit: int) -> asyncio.Future[ObjectList]:
        """Begin to ask for a page of a class's objects, with those above an id."""
        ...


class DurableObjectStub:
    """An address to call: every public method of the object's class is one of the stub.

    A call begins when it is made, awaited or not; what it returns is awaited for the result. Values travel by value
    (`homing.sent`), stubs as stubs. What the object's code raises arrives as `ApplicationError` with `remote` set.
    Calls of one object to another arrive in the order in which they were made.

    Attributes:
        id: of the object that is called.

    Example:
        >>> class Room(DurableObject):
        ...     async def greet(self, name):
        ...         return await self.env.COUNTER.get_by_name(name).increment()
    """

    __slots__ = ("_caller", "class_key", "id")

    def __init__(self, caller: Caller, class_key: str, object_id: ObjectId) -> None:
        self._caller = caller
        self.class_key = class_key
        self.id = object_id

    @property
    def name(self) -> str | None:
        """The object's name where it was addressed by one."""
        return self.id.name

    def fetch(self, request: Request | str, **options: Any) -> asyncio.Future[Response]:
        """Send the object an HTTP request.

        Args:
            request: a request, or its URL.
            options: with a URL, what `Request` takes: `method`, `headers`, `body`.
        """
        return self._caller.call_fetch(self.class_key, self.id, as_request(request, options))

    def __getattr__(self, method: str) -> Callable[..., asyncio.Future[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
            return self._caller.call_method(self.class_key, self.id, method, args, kwargs)

        return call

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DurableObjectStub) and (other.class_key, other.id) == (self.class_key, self.id)

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"DurableObjectStub({self.class_key}, {self.id!r})"


class RpcStub:
    """What was passed by reference, where it arrived: a function is called, an `RpcTarget` has its public methods.

    Example:
        >>> class Ticker(DurableObject):
        ...     async def count(self, tell):
        ...         for number in range(3):
        ...             await tell(number)
    """

    __slots__ = ("_caller", "reference")

    def __init__(self, caller: Caller, reference: Reference) -> None:
        self._caller = caller
        self.reference = reference

    def __call__(self, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Call a function that was passed."""
        return self._caller.call_target(self.reference, "", args, kwargs)

    def __getattr__(self, method: str) -> Callable[..., asyncio.Future[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
            return self._caller.call_target(self.reference, method, args, kwargs)

        return call


class DurableObjectNamespace:
    """The objects of one class, `env.NAME`.

    Example:
        >>> stub = self.env.COUNTER.get_by_name("a")
    """

    def __init__(self, caller: Caller, class_key: str) -> None:
        self._caller = caller
        self._class_key = class_key

    def id_from_name(self, name: str) -> ObjectId:
        """The one id of a name."""
        return ObjectId.from_name(self._class_key, name)

    def id_from_string(self, text: str) -> ObjectId:
        """The id that `str(id)` printed; raises `BadRequest` for an id of another class."""
        return ObjectId.from_hex(self._class_key, text)

    def new_unique_id(self) -> ObjectId:
        """A new random id."""
        return ObjectId.unique(self._class_key)

    def get(self, object_id: ObjectId) -> DurableObjectStub:
        """A stub; neither creates nor wakes the object. Raises `BadRequest` for an id of another class."""
        object_id.check_class(self._class_key)
        return DurableObjectStub(self._caller, self._class_key, object_id)

    def get_by_name(self, name: str) -> DurableObjectStub:
        """The stub of a name's object."""
        return self.get(self.id_from_name(name))

    def list(self, *, limit: int = 100, cursor: str | None = None) -> asyncio.Future[ObjectList]:
        """One page of the objects that exist, in the order of their ids. It wakes none, and goes to every node.

        Args:
            limit: at most so many, up to 1,000.
            cursor: of the page before.

        Raises:
            BadRequest: no such limit or cursor.
            Overloaded: too many lists are asked for on this node; as what is awaited raises.
            Unavailable: a node cannot be reached, so the list would have holes; as above.

        Example:
            >>> page = await self.env.ROOMS.list(limit=10)
            >>> [each.name for each in page.objects]
        """
        if not 1 <= limit <= LIST_OBJECTS_MAX:
            raise BadRequest(f"limit must be from 1 to {LIST_OBJECTS_MAX}")
        above = first_id(self._class_key) if cursor is None else ObjectId.from_hex(self._class_key, cursor)
        return self._caller.list_objects(self._class_key, above, limit)
