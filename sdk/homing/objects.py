"""What an application extends and is given: objects, entrypoints, their context, and the bindings of `env`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from homing.errors import NotSupported
from homing.ids import ObjectId

if TYPE_CHECKING:
    from homing.sockets import WebSocket
    from homing.storage import Storage

T = TypeVar("T")

# Handlers answer events; they cannot be called as methods.
HANDLERS = frozenset(("fetch", "alarm", "connect", "websocket_message", "websocket_close", "websocket_error"))


class Runtime(Protocol):
    """What a context stands on; the worker's runtime implements it."""

    def open_storage(self) -> Storage:
        """The object's storage, opened at its first use."""
        ...

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """Keep the activation until the awaitable is done."""
        ...

    def block_concurrency_while(self, callback: Callable[[], Awaitable[T]]) -> asyncio.Future[T]:
        """Run a callback while no event is delivered."""
        ...

    def abort(self, reason: str) -> NoReturn:
        """End the activation."""
        ...


class ExecutionContext:
    """The context of an entrypoint's call."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

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

    def abort(self, reason: str = "") -> NoReturn:
        """Reset the object at once: what the current turn wrote is dropped, and calls that wait for it fail."""
        self._runtime.abort(reason)

    def accept_websocket(self, ws: WebSocket, tags: Iterable[str] = ()) -> None:
        """Not built yet."""
        _not_built("WebSockets")

    def get_websockets(self, tag: str | None = None) -> list[WebSocket]:
        """Not built yet."""
        _not_built("WebSockets")

    def get_tags(self, ws: WebSocket) -> list[str]:
        """Not built yet."""
        _not_built("WebSockets")

    def set_websocket_auto_response(self, pair: Any = None) -> None:
        """Not built yet."""
        _not_built("WebSockets")


class DurableObject:
    """The base of an application's objects. Public methods are called by clients; `fetch` answers HTTP.

    Example:
        >>> class Counter(DurableObject):
        ...     def increment(self):
        ...         kv = self.ctx.storage.kv
        ...         kv.put("n", (kv.get("n") or 0) + 1)
        ...         return kv.get("n")
    """

    ctx: DurableObjectState
    env: Any

    def __init__(self, ctx: DurableObjectState, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class WorkerEntrypoint:
    """The base of the application's `Default` class, whose `fetch` answers what is not addressed to an object.

    Example:
        >>> class Default(WorkerEntrypoint):
        ...     async def fetch(self, request):
        ...         return Response("hello")
    """

    ctx: ExecutionContext
    env: Any

    def __init__(self, ctx: ExecutionContext, env: Any) -> None:
        self.ctx = ctx
        self.env = env


class Env(SimpleNamespace):
    """The application's bindings, as attributes: `env.COUNTER`."""


class DurableObjectStub:
    """An address to call. Calls between objects are not built yet: a method can be named, and raises when called."""

    def __init__(self, object_id: ObjectId) -> None:
        self.id = object_id

    @property
    def name(self) -> str | None:
        """The object's name where it was addressed by one."""
        return self.id.name

    def __getattr__(self, method: str) -> Callable[..., NoReturn]:
        if method.startswith("__"):
            raise AttributeError(method)

        def call(*args: object, **kwargs: object) -> NoReturn:
            raise NotSupported(f"calls between objects are not supported yet ({method})")

        return call


class DurableObjectNamespace:
    """The objects of one class, `env.NAME`.

    Example:
        >>> stub = self.env.COUNTER.get_by_name("a")
    """

    def __init__(self, class_key: str) -> None:
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
        """A stub; neither creates nor wakes the object."""
        return DurableObjectStub(object_id)

    def get_by_name(self, name: str) -> DurableObjectStub:
        """The stub of a name's object."""
        return DurableObjectStub(self.id_from_name(name))


def _not_built(feature: str) -> NoReturn:
    raise NotSupported(f"{feature} are not supported yet")
