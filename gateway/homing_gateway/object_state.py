"""The state of one object, as a whole: its database as a file, a query of it, its end. They wake no object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from google.protobuf.message import DecodeError

from homing.errors import BadRequest, HomingError, NotFound, OutcomeUnknown, TooLarge, Unavailable
from homing.wire.v1 import call_pb2
from homing_gateway.admin import as_error
from homing_gateway.limits import (
    DATABASE_BYTES_MAX,
    DATABASE_PAGE_BYTES,
    DELETE_S_MAX,
    EVICT_S_MAX,
    IMPORT_PIECE_BYTES,
    QUERY_BYTES_MAX,
    QUERY_S_MAX,
    SLOT_TRIES_MAX,
)
from homing_gateway.routes import Route
from homing_gateway.streams import SlotReading, next_part, number_in, read_slot, write_parts
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.limits import RETRY_S_MAX
from homing_placement.routing.link import NodeLink

DELETE = "/homing.wire.v1.Calls/Delete"
EVICT = "/homing.wire.v1.Calls/Evict"
QUERY = "/homing.wire.v1.Calls/Query"
IMPORT = "/homing.wire.v1.Calls/Import"

T = TypeVar("T")


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a query."""

    query: str


@dataclass(slots=True)
class Exported:
    """A database that is being read; close it, read or not.

    Attributes:
        size: in bytes.
        pages: its bytes, in pieces.
    """

    size: int
    pages: AsyncGenerator[bytes]
    reading: SlotReading

    def close(self) -> None:
        """Read no more."""
        self.reading.cancel()


class ObjectState:
    """Asks the owners of objects for them.

    Args:
        forwarder: for its table and its links.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def export(self, route: Route) -> Exported:
        """Begin to read an object's database, as of one moment that is not before the request.

        Raises:
            NotFound: there is no such object.
            Unavailable: its slot has no owner that answers, or the object is not whole.
        """
        request = call_pb2.ReadSlotRequest(slot=route.slot, object=route.object_id, whole=True)
        return await self._tried(route.slot, lambda link: _begin(read_slot(link, request)))

    async def query(self, route: Route, body: bytes) -> bytes:
        """The columns and rows of a query, as JSON.

        Raises:
            BadRequest: the body is none, or the query is none that reads, takes too long or finds too much.
            NotFound, Unavailable: as `export`.
        """
        try:
            query = msgspec.json.decode(body, type=_Query).query
            size = len(query.encode())
        except ValueError as error:  # msgspec's own are; and text that is no Unicode has others
            raise BadRequest(f'a query is {{"query": "SELECT …"}}: {error}') from error
        if size > QUERY_BYTES_MAX:
            raise TooLarge(f"a query has at most {QUERY_BYTES_MAX} bytes")
        request = call_pb2.QueryRequest(slot=route.slot, object=route.object_id, query=query)

        async def once(link: NodeLink) -> bytes:
            reply = await link.ask(QUERY, request, call_pb2.QueryReply, QUERY_S_MAX)
            if reply.HasField("failure"):
                raise as_error(reply.failure)
            return reply.body

        return await self._tried(route.slot, once)

    async def evict(self, route: Route, query: bytes) -> dict[str, object]:
        """Take an object out of memory; it is gone when this returns. With `now` what runs in it is ended.

        Raises:
            Unavailable: it does not go, or its slot has no owner that answers.
        """
        at_once = number_in(query, "now") > 0
        request = call_pb2.EvictRequest(slot=route.slot, object=route.object_id, at_once=at_once)
        link, _ = self._forwarder.owner(route.slot)
        if link is None:
            raise self._forwarder.unavailable(route.slot)
        reply = await link.ask(EVICT, request, call_pb2.EvictReply, EVICT_S_MAX)
        if reply.HasField("failure"):
            raise as_error(reply.failure)
        return {"evicted": reply.evicted}

    async def delete(self, route: Route) -> None:
        """Delete an object; that is committed when this returns.

        Raises:
            NotFound: there is no such object.
            Unavailable: its slot has no owner that answers; the object may be deleted, and it can be done again.
        """
        request = call_pb2.DeleteRequest(slot=route.slot, object=route.object_id)
        asked = 0

        async def once(link: NodeLink) -> None:
            nonlocal asked
            asked += 1
            reply = await link.ask(DELETE, request, call_pb2.DeleteReply, DELETE_S_MAX)
            if not reply.HasField("failure"):
                return
            error = as_error(reply.failure)
            if not isinstance(error, NotFound) or asked == 1:
                raise error  # else an owner before this one has done it

        await self._tried(route.slot, once)

    async def bring_in(self, route: Route, query: bytes, body: AsyncIterator[bytes]) -> None:
        """Make the file in a body an object's database; that is committed when this returns.

        Raises:
            NotFound: there is no such class.
            BadRequest: the object exists and may not be replaced, or the file is none that it can have.
            TooLarge: so is the file.
            Unavailable: the slot has no owner that can be reached, or it is not ready; nothing was written.
            OutcomeUnknown: its owner was lost on the way.
        """
        target = call_pb2.ImportTarget(
            slot=route.slot, object=route.object_id, class_name=route.class_name, name=route.name,
            overwrite=number_in(query, "overwrite") > 0,
        )  # fmt: skip
        file = await _whole(body)
        link, _ = self._forwarder.owner(route.slot)
        if link is None:
            raise self._forwarder.unavailable(route.slot)
        first = call_pb2.ImportPart(target=target).SerializeToString()
        try:
            reply = await write_parts(link, IMPORT, first, _pieces(file), call_pb2.ImportReply.FromString)
        except Unavailable as error:
            raise OutcomeUnknown(f"{error.message}: look whether the object is there") from error
        if reply.HasField("failure"):
            raise as_error(reply.failure)

    async def _tried(self, slot: int, once: Callable[[NodeLink], Awaitable[T]]) -> T:
        """What the owner of a slot answers; asked again, with a fresh record, while the slot moves."""
        error: HomingError = self._forwarder.unavailable(slot)
        for _ in range(SLOT_TRIES_MAX):
            link, _ = self._forwarder.owner(slot)
            if link is not None:
                try:
                    return await once(link)
                except Unavailable as unavailable:
                    error = unavailable
            await self._forwarder.refresh(slot)
            await asyncio.sleep(RETRY_S_MAX)
        raise error


async def _begin(reading: SlotReading) -> Exported:
    """Read up to the first part of the object."""
    try:
        parts = _parts(reading)
        async for part in parts:
            if part.objects:
                size = part.objects[0].page_count * DATABASE_PAGE_BYTES
                return Exported(size, _pages(part, parts), reading)
        raise NotFound("there is no such object")
    except BaseException:
        reading.cancel()
        raise


async def _parts(reading: SlotReading) -> AsyncGenerator[call_pb2.SlotPart]:
    """What a node sends, up to the end.

    Raises:
        Unavailable: it breaks off.
        HomingError: what the node says went wrong.
    """
    while data := await next_part(reading):
        try:
            part = call_pb2.SlotPart.FromString(data)
        except DecodeError as error:
            raise Unavailable("the owner's answer makes no sense") from error
        if part.HasField("failure"):
            raise as_error(part.failure)
        if part.end:
            return
        yield part
    raise Unavailable("the owner broke off", retry_after_s=1.0)


async def _pages(first: call_pb2.SlotPart, others: AsyncGenerator[call_pb2.SlotPart]) -> AsyncGenerator[bytes]:
    yield _bytes_of(first)
    async for part in others:
        yield _bytes_of(part)


def _bytes_of(part: call_pb2.SlotPart) -> bytes:
    return b"".join(page for each in part.objects for page in each.pages)


async def _whole(body: AsyncIterator[bytes]) -> bytes:
    """A file that comes.

    Raises:
        TooLarge: no database has so many bytes.
    """
    file = bytearray()
    async for data in body:
        file += data
        if len(file) > DATABASE_BYTES_MAX:
            raise TooLarge(f"a database has at most {DATABASE_BYTES_MAX} bytes")
    return bytes(file)


async def _pieces(file: bytes) -> AsyncGenerator[bytes]:
    """A file as a node takes it."""
    for at in range(0, len(file), IMPORT_PIECE_BYTES):
        yield call_pb2.ImportPart(data=file[at : at + IMPORT_PIECE_BYTES]).SerializeToString()
    yield call_pb2.ImportPart(end=True).SerializeToString()
