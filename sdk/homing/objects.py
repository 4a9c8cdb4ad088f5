"""What an application extends and is given: objects, entrypoints, their context, and the bindings of `env`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from homing.ids import ObjectId
from homing.sockets import Sockets, WebSocket, WebSocketRequestResponsePair, checked_tags

if TYPE_CHECKING:
    from homing.facets import Facets
    from homing.storage import Storage

T = TypeVar("T")
_NO_PROPS: Mapping[str, Any] = MappingProxyType({})

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

    def facets(self) -> Facets:
        """The object's facets."""
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
        props: of a facet of a dynamic class: what it was given; else empty.
    """

    __slots__ = ("_runtime", "_storage", "id", "props")

    def __init__(self, runtime: Runtime, object_id: ObjectId, props: Mapping[str, Any] = _NO_PROPS) -> None:
        self._runtime = runtime
        self._storage: Storage | None = None
        self.id = object_id
        self.props = props

    @property
    def storage(self) -> Storage:
        """The object's private database."""
        storage = self._storage
        if storage is None:
            storage = self._storage = self._runtime.open_storage()
        return storage

    @property
    def facets(self) -> Facets:
        """The objects inside this object."""
        return self._runtime.facets()

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
