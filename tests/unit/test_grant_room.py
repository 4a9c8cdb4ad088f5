"""Room for calls under grants: a share for each tenant, a bounded line before it, lines served in turn."""

from __future__ import annotations

import asyncio

import pytest

from homing_node.broker.room import Room
from homing_node.broker.urls import Refusal


class World:
    def __init__(self, *most: int) -> None:
        self.room = Room(*most)
        self.order: list[str] = []
        self.ends: list[asyncio.Event] = []

    def call(self, tenant: str) -> asyncio.Task[None]:
        end = asyncio.Event()
        self.ends.append(end)
        return asyncio.ensure_future(self._call(tenant, end))

    async def _call(self, tenant: str, end: asyncio.Event) -> None:
        async with self.room.place(tenant):
            self.order.append(tenant)
            await end.wait()

    async def settle(self) -> None:
        for _ in range(6):
            await asyncio.sleep(0)
        self.room.check()


async def test_one_tenant_has_its_share_and_no_more() -> None:
    """Broken by: `share_max` left out of `_has_room`."""
    world = World(4, 2, 10)
    greedy = [world.call("greedy") for _ in range(8)]
    other = world.call("other")
    await world.settle()
    assert world.order == ["greedy", "greedy", "other"]
    world.ends[0].set()
    await world.settle()
    assert world.order[3:] == ["greedy"]
    for end in world.ends:
        end.set()
    await asyncio.gather(*greedy, other)
    assert (world.room.calls, len(world.order)) == (0, 9)


async def test_where_a_node_is_full_tenants_take_turns() -> None:
    """Broken by: `move_to_end` left out."""
    world = World(1, 1, 10)
    calls = [world.call(tenant) for tenant in ("a", "a", "a", "b", "b", "c")]
    await world.settle()
    for _ in calls:
        next(end for end in world.ends if not end.is_set()).set()
        await world.settle()
    for end in world.ends:
        end.set()
    await asyncio.gather(*calls)
    assert world.order == ["a", "a", "b", "c", "a", "b"]


async def test_a_line_has_an_end() -> None:
    """Broken by: the look at `waiting_max`."""
    world = World(1, 1, 2)
    calls = [world.call("a") for _ in range(3)]
    await world.settle()
    with pytest.raises(Refusal) as refused:
        async with world.room.place("a"):
            pass
    assert refused.value.rule == "node"
    world.room.check()
    for end in world.ends:
        end.set()
    await asyncio.gather(*calls)
    async with world.room.place("a"):
        world.room.check()


async def test_who_gives_up_leaves_nothing() -> None:
    """In line; and let in just then. Broken by: either branch at the end of `_enter`."""
    world = World(1, 1, 5)
    calls = [world.call("a") for _ in range(4)]
    await world.settle()
    calls[1].cancel()
    await world.settle()
    assert world.order == ["a"]
    world.ends[0].set()
    await asyncio.sleep(0)
    calls[2].cancel()  # it has its place, and does not know that yet
    await world.settle()
    assert world.order == ["a", "a"]
    world.ends[3].set()
    await calls[3]
    await asyncio.gather(*calls, return_exceptions=True)
    assert world.room.calls == 0
    assert world.room._tenants == {}
