"""Clients: they write and read wherever somebody believes to serve a slot, and their answers are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.ledger import Violation

if TYPE_CHECKING:
    from tests.simulation.process import Effect, Process
    from tests.simulation.world import World


class Clients:
    """All clients of a world.

    Args:
        world: where they live.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._calls = 0
        self.writes = 0  # answered
        self.reads = 0  # answered
        self.peace_at = float("inf")
        self.served: set[int] = set()  # slots of which a write that was put in peace was answered

    def body(self) -> bytes:
        """What a client writes: never the same twice."""
        self._calls += 1
        return b"call %d" % self._calls

    def begin(self, slot: int) -> None:
        """Let clients of a slot call, until there is peace."""
        self._world.after(self._world.random.random(), self._write, slot)
        self._world.after(self._world.random.random(), self._read, slot)

    def _write(self, slot: int) -> None:
        world = self._world
        for process in self._believers(slot):
            process.handle(process.write, (slot, self.body()))
        if world.rough:
            world.after(world.random.expovariate(1 / world.plan.write_gap_s), self._write, slot)

    def _read(self, slot: int) -> None:
        world = self._world
        for process in self._believers(slot):
            process.handle(process.read, (slot,))
        if world.rough:
            world.after(world.random.expovariate(1 / world.plan.read_gap_s), self._read, slot)

    def _believers(self, slot: int) -> list[Process]:
        """Where a call goes: mostly to one of those that believe to serve, at times to all of them."""
        served = self._world.serving(slot)
        return served if len(served) < 2 or self._world.random.random() < 0.4 else [self._world.random.choice(served)]

    def answered(self, effect: Effect) -> None:
        """An effect left the gate."""
        slot, tip = effect.slot, self._world.ledger.tip(effect.slot)
        if effect.lsn > tip:
            raise Violation(f"slot {slot}: an effect of record {effect.lsn} left, and only {tip} committed")
        if effect.stale:
            raise Violation(
                f"slot {slot}: {effect.process.id} answered from before record {effect.floor}, which was committed"
                " when the call was put"
            )
        if not effect.wrote:
            self.reads += 1
            return
        self.writes += 1
        if effect.put_at >= self.peace_at:
            self.served.add(slot)
