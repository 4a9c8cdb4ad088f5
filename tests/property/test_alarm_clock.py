"""The node's alarm clock against a plain list of times: nothing early, nothing forgotten, nothing twice at once."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from homing_node.objects import limits
from homing_node.objects.alarm_clock import NEVER_MS, AlarmClock

OBJECTS = [bytes([n]) * 32 for n in range(12)]
SLOTS = (1, 2)


def slot_of(object_id: bytes) -> int:
    return SLOTS[object_id[0] % 2]


class AlarmClockMachine(RuleBasedStateMachine):
    """A store that is behind by the records above it, and an owner that comes and goes.

    Seen to fail when records do not count, when a slot's next time is taken for the truth, when a slot with nothing but
    what rings is read again and again, and when a trial is forgotten.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000
        self.truth: dict[bytes, int] = {}
        self.stored: dict[bytes, int] = {}
        self.records: list[tuple[bytes, int]] = []
        self.ringing: set[bytes] = set()
        self.not_before: dict[bytes, int] = {}
        self.served: set[int] = set()
        self.clock = AlarmClock(self.read, lambda slot: [each for each in self.records if slot_of(each[0]) == slot])
        self.reads = 0

    def read(self, slot: int, count: int) -> list[tuple[int, bytes]]:
        self.reads += 1
        assert self.reads < 500, "it reads for ever"
        found = sorted((at, each) for each, at in self.stored.items() if slot_of(each) == slot)
        return found[:count]

    @initialize(read=st.integers(2, 4), held=st.integers(5, 7), at_once=st.integers(1, 4))
    def small(self, read: int, held: int, at_once: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(limits, "alarms_read", read)
        self.patch.setattr(limits, "alarms_held_max", held)
        self.patch.setattr(limits, "alarms_at_once_max", at_once)

    def teardown(self) -> None:
        self.patch.undo()

    @rule()
    def set_many(self) -> None:
        """More are due than are read at once."""
        for which in OBJECTS:
            self.set(which, which[0] // 2 % 3, never=False)

    @rule(which=st.sampled_from(OBJECTS), after=st.sampled_from([0, 0, 1, 1, 5, 5, 50, 5_000]), never=st.booleans())
    def set(self, which: bytes, after: int, never: bool) -> None:
        """A turn of the owner, which only an owner has."""
        if slot_of(which) not in self.served:
            return
        wake_ms = 0 if never else self.now + after
        self.truth[which] = wake_ms
        self.not_before.pop(which, None)
        self.records.append((which, wake_ms))
        self.clock.turned(slot_of(which), which, wake_ms)

    @rule()
    def apply(self) -> None:
        """Pages take the records in."""
        for which, wake_ms in self.records:
            self.stored.pop(which, None)
            if wake_ms:
                self.stored[which] = wake_ms
        self.records.clear()

    @rule(slot=st.sampled_from(SLOTS))
    def serve(self, slot: int) -> None:
        if slot not in self.served:
            self.served.add(slot)
            self.clock.serve(slot)

    @precondition(lambda self: self.served)
    @rule(slot=st.sampled_from(SLOTS))
    def lose(self, slot: int) -> None:
        """The events of its objects end, as the host sees to; some after the slot has gone."""
        if slot in self.served:
            self.served.discard(slot)
            self.clock.end(slot)
            for which in [each for each in self.ringing if slot_of(each) == slot]:
                self.ringing.discard(which)
                self.clock.rang(slot, which, self.now, well=False)
            self.not_before = {each: at for each, at in self.not_before.items() if slot_of(each) != slot}

    @rule(ms=st.sampled_from([0, 1, 10, 2_000, 100_000]))
    def pass_time(self, ms: int) -> None:
        self.now += ms

    @rule()
    def ring(self) -> None:
        self.reads = 0
        due = self.clock.due(self.now)
        assert len(set(due)) == len(due)
        for slot, which in due:
            assert slot in self.served
            assert slot_of(which) == slot
            assert which not in self.ringing, "twice at once"
            assert 0 < self.truth.get(which, 0) <= self.now, "early, or not set"
            assert self.not_before.get(which, 0) <= self.now, "tried again too soon"
            self.ringing.add(which)
        assert len(self.ringing) <= limits.alarms_at_once_max

    @precondition(lambda self: self.ringing)
    @rule(which=st.sampled_from(OBJECTS), after=st.sampled_from([0, 30, None]), well=st.booleans())
    def end(self, which: bytes, after: int | None, well: bool) -> None:
        if which not in self.ringing:
            return
        if well or after is not None:
            self.set(which, after or 0, never=after is None)
        self.ringing.discard(which)
        if not well and 0 < self.truth[which] <= self.now:
            self.not_before[which] = self.now + limits.alarm_again_first_ms  # at least
        self.clock.rang(slot_of(which), which, self.now, well=well)

    @precondition(lambda self: self.ringing)
    @rule()
    def everything_fails(self) -> None:
        """A worker dies: what rings is tried again later, and meanwhile others that are due come first."""
        for which in sorted(self.ringing):
            self.end(which, None, well=False)
        self.ring()

    @rule()
    def nothing_is_forgotten(self) -> None:
        """With time and room everything that is set rings, also what failed before."""
        self.now += 2 * limits.alarm_again_last_ms
        missing = {each for each, at in self.truth.items() if 0 < at <= self.now and slot_of(each) in self.served}
        for _ in range(100):
            before = set(self.ringing)
            self.ring()
            missing -= self.ringing
            if not missing:
                return
            for which in self.ringing | before:
                self.set(which, 0, never=True)
                self.ringing.discard(which)
                self.clock.rang(slot_of(which), which, self.now, well=True)
        raise AssertionError(f"never rang: {missing}")

    @invariant()
    def knows_when_to_look(self) -> None:
        """With room, it does not sleep over what is due."""
        if len(self.ringing) >= limits.alarms_at_once_max:
            return
        for which, at_ms in self.truth.items():
            waits = slot_of(which) in self.served and which not in self.ringing and at_ms
            if waits and self.not_before.get(which, 0) == 0:
                assert self.clock.next_ms() <= at_ms
        assert self.clock.next_ms() <= NEVER_MS


AlarmClockMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, derandomize=True
)
TestAlarmClock = AlarmClockMachine.TestCase
