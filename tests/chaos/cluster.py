"""A whole cluster as a child: `homing dev` on a free port with a folder of its own, and the pids of its parts.

Everything that ends a process goes through `Process`, so it can only be one that this cluster started.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import msgspec
from tests.chaos.client import Connection
from tests.chaos.processes import Process, descendants, end, find

from homing.cli import parented
from homing.ids import SLOTS_DEFAULT, ObjectId

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
REST_TIMEOUT_S = 30.0
PORTS_NEEDED = 8


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


class StartFailed(Exception):
    """The cluster did not come up; the message ends with the last lines that it wrote."""


class DevCluster:
    """`homing dev` as a context manager.

    Args:
        app: folder of the application.
        nodes: how many nodes.
        data_dir: where state is kept; a temporary folder, removed at the end, unless given.
        environment: further variables for every part.
        program: the `homing` to run; by default the one of this environment.

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
        self.program = program or Path(sys.executable).with_name("homing")
        self.app = app
        self.nodes = nodes
        self.host = "127.0.0.1"
        self.port = free_port()
        self.url = f"http://{self.host}:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="homing-chaos-"))
        self.folder.chmod(0o755)  # workers run under uids of their own and must be able to reach their application
        self.data_dir = data_dir or self.folder / "data"
        self.log_path = self.folder / "dev.log"
        self.environment = {**os.environ, **(environment or {})}
        self.slots = int(self.environment.get("HOMING_SLOTS") or SLOTS_DEFAULT)
        self.leftovers: list[Process] = []
        self._dev: subprocess.Popen[bytes] | None = None
        self._seen: set[Process] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(keep_log=error is not None)

    def start(self) -> None:
        """Start it and wait until the gateway is ready.

        Raises:
            StartFailed: it ended, or is not ready after 90 s.
        """
        # However this process ends, and be it by SIGKILL, nothing of the cluster outlives it.
        guarded = [sys.executable, "-I", "-S", parented.__file__, str(os.getpid()), *self.command()]
        with self.log_path.open("wb") as log:
            self._dev = subprocess.Popen(
                guarded,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                start_new_session=True,
                env=self.environment,
            )
        try:
            self._wait_ready(time.monotonic() + START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def command(self) -> list[str]:
        """The program that starts and keeps the parts."""
        command = [str(self.program), "dev", str(self.app), "--nodes", str(self.nodes)]
        return [*command, "--port", str(self.port), "--data-dir", str(self.data_dir)]

    def stop(self, keep_log: bool = False) -> None:
        """End it as Ctrl-C would, then kill what is left; `leftovers` names what had to be killed."""
        self.end_processes(keep_log)
        self.remove_folder()

    def remove_folder(self) -> None:
        """Remove state and log."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def end_processes(self, keep_log: bool = False) -> None:
        """What `stop` does first."""
        dev = self._dev
        if dev is not None:
            self._remember()
            for process in self._seen:
                process.send(signal.SIGCONT)  # a stopped process cannot end
            if dev.poll() is None:
                dev.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    dev.wait(STOP_TIMEOUT_S)
            self._remember()
            self.leftovers = [process for process in self._seen if process.alive()]
            end(self.leftovers)
            if dev.poll() is None:
                dev.kill()
            dev.wait()
            self._dev = None
        if keep_log:
            sys.stderr.write(f"the cluster wrote, at the end:\n{self.log_tail()}\n")

    def running(self) -> bool:
        """Whether `homing dev` itself still runs."""
        return self._dev is not None and self._dev.poll() is None

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that the cluster wrote."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

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
                if view.settled(self.nodes, self.slots) and (view.balanced() or not balanced):
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

    def _wait_ready(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            assert self._dev is not None
            if self._dev.poll() is not None:
                raise StartFailed(f"homing dev ended with {self._dev.returncode}\n{self.log_tail()}")
            if self._is_ready():
                self._remember()
                return
            time.sleep(0.2)
        raise StartFailed(f"homing dev was not ready after {START_TIMEOUT_S} s\n{self.log_tail()}")

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=2)
        try:
            connection.request("GET", "/_homing/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def free_port() -> int:
    """A port that is free, as are the next few: `homing dev` takes the ones that follow for gRPC and metrics."""
    rng = secrets.SystemRandom()
    for _ in range(100):
        first = rng.randrange(20_000, 30_000)
        if all(_is_free(first + offset) for offset in range(PORTS_NEEDED)):
            return first
    raise StartFailed("no free ports between 20000 and 30000")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
