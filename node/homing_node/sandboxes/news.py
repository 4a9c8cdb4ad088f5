"""What is to be heard of a run by whoever gave it: kept until it is asked for, bounded, and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from homing.sandbox_news import Item, News, Use
from homing_node.broker.audit import AuditRecord
from homing_node.sandboxes import limits

Answer = Callable[[News], None]


class Unheard:
    """What whoever asked for a run has not heard of it.

    What is printed is bounded by the limits of the run. Of what is done under its grants the newest are kept: the
    oldest go, and the next of them that is told says how many.
    """

    def __init__(self) -> None:
        self._output: deque[tuple[int, Item]] = deque()  # with their numbers, as those of the other
        self._uses: deque[tuple[int, Use]] = deque()  # Invariant: at most uses_unheard_max
        self._newest = 0
        self._missed = 0  # Invariant: 0 where _uses is empty
        self._answer: Answer | None = None  # Invariant: None unless both are empty
        self._ended = False

    def printed(self, stream: int, data: bytes) -> None:
        """The code has printed something."""
        if data:
            self._newest += 1
            self._output.append((self._newest, Item(stream, data)))
            self._tell()

    def used(self, record: AuditRecord) -> None:
        """A call under a grant is over."""
        if len(self._uses) == limits.uses_unheard_max:
            self._uses.popleft()
            self._missed += 1
        self._newest += 1
        self._uses.append((self._newest, _use(record)))
        self._tell()

    def ask(self, answer: Answer) -> None:
        """Somebody wants to hear: `answer` is called once, now or when there is something."""
        waits, self._answer = self._answer, None
        if waits is not None:
            waits(News(True, []))  # it has asked twice; nobody has lost anything
        if self._ended:
            answer(News(False, []))
        else:
            self._answer = answer
            self._tell()

    def end(self) -> list[Item]:
        """The run is over: everything that is left. Whoever waits is told that there is no more."""
        self._ended = True
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(News(False, []))
        return self._take(None)

    def _tell(self) -> None:
        answer = self._answer
        if answer is not None and (self._output or self._uses):
            self._answer = None
            answer(News(True, self._take(limits.news_bytes_max)))

    def _take(self, bytes_max: int | None) -> list[Item]:
        """The oldest of it; at least one, if there is any."""
        items: list[Item] = []
        size = 0
        while (self._output or self._uses) and (bytes_max is None or size < bytes_max):
            if self._output and (not self._uses or self._output[0][0] < self._uses[0][0]):
                items.append(self._output.popleft()[1])
                size += len(items[-1].data)
            else:
                use = self._uses.popleft()[1]
                items.append(Item(use=use._replace(missed=self._missed)))
                self._missed = 0
                size += limits.use_bytes
        return items

    def check(self) -> None:
        """Assert the invariants."""
        assert len(self._uses) <= limits.uses_unheard_max
        assert self._uses or not self._missed
        assert self._answer is None or not (self._output or self._uses)


def _use(record: AuditRecord) -> Use:
    target = record.path
    if record.host:
        host = f"[{record.host}]" if ":" in record.host else record.host
        target = f"{host}:{record.port}{record.path}"
    return Use(
        record.grant, record.kind, record.at_ms, record.method, target, record.outcome, record.rule, record.status,
        record.sent_bytes, record.received_bytes, record.took_ms,
    )  # fmt: skip
