"""Connects for one grant: a name is looked up once, what it stands for is judged, and that is connected to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpcore

from homing_node import limits
from homing_node.broker.backend import Backend
from homing_node.broker.network import Network
from homing_node.broker.outcomes import LOOKUP
from homing_node.broker.ranges import special
from homing_node.broker.urls import Refusal

_NO_WAY = "the host stands for an address that may not be reached"


class Judged(Backend):
    """Connects to addresses of the open internet, and to those that the grant itself names.

    Args:
        network: looks up and connects.
        literals: addresses that the grant names, each with a port.
    """

    def __init__(self, network: Network, literals: frozenset[tuple[str, int]]) -> None:
        self._network, self._literals = network, literals
        self._room = asyncio.Semaphore(limits.grant_lookups_each_max)
        self._lookups: set[asyncio.Task[Sequence[str]]] = set()  # Invariant: they have what is missing in `_room`

    async def connect(self, host: str, port: int, timeout_s: float | None) -> httpcore.AsyncNetworkStream:
        """Look the host up, judge every address that it stands for, and connect to the first."""
        del timeout_s  # the network has its own
        if (host, port) in self._literals:
            return await self._network.connect(host, port)
        addresses = await self._look_up(host, port)
        for address in addresses:
            self._judge(address)
        return await self._network.connect(addresses[0], port)

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        await self._room.acquire()
        task = asyncio.ensure_future(self._network.look_up(host, port))
        self._lookups.add(task)
        task.add_done_callback(self._looked_up)
        try:
            found = await asyncio.shield(task)  # a thread goes on, and counts, though nobody waits for it
        except (OSError, UnicodeError) as error:
            raise Refusal(LOOKUP, "the host cannot be looked up", type(error).__name__) from error
        if not found:
            raise Refusal(LOOKUP, "the host has no address")
        return found

    def _looked_up(self, task: asyncio.Task[Sequence[str]]) -> None:
        self._lookups.discard(task)
        self._room.release()
        if not task.cancelled():
            task.exception()  # seen, though nobody may wait for it any more

    def _judge(self, address: str) -> None:
        """See that an address may be connected to.

        Raises:
            Refusal: it may not. What the address is the audit says; whoever asked could map a network by it.
        """
        use = special(address)
        if use is not None:
            raise Refusal("address", _NO_WAY, f"{address}: {use.use}")
        if self._network.is_own(address):
            raise Refusal("address", _NO_WAY, f"{address}: this machine")
