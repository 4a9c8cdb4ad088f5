"""Networks of their own: a cut really cuts, only where it should, and heals; nothing is left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.chaos.net_cluster import SmallDisk
from tests.chaos.network import NAMESPACES, PREFIX, Network, NetworkFailed, between, one_way, remove_stale, why_not
from tests.chaos.slow_lines import delayed, limited

MEMBERS = ("a", "b", "c")
PORT = 7_000
REASON = why_not()

pytestmark = pytest.mark.skipif(bool(REASON), reason=f"no networks of their own: {REASON}")


@pytest.fixture
def network() -> Generator[Network]:
    with Network(MEMBERS) as made:
        yield made
    assert not list(NAMESPACES.glob(f"{PREFIX}-{made.id}-*"))


def everything() -> frozenset[tuple[str, str]]:
    return between(MEMBERS, MEMBERS)


def reached(network: Network) -> set[tuple[str, str]]:
    return {edge for edge, count in network.arrived(everything()).items() if count == 3}


def test_a_cut_takes_what_it_names_and_is_lifted(network: Network) -> None:
    """Seen to fail with a rule that only counts."""
    assert reached(network) == everything()
    edges = between(["a"], ["b"])
    cut = network.cut(edges)
    assert reached(network) == everything() - edges
    assert network.dropped(cut) == 6
    network.lift(cut)
    assert reached(network) == everything()


def test_a_cut_in_one_direction_leaves_the_other(network: Network) -> None:
    cut = network.cut(one_way(["a"], ["b", "c"]))
    assert reached(network) == everything() - {("a", "b"), ("a", "c")}
    network.lift(cut)


def test_cuts_are_lifted_one_by_one(network: Network) -> None:
    first, second = network.cut(one_way(["a"], ["b"])), network.cut(one_way(["a"], ["b"]))
    network.lift(first)
    assert ("a", "b") not in reached(network)
    network.lift(second)
    assert reached(network) == everything()


def test_a_loss_takes_its_share(network: Network) -> None:
    network.cut(one_way(["a"], ["b"]), percent=30)
    arrived = network.arrived([("a", "b")], datagrams=200)[("a", "b")]
    assert 100 < arrived < 180


def test_a_connection_that_stands_is_cut_and_goes_on(network: Network) -> None:
    """What was sent meanwhile arrives once the cut is lifted: it was lost on the way, not refused."""
    with network.entered("b"):
        server = socket.create_server((network.addresses["b"], PORT))
    with network.entered("a"):
        client = socket.create_connection((network.addresses["b"], PORT), timeout=5)
    with server, client:
        accepted, _ = server.accept()
        with accepted:
            accepted.settimeout(0.3)
            cut = network.cut(between(["a"], ["b"]))
            client.sendall(b"hello")
            with pytest.raises(TimeoutError):
                accepted.recv(5)
            network.lift(cut)
            accepted.settimeout(10)
            assert accepted.recv(5) == b"hello"


def test_a_process_is_in_the_namespace_that_it_was_started_in(network: Network) -> None:
    command = [*network.command("b"), "ip", "-brief", "address", "show", "eth0"]
    assert network.addresses["b"] in subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_what_nftables_refuses_leaves_nothing(network: Network) -> None:
    network.addresses["a"] = "not an address"
    with pytest.raises(NetworkFailed):
        network.cut(one_way(["a"], ["b"]))
    assert network.cuts == []


def test_a_start_that_fails_leaves_nothing() -> None:
    """The name of an interface has at most 15 characters."""
    network = Network(["a", "much-too-long-for-an-interface"])
    with pytest.raises(NetworkFailed):
        network.create()
    assert not list(NAMESPACES.glob(f"{PREFIX}-{network.id}-*"))


def test_what_a_killed_run_left_is_removed() -> None:
    code = (
        "import os, sys; sys.path[:0] = sys.argv[1:]\n"
        "from tests.chaos.network import Network\n"
        "Network(['a']).create()\n"
        "print(os.getpid(), flush=True)\n"
        "os._exit(9)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=False)
    left = f"{PREFIX}-{done.stdout.strip()}-*"
    assert list(NAMESPACES.glob(left))
    remove_stale()
    assert not list(NAMESPACES.glob(left))


def test_a_delay_holds_back_and_goes(network: Network) -> None:
    with delayed(network, "a", 60):
        assert 0.06 <= network.trip_s("a", "b") < 0.5
        assert network.trip_s("b", "a") < 0.06
    assert network.trip_s("a", "b") < 0.06


def test_a_connection_works_over_a_line_with_a_delay(network: Network) -> None:
    """Checksums and segments are right after the way through the relay."""
    with delayed(network, "a", 10), network.entered("b"):
        server = socket.create_server((network.addresses["b"], PORT))
        with network.entered("a"):
            client = socket.create_connection((network.addresses["b"], PORT), timeout=5)
        sent = os.urandom(300_000)
        with server, client:
            accepted, _ = server.accept()
            sending = threading.Thread(target=client.sendall, args=(sent,))
            sending.start()
            with accepted, accepted.makefile("rb") as incoming:
                accepted.settimeout(10)
                assert incoming.read(len(sent)) == sent
            sending.join()


def test_a_rate_holds_back_what_is_too_much(network: Network) -> None:
    """200 kB at 2 Mbit/s take 0.8 s."""
    assert network.arrived([("a", "b")], 150, 1_000) == {("a", "b"): 150}
    with limited(network, "a", 2_000):
        assert 0 < network.arrived([("a", "b")], 150, 1_000)[("a", "b")] < 140
        assert network.arrived([("b", "a")], 150, 1_000) == {("b", "a"): 150}
    time.sleep(0.3)
    assert network.arrived([("a", "b")], 150, 1_000) == {("a", "b"): 150}


def test_a_small_disk_is_full_and_has_room_again(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk")
    disk.mount()
    try:
        (disk.folder / "kept").write_bytes(b"x" * 100_000)
        disk.fill()
        assert disk.free_bytes() == 0
        with pytest.raises(OSError, match="No space left"):
            (disk.folder / "more").write_bytes(b"x" * 100_000)
        disk.make_room()
        (disk.folder / "more").write_bytes(b"x" * 100_000)
        assert (disk.folder / "kept").read_bytes() == b"x" * 100_000
    finally:
        disk.unmount()
    assert list(disk.folder.iterdir()) == []
