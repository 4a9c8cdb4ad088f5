"""The output gate: an effect leaves when what it depends on is committed and its epoch is confirmed. Pure.

Rules 19 and 21. Effects of a slot leave in the order in which they were emitted, so one queue a slot is enough.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.activation import PendingCall

_NEVER = 1 << 62


@dataclass(slots=True)
class Held:
    """An effect at the gate: it leaves when `lsn` is committed and `question` is confirmed."""

    lsn: int
    question: int
    call: PendingCall
    reply: wire.Reply
    wrote: bool


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
        if not served.held and lsn <= served.committed and 0 <= question <= served.confirmed:
            reply.timing.released_ns = self._now_ns()
            call.reply(reply)
            return
        if question < 0:
            question = _NEVER  # the slot is lost, which is about to be told
        served.held.append(Held(lsn, question, call, reply, wrote))

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
            effect = held.popleft()
            effect.reply.timing.released_ns = now
            effect.call.reply(effect.reply)
