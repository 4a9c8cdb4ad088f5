"""The channel's framing: every bound at its edge, order, interleaving, and bytes from a hostile other side."""

import asyncio
import os
import socket
import struct

import msgspec
import pytest

from homing_node.workers.inside import limits
from homing_node.workers.inside.channel import BadFrame, Channel, Inbox, MessageTooLarge, Outbox

FRAGMENT = 1 << 31


def frame(payload: bytes) -> bytes:
    return struct.pack("<I", len(payload)) + payload


def fragment(number: int, last: int, data: bytes) -> bytes:
    payload = struct.pack("<IB", number, last) + data
    return struct.pack("<I", FRAGMENT | len(payload)) + payload


def drain(outbox: Outbox) -> list[bytes]:
    chunks: list[bytes] = []
    while chunk := outbox.take():
        chunks.append(chunk)
    return chunks


def test_messages_come_out_as_they_went_in_however_the_bytes_are_cut():
    outbox = Outbox()
    sent = [(6, n, b"x" * n, None, [True, "é"]) for n in range(40)]
    for message in sent:
        outbox.put(message)
    data = b"".join(drain(outbox))
    for step in (1, 3, 7, 1_000, len(data)):
        inbox = Inbox()
        got = [message for at in range(0, len(data), step) for message in inbox.feed(data[at : at + step])]
        assert got == [list(message) for message in sent]


def test_a_message_at_the_fragment_bound_is_one_frame_and_one_byte_more_is_not():
    overhead = len(msgspec.msgpack.encode((1, 2, b"x" * 200_000))) - 200_000
    for extra, pieces in ((0, 1), (1, 2)):
        outbox = Outbox()
        outbox.put((1, 2, b"x" * (limits.fragment_bytes - overhead + extra)))
        chunks = drain(outbox)
        assert len(chunks) == pieces
        assert bool(struct.unpack_from("<I", chunks[0])[0] & FRAGMENT) is bool(extra)
        assert sum(len(Inbox().feed(chunk)) for chunk in chunks[:1]) == (0 if extra else 1)


def test_small_messages_pass_between_the_pieces_of_a_large_one_but_not_their_own():
    """Broken by: no per-key order in the outbox (the small message of activation 7 arrives first)."""
    outbox, inbox = Outbox(), Inbox()
    large = os.urandom(600_000)
    outbox.put((2, 7, large))
    outbox.put((2, 8, b"small"))
    outbox.put((2, 7, b"after"))
    first = inbox.feed(outbox.take())
    assert first == [[2, 8, b"small"]]
    rest = [message for chunk in drain(outbox) for message in inbox.feed(chunk)]
    assert rest == [[2, 7, large], [2, 7, b"after"]]
    assert outbox.queued_bytes == 0
    assert not outbox.has_pieces


def test_large_messages_take_turns():
    outbox, inbox = Outbox(), Inbox()
    outbox.put((2, 1, bytes(2_000_000)))
    outbox.put((2, 2, bytes(300_000)))
    order = [message[1] for chunk in drain(outbox) for message in inbox.feed(chunk)]
    assert order == [2, 1]


def test_no_more_messages_are_started_than_the_receiver_takes():
    """Broken by: starting every large message at once (the inbox refuses the 65th)."""
    outbox, inbox = Outbox(), Inbox()
    for key in range(limits.partial_messages_max + 6):
        outbox.put((2, key, bytes(300_000)))
    got = [message[1] for chunk in drain(outbox) for message in inbox.feed(chunk)]
    assert sorted(got) == list(range(limits.partial_messages_max + 6))


def test_pieces_together_stay_within_the_receivers_bound():
    """Broken by: not counting _started_bytes."""
    outbox, inbox = Outbox(2_000_000), Inbox(message_bytes_max=2_000_000)
    for key in range(4):
        outbox.put((2, key, bytes(900_000)))
    got = [message[1] for chunk in drain(outbox) for message in inbox.feed(chunk)]
    assert sorted(got) == [0, 1, 2, 3]
    with pytest.raises(MessageTooLarge):
        outbox.put((2, 1, bytes(2_000_000)))
    assert outbox.queued_bytes == 0


def test_a_frame_over_the_bound_is_refused_before_its_bytes_come():
    assert Inbox().feed(struct.pack("<I", limits.frame_bytes_max)) == []
    for bit in (0, FRAGMENT):
        with pytest.raises(BadFrame, match="a frame of"):
            Inbox().feed(struct.pack("<I", bit | (limits.frame_bytes_max + 1)))


def test_partial_messages_are_bounded_in_number_and_bytes():
    inbox = Inbox()
    for number in range(limits.partial_messages_max):
        assert inbox.feed(fragment(number, 0, b"x")) == []
    with pytest.raises(BadFrame, match="more than 64"):
        inbox.feed(fragment(64, 0, b"x"))
    inbox = Inbox(message_bytes_max=10)
    assert inbox.feed(fragment(1, 0, b"12345") + fragment(2, 0, b"12345")) == []
    with pytest.raises(BadFrame, match="pieces of more"):
        inbox.feed(fragment(2, 0, b"6"))


def test_finished_messages_give_their_room_back():
    """Broken by: not subtracting a finished message from _partial_bytes."""
    payload = msgspec.msgpack.encode([1, b"12345678"])
    inbox = Inbox(message_bytes_max=len(payload))
    for number in range(5):
        assert inbox.feed(fragment(number, 0, payload[:4]) + fragment(number, 1, payload[4:])) == [[1, b"12345678"]]


@pytest.mark.parametrize(
    "data",
    [
        frame(b""),
        frame(b"\x90"),  # an empty array
        frame(b"\x91\xa1x"),  # begins with a string
        frame(b"\x91\xc3"),  # begins with a boolean
        frame(b"\x80"),
        frame(b"\x92\x01"),
        frame(b"\x91\x01\x01"),
        frame(b"\xdd\xff\xff\xff\xff\x01"),
        frame(b"\x92\x01\xdf\xff\xff\xff\xff\x01"),
        frame(b"\x92\x01\xa2\xff\xfe"),
        frame(b"\x91" * 100_000 + b"\x01"),
        frame(b"\x92\x01\x81\x81\x01\x01\x01"),
        frame(b"\xc1"),
        fragment(1, 0, b""),
        fragment(1, 2, b"x"),
        fragment(1, 1, b"\x80"),
        struct.pack("<I", FRAGMENT),
    ],
)
def test_hostile_bytes_are_a_bad_frame(data: bytes):
    with pytest.raises(BadFrame):
        Inbox().feed(data)


class End:
    def __init__(self) -> None:
        self.messages: list[list[object]] = []
        self.reasons: list[str] = []
        self.closed = asyncio.Event()
        self.channel = Channel(self.messages.append, self.on_close, message_bytes_max=4_000_000)

    def on_close(self, reason: str) -> None:
        self.reasons.append(reason)
        self.closed.set()


async def pair() -> tuple[End, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    end = End()
    await asyncio.get_running_loop().create_connection(lambda: end.channel, sock=ours)
    return end, theirs


async def test_a_protocol_error_closes_the_channel_once_with_its_reason():
    end, theirs = await pair()
    theirs.send(frame(b"\x92\x06\x01") + frame(b"\xc1"))
    await asyncio.wait_for(end.closed.wait(), 5)
    assert len(end.reasons) == 1
    assert end.reasons[0].startswith("protocol error")
    end.channel.send((6, 1))
    end.channel.close()
    await asyncio.sleep(0)
    assert len(end.reasons) == 1
    theirs.close()


async def test_a_handler_may_refuse_a_message():
    end, theirs = await pair()

    def refuse(message: object) -> None:
        raise BadFrame("not for me")

    end.channel._on_message = refuse
    theirs.send(frame(b"\x92\x06\x01"))
    await asyncio.wait_for(end.closed.wait(), 5)
    assert "not for me" in end.reasons[0]
    theirs.close()


async def test_the_other_side_closing_is_said():
    end, theirs = await pair()
    theirs.close()
    await asyncio.wait_for(end.closed.wait(), 5)
    assert end.reasons == ["the other side closed"]


async def test_a_reader_that_stops_pauses_the_writer_and_then_gets_everything():
    """Broken by: flushing while paused (queued pieces can no longer be passed), or not flushing on resume."""
    end, theirs = await pair()
    writable = asyncio.Event()
    end.channel._on_writable = writable.set
    for key in range(12):
        end.channel.send((2, key, bytes(300_000)))
    for _ in range(100):
        await asyncio.sleep(0)
    assert end.channel.paused
    assert end.channel.queued_bytes > 1_000_000
    inbox = Inbox()
    got: list[list[object]] = []
    while len(got) < 12:
        got += inbox.feed(await asyncio.wait_for(asyncio.get_running_loop().sock_recv(theirs, 1 << 20), 5))
    await asyncio.wait_for(writable.wait(), 5)
    assert end.channel.queued_bytes == 0
    end.channel.close("done")
    await asyncio.wait_for(end.closed.wait(), 5)
    assert end.reasons == ["done"]
    theirs.close()
