"""`homing dev` with a real etcd and stand-ins for the other parts: start, restart, reload, a complete end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from homing.cli.ports import find_free

DEV = Path(__file__).with_name("stand_in_dev.py")
PATIENCE_S = 20


class Dev:
    """A running `homing dev` and what it has printed."""

    def __init__(self, kind: str, *arguments: object) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, str(DEV), *map(str, arguments)],
            env={**os.environ, "STAND_IN": kind},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until(self, found: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not found():
            assert time.monotonic() < end, f"{what}: not seen in\n" + "\n".join(self.lines)
            time.sleep(0.02)

    def until_says(self, pattern: str, times: int = 1) -> re.Match[str]:
        def matches() -> list[re.Match[str]]:
            return [found for line in list(self.lines) if (found := re.search(pattern, line))]

        self.until(lambda: len(matches()) >= times, pattern)
        return matches()[times - 1]

    def ended(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def pids(self) -> set[int]:
        """Every process of the cluster: dev, its descendants, and what those have left behind."""
        tree = processes()
        found, added = {self.process.pid}, True
        while added:
            more = {pid for pid, parent in tree.items() if parent in found} - found
            found, added = found | more, bool(more)
        return found


def processes() -> dict[int, int]:
    """Each living process and its parent."""
    found: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state not in "ZX":
            found[int(stat.parent.name)] = int(parent)
    return found


def ask(url: str, body: bytes | None = None) -> bytes:
    """The body of a successful answer, or nothing when nobody answers."""
    try:
        with urllib.request.urlopen(url, data=body, timeout=5) as answer:
            return answer.read() or b"ok"
    except OSError:
        return b""


def gone(pids: set[int]) -> Callable[[], bool]:
    return lambda: not pids & processes().keys()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "main.py").write_text("class A(DurableObject):\n    def hit(self): ...\n")
    return folder


@pytest.fixture
def start(app: Path, tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    started: list[Dev] = []

    def start(kind: str = "node", *, nodes: int = 2, port: int | None = None, state: str = "state") -> Dev:
        chosen = find_free(3)[0] if port is None else port
        started.append(Dev(kind, app, nodes, chosen, tmp_path / state))
        return started[-1]

    yield start
    for dev in started:
        dev.process.terminate()  # not killed: the children of stand-ins would stay
        dev.ended()


def test_ctrl_c_ends_everything_and_the_children_of_parts(start: Callable[..., Dev]) -> None:
    """Without the kill of each part's group, the `sleep` of a node stays."""
    dev = start(nodes=3)
    ready = dev.until_says(r"ready: (http://127\.0\.0\.1:\d+)")
    assert ask(f"{ready[1]}/_homing/readyz")
    dev.until_says(r"/_homing/v1/objects/A/a/rpc/hit")
    for name in ("n1", "n2", "n3"):
        dev.until_says(rf"^{name} +│ {name} started")
    pids = dev.pids()
    assert len(pids) == 1 + 1 + 3 * 2 + 1, "dev, etcd, three nodes with a child each, a gateway"
    dev.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert dev.ended() == 0
    assert time.monotonic() - began < 5
    dev.until(gone(pids), "every process gone")


def test_nothing_outlives_a_killed_dev(start: Callable[..., Dev]) -> None:
    """Without `parented` every part goes on running."""
    dev = start()
    dev.until_says(r"n2 started")
    dev.until_says("ready:")
    tree, pids = processes(), dev.pids()
    parts = {pid for pid in pids if tree[pid] == dev.process.pid}
    assert len(parts) == 4
    dev.process.kill()
    dev.until(gone(parts), "every part gone")
    for pid in pids - parts - {dev.process.pid}:  # a real node's children die with it by themselves
        os.kill(pid, signal.SIGKILL)


def test_a_part_that_dies_is_started_again_after_a_second(start: Callable[..., Dev]) -> None:
    dev = start()
    first = dev.until_says(r"n1 started pid (\d+)")
    dev.until_says("ready:")
    began = time.monotonic()
    os.kill(int(first[1]), signal.SIGKILL)
    dev.until_says(r"n1 ended by SIGKILL; starting it again in 1 s")
    second = dev.until_says(r"n1 started pid (\d+)", times=2)
    assert 0.9 < time.monotonic() - began < 4
    assert second[1] != first[1]


def test_etcd_that_dies_is_started_again_with_its_state(start: Callable[..., Dev], tmp_path: Path) -> None:
    dev = start()
    dev.until_says("ready:")
    (etcd,) = [pid for pid in dev.pids() if "etcd" in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]]
    command = Path(f"/proc/{etcd}/cmdline").read_text().split("\0")
    url = next(part.partition("=")[2] for part in command if part.startswith("--advertise-client-urls"))
    assert ask(f"{url}/v3/kv/put", b'{"key": "YQ==", "value": "Yg=="}')
    os.kill(etcd, signal.SIGKILL)
    dev.until_says("etcd ended by SIGKILL")
    dev.until(lambda: b"Yg==" in ask(f"{url}/v3/kv/range", b'{"key": "YQ=="}'), "the key after the restart")


def test_a_changed_file_reloads_every_node_once(start: Callable[..., Dev], app: Path) -> None:
    dev = start()
    dev.until_says(r"n1 started")
    dev.until_says(r"n2 started")
    dev.until_says("Ctrl-C stops everything")
    end = time.monotonic() + PATIENCE_S
    while not any("changed; loading" in line for line in dev.lines):  # until the watch is set up a change may go unseen
        assert time.monotonic() < end
        for name in ("main.py", "more.py"):
            (app / name).write_text(f"# {time.monotonic()}\n")
        time.sleep(1)
    dev.until_says(r"│ main\.py, more\.py changed; loading the application again")
    dev.until_says(r"n1 reloaded")
    dev.until_says(r"n2 reloaded")
    assert sum("n1 reloaded" in line for line in dev.lines) == sum("changed; loading" in line for line in dev.lines)


def test_a_stubborn_part_is_killed(start: Callable[..., Dev]) -> None:
    dev = start("stubborn", nodes=1)
    dev.until_says("n1 started|stubborn started")
    dev.until_says("ready:")
    pids = dev.pids()
    dev.process.terminate()
    assert dev.ended() == 0
    dev.until_says("n1 did not end within 2 s; killing it")
    dev.until(gone(pids), "every process gone")


def test_a_part_that_never_starts_ends_dev_with_its_message(start: Callable[..., Dev]) -> None:
    dev = start("crash", nodes=1)
    assert dev.ended() == 1
    dev.until_says(r"n1 +│ this setting is wrong", times=3)
    dev.until_says("n1 does not start")


def test_one_data_dir_has_one_dev(start: Callable[..., Dev]) -> None:
    first = start()
    first.until_says("ready:")
    second = start()
    assert second.ended() == 1
    assert f"another `homing dev` (process {first.process.pid}) uses" in "\n".join(second.lines)


def test_state_of_another_shape_is_refused(start: Callable[..., Dev]) -> None:
    dev = start(nodes=1)
    dev.until_says("ready:")
    dev.process.terminate()
    assert dev.ended() == 0
    other = start(nodes=3)
    assert other.ended() == 1
    assert "was made with nodes 1, not 3; replicas 1, not 3" in "\n".join(other.lines)
    again = start(nodes=1)
    again.until_says("ready:")


def test_a_busy_port_is_refused_by_name(start: Callable[..., Dev]) -> None:
    port = find_free(3)[0]
    first = start(port=port)
    first.until_says("ready:")
    second = start(port=port, state="other")
    assert second.ended() == 1
    assert f"port {port} for HTTP is in use" in "\n".join(second.lines)
