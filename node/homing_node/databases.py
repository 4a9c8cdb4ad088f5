"""Databases of objects as files: what a query finds in one, and one that is brought in.

The node itself never parses them: it looks at the header of a file, and has the rest read in the jail of a worker.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

from homing.alarms import TIME_MS_MAX
from homing.errors import BadRequest, NotFound, NotOwner, TooLarge
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.backups import Backups, Restore
from homing_node.objects.database_file import check_header
from homing_node.objects.images import PAGE_BYTES
from homing_node.objects.limits import database_bytes_max
from homing_node.objects.turn_record import ObjectMeta, encode_meta
from homing_node.outside import Outside, next_part
from homing_node.workers.looks import Looks

_PIECE_PAGES = limits.restore_record_bytes // PAGE_BYTES


class Databases:
    """Serves `Calls/Query` and `Calls/Import`.

    Args:
        backups: reads objects.
        outside: writes them.
        looks: asks workers.
        classes: gives the object classes of the application.
    """

    def __init__(self, backups: Backups, outside: Outside, looks: Looks, classes: Callable[[], set[str]]) -> None:
        self._backups, self._outside, self._looks, self._classes = backups, outside, looks, classes
        self._turns = asyncio.Semaphore(limits.databases_at_once_max)

    async def query(self, asked: wire.QueryRequest) -> wire.QueryReply:
        """The columns and rows of a query, over the object as of one moment that is not before the request.

        Raises:
            NotOwner, NotFound, Unavailable: as `Backups.read`.
            BadRequest: it is no query, takes too long, or its answer is too large.
        """
        if not asked.object:
            raise BadRequest("a query names no object")
        found = bytearray()

        async def take(part: wire.SlotPart) -> None:
            for each in part.objects:
                found.extend(b"".join(each.pages))

        async with self._turns:
            await self._backups.read(wire.ReadSlotRequest(slot=asked.slot, object=asked.object, whole=True), take)
            return wire.QueryReply(body=await self._looks.query(asked.object, bytes(found), asked.query))

    async def bring_in(self, parts: AsyncIterator[wire.ImportPart]) -> wire.ImportReply:
        """Make the file that comes an object's database, and return when that is committed.

        Raises:
            NotOwner: this node does not serve the slot, or ceased to: the object may be incomplete, and says so.
            NotFound: there is no such class.
            BadRequest: no object of that class has this id; it exists and may not be replaced; or the file is none that
                an object can have. Nothing was written.
            TooLarge: so is the file. Nothing was written.
            Unavailable: no worker can look at it, the parts cease to come, or the object does not end in time.
        """
        async with self._turns:
            target = (await next_part(parts, "file")).target
            self._check(target)
            file = await _whole(parts)
            check_header(file)
            wake_ms = await self._looks.check(target.object, file)
            if not 0 <= wake_ms <= TIME_MS_MAX:
                raise BadRequest("the file has an alarm for a time that cannot be")
            await self._write(target, file, wake_ms)
        return wire.ImportReply()

    def _check(self, target: wire.ImportTarget) -> None:
        if not self._outside.epoch(target.slot):
            raise NotOwner(f"slot {target.slot} is not served here")
        if target.class_name not in self._classes():
            raise NotFound(f"there is no class {target.class_name[:100]}")
        self._outside.check_id(target.object, target.slot)
        object_id = ObjectId(target.object)
        object_id.check_class(target.class_name)
        if target.name and not object_id.is_of(target.class_name, target.name):
            raise BadRequest("the name is not that of the object")

    async def _write(self, target: wire.ImportTarget, file: bytes, wake_ms: int) -> None:
        """As a restore does: one is under way until the last record."""
        epoch = self._outside.epoch(target.slot)
        if not epoch:
            raise NotOwner(f"slot {target.slot} is not served here any more")
        run = wire.RestoreTarget(slot=target.slot, restore=secrets.token_bytes(16), overwrite=target.overwrite)
        async with AsyncExitStack() as alone:
            restore = Restore(self._outside, run, epoch, alone)
            for piece in _pieces(target, file, wake_ms):
                await restore.take(piece)
                await restore.settled()


def _pieces(target: wire.ImportTarget, file: bytes, wake_ms: int) -> Iterator[wire.StoredObject]:
    """The object as a backup would hold it."""
    pages = [file[at : at + PAGE_BYTES] for at in range(0, len(file), PAGE_BYTES)]
    data = encode_meta(ObjectMeta(target.class_name, target.name or None, len(pages), wake_ms=wake_ms))
    yield wire.StoredObject(object=target.object, data_bytes=len(data), page_count=len(pages), data=data)
    for first in range(0, len(pages), _PIECE_PAGES):
        some = pages[first : first + _PIECE_PAGES]
        yield wire.StoredObject(object=target.object, page_count=len(pages), first_page=first + 1, pages=some)


async def _whole(parts: AsyncIterator[wire.ImportPart]) -> bytes:
    file = bytearray()
    while not (part := await next_part(parts, "file")).end:
        file += part.data
        if len(file) > database_bytes_max:
            raise TooLarge(f"a database has at most {database_bytes_max} bytes")
    return bytes(file)
