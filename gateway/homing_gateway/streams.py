"""Slots as streams of bytes: what a backup reads, and what a restore writes.

They are cut into frames (`homing.slot_frames`). The gateway looks into the first one only.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any, TypeVar
from urllib.parse import parse_qs

import grpc
from google.protobuf.message import DecodeError

from homing import cancellation
from homing.errors import BadRequest, HomingError, TooLarge, Unavailable
from homing.ids import OBJECT_ID_BYTES
from homing.slot_frames import Frames, frame
from homing.wire.v1 import call_pb2
from homing_gateway.admin import as_error, owner_of
from homing_gateway.limits import RESTORE_ID_BYTES_MAX, SLOT_TRIES_MAX
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.limits import RETRY_S_MAX
from homing_placement.routing.link import NodeLink

READ_SLOT = "/homing.wire.v1.Calls/ReadSlot"
RESTORE_SLOT = "/homing.wire.v1.Calls/RestoreSlot"

T = TypeVar("T")

SlotReading = grpc.aio.UnaryStreamCall[call_pb2.ReadSlotRequest, bytes]


class SlotStreams:
    """Takes slots from their owners, and to them.

    Args:
        forwarder: for its table and its links.
        slots: how many slots the cluster has.
    """

    def __init__(self, forwarder: Forwarder, slots: int) -> None:
        self._forwarder = forwarder
        self._slots = slots

    async def read(self, slot: int, query: bytes) -> AsyncGenerator[bytes]:
        """Begin to read a slot, or one object of it; the frames follow. A failure on the way is a frame, the last one.

        Raises:
            NotFound: there is no such slot.
            BadRequest: `object` is no object id.
            Unavailable: the slot has no owner that answers.
        """
        wanted = _hex(query, "object", OBJECT_ID_BYTES, b"")
        request = call_pb2.ReadSlotRequest(slot=slot, object=wanted)
        error: HomingError = self._forwarder.unavailable(slot)
        for _ in range(SLOT_TRIES_MAX):
            try:
                reading = read_slot(owner_of(self._forwarder, slot, self._slots), request)
                first = await next_part(reading)
                part = call_pb2.SlotPart.FromString(first)
                if not part.HasField("failure"):
                    return _frames(reading, first)
                error = as_error(part.failure)
            except (Unavailable, DecodeError) as failed:
                error = failed if isinstance(failed, Unavailable) else Unavailable("the owner's answer makes no sense")
            if error.http_status != Unavailable.http_status:
                break
            await self._forwarder.refresh(slot)
            await asyncio.sleep(RETRY_S_MAX)
        raise error

    async def restore(self, slot: int, query: bytes, body: AsyncIterator[bytes]) -> dict[str, object]:
        """Write the objects of a body into a slot; they are committed when this returns.

        Raises:
            NotFound: there is no such slot.
            BadRequest: the query or the body cannot be understood, or an object exists that may not be replaced.
            TooLarge: a frame or an object is over its limit.
            Unavailable: the slot has no owner that answers, or lost it; objects up to some place are there.
        """
        target = call_pb2.RestoreTarget(
            slot=slot, above=number_in(query, "above"), restore=_hex(query, "run", None, None),
            overwrite=number_in(query, "overwrite") > 0,
        )  # fmt: skip
        try:
            async with contextlib.aclosing(_cut(body)) as frames:
                reply = await write_parts(
                    owner_of(self._forwarder, slot, self._slots), RESTORE_SLOT,
                    call_pb2.SlotPart(target=target).SerializeToString(), frames, call_pb2.RestoreReply.FromString,
                )  # fmt: skip
            if reply.HasField("failure"):
                raise as_error(reply.failure)
        except HomingError:
            async for _ in body:  # read to its end, for only then is a client sure to look at the answer
                pass
            raise
        return {"slot": slot, "epoch": reply.epoch, "objects": reply.objects}


def read_slot(link: NodeLink, request: call_pb2.ReadSlotRequest) -> SlotReading:
    """Begin to read a slot, or an object of it; what comes is serialized `SlotPart`s."""
    return link.channel.unary_stream(READ_SLOT, call_pb2.ReadSlotRequest.SerializeToString, bytes)(request)


async def write_parts(
    link: NodeLink, method: str, first: bytes, parts: AsyncIterator[bytes], decode: Callable[[bytes], T]
) -> T:
    """Write serialized parts to a node, after the one that says what they are; returns its answer.

    Raises:
        Unavailable: the node went away.
        HomingError: what `parts` raises.
    """
    call = link.channel.stream_unary(method, bytes, decode)()
    try:
        with contextlib.suppress(asyncio.InvalidStateError):  # it is answered already: no more is wanted
            await call.write(first)
            async for part in parts:
                await call.write(part)
            await call.done_writing()
        return await call
    except (grpc.RpcError, asyncio.CancelledError) as error:
        raise _gone(error) from error
    finally:
        call.cancel()


def _gone(error: BaseException) -> BaseException:
    """What a failed read or write means."""
    return error if cancellation.is_own(error) else Unavailable("the slot's owner went away", retry_after_s=1.0)


async def next_part(reading: grpc.aio.UnaryStreamCall[Any, bytes]) -> bytes:
    """The next message; empty at the end.

    Raises:
        Unavailable: the stream broke.
    """
    try:
        found = await reading.read()
    except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
        raise _gone(error) from error
    return found if isinstance(found, bytes) else b""


async def _frames(reading: SlotReading, first: bytes) -> AsyncGenerator[bytes]:
    """What a node sends, in frames; a stream that breaks ends with a failure."""
    part = first
    try:
        while part:
            yield frame(part)
            part = await next_part(reading)
    except Unavailable as error:
        failure = call_pb2.Failure(code=error.code, message=error.message)
        yield frame(call_pb2.SlotPart(failure=failure).SerializeToString())
    finally:
        reading.cancel()


async def _cut(body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The messages in the frames of a body; no more than one is held.

    Raises:
        BadRequest: the last frame is cut short.
        TooLarge: a frame is over its limit.
    """
    frames = Frames()
    async for data in body:
        try:
            for message in frames.feed(data):
                yield message
        except ValueError as error:
            raise TooLarge(str(error)) from error
    if frames.rest:
        raise BadRequest("the last frame is cut short")


def field(query: bytes, name: str) -> str:
    """What a query says under a name, or empty.

    Raises:
        BadRequest: it is no query.
    """
    try:
        return parse_qs(query.decode("ascii"), max_num_fields=10).get(name, [""])[0]
    except ValueError as error:
        raise BadRequest("the query cannot be understood") from error


def number_in(query: bytes, name: str) -> int:
    """A number of a query; 0 where it is not there.

    Raises:
        BadRequest: it is none.
    """
    text = field(query, name) or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise BadRequest(f"{name} must be a number")
    return int(text)


def _hex(query: bytes, name: str, length: int | None, default: bytes | None) -> bytes:
    """A field in hexadecimal digits, of a length or up to `RESTORE_ID_BYTES_MAX`."""
    text = field(query, name)
    if not text and default is not None:
        return default
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if not 0 < len(found) <= (length or RESTORE_ID_BYTES_MAX) or (length is not None and len(found) != length):
        raise BadRequest(f"{name} must be hexadecimal digits, as many as it takes")
    return found
