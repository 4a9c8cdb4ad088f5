"""Grants to objects of the application: calls of named methods, their SQL, their key-value pairs.

Whoever holds one neither knows which object it is for, nor says so: address, methods and props stay here. What is
asked goes to the object's worker as bytes that only that reads (`homing_node.workers.inside.granted`), which also sees
that nothing passes by reference either way, and that whoever may only read only reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import msgspec

from homing.errors import BadRequest, Forbidden, HomingError, Unavailable
from homing.ids import ObjectId
from homing_node import limits
from homing_node.broker.audit import CUT, FAILED, LEFT, OK, REFUSED, AuditRecord
from homing_node.broker.opened import Opened
from homing_node.broker.outcomes import error_of
from homing_node.broker.policy import OutboundLimits
from homing_node.broker.room import Room
from homing_node.broker.urls import Refusal
from homing_placement.routing.pending import KIND_GRANTED, Pending

STUB, SQL, KV, FETCH = "stub", "sql", "kv", "fetch"
_READS: dict[str, dict[str, str]] = {
    SQL: {"exec": "sql.read"},
    KV: {"get": "kv.get", "list": "kv.list"},
    FETCH: {"fetch": "fetch"},
}
_WRITES: dict[str, dict[str, str]] = {
    SQL: {"exec": "sql.write"},
    KV: {**_READS[KV], "put": "kv.put", "delete": "kv.delete"},
    FETCH: _READS[FETCH],
}
_OPERATION_CHARS_MAX = 100


class ObjectGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody without trust may do with one object.

    Attributes:
        name: for audits and lists, and in the hands of whoever holds it.
        kind: `stub`: calls of its methods; `sql`; `kv`; `fetch`: requests to it.
        class_name, object_id, object_name: which object; the name is empty where it is addressed by its id.
        methods: of a stub: those that may be called.
        props: of a stub: what its methods are given besides (`homing.values`), or empty.
        read_only: of the others: nothing may be changed.
        limits: how much of it.
    """

    name: str
    kind: Literal["stub", "sql", "kv", "fetch"]
    class_name: str
    object_id: bytes
    object_name: str = ""
    methods: tuple[str, ...] = ()
    props: bytes = b""
    read_only: bool = True
    limits: OutboundLimits = OutboundLimits()

    def __post_init__(self) -> None:
        if len(self.methods) > limits.grant_entries_max:
            raise ValueError(f"a grant has at most {limits.grant_entries_max} methods")
        if any(not method.isidentifier() or method.startswith("_") for method in self.methods):
            raise ValueError("a method of a grant is a public one")
        if len(self.props) > limits.grant_props_bytes_max:
            raise ValueError(f"the props of a grant have at most {limits.grant_props_bytes_max} bytes")

    @property
    def operations(self) -> dict[str, str]:
        """What may be asked for, and what the object's worker calls that."""
        if self.kind == STUB:
            return {method: f"call {method}" for method in self.methods}
        return (_READS if self.read_only else _WRITES)[self.kind]


def object_grant(values: object) -> ObjectGrant:
    """A grant out of plain values.

    Raises:
        BadRequest: it is none, or cannot be granted.
    """
    try:
        grant = msgspec.convert(values, ObjectGrant)
    except msgspec.ValidationError as error:
        raise BadRequest(f"that cannot be granted: {error}") from error
    address = ObjectId(grant.object_id, grant.object_name or None)
    address.check_class(grant.class_name)
    if grant.object_name and not address.is_of(grant.class_name, grant.object_name):
        raise BadRequest("that cannot be granted: the name is not the object's")
    return grant


class Origin(NamedTuple):
    """On whose behalf calls are made.

    Attributes:
        chain: of calls, of which the one that began the run is a part.
        request_id, traceparent: of that.
    """

    chain: bytes = b""
    request_id: str = ""
    traceparent: str = ""


class Port(Protocol):
    """Who takes calls to the owners of objects."""

    def submit(self, pending: Pending, /) -> None:
        """Take a call; its `on_done` is called once, possibly before this returns."""
        ...

    def cancel(self, pending: Pending, /) -> None:
        """Nobody waits for a call any more; `on_done` is not called."""
        ...


class Routes(Protocol):
    """What a node knows of where objects are.

    Attributes:
        port: takes calls there; None: nothing yet.
        slots: of the cluster.
    """

    @property
    def port(self) -> Port | None:
        """See the class."""
        ...

    @property
    def slots(self) -> int:
        """See the class."""
        ...


class OpenObjectGrant(Opened):
    """A grant to an object in somebody's hands.

    Args:
        grant: what may be asked for.
        holder: who may.
        origin: on whose behalf.
        routes: to the object.
        room, tenant: see `Opened`.
        audit: told of every call.
        on_end: told when it is over.
    """

    def __init__(
        self, grant: ObjectGrant, holder: str, origin: Origin, *, routes: Routes | None, room: Room, tenant: str,
        audit: Callable[[AuditRecord], None], on_end: Callable[[OpenObjectGrant], None],
    ) -> None:  # fmt: skip
        super().__init__(grant.name, grant.kind, holder, grant.limits, room, tenant, on_end)
        self._grant, self._origin, self._routes, self._audit = grant, origin, routes, audit

    async def ask(self, operation: str, arguments: bytes) -> bytes:
        """Have the object do something.

        Args:
            operation: one of `ObjectGrant.operations`.
            arguments: a list and a dict (`homing.values`); nothing here reads them.

        Returns:
            The result (`homing.values`).

        Raises:
            Forbidden: it is not granted; so says of SQL the object's worker.
            GrantEnded: the grant was revoked, has expired, or is used up; also on the way.
            Overloaded: too many at once, or in a second; or so says the object.
            TooLarge, AnswerRefused: there is too much of arguments or result.
            DeadlineExceeded: it took too long.
            Unavailable: the object cannot be reached.
            HomingError: what the object's call raises, an `ApplicationError` for its own exceptions.
        """
        began_s = time.perf_counter()  # the clock of uvloop has whole milliseconds
        record = AuditRecord(
            at_ms=time.time_ns() // 1_000_000, holder=self.holder, grant_id=self.id, grant=self.name, kind=self.kind,
            method=operation[:_OPERATION_CHARS_MAX] if operation.isprintable() else "",
            path=f"{self._grant.class_name}/{self._grant.object_name or self._grant.object_id.hex()}",
        )  # fmt: skip
        try:
            with self._counted():
                method = self._permitted(operation, arguments)
                async with self._in_time(None):
                    record.outcome, record.sent_bytes = CUT, len(arguments)
                    answer = await self._called(method, arguments)
                record.received_bytes = len(answer)
                self._came(len(answer))
            record.outcome = OK
            return answer
        except Refusal as refusal:
            record.rule, record.detail = refusal.rule, refusal.detail
            waits = refusal.rule == "calls_per_s_max"
            raise error_of(refusal, self._meter.wait_s() if waits else None) from None
        except HomingError as error:
            judged = isinstance(error, Forbidden) and self._grant.kind == SQL  # by SQLite, before anything was done
            record.outcome, record.rule = REFUSED if judged else FAILED, error.code
            raise
        except asyncio.CancelledError:
            record.outcome = LEFT
            raise
        finally:
            record.took_ms = (time.perf_counter() - began_s) * 1_000
            self._audit(record)

    def _permitted(self, operation: str, arguments: bytes) -> str:
        method = self._grant.operations.get(operation)
        if method is None:
            raise Refusal("method", "the grant does not name this operation")
        most = self._limits.request_bytes_max
        if len(arguments) > most:
            raise Refusal("request_bytes_max", f"arguments have at most {most:,} bytes under this grant")
        self._meter.sent(len(arguments))
        return method

    def _came(self, count: int) -> None:
        if count > self._limits.response_bytes_max:
            raise Refusal("response_bytes_max", "the result is longer than the grant lets it be")
        self._meter.received(count)

    async def _called(self, method: str, arguments: bytes) -> bytes:
        grant, origin, routes = self._grant, self._origin, self._routes
        port = routes.port if routes is not None else None
        if routes is None or port is None:
            raise Unavailable("this node does not know yet where objects are")
        ended: asyncio.Future[None] = self._loop.create_future()
        now_ns = time.monotonic_ns()
        pending = Pending(
            KIND_GRANTED, grant.class_name, grant.object_name, grant.object_id,
            ObjectId(grant.object_id).slot(routes.slots), method, msgspec.msgpack.encode([arguments, grant.props]),
            origin.request_id, now_ns * 1e-9 + self._limits.call_s_max, now_ns,
            lambda _: None if ended.done() else ended.set_result(None),
        )  # fmt: skip
        pending.chain, pending.traceparent = origin.chain, origin.traceparent
        port.submit(pending)
        try:
            await ended
        except asyncio.CancelledError:
            port.cancel(pending)
            raise
        if pending.error is not None:
            raise pending.error
        return pending.answer
