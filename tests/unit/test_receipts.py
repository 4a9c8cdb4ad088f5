"""Receipts of what was said on sockets: they travel with others, and wait for a bounded time and amount."""

from __future__ import annotations

import pytest

from hand_clock import Clock
from homing.wire.v1 import call_pb2 as wire
from homing_placement.routing.limits import RECEIPT_BYTES_MAX, RECEIPT_S_MAX
from homing_placement.routing.receipts import Receipts


class Writer:
    """Sends what is due as soon as it is told to."""

    def __init__(self) -> None:
        self.receipts = Receipts(self.go)
        self.sent: list[dict[int, int]] = []

    def go(self) -> None:
        assert self.receipts.due
        self.send()

    def send(self) -> None:
        batch = wire.CallBatch()
        self.receipts.fill(batch)
        assert not self.receipts.due
        self.sent.append(dict(zip(batch.had_handles, batch.had_seqs, strict=True)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock.of_running_loop(monkeypatch)


def test_receipts_travel_with_what_leaves_next(clock: Clock) -> None:
    """Broken by: a message of its own for each, which is a third of what an echo costs."""
    writer = Writer()
    writer.receipts.add(7, 1, 10)
    writer.receipts.add(8, 5, 10)
    writer.receipts.add(7, 2, 10)
    assert not writer.sent
    writer.send()
    clock.move(2 * RECEIPT_S_MAX)
    assert writer.sent == [{7: 2, 8: 5}], "told once, and nothing is left to wait for"


def test_receipts_leave_in_time_though_nothing_else_does(clock: Clock) -> None:
    """Broken by: receipts that wait for company: the node would keep all that was said. By: a wait that begins anew."""
    writer = Writer()
    writer.receipts.add(7, 1, 10)
    clock.move(RECEIPT_S_MAX / 2)
    writer.receipts.add(7, 2, 10)
    assert not writer.sent
    clock.move(RECEIPT_S_MAX / 2)
    assert writer.sent == [{7: 2}]
    writer.receipts.add(7, 3, 10)
    clock.move(RECEIPT_S_MAX)
    assert writer.sent == [{7: 2}, {7: 3}]


def test_much_that_was_said_does_not_wait(clock: Clock) -> None:
    """Broken by: a bound on time alone; a socket that is read fast would be closed as one that is read slowly."""
    writer = Writer()
    writer.receipts.add(7, 1, RECEIPT_BYTES_MAX - 1)
    assert not writer.sent
    writer.receipts.add(8, 1, 1)
    assert writer.sent == [{7: 1, 8: 1}]
    writer.receipts.add(7, 2, RECEIPT_BYTES_MAX - 1)
    assert len(writer.sent) == 1, "what has been told does not count"
    writer.receipts.clear()
    clock.move(2 * RECEIPT_S_MAX)
    assert len(writer.sent) == 1, "nobody is told of a stream that broke"
