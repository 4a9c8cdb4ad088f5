"""The window of a body that flows: how much may be under way, and when who takes it says so."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing import flow
from homing.flow import ReceiveWindow, SendWindow, cost_of, cut


def test_a_long_piece_is_cut_and_an_empty_one_is_none():
    pieces = list(cut(b"x" * (2 * flow.piece_bytes_max + 1)))
    assert [len(piece) for piece in pieces] == [flow.piece_bytes_max, flow.piece_bytes_max, 1]
    assert list(cut(b"")) == []
    assert list(cut(b"y" * flow.piece_bytes_max)) == [b"y" * flow.piece_bytes_max]


def test_a_sender_stops_when_its_window_is_full():
    """Broken by: room that is always there."""
    window = SendWindow()
    sent = 0
    while window.room:
        window.sent(b"x" * flow.piece_bytes_max)
        sent += 1
    assert sent == -(-flow.window_bytes // cost_of(b"x" * flow.piece_bytes_max))
    window.returned(cost_of(b"x" * flow.piece_bytes_max))
    assert window.room


def test_small_pieces_fill_a_window_too():
    """What a piece costs beside its bytes bounds how many are held. Broken by: a cost of the bytes alone."""
    window = SendWindow()
    sent = 0
    while window.room:
        window.sent(b"x")
        sent += 1
    assert sent <= flow.window_bytes // flow.piece_cost_bytes


@pytest.mark.parametrize("cost", [0, -1, 1_000])
def test_credit_for_what_was_not_sent_is_refused(cost: int):
    """Broken by: credit that is believed."""
    window = SendWindow()
    window.sent(b"x")
    with pytest.raises(ValueError, match="credit"):
        window.returned(cost)


def test_more_than_there_is_room_for_is_refused():
    """Broken by: pieces that are taken whatever is held."""
    window = ReceiveWindow()
    with pytest.raises(ValueError, match="room"):
        window.came(b"x" * (flow.piece_bytes_max + 1))
    for _ in range(4):
        window.came(b"x" * flow.piece_bytes_max)
    with pytest.raises(ValueError, match="room"):
        window.came(b"x")
    with pytest.raises(ValueError, match="taken"):
        ReceiveWindow().took(1)


@given(
    st.lists(st.integers(1, flow.piece_bytes_max), min_size=1, max_size=40),
    st.lists(st.integers(0, 2), min_size=1, max_size=400),
)
def test_a_body_comes_through_a_relay_whole_and_within_its_window(sizes: list[int], steps: list[int]):
    """A sender, a relay and a reader, each at its own pace: nothing is held beyond the window, and the end is reached.

    Broken by: a relay that says less than the reader took, for then it stands still.
    """
    sender, relay, reader = SendWindow(), ReceiveWindow(), ReceiveWindow()
    left, there, read = deque(bytes(size) for size in sizes), deque[bytes](), 0
    for step in (*steps, *(2, 1) * 1_000):
        if step == 1 and left and sender.room:
            piece = left.popleft()
            sender.sent(piece)
            relay.came(piece)
            reader.came(piece)
            there.append(piece)
        elif step == 2 and there:
            piece = there.popleft()
            read += len(piece)
            reader.took(cost_of(piece))
            if said := reader.due():
                relay.took(said)
                sender.returned(relay.due() or relay.rest())
        assert sum(map(cost_of, there)) < flow.window_bytes + flow.piece_bytes_max + flow.piece_cost_bytes
    assert read == sum(sizes)
