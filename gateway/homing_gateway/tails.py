"""Live logs of the cluster: the streams of all nodes in one, a JSON object a line (docs/how-to/tail.md).

The gateway keeps nothing: while a client does not read, neither does it, and the nodes count what they drop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import grpc
import msgspec

from homing import cancellation, levels
from homing.errors import BadRequest, HomingError, NotFound, Overloaded
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2
from homing_gateway.admin import as_error
from homing_gateway.gateway import Gateway
from homing_gateway.limits import TAIL_AGAIN_S, TAIL_BATCHES_MAX, TAIL_BEAT_S, TAIL_LOOK_S, TAILS_MAX
from homing_gateway.streams import field
from homing_placement.routing.link import NodeLink

TAIL = "/homing.wire.v1.Calls/Tail"
ENTRYPOINT = "Default"
_KINDS = {
    call_pb2.TAIL_KIND_LOG: "log",
    call_pb2.TAIL_KIND_EXCEPTION: "exception",
    call_pb2.TAIL_KIND_OUTCOME: "outcome",
}


class Tails:
    """Those who follow the cluster through this gateway.

    Args:
        gateway: for its table, its links, and whether it stops.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._open = 0

    def follow(self, query: bytes) -> AsyncGenerator[bytes]:
        """The lines of a tail, until the gateway stops.

        Args:
            query: `class`, `name` and `level`, each of them optional.

        Raises:
            BadRequest: a level or a name that cannot be one.
            NotFound: there is no such class.
            Overloaded: there are too many tails.
        """
        asked = _asked(query)
        known = self._gateway.forwarder.classes.known
        if known and asked.class_name not in (*known, "", ENTRYPOINT):
            raise NotFound(f"there is no class {asked.class_name[:100]}")
        if self._open >= TAILS_MAX:
            raise Overloaded(f"{TAILS_MAX} tails are followed through this gateway; end one, or use another gateway")
        return self._lines(asked)

    async def _lines(self, asked: call_pb2.TailRequest) -> AsyncGenerator[bytes]:
        following = _Following(self._gateway, asked)
        said_s = time.monotonic()
        self._open += 1
        try:
            while not self._gateway.draining:
                following.look()
                lines = await following.next()
                if not lines and time.monotonic() - said_s < TAIL_BEAT_S:
                    continue
                said_s = time.monotonic()
                yield lines or b"\n"
            yield _line(_note("", levels.WARNING, "this gateway stops"))
        finally:
            self._open -= 1
            await following.close()


class _Following:
    """The nodes that one client follows: a task for each, which ends when its stream does."""

    def __init__(self, gateway: Gateway, asked: call_pb2.TailRequest) -> None:
        self._forwarder = gateway.forwarder
        self._asked = asked
        self._batches: asyncio.Queue[bytes] = asyncio.Queue(TAIL_BATCHES_MAX)
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._missing: set[str] = set()  # nodes of which it was said that they cannot be followed

    def look(self) -> None:
        """Follow the nodes that came or came back, and say which are missing.

        Raises:
            Exception: what a reader failed with, other than the end of its stream.
        """
        for node_id, reader in list(self._readers.items()):
            if reader.done():
                del self._readers[node_id]
                reader.result()
        for node_id in self._forwarder.table.nodes:
            link = self._forwarder.links.get(node_id)
            if link is not None and link.up and node_id not in self._readers:
                self._readers[node_id] = asyncio.ensure_future(self._read(link))
            elif node_id not in self._readers and node_id not in self._missing and not self._batches.full():
                self._miss(node_id, "it cannot be reached")
        self._missing.intersection_update(self._forwarder.table.nodes)

    def _miss(self, node_id: str, why: str) -> None:
        self._missing.add(node_id)
        self._batches.put_nowait(_line(_note(node_id, levels.WARNING, f"not followed: {why}")))

    async def next(self) -> bytes:
        """The next lines; empty after `TAIL_LOOK_S`."""
        try:
            async with asyncio.timeout(TAIL_LOOK_S):
                return await self._batches.get()
        except TimeoutError:
            return b""

    async def _read(self, link: NodeLink) -> None:
        """Pass on what a node tells, from here on, until its stream ends."""
        node_id, begun = link.node.id, False
        why = "its stream ended"
        try:
            watch = link.channel.unary_stream(
                TAIL, call_pb2.TailRequest.SerializeToString, call_pb2.TailBatch.FromString
            )
            stream = watch(self._asked)
            try:
                while isinstance(batch := await stream.read(), call_pb2.TailBatch):
                    if batch.HasField("failure"):
                        raise as_error(batch.failure)
                    if not begun:
                        begun = True
                        self._missing.discard(node_id)
                        await self._batches.put(_line(_note(node_id, levels.INFO, "followed from here on")))
                    elif lines := _lines_of(node_id, batch):
                        await self._batches.put(lines)
            finally:
                stream.cancel()
        except HomingError as error:
            why = error.message
        except (grpc.RpcError, asyncio.InvalidStateError, asyncio.CancelledError) as error:
            if cancellation.is_own(error):
                raise
            why = "its stream broke"
        if node_id not in self._missing:
            self._missing.add(node_id)
            await self._batches.put(_line(_note(node_id, levels.WARNING, f"not followed: {why}")))
        await asyncio.sleep(TAIL_AGAIN_S)

    async def close(self) -> None:
        """Follow nobody any more."""
        for reader in self._readers.values():
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)


def _asked(query: bytes) -> call_pb2.TailRequest:
    class_name, name, level = (field(query, each) for each in ("class", "name", "level"))
    if level and level not in levels.NAMES:
        raise BadRequest(f"level is one of {', '.join(levels.NAMES)}")
    if name and not class_name:
        raise BadRequest("a name needs its class")
    object_id = ObjectId.from_address(class_name, name).raw if name else b""
    return call_pb2.TailRequest(class_name=class_name, object=object_id, level=levels.NAMES.get(level, 0))


def _lines_of(node_id: str, batch: call_pb2.TailBatch) -> bytes:
    lines = b"".join(_line(_told(node_id, event)) for event in batch.events)
    if not batch.dropped:
        return lines
    note = _note(node_id, levels.WARNING, f"{batch.dropped} events were dropped: they were not read fast enough")
    return lines + _line({**note, "kind": "dropped", "dropped": batch.dropped})


def _told(node_id: str, event: call_pb2.TailEvent) -> dict[str, Any]:
    """An event as JSON has it."""
    told: dict[str, Any] = {
        "time": _time(event.time_ms),
        "node": node_id,
        "kind": _KINDS.get(event.kind, "log"),
        "level": levels.name_of(event.level),
        "class": event.class_name or None,
        "id": event.object.hex() or None,
        "name": event.name or None,
        "version": event.version or None,
        "request_id": event.request_id or None,
        "message": event.message,
    }
    if event.kind == call_pb2.TAIL_KIND_OUTCOME:
        told["event"] = event.event
        told["outcome"] = event.outcome
        told["duration_ms"] = event.duration_us / 1_000
    return told


def _note(node_id: str, level: int, message: str) -> dict[str, Any]:
    """What the tail says of itself."""
    name, now = levels.name_of(level), int(time.time() * 1_000)
    return {"time": _time(now), "node": node_id or None, "kind": "tail", "level": name, "message": message}


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _line(told: dict[str, Any]) -> bytes:
    return msgspec.json.encode(told) + b"\n"
