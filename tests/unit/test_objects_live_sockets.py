"""Live sockets on their node: they are in no record, and end with the activation that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from homing.errors import HomingError, ObjectReset, Unavailable
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.socket_record import Said, SocketsMeta, fold
from homing_node.objects.socket_state import Address, SocketEvent
from homing_node.objects.sockets import Sockets
from homing_node.workers.inside.sockets import ACCEPT, AUTO, CLOSE, LIVE, TEXT

OBJECT = bytes(32)
KEY = (5).to_bytes(8, "big")  # of the entrypoint in a worker
SLOT = 7
ROOM: Address = (OBJECT, SLOT, 3, "Room", "r")
ENTRYPOINT: Address = (KEY, 0, 0, "", None)


class Holder:
    """A gateway, or what connects to the outside."""

    def __init__(self) -> None:
        self.said: list[tuple[list[int], str]] = []
        self.told: list[tuple[int, str, int]] = []
        self.done: list[tuple[int, int]] = []

    def say(self, handles: Sequence[int], said: Said) -> None:
        self.said.append((list(handles), str(said.data)))

    def tell(self, handle: int, kind: wire.SocketFrame, code: int = 0, reason: str = "") -> None:
        self.told.append((handle, wire.SocketFrame.Name(kind).removeprefix("SOCKET_FRAME_"), code))

    def handled(self, handle: int, seq: int) -> None:
        self.done.append((handle, seq))


class Node:
    """A node, as far as sockets go."""

    def __init__(self) -> None:
        self.meta = SocketsMeta()
        self.now_ns = 0
        self.resting = False
        self.running: list[tuple[SocketEvent, Callable[[wire.Reply], None]]] = []
        self.sockets = Sockets(self, self)
        self.records = 0

    def monotonic_ns(self) -> int:
        return self.now_ns

    def wall_ms(self) -> int:
        return 0

    def on_socket(self, event: SocketEvent, reply: Callable[[wire.Reply], None]) -> None:
        self.running.append((event, reply))

    def sockets_meta(self, object_id: bytes, slot: int) -> tuple[str, str | None, SocketsMeta] | None:
        assert object_id == OBJECT
        return "Room", "r", self.meta

    def takes_events(self, slot: int) -> bool:
        return not self.resting

    def when_settled(self, slot: int, send: Callable[[], None]) -> None:
        send()

    def leave_behind(self, slot: int, send: Callable[[], None]) -> None:
        assert slot == SLOT, "an entrypoint has no slot"
        send()

    def tell_sockets(self, object_id: bytes, frame: tuple[Any, ...]) -> None:
        raise AssertionError("nobody sleeps here")

    def turn(self, *said: Sequence[Any], address: Address = ROOM, wrote: bool = False, ends: bool = False) -> None:
        event = self.running[0][0] if self.running else None
        turn = self.sockets.turn(address, said, event, [event] if event is not None and ends else [])
        recorded = wrote or turn.lasting
        if recorded:
            self.records += 1
            fold(self.meta, turn.changes)
        say = self.sockets.take(turn, event, recorded=recorded)
        if say is not None:
            say()
        if ends:
            self.end()

    def end(self, error: HomingError | None = None) -> None:
        _, reply = self.running.pop(0)
        reply(wire.Reply(failure=wire.Failure(code=error.code)) if error is not None else wire.Reply())

    def attach(self, holder: Holder, number: int, object_id: bytes = OBJECT) -> None:
        of_object = len(object_id) == 32
        ref = wire.SocketRef(object=object_id, number=number, live=True)
        m = wire.FromSocket(
            handle=number * 10, socket=ref, slot=SLOT * of_object, epoch=3 * of_object, base=1,
            kind=wire.SOCKET_FRAME_ATTACH,
        )  # fmt: skip
        self.sockets.attach(holder, m, 3 if of_object else 0)

    def comes(self, holder: Holder, number: int, seq: int, text: str = "hi") -> None:
        m = wire.FromSocket(handle=number * 10, kind=wire.SOCKET_FRAME_TEXT, seq=seq, base=1)
        self.sockets.came(holder, m, text.encode())

    def closes(self, holder: Holder, number: int, seq: int) -> None:
        m = wire.FromSocket(handle=number * 10, kind=wire.SOCKET_FRAME_CLOSE, seq=seq, base=1, code=1000, clean=True)
        self.sockets.came(holder, m, b"")


@pytest.fixture
def holder() -> Holder:
    return Holder()


@pytest.fixture
def node(holder: Holder) -> Node:
    """Its object has a live socket, 1, which a gateway holds."""
    made = Node()
    made.turn([LIVE, 1])
    made.attach(holder, 1)
    return made


def test_no_record_says_anything_of_a_live_socket(node: Node, holder: Holder) -> None:
    """Seen to fail when it is taken in as another: each connection cost a record, and outlived its instance."""
    node.comes(holder, 1, 1)
    node.turn([TEXT, [1], "live"], wrote=True, ends=True)
    assert node.meta == SocketsMeta()
    node.turn([ACCEPT, 2, []])
    node.turn([TEXT, [1, 2], "both"], [TEXT, [2], "kept"], [TEXT, [1], "live"], wrote=True)
    assert [said.data for said in node.meta.said] == ["both", "kept"]
    assert [data for _, data in holder.said] == ["live", "both", "live"]
    records = node.records
    node.closes(holder, 1, 2)
    node.turn(ends=True)
    assert node.records == records
    assert holder.done == [(10, 1), (10, 2)]
    assert node.sockets.count(OBJECT) == 1


def test_what_was_said_on_live_sockets_only_is_not_waited_for_in_records(node: Node, holder: Holder) -> None:
    node.turn([TEXT, [1], "x"], wrote=True)
    node.sockets.had(holder, 10, 1 << 60)
    turn = node.sockets.turn(ROOM, [[TEXT, [1], "y"]], None, [])
    assert turn.changes == type(turn.changes)()


def test_the_end_of_the_instance_closes_it_with_1012(node: Node, holder: Holder) -> None:
    """Seen to fail when it is left in the table: the next instance was given messages of a socket it does not know."""
    node.turn([ACCEPT, 2, []])
    node.attach(holder, 2)
    node.sockets.asleep(OBJECT)
    assert holder.told == [(10, "ATTACH", 0), (20, "ATTACH", 0), (10, "GONE", 1012)]
    node.comes(holder, 1, 1)
    assert node.running == []
    assert node.sockets.opened(ROOM, None) == [[(2, [], None, 0, False)], None]
    again = Holder()
    node.attach(again, 1)
    assert again.told == [(10, "GONE", 1012)], "also to a gateway whose stream was broken then"


def test_an_instance_is_told_of_others_only(node: Node) -> None:
    assert node.sockets.opened(ROOM, None) == [[], None]


def test_a_slot_that_goes_elsewhere_closes_it_with_1012(node: Node, holder: Holder) -> None:
    node.turn([ACCEPT, 2, []])
    node.attach(holder, 2)
    node.sockets.lost(SLOT)
    assert holder.told[2:] == [(10, "GONE", 1012), (20, "LOST", 0)]


def test_a_message_whose_instance_died_is_not_tried_again(node: Node, holder: Holder) -> None:
    """Seen to fail when it is: a message that killed its worker woke the object once more, for nobody."""
    node.comes(holder, 1, 1)
    node.end(ObjectReset())
    assert node.running == []
    node.sockets.asleep(OBJECT)
    assert holder.told[-1] == (10, "GONE", 1012)


def test_but_one_that_could_not_be_handed_over_is(node: Node, holder: Holder) -> None:
    node.comes(holder, 1, 1)
    node.end(Unavailable())
    node.now_ns += 10**9
    node.sockets.tick()
    assert [event.seq for event, _ in node.running] == [1]


def test_automatic_responses_are_not_for_live_sockets(node: Node, holder: Holder) -> None:
    node.turn([AUTO, "ping", "pong"])
    node.comes(holder, 1, 1, "ping")
    assert [event.data for event, _ in node.running] == [b"ping"]


def test_an_entrypoint_has_sockets_under_the_key_of_its_worker(holder: Holder) -> None:
    node = Node()
    node.turn([LIVE, 4], address=ENTRYPOINT)
    node.resting = True  # which says nothing of what has no slot
    node.attach(holder, 4, KEY)
    node.comes(holder, 4, 1)
    assert [event.owner.object for event, _ in node.running] == [KEY]
    node.sockets.lost(0)
    node.turn([TEXT, [4], "x"], address=ENTRYPOINT, ends=True)
    node.sockets.asleep(KEY)
    assert holder.told == [(40, "ATTACH", 0), (40, "GONE", 1012)]
    assert holder.said == [([40], "x")]
    node.attach(holder, 4, KEY)
    assert holder.told[2:] == [(40, "GONE", 1012)]


def test_a_connection_to_the_outside_waits_until_it_is_accepted(holder: Holder) -> None:
    node = Node()
    node.sockets.offer(OBJECT, 6, holder, 60)
    assert holder.told == []
    node.turn([LIVE, 6], [TEXT, [6], "hi"])
    assert holder.told == [(60, "ATTACH", 0)]
    assert holder.said == [([60], "hi")]
    node.comes(holder, 6, 1)
    assert [event.seq for event, _ in node.running] == [1]
    assert not node.sockets.holds(OBJECT)
    node.sockets.asleep(OBJECT)
    assert holder.told[1:] == [(60, "GONE", 1012)]


def test_a_connection_of_another_object_cannot_be_accepted(holder: Holder) -> None:
    """Seen to fail when only its number is looked at."""
    node = Node()
    node.sockets.offer(KEY, 6, holder, 60)
    node.turn([LIVE, 6])
    assert holder.told == []
    node.sockets.withdraw(6)
    node.turn([LIVE, 6], address=ENTRYPOINT)
    assert holder.told == []


def test_the_end_of_an_instance_ends_what_it_has_not_accepted(holder: Holder) -> None:
    node = Node()
    node.sockets.offer(OBJECT, 6, holder, 60)
    node.sockets.asleep(KEY)
    assert holder.told == []
    node.sockets.asleep(OBJECT)
    assert holder.told == [(60, "GONE", 1012)]


def test_whether_a_client_holds_an_instance(node: Node, holder: Holder) -> None:
    assert node.sockets.holds(OBJECT)
    node.closes(holder, 1, 1)
    node.turn(ends=True)
    node.turn([ACCEPT, 2, []])
    assert not node.sockets.holds(OBJECT)


@pytest.mark.parametrize(
    "item", [[LIVE, 0], [LIVE, 1 << 63], [LIVE, "1"], [LIVE, 1], [CLOSE, [1], 1006, ""], [CLOSE, [1], 2_000, ""]]
)
def test_what_a_worker_cannot_have_meant_is_refused(node: Node, item: list[Any]) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        node.sockets.turn(ROOM, [item], None, [])
