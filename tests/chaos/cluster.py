"""A whole cluster as a child: `homing dev` on a free port with a folder of its own, and the pids of its parts.

Everything that ends a process goes through `Process`, so it can only be one that this cluster started.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import msgspec
from tests.chaos.client import Connection
from tests.chaos.processes import Process, descendants, end, find

from homing.ids import SLOTS_DEFAULT, ObjectId
from homing.locations import Layout, read_jurisdictions
from homing.testing import ClusterProcess

ROOT = Path(__file__).resolve().parents[2]
REST_TIMEOUT_S = 30.0
DYING_S = 3.0


class NodeView(msgspec.Struct):
    """A node as the gateway reports it."""

    id: str
    state: str
    pid: int
    slots: int = 0
    metrics: str = ""


class GatewayView(msgspec.Struct):
    """A gateway as it reports itself."""

    pid: int
    metrics: str = ""


class WorkerView(msgspec.Struct):
    """A worker and the node it belongs to."""

    pid: int
    node: str


class SlotView(msgspec.Struct):
    """One slot record."""

    slot: int
    state: str
    owner: str | None
    epoch: int
    replicas: list[str] = []


class View(msgspec.Struct):
    """`GET /_homing/v1/cluster`."""

    nodes: list[NodeView]
    gateways: list[GatewayView]
    workers: list[WorkerView]
    slots: list[SlotView]

    def owned_by(self, node: str) -> list[int]:
        """The slots that a node owns."""
        return [slot.slot for slot in self.slots if slot.owner == node]

    def summary(self) -> str:
        """Who owns how many slots, in which state."""
        counts = Counter((slot.owner or "nobody", slot.state) for slot in self.slots)
        owned = ", ".join(f"{owner} {state} {n}" for (owner, state), n in sorted(counts.items()))
        return f"nodes {[(node.id, node.state) for node in self.nodes]}; {owned}"

    def settled(self, nodes: int, slots: int) -> bool:
        """Whether all nodes are up and every slot is ACTIVE with one of them as its owner."""
        up = {node.id for node in self.nodes if node.state == "up"}
        active = sum(slot.state == "ACTIVE" and slot.owner in up for slot in self.slots)
        return len(up) == nodes and active == slots

    def balanced(self) -> bool:
        """Whether every node has about its share of the slots: no more of them are about to move."""
        share = len(self.slots) / max(1, len(self.nodes))
        return all(node.slots >= 0.9 * share for node in self.nodes)


class DevCluster(ClusterProcess):
    """`homing dev` with three nodes, and hands on its processes.

    Args: as for `ClusterProcess`.

    Example:
        >>> with DevCluster(ROOT / "examples/hello", nodes=1) as cluster:  # doctest: +SKIP
        ...     print(cluster.url)
    """

    def __init__(
        self,
        app: Path,
        nodes: int = 3,
        data_dir: Path | None = None,
        environment: dict[str, str] | None = None,
        program: Path | None = None,
    ) -> None:
        super().__init__(app, nodes, data_dir, environment, program)
        self.slots = int(self.environment.get("HOMING_SLOTS") or SLOTS_DEFAULT)
        self.layout = Layout(self.slots, read_jurisdictions(self.environment.get("HOMING_JURISDICTIONS", "")))
        self.leftovers: list[Process] = []
        self._seen: set[Process] = set()

    def start(self) -> None:
        """See `ClusterProcess`."""
        super().start()
        self._remember()

    def interrupt(self, dev: subprocess.Popen[bytes]) -> None:
        """See `ClusterProcess`; `leftovers` names what had to be killed."""
        self._remember()
        for process in self._seen:
            process.send(signal.SIGCONT)  # a stopped process cannot end
        super().interrupt(dev)
        self._remember()
        deadline = time.monotonic() + DYING_S  # workers are killed as their node ends: that takes the kernel a moment
        while any(process.alive() for process in self._seen) and time.monotonic() < deadline:
            time.sleep(0.05)
        self.leftovers = [process for process in self._seen if process.alive()]
        end(self.leftovers)

    def connect(self) -> Connection:
        """A new connection to the gateway."""
        return Connection(self.host, self.port)

    async def view(self, timeout_s: float = 5.0) -> View:
        """Who is there, from the gateway.

        Raises:
            OSError: the gateway did not answer.
            TimeoutError: it did not answer in time.
        """
        connection = self.connect()
        try:
            answer = await connection.get("/_homing/v1/cluster", timeout_s)
        finally:
            connection.close()
        if answer.status != 200:
            raise ConnectionError(f"/_homing/v1/cluster answered {answer.status}")
        self._remember()
        return msgspec.json.decode(answer.body, type=View)

    def homing(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of `homing` against this cluster's gateway, and keep what it printed."""
        return subprocess.run(
            [str(self.program), *words, "--url", self.url], capture_output=True, text=True, timeout=150, check=False
        )

    async def wait_settled(self, timeout_s: float, *, balanced: bool = False, poll_s: float = 0.1) -> View:
        """Wait until every node is up and every slot ACTIVE; with `balanced`, until each has its share of them.

        Args:
            timeout_s: for so long.
            balanced: as above.
            poll_s: how often the gateway is asked; the answer names every slot, and costs it some milliseconds.

        Raises:
            TimeoutError: it did not come to rest.
        """
        deadline = time.monotonic() + timeout_s
        seen = "nothing"
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                view = await self.view()
                seen = view.summary()
                if view.settled(self.nodes, self.layout.count) and (view.balanced() or not balanced):
                    return view
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster was not at rest after {timeout_s} s: {seen}")
            await asyncio.sleep(poll_s)

    @contextlib.asynccontextmanager
    async def at_rest(self, path: str = "") -> AsyncGenerator[httpx.AsyncClient]:
        """A client for a test that begins and ends with every slot served, and each node with its share of them."""
        await self.wait_settled(REST_TIMEOUT_S, balanced=True)
        async with httpx.AsyncClient(base_url=f"{self.url}{path}", timeout=30.0) as client:
            yield client
        await self.wait_settled(REST_TIMEOUT_S)

    async def owner_of(self, class_name: str, name: str) -> tuple[int, str]:
        """An object's slot, and the node that owns it."""
        view = await self.view()
        slot = ObjectId.from_name(class_name, name).slot(self.slots)
        owner = next(each.owner for each in view.slots if each.slot == slot)
        assert owner is not None, f"slot {slot} has no owner"
        return slot, owner

    def process(self, pid: int) -> Process:
        """The part of this cluster with this pid.

        Raises:
            ProcessLookupError: no living descendant of `homing dev` has this pid.
        """
        self._remember()
        found = find(pid)
        if found is None or found not in self._seen:
            raise ProcessLookupError(f"{pid} is not a living part of this cluster")
        return found

    def etcd(self) -> Process:
        """The etcd that `homing dev` started.

        Raises:
            ProcessLookupError: it does not run at the moment.
        """
        self._remember()
        for process in self._seen:
            if process.alive() and process.name() == "etcd":
                return process
        raise ProcessLookupError("etcd does not run")

    def _remember(self) -> None:
        """Note every descendant: one whose parent dies would be lost from sight."""
        if self._dev is not None and self._dev.poll() is None:
            self._seen.update(descendants(self._dev.pid))
