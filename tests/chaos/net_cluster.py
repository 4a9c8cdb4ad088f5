"""A cluster whose members each have a network of their own, with the same interface as `DevCluster`."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from pathlib import Path

import msgspec
from tests.chaos import apart
from tests.chaos.client import Connection
from tests.chaos.cluster import DevCluster
from tests.chaos.network import Client, Network

from homing.cli.plan import workers_for

CLIENT = "client"
DISK_BYTES = 4 << 30  # memory is taken only for what is written
SHRINK_TRIES = 20
SHRINK_SPARE_BYTES = 1 << 20  # what the node may write while it shrinks
FILLER = "filler"
FILLER_PIECE_BYTES = 4_096


class SmallDisk:
    """A data directory on a disk of its own, in memory, which can be made full at once: it shrinks to what it holds.

    Args:
        folder: where it is mounted; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mounted = False

    def mount(self) -> None:
        """Mount it, with room enough."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _system("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755", "tmpfs", str(self.folder))
        self._mounted = True

    def unmount(self) -> None:
        """Take it away with all that it holds."""
        if self._mounted:
            self._mounted = False
            _system("umount", "--lazy", str(self.folder))

    def fill(self) -> None:
        """No byte more fits: it shrinks to a little more than it holds, and the rest is filled.

        Raises:
            OSError: it could not be made full.
        """
        for _ in range(SHRINK_TRIES):
            held = os.statvfs(self.folder)
            size = (held.f_blocks - held.f_bfree) * held.f_frsize + SHRINK_SPARE_BYTES
            with contextlib.suppress(subprocess.CalledProcessError):
                _system("mount", "-o", f"remount,size={size}", str(self.folder))
                break
        else:
            raise OSError(f"{self.folder} grows too fast to be made small")
        with (self.folder / FILLER).open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while filler.write(bytes(FILLER_PIECE_BYTES)):
                pass
        if self.free_bytes():
            raise OSError(f"{self.folder} has room left")

    def make_room(self) -> None:
        """Give it back the room that it had."""
        _system("mount", "-o", f"remount,size={DISK_BYTES}", str(self.folder))
        (self.folder / FILLER).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """How much fits."""
        held = os.statvfs(self.folder)
        return held.f_bavail * held.f_frsize


class NetCluster(DevCluster):
    """etcd, nodes, a gateway and the clients, each in a network namespace. It needs root.

    From `start` to `stop` the calling thread is in the clients' namespace. The first node's data is on a small disk.

    Args:
        app: folder of the application.
        nodes: how many nodes.
        environment: further variables for every part.

    Attributes:
        network: where the members can be cut apart: `etcd`, `gateway`, `n1` and so on.
        disk: the data directory of `n1`.
    """

    def __init__(self, app: Path, nodes: int = 3, environment: dict[str, str] | None = None) -> None:
        self.token = secrets.token_hex(16)
        super().__init__(app, nodes, environment={"HOMING_API_TOKEN": self.token, **(environment or {})})
        self.members = [f"n{number}" for number in range(1, nodes + 1)]
        self.network = Network(["etcd", "gateway", CLIENT, *self.members])
        self.host, self.port = self.network.addresses["gateway"], apart.HTTP_PORT
        self.url = f"http://{self.host}:{self.port}"
        self.disk = SmallDisk(self.data_dir / "n1")
        self._client = Client(self.network, CLIENT)

    def start(self) -> None:
        """Make the networks, start it and wait until the gateway is ready.

        Raises:
            NetworkFailed: this machine does not let us make them.
            StartFailed: it ended, or is not ready after 90 s.
        """
        try:
            self.network.create()
            self.disk.mount()
            self._client.enter()
            super().start()
        except BaseException:
            self.stop()
            raise

    def stop(self, keep_log: bool = False) -> None:
        """End it, then remove the disk and the networks."""
        with contextlib.ExitStack() as ending:
            ending.callback(self.network.remove)
            ending.callback(self._client.leave)
            ending.callback(self.remove_folder)
            ending.callback(self.disk.unmount)
            ending.callback(self.end_processes, keep_log)

    def connect(self) -> Connection:
        """A new connection to the gateway, with the token that it asks for."""
        return Connection(self.host, self.port, f"Authorization: Bearer {self.token}\r\n")

    def command(self) -> list[str]:
        """The program that starts and keeps the parts."""
        workers = int(self.environment.get("HOMING_WORKERS") or workers_for(self.nodes, len(os.sched_getaffinity(0))))
        members = ["etcd", "gateway", *self.members]
        spec = apart.Spec(
            str(self.app),
            self.nodes,
            str(self.data_dir),
            workers,
            {member: self.network.addresses[member] for member in members},
            {member: self.network.command(member) for member in members},
        )
        path = self.folder / "spec.json"
        path.write_bytes(msgspec.json.encode(spec))
        return [sys.executable, apart.__file__, str(path)]


def _system(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)
