"""The body of a TURN record: all that one turn did (rule 22), and what a slot keeps of an object beside its pages."""

from __future__ import annotations

import enum
from typing import TypeVar

import msgspec

from homing_node.objects.socket_record import SocketChanges, SocketsMeta


class KeyState(enum.IntEnum):
    """What became of a call under an idempotency key."""

    RUNNING = 0  # a turn of it was committed, its end was not
    DONE = 1


class KeyEntry(msgspec.Struct, array_like=True, frozen=True):
    """One idempotency key of an object. `status` and `payload` are those of the recorded effect."""

    key: str
    fingerprint: bytes
    state: int
    at_ms: int = 0
    status: int = 0
    payload: object = None

    def size(self) -> int:
        """About what it costs to keep, in bytes."""
        payload = self.payload
        known = len(payload) if isinstance(payload, bytes | str) else len(_ENCODER.encode(payload))
        return 64 + len(self.key) + known


class TurnBody(msgspec.Struct, array_like=True, frozen=True):
    """What one turn did.

    Attributes:
        class_name, name: set in the first record of an object; later ones leave them empty.
        commit: pages, in the encoding of `workers.inside.pages`; None if only a key is recorded.
        keys: keys that this turn began to use or finished.
        dropped: keys that are forgotten from here on; pruning is itself in a record.
        restore: names the restore of a backup that wrote this record; else empty.
        begins: first of all, everything that was known of the object is forgotten.
        ends: the object is whole again. Until then nothing of it runs.
        wake_ms: when the earliest of its alarms rings, in milliseconds since 1970; 0: none does; None: as before.
        sockets: what it did to the object's sockets.
        gone: the object is deleted. As with `begins` everything is forgotten, and nothing takes its place.
    """

    class_name: str = ""
    name: str | None = None
    commit: bytes | None = None
    keys: list[KeyEntry] = []
    dropped: list[str] = []
    restore: bytes = b""
    begins: bool = False
    ends: bool = False
    wake_ms: int | None = None
    sockets: SocketChanges | None = None
    gone: bool = False


class ObjectMeta(msgspec.Struct, array_like=True):
    """What a slot keeps of an object beside its pages.

    Replicas compare its bytes. A value of an older version has fewer fields; the rest are then as by default.

    Attributes:
        class_name, name: of the object.
        page_count: of its database.
        keys: idempotency keys, oldest first.
        restore: names the restore that wrote it last; empty: none did.
        restoring: that restore has not come to its end.
        wake_ms: when the earliest of its alarms rings, in milliseconds since 1970; 0: none does.
        sockets: those that are open; None: it has had none.
        written_ms: when it was last written, in milliseconds since 1970; 0: not known.
    """

    class_name: str
    name: str | None = None
    page_count: int = 0
    keys: dict[str, KeyEntry] = {}
    restore: bytes = b""
    restoring: bool = False
    wake_ms: int = 0
    sockets: SocketsMeta | None = None
    written_ms: int = 0


_ENCODER = msgspec.msgpack.Encoder()
_BODY = msgspec.msgpack.Decoder(TurnBody)
_META = msgspec.msgpack.Decoder(ObjectMeta)
_T = TypeVar("_T")


def _decoded(decoder: msgspec.msgpack.Decoder[_T], data: bytes) -> _T:
    try:
        return decoder.decode(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def encode_body(body: TurnBody) -> bytes:
    """The bytes of a body."""
    return _ENCODER.encode(body)


def decode_body(data: bytes) -> TurnBody:
    """A body of this node's own making, out of its log.

    Raises:
        ValueError: not a body.
    """
    return _decoded(_BODY, data)


def encode_meta(meta: ObjectMeta) -> bytes:
    """The bytes of a meta value."""
    return _ENCODER.encode(meta)


def decode_meta(data: bytes) -> ObjectMeta:
    """A meta value out of the store.

    Raises:
        ValueError: not one.
    """
    return _decoded(_META, data)
