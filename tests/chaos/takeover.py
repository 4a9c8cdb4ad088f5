"""How long a slot is without an answer after its owner was killed, as a client sees it.

Just before the kill, one connection is opened for each slot that the node owns. From the kill on, one object of each
slot is read again and again; the slot's figure is the time from the kill to its first answer.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence

from tests.chaos.client import Connection, rpc_request

from homing.ids import ObjectId

CLASS = "Counter"
PAUSE_MIN_S = 0.020
PAUSE_MAX_S = 0.120
SEND_TIMEOUT_S = 2.0
GIVE_UP_S = 30.0


def names_by_slot(slots: int) -> dict[int, str]:
    """The name of one object for each slot."""
    found: dict[int, str] = {}
    number = 0
    while len(found) < slots:
        name = f"probe-{number}"
        found.setdefault(ObjectId.from_name(CLASS, name).slot(slots), name)
        number += 1
    return found


class Probes:
    """One probe for each slot of the node that will be killed.

    Args:
        connect: makes a new connection to the gateway.
        names: the slots, and the name of an object in each.

    Example:
        >>> probes = Probes(cluster.connect, names)  # doctest: +SKIP
        >>> await probes.open(); process.send(SIGKILL); times = await probes.run(time.monotonic())  # doctest: +SKIP
    """

    def __init__(self, connect: Callable[[], Connection], names: Mapping[int, str]) -> None:
        self._probes = [(connect(), name, slot) for slot, name in names.items()]
        self._rng = random.Random(len(self._probes))

    async def open(self) -> None:
        """Connect, so that the figures hold no handshakes."""
        await asyncio.gather(*(connection.open() for connection, _, _ in self._probes))

    async def run(self, killed_s: float) -> dict[int, float]:
        """Seconds from `killed_s` (monotonic) to the first answer of each slot; 30 s for one that never answered."""
        times: dict[int, float] = {}

        async def probe(connection: Connection, name: str, slot: int) -> None:
            times[slot] = await self._probe(connection, name, killed_s)

        async with asyncio.TaskGroup() as group:
            for connection, name, slot in self._probes:
                group.create_task(probe(connection, name, slot))
        return times

    async def _probe(self, connection: Connection, name: str, killed_s: float) -> float:
        request = rpc_request(connection.host, connection.port, CLASS, name, "read")
        while (waited := time.monotonic() - killed_s) < GIVE_UP_S:
            try:
                if (await connection.send(request, SEND_TIMEOUT_S)).status == 200:
                    waited = time.monotonic() - killed_s
                    break
            except OSError:  # a TimeoutError is one, too
                pass
            await asyncio.sleep(self._rng.uniform(PAUSE_MIN_S, PAUSE_MAX_S))
        connection.close()
        return min(waited, GIVE_UP_S)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of `values` lie; NaN when there are none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
