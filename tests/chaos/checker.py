"""A linearizability checker for histories of one register or counter per object.

A history is what clients saw: when each operation was sent, when its answer came, and what the answer was. It is
linearizable when every operation can be given one instant between its two times, such that doing the operations in
the order of these instants gives exactly the answers that were seen. An operation without an answer may have
happened at any instant after it was sent, or never.

The search walks the history once, in the order of time, and keeps the set of *configurations* that could be true:
the value, and which of the open operations have already had their effect. An operation is given its effect only when
some answer needs it (just-in-time linearization, after Wing and Gong, and Lowe). Some observations keep the set small:

* a read whose answer equals the value may always be given its instant now: it changes nothing;
* open operations of one kind and argument that will never be answered cannot be told apart: they are counted;
* a configuration that was visited once need not be visited again;
* without writes a value only grows: one beyond the answer that is to be explained explains nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Kind(Enum):
    """What an operation does: `INCREMENT` answers the new value, `READ` the value, `WRITE` stores its argument."""

    INCREMENT = "increment"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of one client.

    Attributes:
        kind: what it does.
        invoked_s: when it was sent first, monotonic seconds.
        answered_s: when its answer came; `None` if no answer came: it may have happened or not.
        value: the answer of an increment or a read; the argument of a write.
    """

    kind: Kind
    invoked_s: float
    answered_s: float | None
    value: int | None = None

    def __post_init__(self) -> None:
        assert self.answered_s is None or self.answered_s >= self.invoked_s
        assert self.kind is not Kind.WRITE or self.value is not None
        assert self.answered_s is None or self.value is not None


@dataclass(frozen=True, slots=True)
class Violation:
    """The first answer that nothing explains.

    Attributes:
        operation: whose answer it is.
        values: the values the object could have had just before, in order.
        open_operations: what else was open at that moment.
    """

    operation: Operation
    values: tuple[int, ...]
    open_operations: tuple[Operation, ...]

    def __str__(self) -> str:
        op = self.operation
        possible = ", ".join(map(str, self.values[:8]))
        return (
            f"{op.kind.value} answered {op.value} at {op.answered_s}, sent at {op.invoked_s}; "
            f"the value before could be {possible}; {len(self.open_operations)} other operations were open"
        )


class _Configuration(NamedTuple):
    """One possible truth. `done` are open answered operations that have had their effect; `used` counts, for each
    class of unanswered ones, how many have."""

    value: int
    done: frozenset[int]
    used: tuple[tuple[tuple[Kind, int | None], int], ...]


def check_object(history: Sequence[Operation], initial: int = 0) -> Violation | None:
    """Whether the history of one object is linearizable.

    Args:
        history: every operation on the object, in any order; operations that certainly did not happen left out.
        initial: the value before the first operation.

    Returns:
        `None` when it is, else the first answer that no order explains.

    Example:
        >>> check_object([Operation(Kind.INCREMENT, 0.0, 1.0, 1), Operation(Kind.READ, 2.0, 3.0, 1)]) is None
        True
    """
    search = _Search(initial, only_grows=all(operation.kind is not Kind.WRITE for operation in history))
    for _, is_answer, index in _events(history):
        if not is_answer:
            search.invoke(index, history[index])
        elif not search.answer(index):
            values = tuple(sorted({configuration.value for configuration in search.before}))
            others = tuple(op for number, op in search.open.items() if number != index)
            return Violation(history[index], values, others)
    return None


def check_all(histories: Mapping[str, Sequence[Operation]]) -> dict[str, Violation]:
    """Check each object apart (linearizability is local: all are if each is), and return those that are not."""
    found = {name: check_object(history) for name, history in histories.items()}
    return {name: violation for name, violation in found.items() if violation is not None}


def check_exactly_once(replies: Iterable[int]) -> str | None:
    """Whether the replies to an object's increments are exactly {1 … n}, each once.

    Args:
        replies: the answers, one for each idempotency key, in any order.

    Returns:
        `None` when they are, else a sentence that names what is missing, repeated or foreign.
    """
    counted = Counter(replies)
    total = counted.total()
    missing = [n for n in range(1, total + 1) if n not in counted]
    repeated = sorted(n for n, times in counted.items() if times > 1)
    foreign = sorted(n for n in counted if not 1 <= n <= total)
    if not (missing or repeated or foreign):
        return None
    return f"{total} replies; missing {missing[:5]}, repeated {repeated[:5]}, outside 1…{total} {foreign[:5]}"


def _events(history: Sequence[Operation]) -> list[tuple[float, bool, int]]:
    """All sendings and answers by time; of equal times the sending first, which allows more orders."""
    events: list[tuple[float, bool, int]] = []
    for index, operation in enumerate(history):
        if operation.answered_s is not None:
            events.append((operation.answered_s, True, index))
        elif operation.kind is Kind.READ:
            continue  # a read that nobody saw the answer of says nothing
        events.append((operation.invoked_s, False, index))
    events.sort()
    return events


class _Search:
    """The configurations that could be true, as the history is walked."""

    def __init__(self, initial: int, only_grows: bool) -> None:
        self.only_grows = only_grows
        self.configurations: set[_Configuration] = {_Configuration(initial, frozenset(), ())}
        self.before: set[_Configuration] = self.configurations
        self.open: dict[int, Operation] = {}
        self.unanswered: Counter[tuple[Kind, int | None]] = Counter()

    def invoke(self, index: int, operation: Operation) -> None:
        """An operation was sent."""
        if operation.answered_s is None:
            self.unanswered[_class_of(operation)] += 1
            return
        self.open[index] = operation
        if operation.kind is Kind.READ:
            self.configurations = {self._with_reads(c, (index,)) for c in self.configurations}

    def answer(self, index: int) -> bool:
        """An answer came: keep what explains it; false when nothing does."""
        self.before = self.configurations
        highest = self.open[index].value if self.only_grows else None
        kept: set[_Configuration] = set()
        seen: set[_Configuration] = set()
        todo = list(self.configurations)
        while todo:
            configuration = todo.pop()
            if configuration in seen:
                continue
            seen.add(configuration)
            if index in configuration.done:
                kept.add(configuration._replace(done=configuration.done - {index}))
            elif highest is None or configuration.value < highest:
                todo.extend(self._successors(configuration))
        if kept:
            self.configurations = kept
            del self.open[index]
        return bool(kept)

    def _successors(self, c: _Configuration) -> list[_Configuration]:
        """What one more effect of an open operation can lead to."""
        found: list[_Configuration] = []
        for index, operation in self.open.items():
            if index in c.done:
                continue
            if operation.kind is Kind.WRITE:
                assert operation.value is not None
                found.append(self._moved(c, operation.value, c.done | {index}, c.used))
            elif operation.kind is Kind.INCREMENT and operation.value == c.value + 1:
                found.append(self._moved(c, c.value + 1, c.done | {index}, c.used))
        used = dict(c.used)
        for group, sent in self.unanswered.items():
            times = used.get(group, 0)
            if times < sent:
                value = c.value + 1 if group[0] is Kind.INCREMENT else group[1]
                assert value is not None
                more = tuple(sorted({**used, group: times + 1}.items(), key=_order))
                found.append(self._moved(c, value, c.done, more))
        return found

    def _moved(
        self,
        c: _Configuration,
        value: int,
        done: frozenset[int],
        used: tuple[tuple[tuple[Kind, int | None], int], ...],
    ) -> _Configuration:
        return self._with_reads(_Configuration(value, done, used), self.open)

    def _with_reads(self, c: _Configuration, indexes: Iterable[int]) -> _Configuration:
        """The same with every open read that fits the value given its instant now."""
        fitting = [
            i for i in indexes if (op := self.open[i]).kind is Kind.READ and op.value == c.value and i not in c.done
        ]
        return c._replace(done=c.done.union(fitting)) if fitting else c


def _class_of(operation: Operation) -> tuple[Kind, int | None]:
    return (operation.kind, operation.value if operation.kind is Kind.WRITE else None)


def _order(item: tuple[tuple[Kind, int | None], int]) -> tuple[str, int]:
    (kind, value), _ = item
    return (kind.value, value or 0)
