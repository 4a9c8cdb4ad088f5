"""Which objects of this node's slots are due for their alarms. Pure: facts and the time in, objects out.

An object's alarms are in its own database; the node knows of each object only when the earliest rings. The store keeps
those times in order, so an alarm that is far away costs no memory here: of each slot the earliest few are held, up to
its `horizon`, and the next few are read when the time comes there. See docs/alarms.md.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from homing_node.objects import limits

NEVER_MS = 1 << 62
Times = list[tuple[int, bytes]]


@dataclass(slots=True)
class _Trial:
    """An object whose alarm could not ring, for no fault of its own."""

    not_before: int = 0
    failures: int = 0


@dataclass(slots=True)
class _Slot:
    """A served slot.

    Invariants: `held` has every object of the slot that is due before `horizon`, and no other. `trials` has those whose
    alarm could not ring. `next` is in the heap, and nothing is to be done for the slot before it.
    """

    horizon: int = 0
    held: dict[bytes, int] = field(default_factory=dict[bytes, int])
    trials: dict[bytes, _Trial] = field(default_factory=dict[bytes, _Trial])
    next: int = 0


class AlarmClock:
    """The alarms of every slot that is served here. Times are milliseconds of the wall clock.

    Args:
        read: (slot, how many) to the earliest times in the store, in order, with their objects.
        records: (slot) to (object, time) of each record above the slot's pages that changed it, in order.
    """

    def __init__(
        self, read: Callable[[int, int], Times], records: Callable[[int], Iterable[tuple[bytes, int]]]
    ) -> None:
        self._read, self._records = read, records
        self._slots: dict[int, _Slot] = {}
        self._heap: list[tuple[int, int]] = []  # when to look at a slot
        self._ringing: set[bytes] = set()

    def serve(self, slot: int) -> None:
        """A slot is served here from now on; what is due in it is found by the next `due`."""
        self._slots[slot] = _Slot()
        heapq.heappush(self._heap, (0, slot))

    def end(self, slot: int) -> None:
        """It is served here no more."""
        self._slots.pop(slot, None)

    def turned(self, slot: int, object_id: bytes, wake_ms: int) -> None:
        """A turn changed when the earliest alarm of an object rings; 0: none does."""
        served = self._slots.get(slot)
        if served is None:
            return
        served.trials.pop(object_id, None)
        if not 0 < wake_ms < served.horizon:
            served.held.pop(object_id, None)
            return
        served.held[object_id] = wake_ms
        if len(served.held) > limits.alarms_held_max:
            self._shorten(served)
            self._look_again(slot, served)
        elif wake_ms < served.next and object_id not in self._ringing:
            self._look_at(slot, served, wake_ms)

    def next_ms(self) -> int:
        """When there may be something to do, if there is room for it."""
        return self._heap[0][0] if self._heap else NEVER_MS

    def due(self, now_ms: int) -> list[tuple[int, bytes]]:
        """Slot and object of what is due, as far as there is room; each must end with `rang`."""
        found: list[tuple[int, bytes]] = []
        while self._heap and self._heap[0][0] <= now_ms and len(self._ringing) < limits.alarms_at_once_max:
            at_ms, slot = heapq.heappop(self._heap)
            served = self._slots.get(slot)
            if served is None or served.next != at_ms:
                continue  # it is looked at at another time
            if served.horizon <= now_ms:
                self._read_on(slot, served, now_ms)
            ready = sorted((at, object_id) for object_id, at in self._waiting(served) if at <= now_ms)
            for _, object_id in ready[: limits.alarms_at_once_max - len(self._ringing)]:
                self._ringing.add(object_id)
                found.append((slot, object_id))
            self._look_again(slot, served)
        return found

    def rang(self, slot: int, object_id: bytes, now_ms: int, *, well: bool) -> None:
        """What was due has ended. If it went wrong and is due still, it is tried again, ever later."""
        self._ringing.discard(object_id)
        served = self._slots.get(slot)
        if served is None:
            return
        if well:
            served.trials.pop(object_id, None)
        elif served.held.get(object_id, NEVER_MS) <= now_ms:
            trial = served.trials.setdefault(object_id, _Trial())
            wait_ms = min(limits.alarm_again_first_ms << min(trial.failures, 16), limits.alarm_again_last_ms)
            trial.not_before, trial.failures = now_ms + wait_ms, trial.failures + 1
        self._look_again(slot, served)

    def _waiting(self, served: _Slot) -> Iterator[tuple[bytes, int]]:
        """What is held and does not ring, with its time."""
        for object_id, at_ms in served.held.items():
            if object_id not in self._ringing:
                trial = served.trials.get(object_id)
                yield object_id, trial.not_before if trial is not None else at_ms

    def _look_again(self, slot: int, served: _Slot) -> None:
        self._look_at(slot, served, min((at for _, at in self._waiting(served)), default=NEVER_MS))

    def _look_at(self, slot: int, served: _Slot, at_ms: int) -> None:
        served.next = min(at_ms, served.horizon)
        if served.next < NEVER_MS:
            heapq.heappush(self._heap, (served.next, slot))

    def _read_on(self, slot: int, served: _Slot, now_ms: int) -> None:
        """Take the next few times of a slot in, and of what is due one at least that neither rings nor has to wait."""
        count, changes = limits.alarms_read, dict(self._records(slot))
        while True:
            found = self._read(slot, count)
            served.horizon = found[-1][0] if len(found) == count else NEVER_MS
            times = {object_id: at_ms for at_ms, object_id in found}
            times.update(changes)
            served.held = {object_id: at for object_id, at in times.items() if 0 < at < served.horizon}
            if served.horizon > now_ms or any(at <= now_ms for _, at in self._waiting(served)):
                return
            count *= 4  # many for the same moment, or these ring, are to be tried later or have other times since

    def _shorten(self, served: _Slot) -> None:
        """Hold fewer: the others are in the store or in records, and are read when their time comes."""
        served.horizon = sorted(served.held.values())[limits.alarms_read]
        served.held = {object_id: at for object_id, at in served.held.items() if at < served.horizon}
