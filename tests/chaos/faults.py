"""The faults of a chaos run: a plan made from a seed, and the hand that carries it out on a cluster.

A fault counts only when it was seen to happen: the process that was meant is gone (or stopped), and its successor is
there afterwards. A plan whose faults did not all happen is a failed run, however well the rest went.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from tests.chaos.cluster import DevCluster, View
from tests.chaos.processes import Process
from tests.chaos.takeover import CLASS, Probes

from homing.ids import ObjectId

STOPPED_S = 8.0
LEAD_S = 6.0
TAIL_S = 10.0
VIEW_TIMEOUT_S = 10.0
REST_TIMEOUT_S = 15.0
DEATH_TIMEOUT_S = 3.0
RETURN_TIMEOUT_S = 30.0
POLL_S = 0.05


class Target(Enum):
    """What a fault hits."""

    NODE = "kill -9 of a node"
    OWNER = "kill -9 of the owner of the busiest object"
    GATEWAY = "kill -9 of the gateway"
    WORKER = "kill -9 of a worker"
    ETCD = "kill -9 of etcd"
    PAUSE = "SIGSTOP of a node for 8 s"

    @property
    def hits_a_node(self) -> bool:
        """Whether slots lose their owner."""
        return self in (Target.NODE, Target.OWNER, Target.PAUSE)


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault and its time in seconds from the start of the load."""

    at_s: float
    target: Target


@dataclass
class Fired:
    """What came of a planned fault.

    Attributes:
        at_s: when it happened, seconds from the start of the load.
        victim: which process it hit.
        in_flight: calls that waited for an answer at that moment.
        problem: why it does not count; empty when it does.
        takeover_s: per slot that lost its owner, the time to the first answer; empty for other faults.
    """

    planned: Planned
    at_s: float = 0.0
    victim: str = ""
    in_flight: int = 0
    problem: str = ""
    takeover_s: dict[int, float] = field(default_factory=dict[int, float])


def plan(seconds: float, seed: int) -> list[Planned]:
    """The faults of a run of this length: in 180 s three kills of each kind and one pause, in 60 s one of each.

    They come in random order at nearly even distances; the first kill of a node is of the owner of the busiest object.

    Args:
        seconds: length of the load.
        seed: of the order and the jitter.
    """
    rounds = max(1, round(seconds / 60))
    rng = random.Random(seed)
    targets: list[Target] = []
    for number in range(rounds):
        some = [Target.OWNER if number == 0 else Target.NODE, Target.GATEWAY, Target.WORKER, Target.ETCD]
        if number % 3 == 0:
            some.append(Target.PAUSE)
        rng.shuffle(some)
        targets.extend(some)
    distance = (seconds - LEAD_S - TAIL_S) / len(targets)
    return [Planned(LEAD_S + (number + 0.3 * rng.random()) * distance, target) for number, target in enumerate(targets)]


def missing_kinds(fired: list[Fired], seconds: float) -> list[str]:
    """Kinds of fault that happened less often than a run of this length promises."""
    rounds = max(1, round(seconds / 60))
    good = [fault.planned.target for fault in fired if not fault.problem]
    nodes = sum(target in (Target.NODE, Target.OWNER) for target in good)
    counts = {"node": nodes, "owner of the busiest object": good.count(Target.OWNER)}
    wanted = {"node": rounds, "owner of the busiest object": 1}
    for target in (Target.GATEWAY, Target.WORKER, Target.ETCD):
        counts[target.name.lower()], wanted[target.name.lower()] = good.count(target), rounds
    counts["pause"], wanted["pause"] = good.count(Target.PAUSE), 1
    return [f"{kind}: {counts[kind]} of {wanted[kind]}" for kind in wanted if counts[kind] < wanted[kind]]


class Hand:
    """Carries out faults on a cluster.

    Args:
        cluster: the running cluster.
        names: one probed object per slot, from `names_by_slot`.
        busiest: the object whose owner is hit by `Target.OWNER`.
        in_flight: how many calls wait at this moment.
        seed: of the choice of victims.
    """

    def __init__(
        self, cluster: DevCluster, names: dict[int, str], busiest: str, in_flight: Callable[[], int], seed: int
    ) -> None:
        self.cluster = cluster
        self.busiest = busiest
        self._names = names
        self._in_flight = in_flight
        self._rng = random.Random(seed)

    async def fire(self, planned: Planned, started_s: float) -> Fired:
        """Make one fault happen, and wait until its victim is back; never raises for what went wrong with it."""
        fired = Fired(planned)
        try:
            await self._fire(fired, started_s)
        except (OSError, ValueError) as error:  # a fault that cannot be made is noted, and fails the run
            fired.problem = f"{type(error).__name__}: {error}"
        return fired

    async def _fire(self, fired: Fired, started_s: float) -> None:
        target = fired.planned.target
        if target.hits_a_node:
            with contextlib.suppress(TimeoutError):  # two nodes away at once is a fault, too, but not the planned one
                await self.cluster.wait_settled(REST_TIMEOUT_S)
        view = await self._view()
        fired.victim, pid = self._victim(target, view)
        process = self.cluster.process(pid)
        slots = view.owned_by(fired.victim) if target.hits_a_node else []
        probes = Probes(self.cluster.connect, {slot: self._names[slot] for slot in slots})
        await probes.open()
        number = signal.SIGSTOP if target is Target.PAUSE else signal.SIGKILL
        fired.in_flight = self._in_flight()
        killed_s = time.monotonic()
        fired.at_s = killed_s - started_s
        if not process.send(number):
            fired.problem = "the victim was gone before the signal"
            return
        probing = asyncio.create_task(probes.run(killed_s))
        try:
            await self._follow(fired, process, killed_s)
        finally:
            fired.takeover_s = await probing

    async def _follow(self, fired: Fired, process: Process, killed_s: float) -> None:
        """See that the signal did what it should, and that the cluster is whole again."""
        if fired.planned.target is Target.PAUSE:
            if not await _until(lambda: process.state() == "T", DEATH_TIMEOUT_S):
                fired.problem = "the victim did not stop"
            await asyncio.sleep(max(0.0, killed_s + STOPPED_S - time.monotonic()))
            process.send(signal.SIGCONT)
            return
        if not await _until(lambda: not process.alive(), DEATH_TIMEOUT_S):
            fired.problem = "the victim lives"
        elif not await self._returned(fired.planned.target, process):
            fired.problem = "nothing took the victim's place"

    async def _returned(self, target: Target, process: Process) -> bool:
        deadline = time.monotonic() + RETURN_TIMEOUT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if target is Target.ETCD:
                    if self.cluster.etcd() != process:
                        return True
                elif await self._is_whole(target):
                    return True
            await asyncio.sleep(POLL_S * 4)
        return False

    async def _is_whole(self, target: Target) -> bool:
        view = await self.cluster.view(timeout_s=5.0)
        up = [node for node in view.nodes if node.state == "up"]
        pids = [gateway.pid for gateway in view.gateways] if target is Target.GATEWAY else []
        pids += [worker.pid for worker in view.workers] if target is Target.WORKER else []
        for pid in pids:
            self.cluster.process(pid)  # raises while the record of a dead one is shown
        return len(up) == self.cluster.nodes and (target is not Target.WORKER or len(pids) >= self.cluster.nodes)

    async def _view(self) -> View:
        """The cluster now; the gateway may be on its way back from the last fault."""
        deadline = time.monotonic() + VIEW_TIMEOUT_S
        while True:
            try:
                return await self.cluster.view(timeout_s=5.0)
            except OSError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL_S)

    def _victim(self, target: Target, view: View) -> tuple[str, int]:
        """Name and pid of what a fault hits.

        Raises:
            ProcessLookupError: there is no such process at the moment.
        """
        if target is Target.ETCD:
            return "etcd", self.cluster.etcd().pid
        if target is Target.GATEWAY:
            return "gateway", self._choose([gateway.pid for gateway in view.gateways])
        if target is Target.WORKER:
            pid = self._choose([worker.pid for worker in view.workers])
            return next(f"worker of {worker.node}" for worker in view.workers if worker.pid == pid), pid
        owners = {record.owner for record in view.slots}
        if target is Target.OWNER:
            slot = ObjectId.from_name(CLASS, self.busiest).slot(self.cluster.slots)
            owners = {record.owner for record in view.slots if record.slot == slot}
        pid = self._choose([node.pid for node in view.nodes if node.id in owners])
        return next(node.id for node in view.nodes if node.pid == pid), pid

    def _choose(self, pids: list[int]) -> int:
        """One of those that live: the record of a process that was just killed can outlast it."""
        alive: list[int] = []
        for pid in sorted(pids):
            with contextlib.suppress(ProcessLookupError):
                alive.append(self.cluster.process(pid).pid)
        if not alive:
            raise ProcessLookupError("none of them lives at the moment")
        return self._rng.choice(alive)


async def _until(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S / 5)
    return True
