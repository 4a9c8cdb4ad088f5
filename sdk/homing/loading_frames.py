"""How the code of a dynamic worker, its calls and their answers travel: MessagePack, each with its decoder.

An application sends `Part` and `Call` to its node, and gets an `Answer`; code goes on to the sandbox as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from homing.errors import BadRequest, TooLarge
from homing.grants import Given
from homing.loading import ENV_BYTES_MAX, WorkerCode
from homing.values import to_stored

Packed = tuple[str, list[tuple[str, str, bytes]], bytes]
"""A worker's code as its sandbox gets it: the main module, modules, and the values of `env` (`homing.values`)."""


def encode_code(code: WorkerCode) -> bytes:
    """A worker's code, as bytes.

    Raises:
        TooLarge: its `env` is over 1 MiB.
        TypeError: a value in it cannot be sent.
    """
    env = to_stored(dict(code.values))
    if len(env) > ENV_BYTES_MAX:
        raise TooLarge(f"an env of {len(env)} bytes; at most {ENV_BYTES_MAX}")
    modules = [(name, module.kind, module.content) for name, module in code.checked.items()]
    packed: Packed = (code.main_module, modules, env)
    return msgspec.msgpack.encode(packed)


def decode_code(data: bytes | bytearray) -> Packed:
    """A worker's code, out of bytes.

    Raises:
        ValueError: they are none.
    """
    return msgspec.msgpack.decode(data, type=Packed)


class Part(NamedTuple):
    """A part of a worker's code, on its way from who loads it to the node.

    Attributes:
        key: names the worker among those of its caller.
        tenant: whose it is.
        cpu_ms, sub_requests: of each call (`CallLimits`).
        tailed: whether answers tell what became of their calls.
        grants: what the worker may do besides, in the first part.
        size: of the whole code, in bytes.
        at: where this part begins; 0: the worker begins.
        data: it.
    """

    key: str
    tenant: str
    cpu_ms: int
    sub_requests: int
    tailed: bool
    grants: tuple[Given, ...]
    size: int
    at: int
    data: bytes


class Call(NamedTuple):
    """A call of a dynamic worker, on its way to the node.

    Attributes:
        key: names the worker.
        entrypoint: the name of a class of its main module; empty: the default.
        props: of the context (`homing.values.to_stored`).
        cpu_ms, sub_requests: `CallLimits`.
        method: what is called; empty: `fetch`.
        body: the arguments (`to_stored` of a list and a dict), or a request's: see `encode_request`.
        facet: the number of the facet that is called; 0: an entrypoint is.
    """

    key: str
    entrypoint: str
    props: bytes
    cpu_ms: int
    sub_requests: int
    method: str
    body: bytes
    facet: int = 0


class FacetPart(NamedTuple):
    """A facet that is to run in a dynamic worker, and a part of its pages.

    Attributes:
        key: names the worker.
        facet: a number of its own.
        class_name: of a class of the worker's main module.
        props: of the context (`homing.values.to_stored`).
        object_id, name: what it has as `ctx.id`.
        depth: in the tree of facets.
        at: where this part begins; 0: the facet begins.
        data: pages.
    """

    key: str
    facet: int
    class_name: str
    props: bytes
    object_id: bytes
    name: str
    depth: int
    at: int
    data: bytes


FacetWord = tuple[int, int]
"""What is said of a facet to its sandbox: its number, and a commit of it."""


RequestParts = tuple[str, str, list[tuple[str, str]], bytes]
"""A request: method, URL, header fields, body."""

ResponseParts = tuple[int, list[tuple[str, str]], bytes]
"""An answer: status, header fields, body."""

FailureParts = tuple[str, str, str, str]
"""What went wrong: code, message, type of the exception or name of the limit, traceback."""

NEEDED, VALUE, RESPONSE, FAILED = 0, 1, 2, 3


class Event(NamedTuple):
    """What became of a call, as tails are told.

    Attributes:
        outcome: "ok", "exception", "exceededCpu", "died".
        logs: when each was printed (milliseconds since 1970), its level, and the line.
        exception: the type, the message and the traceback of what it raised; empty where it did not.
        cpu_ms, wall_ms: what it took, in milliseconds; CPU is that of the whole worker meanwhile.
    """

    outcome: str
    logs: list[tuple[int, int, str]]
    exception: list[str]
    cpu_ms: float
    wall_ms: float


class Answer(NamedTuple):
    """What came of a call.

    Attributes:
        kind: NEEDED: no such worker is there, its code is to be sent; VALUE; RESPONSE; FAILED.
        value: of VALUE: bytes of what was returned.
        response: of RESPONSE.
        failure: of FAILED.
        event: for tails.
    """

    kind: int
    value: bytes = b""
    response: ResponseParts | None = None
    failure: FailureParts | None = None
    event: Event | None = None


def pieces_of(data: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Bytes in parts, each with where it begins; one at least."""
    for at in range(0, max(1, len(data)), size):
        yield at, data[at : at + size]


def encode(message: Part | Call | FacetPart | Answer | RequestParts) -> bytes:
    """One of these, as bytes."""
    return msgspec.msgpack.encode(message)


def decode_part(data: bytes) -> Part:
    """A part of code; raises `BadRequest` where it is none."""
    return _decoded(data, Part)


def decode_call(data: bytes) -> Call:
    """A call; raises `BadRequest` where it is none."""
    return _decoded(data, Call)


def decode_facet_part(data: bytes) -> FacetPart:
    """A part of a facet; raises `BadRequest` where it is none."""
    return _decoded(data, FacetPart)


def decode_facet_word(data: bytes) -> FacetWord:
    """What is said of a facet; raises `BadRequest` where it is nothing."""
    return _decoded(data, FacetWord)


def decode_answer(data: bytes) -> Answer:
    """An answer of the node; raises `ValueError` where it is none."""
    return msgspec.msgpack.decode(data, type=Answer)


def decode_request(data: bytes) -> RequestParts:
    """A request; raises `ValueError` where it is none."""
    return msgspec.msgpack.decode(data, type=RequestParts)


def _decoded(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"this asks for nothing that a loader does: {error}") from error
