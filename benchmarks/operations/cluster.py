"""What the programs of this folder do with a cluster: watch its clients, add a node, fill it, look where copies are."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.operations.promises import CLIENTS, Placed, Served, seen_note, served
from tests.chaos.callers import Callers
from tests.chaos.client import Connection, rpc_request
from tests.chaos.cluster import DevCluster, View
from tests.chaos.load import AGAIN
from tests.chaos.processes import Process, descendants, find

from homing.cli import parented
from homing.testing import free_port
from homing_placement.etcd import EtcdClient
from homing_placement.keys import ClusterKeys
from homing_placement.records import NodeRecord, SlotRecord, decode

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "benchmarks" / "app"
OBJECTS = 1_000
LEAD_S = 5.0  # clients call for so long before and after what is measured
POLL_S = 0.5
STOP_S = 5.0
ANSWER_TIMEOUT_S = 30.0
TRIES = 20
PAUSE_S = 0.2
IDLE_S = 2.0  # looked at for so long
IDLE_SHARE = 0.1  # of a core; a node without calls takes less
IDLE_PATIENCE_S = 60.0


class Neighbours:
    """How much CPU others take on this machine: a figure that was measured beside a busy neighbour says little."""

    def __init__(self) -> None:
        self._began = self._now()

    def _now(self) -> tuple[float, float, float]:
        me = find(os.getpid())
        own = sum(process.cpu_s() for process in (me, *descendants(os.getpid())) if process is not None)
        return time.monotonic(), busy_s(Path("/proc/stat").read_text()), own

    def cores(self) -> float:
        """Cores that were busy since the beginning with what is not this program nor was started by it."""
        seconds, busy, own = (now - then for now, then in zip(self._now(), self._began, strict=True))
        return max(0.0, busy - own) / seconds


def busy_s(stat: str) -> float:
    """CPU time that all cores of the machine have been busy or were taken away, of the text of /proc/stat.

    Example:
        >>> busy_s("cpu  100 20 30 5000 7 0 3 40 0 0")  # user, nice, system, idle, iowait, irq, softirq, steal, guests
        1.93
    """
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.splitlines()[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Watched:
    """Clients without keys, and the stretch of their calls that a promise is about."""

    def __init__(self, callers: Callers) -> None:
        self.callers = callers
        self.first_s = self.last_s = 0.0
        self.neighbours = 0.0
        self._neighbours = Neighbours()

    def begin(self) -> None:
        """What is measured begins now."""
        self.first_s = time.monotonic()
        self._neighbours = Neighbours()

    def end(self) -> None:
        """What is measured has ended."""
        self.last_s = time.monotonic()
        self.neighbours = self._neighbours.cores()

    def served(self) -> Served:
        """What clients saw of it; ask after the clients have stopped, or calls that are held are missing."""
        calls = self.callers.calls
        return served(calls.began_s, calls.ended_s, self.first_s, self.last_s)

    def note(self, seen: Served) -> str:
        """The figures beside the promise, and how busy the machine was with something else."""
        return f"{seen_note(seen)}; others kept {self.neighbours:.2f} of {os.cpu_count()} cores busy"

    @property
    def failed(self) -> int:
        """Calls that failed at any time, before and after too."""
        return len(self.callers.calls.failures)


@asynccontextmanager
async def watched(connect: Callable[[], Connection], clients: int = CLIENTS) -> AsyncGenerator[Watched]:
    """64 clients that call 1,000 counters, some seconds longer on both sides than the body of the `with`."""
    prefix = f"watched-{time.time_ns():x}"
    callers = Callers(connect, clients, [f"{prefix}-{number}" for number in range(OBJECTS)])
    found = Watched(callers)
    try:
        await asyncio.sleep(LEAD_S)
        callers.check()
        found.begin()
        try:
            yield found
        finally:
            found.end()
        await asyncio.sleep(LEAD_S)
    finally:
        await callers.stop()


def owners(view: View) -> Placed:
    """Slot to its owner."""
    return {slot.slot: (slot.owner,) if slot.owner else () for slot in view.slots}


def copies(view: View) -> Placed:
    """Slot to the nodes that keep its log."""
    return {slot.slot: slot.replicas for slot in view.slots}


class ExtraNode:
    """One more node for a cluster of `homing dev`; a context manager at whose end it is stopped, then killed.

    Args:
        cluster: a running one; the node gets the settings of its first node.
        model: that first node.
        name: of the new node.
    """

    def __init__(self, cluster: DevCluster, model: Process, name: str) -> None:
        taken = free_port()
        self.name = name
        self.log_path = cluster.folder / f"{name}.log"
        self.environment = {
            **model.environment(),
            "HOMING_NODE_ID": name,
            "HOMING_LISTEN": f"127.0.0.1:{taken}",
            "HOMING_METRICS_LISTEN": f"127.0.0.1:{taken + 1}",
            "HOMING_DATA_DIR": str(cluster.data_dir / name),
        }
        self._command = [str(cluster.program), "node"]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def start(self) -> None:
        """Start its process; it registers some seconds later."""
        guarded = [sys.executable, "-I", "-S", parented.__file__, str(os.getpid()), *self._command]
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                guarded, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, start_new_session=True
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:  # it tries to give its slots away for a minute; the cluster ends anyway
            process.kill()
            process.wait()


class Filled(NamedTuple):
    """How long it took, and how often a call had to be made again, by the status that it got."""

    seconds: float
    repeated: Counter[int]

    def __str__(self) -> str:
        again = ", ".join(f"{count} x {status}" for status, count in sorted(self.repeated.items()))
        return f"filled in {self.seconds:.0f} s" + (f", repeated after {again}" if again else "")


async def fill(cluster: DevCluster, objects: int, total_bytes: int, at_once: int = CLIENTS) -> Filled:
    """Write random bytes through the gateway, an equal part into each of new objects.

    Writing them is not what is judged, so a call that failed is made again: it may be done twice.

    Raises:
        ConnectionError: a call was refused for good, or 20 times.
    """
    each, rest = divmod(total_bytes, objects)
    waiting = iter(range(objects))
    repeated: Counter[int] = Counter()

    async def some() -> None:
        connection = cluster.connect()
        for number in waiting:
            data = {"$bytes": base64.b64encode(os.urandom(each + (number < rest))).decode()}
            request = rpc_request(cluster.host, cluster.port, "Blob", f"blob-{number}", "put", data)
            await _insist(connection, request, repeated)
        connection.close()

    started = time.monotonic()
    await asyncio.gather(*(some() for _ in range(at_once)))
    return Filled(time.monotonic() - started, repeated)


async def _insist(connection: Connection, request: bytes, repeated: Counter[int]) -> None:
    for last in (*[False] * (TRIES - 1), True):
        answer = await connection.send(request, ANSWER_TIMEOUT_S)
        if answer.status == 200:
            return
        if last or answer.status not in AGAIN:
            raise ConnectionError(f"an object could not be filled: {answer.status} {answer.body[:200]!r}")
        repeated[answer.status] += 1
        await asyncio.sleep(PAUSE_S)


def used_bytes(folder: Path) -> int:
    """What a folder takes on its disk, as `du` counts; files that vanish meanwhile count nothing."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(where, name), follow_symlinks=False).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def node_names(view: View) -> list[str]:
    """Every node, in order."""
    return sorted(node.id for node in view.nodes)


async def process_of(cluster: DevCluster, name: str) -> Process:
    """The running process of a node.

    Raises:
        ProcessLookupError: the cluster knows no such node.
    """
    for node in (await cluster.view()).nodes:
        if node.id == name and node.pid:
            return cluster.process(node.pid)
    raise ProcessLookupError(f"node {name} is not registered")


async def until_idle(cluster: DevCluster) -> float:
    """Wait until the nodes do nothing more of what they were told before, such as merging files; for how long, in s.

    Raises:
        TimeoutError: they were still busy after a minute.
    """
    began = time.monotonic()
    while (waited := time.monotonic() - began) < IDLE_PATIENCE_S:
        nodes = [await process_of(cluster, name) for name in node_names(await cluster.view())]
        before = sum(node.cpu_s() for node in nodes)
        await asyncio.sleep(IDLE_S)
        if sum(node.cpu_s() for node in nodes) - before < IDLE_SHARE * IDLE_S * len(nodes):
            return waited
    raise TimeoutError(f"the nodes were still busy after {IDLE_PATIENCE_S:g} s")


class Copies:
    """What etcd says about copies: a slot record names disks, and a node that lost its disk has another one.

    Args:
        model: the process of any node; its settings say where etcd is.
    """

    def __init__(self, model: Process) -> None:
        found = model.environment()
        self._client = EtcdClient(tuple(found["HOMING_ETCD"].split(",")), None)
        self._keys = ClusterKeys(found["HOMING_CLUSTER"])

    async def healthy(self) -> dict[int, list[str]]:
        """Slot to the nodes whose present disk is one of its copies."""
        listing = await self._client.list_prefix(self._keys.prefix)
        disks: dict[str, str] = {}
        slots: dict[int, SlotRecord] = {}
        for entry in listing.entries:
            if (node := self._keys.node_of(entry.key)) is not None:
                disks[node] = decode(entry.value, NodeRecord).disk
            elif (slot := self._keys.slot_of(entry.key)) is not None:
                slots[slot] = decode(entry.value, SlotRecord)
        return {
            slot: [copy.node for copy in record.replicas if disks.get(copy.node) == copy.disk]
            for slot, record in slots.items()
        }

    async def close(self) -> None:
        """Let etcd go."""
        await self._client.close()


def remove_aside(folder: Path) -> None:
    """Remove a folder: it is gone from its place at once, however long the files take."""
    aside = folder.with_name(folder.name + ".removed")
    folder.rename(aside)
    shutil.rmtree(aside)
