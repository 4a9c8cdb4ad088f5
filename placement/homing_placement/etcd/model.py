"""What goes into etcd and comes out of it, as plain values; the translation to and from protobuf."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from homing_placement.etcd import api_pb2 as api

Target = Literal["mod", "create", "version"]
Relation = Literal["=", "!=", "<", ">"]

_RESULTS: dict[Relation, api.Compare.CompareResult] = {
    "=": api.Compare.EQUAL,
    "!=": api.Compare.NOT_EQUAL,
    "<": api.Compare.LESS,
    ">": api.Compare.GREATER,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One key as etcd holds it."""

    key: bytes
    value: bytes
    mod_revision: int
    create_revision: int
    version: int
    lease: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Every entry of a prefix at one revision, ascending by key."""

    revision: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """A key was written, or deleted when `entry` is None."""

    key: bytes
    entry: Entry | None
    mod_revision: int


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes in the order of their revisions; those of one transaction are never split."""

    revision: int  # of the last one
    changes: tuple[Change, ...]


WatchSink = Callable[[Listing | Changes], None]


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease and when it ends, on this machine's monotonic clock; a hint, like every lease."""

    id: int
    ttl_s: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class Compare:
    """A comparison of a transaction. A key that does not exist has revisions and version 0."""

    key: bytes
    target: Target
    relation: Relation
    value: int

    @classmethod
    def mod(cls, key: bytes, revision: int) -> Compare:
        """The key was last changed at `revision` (0: it does not exist)."""
        return cls(key, "mod", "=", revision)

    @classmethod
    def absent(cls, key: bytes) -> Compare:
        """The key does not exist."""
        return cls(key, "create", "=", 0)


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key, under a lease unless that is 0."""

    key: bytes
    value: bytes
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a key, or with `prefix` every key that begins with it."""

    key: bytes
    prefix: bool = False


Operation = Put | Delete


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did.

    Attributes:
        ok: every comparison held.
        revision: the store's afterwards; with `ok` and at least one write, the new mod_revision of what it wrote.
        reads: what was read, in the order it was asked for.
    """

    ok: bool
    revision: int
    reads: tuple[Entry | None, ...]


def prefix_end(prefix: bytes) -> bytes:
    r"""The first key after every key that begins with `prefix`.

    Example:
        >>> prefix_end(b"/a/"), prefix_end(b"a\xff")
        (b'/a0', b'b')
    """
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"


def entry_of(kv: api.KeyValue) -> Entry:
    """The entry that etcd sent."""
    return Entry(kv.key, kv.value, kv.mod_revision, kv.create_revision, kv.version, kv.lease)


def change_of(event: api.Event) -> Change:
    """The change that a watch told."""
    kv = event.kv
    entry = entry_of(kv) if event.type == api.Event.PUT else None
    return Change(kv.key, entry, kv.mod_revision)


def txn_request(
    compares: Sequence[Compare],
    then: Sequence[Operation],
    otherwise: Sequence[Operation],
    read_otherwise: Sequence[bytes],
) -> api.TxnRequest:
    """A transaction. Without comparisons `then` is done, so keys that are to be read belong there."""
    reads = [api.RequestOp(request_range=api.RangeRequest(key=key)) for key in read_otherwise]
    success = [*map(_operation, then)]
    failure = [*map(_operation, otherwise)]
    return api.TxnRequest(
        compare=map(_compare, compares),
        success=success if compares else success + reads,
        failure=failure + reads if compares else failure,
    )


def txn_result(reply: api.TxnResponse) -> TxnResult:
    """The outcome that etcd sent."""
    reads: list[Entry | None] = []
    for response in reply.responses:
        if response.HasField("response_range"):
            kvs = response.response_range.kvs
            reads.append(entry_of(kvs[0]) if kvs else None)
    return TxnResult(reply.succeeded, reply.header.revision, tuple(reads))


def _compare(compare: Compare) -> api.Compare:
    result = _RESULTS[compare.relation]
    if compare.target == "mod":
        return api.Compare(target=api.Compare.MOD, result=result, key=compare.key, mod_revision=compare.value)
    if compare.target == "create":
        return api.Compare(target=api.Compare.CREATE, result=result, key=compare.key, create_revision=compare.value)
    return api.Compare(target=api.Compare.VERSION, result=result, key=compare.key, version=compare.value)


def _operation(operation: Operation) -> api.RequestOp:
    if isinstance(operation, Put):
        put = api.PutRequest(key=operation.key, value=operation.value, lease=operation.lease)
        return api.RequestOp(request_put=put)
    end = prefix_end(operation.key) if operation.prefix else b""
    return api.RequestOp(request_delete_range=api.DeleteRangeRequest(key=operation.key, range_end=end))
