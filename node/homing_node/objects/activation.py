"""Activations and the calls in them. State only; no I/O."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.keys import KeyTable
from homing_node.objects.ports import FlowPort, WorkerPort
from homing_node.objects.socket_state import SocketEvent

K = TypeVar("K")
V = TypeVar("V")


def drop(table: dict[K, V], key: K) -> None:
    """Remove an entry if it is there. An empty table gives its memory back, which deletions alone do not."""
    table.pop(key, None)
    if not table:
        table.clear()


def take_out(waiting: list[PendingCall], m: wire.Call) -> PendingCall | None:
    """Remove the call of a frame from those that wait; None: it is not among them."""
    for at, call in enumerate(waiting):
        if call.m is m:
            return waiting.pop(at)
    return None


class Life:
    """The life cycle of an activation. No `Enum`: Python 3.11 takes 60 ns to look up a member."""

    OPEN: Final = 1  # takes events
    LEAVING: Final = 2  # another version of its code takes the object over; new calls wait for that
    CLOSING: Final = 3  # asked to close; new calls wait for the answer
    ABORTING: Final = 4  # its epoch is over or it must go: nothing of it counts any more; calls wait until it is gone
    GONE: Final = 5


@dataclass(slots=True)
class PendingCall:
    """A call that has no effect yet.

    `committed` says whether a turn of it has reached the log: from then on a lost end means *unknown*.
    `given_up` says that nobody waits for it, and that its worker was told so.
    """

    id: int
    m: wire.Call
    reply: Callable[[wire.Reply], None]
    received_ns: int
    size: int
    port: FlowPort | None = None  # who made it, if bodies can flow there
    committed: bool = False
    given_up: bool = False
    began_key: bool = False
    waiters: list[PendingCall] | None = None  # calls with the same key, waiting for this one's effect
    socket: SocketEvent | None = None  # what came on a socket, if it is that


@dataclass(slots=True)
class Activation:
    """One running instance of an object.

    Invariants: `commits` is the number of the last commit that was taken; only `commits + 1` is taken next (rule 25).
    """

    id: int
    object: bytes
    slot: int
    epoch: int
    class_name: str
    name: str | None
    worker: WorkerPort
    exists: bool  # a record or the store knows it
    database_bytes: int
    last_lsn: int  # of the newest record it depends on
    keys: KeyTable | None
    life: int = Life.OPEN
    commits: int = 0
    calls: dict[int, PendingCall] = field(default_factory=dict[int, PendingCall])
    calls_bytes: int = 0
    flowing: int = 0  # calls behind which, or behind whose answers, streams flow
    window_ends: float = 0.0
    window_calls: int = 0  # that were taken before it ends; see `overload`
    used_at: float = 0.0
    ask_again_at: float = 0.0
    kept_since: float = 0.0  # when it first would not close: a timer, a task or wait_until is pending
    wake_ms: int = 0  # when its earliest alarm rings; 0: none does
    successor: list[PendingCall] = field(default_factory=list[PendingCall])  # wait for the next activation

    def __post_init__(self) -> None:
        self.class_name = sys.intern(self.class_name)  # it came with a call; all of a class share one

    @property
    def address(self) -> tuple[bytes, int, int, str, str | None]:
        """Its object's id, slot, epoch, class and name."""
        return self.object, self.slot, self.epoch, self.class_name, self.name

    def ended(self, done: Iterable[tuple[PendingCall | None, list[Any]]]) -> None:
        """Forget calls that have their effects.

        Raises:
            KeyError: one had ended before.
        """
        for call, _ in done:
            if call is not None:
                del self.calls[call.id]
                self.calls_bytes -= call.size
        if not self.calls:
            self.calls.clear()  # as `drop`; an idle activation is 160 bytes smaller

    def awaits(self, chain: bytes) -> bool:
        """Whether a call that runs here may wait for one of that chain; then it is let in although this one leaves."""
        return self.life is Life.LEAVING and bool(chain) and self.runs_part_of(chain)

    def runs_part_of(self, chain: bytes) -> bool:
        """Whether a call of that chain runs here."""
        return any(call.m.chain == chain for call in self.calls.values())

    def take_out(self, m: wire.Call) -> PendingCall | None:
        """Remove a call that its worker does not have: it waits for a successor, or for a call with the same key."""
        call = take_out(self.successor, m)
        for other in self.calls.values() if call is None and m.key else ():
            call = call or take_out(other.waiters or [], m)
        return call

    def give_up(self, m: wire.Call) -> PendingCall | None:
        """Mark a call that its worker has, and that may not have begun; None: there is none, or it has."""
        call = next((each for each in self.calls.values() if each.m is m and not each.committed), None)
        if call is not None:
            call.given_up = True
        return call

    def key_in_use(self, key: str) -> PendingCall | None:
        """The running call under a key."""
        for call in self.calls.values():
            if call.m.key == key:
                return call
        return None
