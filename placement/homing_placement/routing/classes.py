"""Which classes the application has, as the nodes say. Only used to refuse what does not exist; nodes check again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from homing.errors import Unavailable
from homing.wire.v1 import call_pb2
from homing_placement.routing.limits import CLASSES_REFRESH_S, CLASSES_REFRESH_S_MIN
from homing_placement.routing.link import NodeLink
from homing_placement.routing.pending import Pending

DEFAULT_ENTRYPOINT = ""


class Classes:
    """The union of what the nodes run; the empty name stands for the Default entrypoint.

    A class that is not in the list is asked for once more before it is refused, so that a reload that adds one is seen
    at once. At most one question each `CLASSES_REFRESH_S_MIN`, however many unknown names come.
    """

    def __init__(
        self, standing: Callable[[], list[NodeLink]], on_refreshed: Callable[[Iterable[Pending]], None]
    ) -> None:
        self.known: frozenset[str] = frozenset()
        self._standing = standing
        self._on_refreshed = on_refreshed
        self._waiting: list[Pending] = []
        self._wake = asyncio.Event()

    def ask(self, pending: Pending) -> None:
        """Hold a call of an unknown class until the list is fresh."""
        self._waiting.append(pending)
        self._wake.set()

    def wake(self) -> None:
        """Ask the nodes soon."""
        self._wake.set()

    async def run(self) -> None:
        """Ask when something is unknown, and from time to time, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(CLASSES_REFRESH_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            waited, self._waiting = self._waiting, []
            await self._refresh()
            self._on_refreshed(waited)
            await asyncio.sleep(CLASSES_REFRESH_S_MIN)

    async def _refresh(self) -> None:
        replies = await asyncio.gather(*(_ask(link) for link in self._standing()))
        facts = [reply.node for reply in replies if reply is not None]
        if facts:
            found = {name for node in facts for name in node.classes}
            if any(node.has_default for node in facts):
                found.add(DEFAULT_ENTRYPOINT)
            self.known = frozenset(found)


async def _ask(link: NodeLink) -> call_pb2.InspectReply | None:
    try:
        return await link.inspect(call_pb2.InspectRequest(node=call_pb2.InspectNode()))
    except Unavailable:
        return None
