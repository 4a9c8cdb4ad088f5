"""Networks of their own for the members of a cluster: namespaces, a bridge between them, rules that cut them apart.

Each member has a namespace with one interface; the other end of its wire sits on a bridge in one more namespace. So no
interface of the machine is touched, and what a member sends reaches another only over that bridge. A cut is a table of
nftables in the namespace of each receiver: what it drops was sent, and is lost on the way. It lasts until it is lifted.

Two things can be observed from outside of the cluster: how many of some datagrams arrive (`Network.arrived`), and how
many packets a cut has dropped (`Network.dropped`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.processes import find

PREFIX = "homing-chaos"
SWITCH = "switch"
INTERFACE = "eth0"
BRIDGE = "bridge"
NAMESPACES = Path("/run/netns")
PROBE_PORT = 9
ARRIVAL_S = 0.2
WHOLE_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 20.0
PROBE_BYTES_MAX = 4 << 20
SO_RCVBUFFORCE = 33
CLONE_NEWNET = 0x40000000
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
PROGRAMS = {"ip": "iproute2", "nft": "nftables", "nsenter": "util-linux"}

Edge = tuple[str, str]
"""Who sends, and who does not receive it."""


class NetworkFailed(OSError):
    """A command failed; the message holds its words."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Rules that are in force.

    Attributes:
        table: their name in the namespace of each receiver.
        edges: who is not heard by whom.
        percent: how many of a hundred packets are lost, by chance.
    """

    table: str
    edges: frozenset[Edge]
    percent: int = 100

    @property
    def receivers(self) -> list[str]:
        """Where the rules are."""
        return sorted({receiver for _, receiver in self.edges})


def one_way(sources: Iterable[str], receivers: Iterable[str]) -> frozenset[Edge]:
    """What the receivers do not hear of the sources, who still hear them."""
    receivers = list(receivers)
    return frozenset((source, receiver) for source in sources for receiver in receivers if source != receiver)


def between(one: Collection[str], other: Collection[str]) -> frozenset[Edge]:
    """Both directions between two groups."""
    return one_way(one, other) | one_way(other, one)


def ruleset(table: str, addresses: Iterable[str], percent: int = 100) -> str:
    """What nftables is told in a receiver's namespace.

    Args:
        table: the name of the table, so that it can be taken away as a whole.
        addresses: whose packets are lost.
        percent: how many of a hundred.
    """
    assert 0 < percent <= 100
    chance = "" if percent == 100 else f"numgen random mod 100 < {percent} "
    sources = ", ".join(sorted(addresses))
    return (
        f"table inet {table} {{\n"
        "  counter dropped { }\n"
        "  chain input {\n"
        "    type filter hook input priority -10; policy accept;\n"
        f"    ip saddr {{ {sources} }} {chance}counter name dropped drop\n"
        "  }\n"
        "}\n"
    )


def topology(namespaces: dict[str, str], addresses: dict[str, str]) -> list[tuple[str | None, list[str]]]:
    """What `ip` is told, in order: the namespace (`None`: the machine's own) and the lines of one batch.

    Args:
        namespaces: the name of each member's namespace, and of the switch's.
        addresses: each member's address; the switch has none.
    """
    wires = [
        line
        for member in addresses
        for line in (
            f"link add name {member} type veth peer name {INTERFACE} netns {namespaces[member]}",
            f"link set dev {member} master {BRIDGE} up",
        )
    ]
    bridge = [f"link add name {BRIDGE} type bridge stp_state 0 forward_delay 0", f"link set dev {BRIDGE} up"]
    ends = [
        (
            namespaces[member],
            ["link set lo up", f"address add {address}/24 dev {INTERFACE}", f"link set {INTERFACE} up"],
        )
        for member, address in addresses.items()
    ]
    return [
        (None, [f"netns add {name}" for name in namespaces.values()]),
        (namespaces[SWITCH], [*bridge, *wires]),
        *ends,
    ]


def why_not() -> str:
    """Why there can be no networks of their own here; empty when there can."""
    if os.geteuid() != 0:
        return "it needs root"
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program, path=SYSTEM_PATH)]
    if missing:
        return f"it needs the Debian package {' and '.join(missing)}"
    try:
        with Network(["a", "b"]) as network:
            network.lift(network.cut(between(["a"], ["b"])))
    except OSError as error:
        return str(error)
    return ""


def remove_stale() -> None:
    """Remove what a process left that was killed: its number is in the names, and nobody has it now."""
    for path in NAMESPACES.glob(f"{PREFIX}-*"):
        pid = path.name.removeprefix(f"{PREFIX}-").split("-")[0]
        if pid.isdigit() and find(int(pid)) is None:
            run("ip", "netns", "delete", path.name, check=False)


class Network:
    """The members' networks, from `create` to `remove`.

    Args:
        members: their names, at most 200.

    Example:
        >>> with Network(["n1", "n2"]) as network:  # doctest: +SKIP
        ...     cut = network.cut(between(["n1"], ["n2"]))
        ...     assert network.arrived([("n1", "n2")]) == {("n1", "n2"): 0}
        ...     network.lift(cut)
    """

    def __init__(self, members: Sequence[str]) -> None:
        self.id = f"{os.getpid()}-{secrets.token_hex(3)}"
        self.addresses = {member: f"10.77.0.{number}" for number, member in enumerate(members, 1)}
        self.namespaces = {member: f"{PREFIX}-{self.id}-{member}" for member in (*members, SWITCH)}
        self.cuts: list[Cut] = []
        self._made = 0
        self._probes: dict[str, socket.socket] = {}

    def __enter__(self) -> Self:
        self.create()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def create(self) -> None:
        """Make it all; nothing is left when that fails.

        Raises:
            NetworkFailed: this machine does not let us.
        """
        remove_stale()
        try:
            for namespace, lines in topology(self.namespaces, self.addresses):
                where = ("-n", namespace) if namespace else ()
                run("ip", *where, "-batch", "-", text="\n".join(lines))
            for member, address in self.addresses.items():
                with self.entered(member):
                    self._probes[member] = probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                probe.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, PROBE_BYTES_MAX)
                probe.setblocking(False)
                probe.bind((address, PROBE_PORT))
            self._wait_whole()
        except BaseException:
            self.remove()
            raise

    def _wait_whole(self) -> None:
        """A bridge forwards a moment after its ports came up, and a question for an address is repeated each second."""
        deadline = time.monotonic() + WHOLE_TIMEOUT_S
        edges = between(list(self.addresses), list(self.addresses))
        while not all(self.arrived(edges, 1).values()):
            if time.monotonic() > deadline:
                raise NetworkFailed("the members of a new network do not reach each other")

    def remove(self) -> None:
        """Remove every namespace, and with it its wire and its rules."""
        for probe in self._probes.values():
            probe.close()
        self._probes.clear()
        self.cuts.clear()
        for name in self.namespaces.values():
            if (NAMESPACES / name).exists():
                run("ip", "netns", "delete", name, check=False)

    def command(self, member: str) -> list[str]:
        """What goes before a command to run it in a member's namespace; it keeps its process id."""
        program = shutil.which("nsenter", path=SYSTEM_PATH) or "nsenter"
        return [program, f"--net={NAMESPACES / self.namespaces[member]}"]

    @contextlib.contextmanager
    def entered(self, member: str) -> Generator[None]:
        """This thread is in the member's namespace: sockets that it makes and processes that it starts belong there."""
        with Path("/proc/thread-self/ns/net").open("rb") as before:
            _enter(NAMESPACES / self.namespaces[member])
            try:
                yield
            finally:
                _set_namespace(before.fileno())

    def cut(self, edges: frozenset[Edge], percent: int = 100) -> Cut:
        """Lose what goes over these edges, until it is lifted.

        Raises:
            NetworkFailed: nftables refuses; then none of the rules is left.
        """
        self._made += 1
        made = Cut(f"cut{self._made}", edges, percent)
        self.cuts.append(made)
        try:
            for receiver in made.receivers:
                heard_by = [self.addresses[source] for source, other in edges if other == receiver]
                self._nft(receiver, "-f", "-", text=ruleset(made.table, heard_by, percent))
        except BaseException:
            self.lift(made)
            raise
        return made

    def lift(self, cut: Cut) -> None:
        """Let everything through again that this cut took away; other cuts stay."""
        for receiver in cut.receivers:
            self._nft(receiver, "delete", "table", "inet", cut.table, check=False)
        self.cuts = [other for other in self.cuts if other is not cut]

    def dropped(self, cut: Cut) -> int:
        """How many packets the cut has dropped so far."""
        texts = [self._nft(receiver, "list", "counter", "inet", cut.table, "dropped") for receiver in cut.receivers]
        return sum(int(found[1]) for text in texts if (found := re.search(r"packets (\d+)", text)))

    def arrived(self, edges: Iterable[Edge], datagrams: int = 3, size: int = 8) -> dict[Edge, int]:
        """Send some datagrams over each edge, and count those that have arrived 0.2 s later, or when all have.

        Args:
            edges: from whom to whom.
            datagrams: how many over each.
            size: bytes of each.
        """
        marks = {secrets.token_bytes(8): edge for edge in edges}
        counts = dict.fromkeys(marks.values(), 0)
        deadline = time.monotonic() + ARRIVAL_S
        for mark, edge in marks.items():
            self._send(mark, edge, datagrams, size)
        while time.monotonic() < deadline and min(counts.values(), default=datagrams) < datagrams:
            for receiver in {receiver for _, receiver in counts}:
                for mark in self._receive(receiver):
                    if mark in marks:
                        counts[marks[mark]] += 1
            time.sleep(0.001)
        return counts

    def trip_s(self, source: str, receiver: str) -> float:
        """How long a datagram takes; 1 s if it does not arrive until then."""
        mark, began = secrets.token_bytes(8), time.monotonic()
        self._send(mark, (source, receiver), 1, len(mark))
        while time.monotonic() < began + 1.0 and mark not in self._receive(receiver):
            time.sleep(0.001)
        return time.monotonic() - began

    def _send(self, mark: bytes, edge: Edge, datagrams: int, size: int) -> None:
        source, receiver = edge
        for _ in range(datagrams):
            with contextlib.suppress(BlockingIOError):
                self._probes[source].sendto(mark.ljust(size), (self.addresses[receiver], PROBE_PORT))

    def _receive(self, receiver: str) -> list[bytes]:
        found: list[bytes] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._probes[receiver].recv(2_048)[:8])
        return found

    def _nft(self, member: str, *words: str, text: str = "", check: bool = True) -> str:
        return run(*self.command(member), "nft", *words, text=text, check=check)


@dataclass
class Client:
    """This thread, while it is on the side of the clients.

    Attributes:
        network: where.
        member: whose namespace.
    """

    network: Network
    member: str
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def enter(self) -> None:
        """Go there."""
        self._stack.enter_context(self.network.entered(self.member))

    def leave(self) -> None:
        """Come back, if it went."""
        self._stack.close()


def _enter(path: Path) -> None:
    with path.open("rb") as namespace:
        _set_namespace(namespace.fileno())


def _set_namespace(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise NetworkFailed(number, f"a namespace cannot be entered: {os.strerror(number)}")


def run(*command: str, text: str = "", check: bool = True) -> str:
    """Run a command of the system and return what it wrote.

    Raises:
        NetworkFailed: it is not there, takes too long, or fails; the latter only with `check`.
    """
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False,
            env={**os.environ, "PATH": SYSTEM_PATH},
        )  # fmt: skip
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise NetworkFailed(f"{' '.join(command)}: {error}") from error
    if check and done.returncode != 0:
        raise NetworkFailed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
