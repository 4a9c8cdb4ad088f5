"""`homing dev` as a child of a test: on a free port, in a folder of its own, and gone when the test is."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from homing.cli import parented
from homing.cli.ports import LOOPBACK, is_free

START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
PORTS_NEEDED = 8


class StartFailed(Exception):
    """The cluster did not come up; the message ends with the last lines that it wrote."""


class ClusterProcess:
    """`homing dev` as a context manager.

    Args:
        app: folder of the application, or its one file.
        nodes: how many nodes.
        data_dir: where state is kept; a temporary folder, removed at the end, unless given.
        environment: further variables for every part.
        program: the `homing` to run; by default the one of this environment.

    Attributes:
        url: of the gateway.
        log_path: what the cluster writes.

    Example:
        >>> with ClusterProcess("examples/hello", nodes=1) as cluster:  # doctest: +SKIP
        ...     print(cluster.url)
    """

    def __init__(
        self,
        app: Path | str,
        nodes: int = 1,
        data_dir: Path | None = None,
        environment: Mapping[str, str] | None = None,
        program: Path | None = None,
    ) -> None:
        self.program = program or Path(sys.executable).with_name("homing")
        self.app = Path(app).absolute()
        self.nodes = nodes
        self.host, self.port = LOOPBACK, free_port()
        self.url = f"http://{self.host}:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="homing-test-"))
        self.folder.chmod(0o755)  # workers run under uids of their own and must be able to reach their application
        self.data_dir = data_dir or self.folder / "data"
        self.log_path = self.folder / "dev.log"
        self.environment = {**os.environ, **(environment or {})}
        self._dev: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(keep_log=error is not None)

    def command(self) -> list[str]:
        """The program that starts and keeps the parts."""
        command = [str(self.program), "dev", str(self.app), "--nodes", str(self.nodes)]
        return [*command, "--port", str(self.port), "--data-dir", str(self.data_dir)]

    def start(self) -> None:
        """Start it and wait until the gateway is ready.

        Raises:
            StartFailed: it ended, or is not ready after 90 s.
        """
        # However this process ends, and be it by SIGKILL, nothing of the cluster outlives it.
        guarded = [sys.executable, "-I", "-S", parented.__file__, str(os.getpid()), *self.command()]
        with self.log_path.open("wb") as log:
            self._dev = subprocess.Popen(  # noqa: S603 - our own program, on what the test names
                guarded, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=self.environment
            )
        try:
            self._wait_ready(self._dev, time.monotonic() + START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def stop(self, keep_log: bool = False) -> None:
        """End it as Ctrl-C would, and remove its folder; with `keep_log`, show what it wrote last."""
        self.end_processes(keep_log)
        self.remove_folder()

    def end_processes(self, keep_log: bool = False) -> None:
        """End it, as `stop` does first."""
        dev = self._dev
        if dev is not None:
            self.interrupt(dev)
            if dev.poll() is None:
                dev.kill()
            dev.wait()
            self._dev = None
        if keep_log:
            sys.stderr.write(f"the cluster wrote, at the end:\n{self.log_tail()}\n")

    def interrupt(self, dev: subprocess.Popen[bytes]) -> None:
        """Ask it to end, and wait a while."""
        if dev.poll() is None:
            dev.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                dev.wait(STOP_TIMEOUT_S)

    def remove_folder(self) -> None:
        """Remove state and log."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def running(self) -> bool:
        """Whether `homing dev` itself still runs."""
        return self._dev is not None and self._dev.poll() is None

    def log_tail(self, lines: int = 40) -> str:
        """The last lines that the cluster wrote."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])
        return ""

    def _wait_ready(self, dev: subprocess.Popen[bytes], deadline: float) -> None:
        while time.monotonic() < deadline:
            if dev.poll() is not None:
                raise StartFailed(f"homing dev ended with {dev.returncode}\n{self.log_tail()}")
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/_homing/readyz", timeout=2, trust_env=False).is_success:
                    return
            time.sleep(0.2)
        raise StartFailed(f"homing dev was not ready after {START_TIMEOUT_S:g} s\n{self.log_tail()}")


def free_port() -> int:
    """A port that is free, as are the next few: `homing dev` takes the ones that follow for gRPC and metrics."""
    rng = secrets.SystemRandom()
    for _ in range(100):
        first = rng.randrange(20_000, 30_000)
        if all(is_free(first + offset) for offset in range(PORTS_NEEDED)):
            return first
    raise StartFailed("no free ports between 20000 and 30000")
