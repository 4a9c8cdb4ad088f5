"""The hand that carries faults out on a cluster, sees that they happened, and waits until all is whole again."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable

from tests.chaos import disks, partitions, slow_lines
from tests.chaos.cluster import DevCluster, View
from tests.chaos.faults import LINES, STOPPED_S, Fired, Planned, Target
from tests.chaos.load import History
from tests.chaos.net_cluster import NetCluster
from tests.chaos.processes import Process
from tests.chaos.takeover import CLASS, Probes

from homing.ids import ObjectId

VIEW_TIMEOUT_S = 10.0
REST_TIMEOUT_S = 15.0
DEATH_TIMEOUT_S = 3.0
DRAIN_TIMEOUT_S = 65.0
RETURN_TIMEOUT_S = 30.0
WHOLE_TIMEOUT_S = 45.0
POLL_S = 0.05
SLOT_SHARE_PROBED = 3  # of faults that hit every node, each third slot


class Hand:
    """Carries out faults on a cluster.

    Args:
        cluster: the running cluster.
        names: one probed object per slot, from `names_by_slot`.
        busiest: the object whose owner most faults are about.
        history: what the clients have seen so far.
        seed: of the choice of victims.
    """

    def __init__(self, cluster: DevCluster, names: dict[int, str], busiest: str, history: History, seed: int) -> None:
        self.cluster = cluster
        self.busiest = busiest
        self.rng = random.Random(seed)
        self._names = names
        self._history = history
        self._acknowledged_before = 0
        self._started_s = 0.0

    async def fire(self, planned: Planned, started_s: float) -> Fired:
        """Make one fault happen, and wait until all is well again; never raises for what went wrong with it."""
        fired = Fired(planned)
        self._started_s = started_s
        try:
            await self._ways()[planned.target](fired)
        except (OSError, ValueError, subprocess.SubprocessError) as error:  # it is noted, and fails the run
            fired.problem = f"{type(error).__name__}: {error}"
        return fired

    def _ways(self) -> dict[Target, Callable[[Fired], Awaitable[None]]]:
        """How each kind is carried out: those of the network and of disks only where the cluster has such."""
        ways: dict[Target, Callable[[Fired], Awaitable[None]]] = {
            Target.TWO_NODES: self._kill_nodes,
            Target.ALL_NODES: self._kill_nodes,
            Target.ROLLING: self._restart_each,
        }
        if isinstance(cluster := self.cluster, NetCluster):
            for target in Target:
                if target.is_cut:
                    ways[target] = lambda fired: partitions.cut(self, cluster, fired)
            for target in LINES:
                ways[target] = lambda fired: slow_lines.slow(self, cluster, fired)
            ways[Target.FULL_DISK] = lambda fired: disks.fill(self, cluster, fired)
            ways[Target.WIPED] = lambda fired: disks.wipe(self, cluster, fired)
        return {**dict.fromkeys(Target, self._signal_one), **ways}

    # -- what all ways have in common -------------------------------------------------------------------------

    def begin(self, fired: Fired) -> float:
        """It happens now; returns the monotonic time."""
        now = time.monotonic()
        fired.at_s = now - self._started_s
        fired.in_flight = self._history.in_flight
        self._acknowledged_before = self._history.acknowledged
        return now

    def end(self, fired: Fired) -> float:
        """It is over now, if it was not before; returns the monotonic time."""
        now = time.monotonic()
        fired.ended_s = now - self._started_s
        fired.acknowledged = self._history.acknowledged - self._acknowledged_before
        return now

    async def at_rest(self) -> View:
        """The cluster before a fault. One that does not come to rest is hit all the same, as it is."""
        with contextlib.suppress(TimeoutError):
            return await self.cluster.wait_settled(REST_TIMEOUT_S)
        return await self.view()

    async def whole(self, fired: Fired) -> None:
        """Wait until every node is up and every slot ACTIVE again; it is the fault's problem if they are not."""
        try:
            await self.cluster.wait_settled(WHOLE_TIMEOUT_S)
        except TimeoutError as error:
            fired.problem = fired.problem or str(error)

    async def probes(self, slots: Iterable[int]) -> Probes:
        """Clients that ask for one object in each of these slots, connected."""
        made = Probes(self.cluster.connect, {slot: self._names[slot] for slot in slots})
        await made.open()
        return made

    async def view(self) -> View:
        """The cluster now; the gateway may be on its way back from the last fault."""
        deadline = time.monotonic() + VIEW_TIMEOUT_S
        while True:
            try:
                return await self.cluster.view(timeout_s=5.0)
            except OSError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(POLL_S)

    def owner_of_busiest(self, view: View) -> str:
        """The node that owns the busiest object.

        Raises:
            ProcessLookupError: it has no owner at the moment.
        """
        slot = ObjectId.from_name(CLASS, self.busiest).slot(self.cluster.slots)
        for record in view.slots:
            if record.slot == slot and record.owner is not None:
                return record.owner
        raise ProcessLookupError("the busiest object has no owner at the moment")

    def process_of(self, view: View, node: str) -> Process:
        """A node's process.

        Raises:
            ProcessLookupError: it does not run at the moment.
        """
        pids = [found.pid for found in view.nodes if found.id == node]
        return self.cluster.process(self._choose(pids))

    async def killed(self, fired: Fired, processes: Iterable[Process]) -> bool:
        """Whether these processes are gone, soon; a signal that nobody got is the fault's problem."""
        for process in processes:
            if not await until(lambda process=process: not process.alive(), DEATH_TIMEOUT_S):
                fired.problem = "the victim lives"
                return False
        return True

    async def returned(self, target: Target, process: Process) -> bool:
        """Whether something took the victim's place."""
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

    # -- one process ------------------------------------------------------------------------------------------

    async def _signal_one(self, fired: Fired) -> None:
        target = fired.planned.target
        hits_a_node = target in (Target.NODE, Target.OWNER, Target.PAUSE)
        view = await (self.at_rest() if hits_a_node else self.view())
        fired.victim, pid = self._victim(target, view)
        process = self.cluster.process(pid)
        probes = await self.probes(view.owned_by(fired.victim) if hits_a_node else [])
        killed_s = self.begin(fired)
        if not process.send(signal.SIGSTOP if target is Target.PAUSE else signal.SIGKILL):
            fired.problem = "the victim was gone before the signal"
            return
        probing = asyncio.create_task(probes.run(killed_s))
        try:
            await self._follow(fired, process, killed_s)
        finally:
            self.end(fired)
            fired.takeover_s = await probing

    async def _follow(self, fired: Fired, process: Process, killed_s: float) -> None:
        """See that the signal did what it should, and that the cluster is whole again."""
        if fired.planned.target is Target.PAUSE:
            if not await until(lambda: process.state() == "T", DEATH_TIMEOUT_S):
                fired.problem = "the victim did not stop"
            await asyncio.sleep(max(0.0, killed_s + STOPPED_S - time.monotonic()))
            process.send(signal.SIGCONT)
        elif await self.killed(fired, [process]) and not await self.returned(fired.planned.target, process):
            fired.problem = "nothing took the victim's place"

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
            owners = {self.owner_of_busiest(view)}
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
        return self.rng.choice(alive)

    async def _is_whole(self, target: Target) -> bool:
        view = await self.cluster.view(timeout_s=5.0)
        up = [node for node in view.nodes if node.state == "up"]
        pids = [gateway.pid for gateway in view.gateways] if target is Target.GATEWAY else []
        pids += [worker.pid for worker in view.workers] if target is Target.WORKER else []
        if target in (Target.TWO_NODES, Target.ALL_NODES, Target.ROLLING, Target.WIPED):
            pids += [node.pid for node in view.nodes]
        for pid in pids:
            self.cluster.process(pid)  # raises while the record of a dead one is shown
        return len(up) == self.cluster.nodes and (target is not Target.WORKER or len(pids) >= self.cluster.nodes)

    # -- several ----------------------------------------------------------------------------------------------

    async def _kill_nodes(self, fired: Fired) -> None:
        """Two nodes, or all: nothing may be lost of what a majority had on its disks."""
        view = await self.at_rest()
        ids = sorted(node.id for node in view.nodes)
        victims = self.rng.sample(ids, 2) if fired.planned.target is Target.TWO_NODES else ids
        fired.victim = ", ".join(victims)
        processes = [self.process_of(view, node) for node in victims]
        probes = await self.probes(range(0, self.cluster.slots, SLOT_SHARE_PROBED))
        killed_s = self.begin(fired)
        sent = [process.send(signal.SIGKILL) for process in processes]
        if not all(sent):
            fired.problem = "a victim was gone before the signal"
            return
        probing = asyncio.create_task(probes.run(killed_s))
        try:
            if await self.killed(fired, processes):
                fired.seen = f"{len(processes)} processes gone"
                if not await self.returned(fired.planned.target, processes[0]):
                    fired.problem = "nothing took the victims' place"
        finally:
            self.end(fired)
            fired.takeover_s = await probing
        await self.whole(fired)

    async def _restart_each(self, fired: Fired) -> None:
        """SIGTERM is a drain: each node gives its slots away, goes, comes back; then the next."""
        view = await self.at_rest()
        self.begin(fired)
        times: list[str] = []
        for node in sorted(found.id for found in view.nodes):
            process = self.process_of(await self.view(), node)
            began = time.monotonic()
            if not process.send(signal.SIGTERM):
                fired.problem = f"{node} was gone before the signal"
            elif not await until(lambda process=process: not process.alive(), DRAIN_TIMEOUT_S):
                fired.problem = f"{node} did not end within {DRAIN_TIMEOUT_S:g} s of SIGTERM"
            times.append(f"{node} went after {time.monotonic() - began:.1f} s")
            if not await self.returned(Target.ROLLING, process):
                fired.problem = fired.problem or f"{node} did not come back"
            await self.whole(fired)
            if fired.problem:
                break
        fired.victim, fired.seen = "each node", ", ".join(times)
        self.end(fired)


async def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition holds, at last within the time given."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(POLL_S / 5)
    return True
