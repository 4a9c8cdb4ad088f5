"""The checker of the chaos tests is itself checked: on true executions, on broken ones, and against brute force."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.chaos.checker import Kind, Operation, check_all, check_exactly_once, check_object

INC, READ, WRITE = Kind.INCREMENT, Kind.READ, Kind.WRITE


def execution(seed: int, calls: int, clients: int, lost: float = 0.0, writes: bool = False) -> list[Operation]:
    """What `clients` would see of a correct object: each call has its effect at one instant between its two times.

    `lost` is the share of increments and writes whose answer never arrives; half of these had no effect.
    """
    rng = random.Random(seed)
    drafts: list[tuple[float, float, float, Kind]] = []
    for _ in range(clients):
        now = rng.random()
        for _ in range(calls // clients):
            sent, effect, end = sorted(now + rng.random() for _ in range(3))
            kind = rng.choice([INC, INC, READ, WRITE] if writes else [INC, INC, READ])
            drafts.append((effect, sent, end, kind))
            now = end + rng.random() * 0.1
    value = 0
    history: list[Operation] = []
    for _, sent, end, kind in sorted(drafts, key=lambda draft: draft[0]):
        is_lost = kind is not READ and rng.random() < lost
        argument = rng.randrange(100) if kind is WRITE else None
        if not is_lost or rng.random() < 0.5:
            value = value + 1 if kind is INC else value if argument is None else argument
        answer = argument if argument is not None else value
        if is_lost:
            history.append(Operation(kind, sent, None, argument))
        else:
            history.append(Operation(kind, sent, end, answer))
    rng.shuffle(history)
    return history


def brute_force(history: list[Operation]) -> bool:
    """Try every order of every choice of unanswered operations. Slow and obvious."""
    answered = [op for op in history if op.answered_s is not None]
    unanswered = [op for op in history if op.answered_s is None and op.kind is not READ]
    for size in range(len(unanswered) + 1):
        for chosen in itertools.combinations(unanswered, size):
            if any(_explains(order) for order in itertools.permutations([*answered, *chosen])):
                return True
    return False


def _explains(order: tuple[Operation, ...]) -> bool:
    value = 0
    latest_sent = float("-inf")
    for op in order:
        latest_sent = max(latest_sent, op.invoked_s)
        if op.answered_s is not None and op.answered_s < latest_sent:
            return False
        if op.kind is WRITE:
            assert op.value is not None
            value = op.value
            continue
        value += op.kind is INC
        if op.answered_s is not None and op.value != value:
            return False
    return True


@given(st.integers(0, 2**32), st.integers(1, 8), st.sampled_from([0.0, 0.1]), st.booleans())
def test_true_executions_pass(seed: int, clients: int, lost: float, writes: bool) -> None:
    assert check_object(execution(seed, 64, clients, lost, writes)) is None


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_stale_read_fails(seed: int, clients: int) -> None:
    """A read that answers a value which was overwritten before the read was sent."""
    history = execution(seed, 40, clients)
    reads = [i for i, op in enumerate(history) if op.kind is READ]
    assume(reads)
    index = random.Random(seed).choice(reads)
    read = history[index]
    settled = max((op.value or 0 for op in history if (op.answered_s or 0) < read.invoked_s), default=0)
    assume(settled > 0)
    history[index] = replace(read, value=settled - 1)
    assert check_object(history) is not None


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_lost_increment_fails(seed: int, clients: int) -> None:
    """From one acknowledged increment on, everybody sees a state without it."""
    history = [op for op in execution(seed, 40, clients) if op.value is not None]
    increments = sorted(op.value or 0 for op in history if op.kind is INC)
    assume(len(increments) > 1)
    lost = random.Random(seed).choice(increments[:-1])
    after = [replace(op, value=(op.value or 0) - 1) if (op.value or 0) > lost else op for op in history]
    assert check_object(after) is not None


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_a_repeated_reply_fails(seed: int, clients: int) -> None:
    history = execution(seed, 40, clients)
    increments = [i for i, op in enumerate(history) if op.kind is INC]
    assume(len(increments) > 1)
    one, other = random.Random(seed).sample(increments, 2)
    history[one] = replace(history[one], value=history[other].value)
    assert check_object(history) is not None


@given(st.integers(0, 2**32), st.integers(2, 6))
def test_reordered_replies_fail(seed: int, clients: int) -> None:
    """Two increments of which one ended before the other began answer in the wrong order."""
    history = execution(seed, 40, clients)
    pairs = [
        (i, j)
        for (i, a), (j, b) in itertools.permutations(enumerate(history), 2)
        if a.kind is INC and b.kind is INC and a.answered_s is not None and a.answered_s < b.invoked_s
    ]
    assume(pairs)
    i, j = random.Random(seed).choice(pairs)
    history[i], history[j] = replace(history[i], value=history[j].value), replace(history[j], value=history[i].value)
    assert check_object(history) is not None


TIMES = st.integers(0, 12)
KINDS = st.sampled_from([INC, INC, READ, WRITE])


@st.composite
def small_operations(draw: st.DrawFn) -> Operation:
    kind, invoked = draw(KINDS), draw(TIMES)
    answered = None if draw(st.integers(0, 4)) == 0 else invoked + draw(st.integers(0, 6))
    value = draw(st.integers(0, 3)) if kind is WRITE or answered is not None else None
    return Operation(kind, float(invoked), None if answered is None else float(answered), value)


@given(st.lists(small_operations(), max_size=6))
def test_it_agrees_with_brute_force(history: list[Operation]) -> None:
    assert (check_object(history) is None) == brute_force(history)


def test_a_known_wrong_history_is_rejected() -> None:
    """Two clients, one object: a read after an acknowledged increment answers the state before it (split brain)."""
    history = [
        Operation(INC, 0.0, 1.0, 1),
        Operation(INC, 1.5, 4.0, 2),
        Operation(READ, 2.0, 2.5, 2),
        Operation(READ, 3.0, 3.5, 1),
    ]
    violation = check_object(history)
    assert violation is not None
    assert violation.operation == history[3]
    assert violation.values == (2,)
    assert "answered 1" in str(violation)
    assert check_object(history[:3]) is None


def test_an_unanswered_increment_may_take_effect_late_once_or_never() -> None:
    unknown = Operation(INC, 0.0, None)
    assert check_object([unknown, Operation(READ, 1.0, 2.0, 0), Operation(READ, 8.0, 9.0, 1)]) is None
    assert check_object([unknown, Operation(READ, 1.0, 2.0, 0), Operation(READ, 8.0, 9.0, 0)]) is None
    assert check_object([unknown, Operation(READ, 8.0, 9.0, 2)]) is not None
    assert check_object([unknown, Operation(READ, 1.0, 2.0, 1), Operation(READ, 8.0, 9.0, 0)]) is not None


def test_objects_are_checked_apart() -> None:
    good = [Operation(INC, 0.0, 1.0, 1)]
    assert list(check_all({"a": good, "b": [Operation(INC, 0.0, 1.0, 2)]})) == ["b"]


@pytest.mark.parametrize(
    ("replies", "complaint"),
    [([], None), ([2, 1, 3], None), ([1, 3], "missing [2]"), ([1, 1, 2], "repeated [1]"), ([0, 1], "outside 1…2 [0]")],
)
def test_replies_are_exactly_one_to_n(replies: list[int], complaint: str | None) -> None:
    found = check_exactly_once(replies)
    assert found is None if complaint is None else complaint in (found or "")


def test_it_is_fast_enough_for_a_whole_run() -> None:
    """200 objects with 120 calls each from 8 clients, one in twenty unanswered, are checked in seconds, not minutes."""
    histories = {str(n): execution(n, 120, 8, lost=0.05) for n in range(200)}
    started = time.process_time()
    assert check_all(histories) == {}
    assert time.process_time() - started < 20
