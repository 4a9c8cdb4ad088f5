"""The output gate: an effect leaves when what it depends on is committed and its epoch is confirmed. Pure.

Rules 19 and 21. Effects of a slot leave in the order in which they were emitted, so one queue a slot is enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.activation import PendingCall

_NEVER = 1 << 62  # the question of a slot that is lost, which is about to be told


@dataclass(slots=True)
class Held:
    """An effect at the gate: it leaves when `lsn` is committed and `question` is confirmed."""

    lsn: int
    question: int

    def leave(self, now_ns: int) -> None:
        """Nothing holds it any more."""
        raise NotImplementedError


@dataclass(slots=True)
class HeldAnswer(Held):
    """The answer of a call; see `OutputGate.hold`."""

    call: PendingCall
    reply: wire.Reply
    wrote: bool

    def leave(self, now_ns: int) -> None:
        """See `Held`."""
        self.reply.timing.released_ns = now_ns
        self.call.reply(self.reply)


@dataclass(slots=True)
class HeldCall(Held):
    """A call of the object to another, or what it says on sockets."""

    send: Callable[[], None]

    def leave(self, now_ns: int) -> None:
        """See `Held`."""
        self.send()


@dataclass(slots=True)
class ServedSlot:
    """A slot that this node serves.

    Invariants: `held` is in the order of emission, so its lsns and questions never fall; `committed` and `confirmed`
    only grow.
    """

    slot: int
    epoch: int
    committed: int
    began_ms: int = 0  # when this ownership began, by the wall clock
    began_ns: int = 0  # and by the one that never steps
    confirmed: int = 0
    held: deque[Held] = field(default_factory=deque[Held])
    activations: dict[bytes, None] = field(default_factory=dict[bytes, None])  # a small set is twice as large
    load: int = 0  # calls that came, and 4 KiB of their bodies, one like the other
    resting: bool = False  # no event is taken: the slot is about to move
    rests_since_ns: int = 0

    def times_ms(self, now_ns: int) -> tuple[int, int]:
        """The slot's time, and when it began: it goes on evenly, whatever is done to the wall clock (rule 3)."""
        return self.began_ms + (now_ns - self.began_ns) // 1_000_000, self.began_ms


class OutputGate:
    """The gates of all slots of a node.

    Args:
        ask: puts a question of rule 19 for a slot; 0 if its own store is a majority, -1 if it is served no more.
        now_ns: for the time at which an effect was released.
    """

    def __init__(self, ask: Callable[[int], int], now_ns: Callable[[], int]) -> None:
        self._ask = ask
        self._now_ns = now_ns
        self.slots: dict[int, ServedSlot] = {}

    def serve(self, slot: int, epoch: int, committed: int, wall_ms: int = 0) -> None:
        """The slot is ACTIVE here, from this moment of the wall clock on."""
        self.slots[slot] = ServedSlot(slot, epoch, committed, wall_ms, self._now_ns())

    def end(self, slot: int, epoch: int) -> ServedSlot | None:
        """The slot is not served any more; what is still held in it must never leave."""
        served = self.slots.get(slot)
        if served is None or served.epoch != epoch:
            return None
        return self.slots.pop(slot)

    def hold(self, slot: int, lsn: int, call: PendingCall, reply: wire.Reply, *, wrote: bool) -> None:
        """Take an effect; it may leave at once.

        Args:
            slot: of the object.
            lsn: the newest record that the effect depends on.
            call: whom it answers.
            reply: the frame.
            wrote: its own turn is that record; then the commit itself confirms the epoch (rule 19).
        """
        served = self.slots[slot]
        question = 0 if wrote else self._ask(slot)
        if _leaves(served, lsn, question):
            reply.timing.released_ns = self._now_ns()
            call.reply(reply)
            return
        served.held.append(HeldAnswer(lsn, question if question >= 0 else _NEVER, call, reply, wrote))

    def hold_call(self, slot: int, lsn: int, send: Callable[[], None], *, wrote: bool = False) -> None:
        """Take a call to another object, or what is said on sockets; it may leave at once by `send`. Else as above."""
        served = self.slots[slot]
        question = 0 if wrote else self._ask(slot)
        if _leaves(served, lsn, question):
            send()
        else:
            served.held.append(HeldCall(lsn, question if question >= 0 else _NEVER, send))

    def advanced(self, slot: int, epoch: int, lsn: int) -> None:
        """Records up to `lsn` are committed."""
        served = self.slots.get(slot)
        if served is not None and served.epoch == epoch:
            served.committed = lsn
            self._release(served)

    def confirmed(self, slot: int, number: int) -> None:
        """The epoch is confirmed for every question up to `number`."""
        served = self.slots.get(slot)
        if served is not None:
            served.confirmed = number
            self._release(served)

    def _release(self, served: ServedSlot) -> None:
        held = served.held
        if not held:
            return
        now = self._now_ns()
        while held and held[0].lsn <= served.committed and held[0].question <= served.confirmed:
            held.popleft().leave(now)


def _leaves(served: ServedSlot, lsn: int, question: int) -> bool:
    """Whether an effect need not be held: nothing is before it, and what it depends on is safe."""
    return not served.held and lsn <= served.committed and 0 <= question <= served.confirmed
