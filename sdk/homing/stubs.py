"""What object code calls others by: namespaces, stubs, and what is passed by reference."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from homing.errors import BadRequest
from homing.http import Request, Response, as_request
from homing.ids import ObjectId, bound_by, first_id
from homing.listing import LIST_OBJECTS_MAX, ObjectList
from homing.locations import check_hint

if TYPE_CHECKING:
    from homing.objects import Runtime


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

    def call_loader(self, what: str, body: bytes) -> asyncio.Future[bytes]:
        """Begin to send what a loader of dynamic workers asks of the node."""
        ...

    def list_objects(
        self, class_key: str, above: ObjectId, limit: int, bound: int | None
    ) -> asyncio.Future[ObjectList]:
        """Begin to ask for a page of a class's objects, with those above an id, and only those of a jurisdiction."""
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
    """The objects of one class, `env.NAME`; or those of them that a jurisdiction binds, `env.NAME.jurisdiction("eu")`.

    Example:
        >>> stub = self.env.COUNTER.get_by_name("a")
    """

    def __init__(self, caller: Caller, class_key: str, bound: int | None = None) -> None:
        self._caller = caller
        self._class_key = class_key
        self._bound = bound  # the number of the jurisdiction

    def jurisdiction(self, name: str) -> DurableObjectNamespace:
        """The objects that a jurisdiction binds: they are on nodes of its zones, and nowhere else, for ever.

        A name stands for one object in each jurisdiction, and for one in none.

        Args:
            name: one that the operator gave the cluster (`HOMING_JURISDICTIONS`).

        Raises:
            UnknownLocation: there is none of that name.
            BadRequest: this namespace is that of another jurisdiction.

        Example:
            >>> stub = self.env.PATIENTS.jurisdiction("eu").get_by_name("ada")
        """
        return DurableObjectNamespace(self._caller, self._class_key, self._bound_to(name))

    def _bound_to(self, jurisdiction: str | None) -> int | None:
        if jurisdiction is None:
            return self._bound
        bound = bound_by(jurisdiction)
        if self._bound not in (None, bound):
            raise BadRequest(f"this namespace is not that of the jurisdiction {jurisdiction}")
        return bound

    def id_from_name(self, name: str) -> ObjectId:
        """The one id of a name."""
        return ObjectId.from_name(self._class_key, name, self._bound)

    def id_from_string(self, text: str) -> ObjectId:
        """The id that `str(id)` printed; raises `BadRequest` for an id of another class or jurisdiction."""
        return self._checked(ObjectId.from_hex(self._class_key, text))

    def new_unique_id(self, *, jurisdiction: str | None = None) -> ObjectId:
        """A new random id; with a jurisdiction, as `jurisdiction(name).new_unique_id()`, which says what it raises."""
        return ObjectId.unique(self._class_key, self._bound_to(jurisdiction))

    def get(self, object_id: ObjectId, *, location_hint: str | None = None) -> DurableObjectStub:
        """A stub; neither creates nor wakes the object.

        Args:
            object_id: of an object of this class; a namespace of no jurisdiction takes those of any.
            location_hint: where the reference would create the object, as `weur`. It must be one, and changes nothing:
                an object's slot follows from its id, and many share it. A jurisdiction binds.

        Raises:
            BadRequest: the id is of another class or jurisdiction.
            UnknownLocation: there is no such hint, or this process does not know the id's jurisdiction.
        """
        check_hint(location_hint)
        object_id.check_class(self._class_key)
        return DurableObjectStub(self._caller, self._class_key, self._checked(object_id))

    def get_by_name(self, name: str, *, location_hint: str | None = None) -> DurableObjectStub:
        """The stub of a name's object; `location_hint` as for `get`."""
        return self.get(self.id_from_name(name), location_hint=location_hint)

    def _checked(self, object_id: ObjectId) -> ObjectId:
        if self._bound is not None:
            object_id.check_bound(self._bound)
        elif object_id.jurisdiction is not None:
            bound_by(object_id.jurisdiction)
        return object_id

    def list(self, *, limit: int = 100, cursor: str | None = None) -> asyncio.Future[ObjectList]:
        """One page of the objects that exist, in the order of their ids. It wakes none, and goes to every node.

        Those that a jurisdiction binds follow each other, near the end of the list.

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
        above = first_id(self._class_key, self._bound)
        if cursor is not None:
            above = ObjectId.from_hex(self._class_key, cursor)
        if self._bound is not None:
            above.check_bound(self._bound)
        return self._caller.list_objects(self._class_key, above, limit, self._bound)
