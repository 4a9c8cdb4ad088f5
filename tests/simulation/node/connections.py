"""WebSockets of clients, and the judge of what passes on them: each way in order, once, and nothing lost.

A client with a connection is told each number that its object's list gets from then on, and has it add some. So what it
is told must go on where the list was when it came; and what it sent must be in the list in the order of sending. That
holds while its gateway lives, whatever happens to nodes, workers and streams (docs/sockets.md). The connection stays
open, but for what that page says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.ledger import Violation
from tests.simulation.node.lists import (
    ACCEPT,
    ADDED,
    PING,
    PONG,
    QUIT,
    READ,
    TWICE,
    WRITE,
    decode_list,
    decode_said,
    encode_call,
)
from tests.simulation.node.lives import Asked, Life, Thing

from homing_gateway.limits import SOCKET_UNATTACHED_S_MAX
from homing_gateway.sockets import ABNORMAL, BINARY, CLOSE, TEXT, HeldSocket, Outgoing
from homing_node.objects.limits import socket_reattach_s, socket_tick_s

if TYPE_CHECKING:
    from tests.simulation.node.clients import Call
    from tests.simulation.node.processes import Gateway
    from tests.simulation.node.world import World

PASSING_S = 0.0002  # between a client and its gateway
SAID = {WRITE: 60, READ: 20, TWICE: 12, QUIT: 4, b"": 10}  # what a client says, and how often; empty: a ping
LEAVES = 8  # of a hundred times it leaves instead, by a close or without a word
ROOMS = 3  # objects that have connections
NORMAL, GOING_AWAY, RESTART = 1000, 1001, 1012  # of RFC 6455, 7.4.1, and its registry


class Connection:
    """One client's connection, from the answer to its request on. It is in the place of `SocketProtocol`.

    Attributes:
        number: the socket that it is, of its object.
        call: the request.
        end: why it is closed; empty: it is not.
        lost: its gateway has ended.
        given_up: a node has waited in vain for a gateway that holds it.
    """

    def __init__(self, world: World, gateway: Gateway, number: int, call: Call) -> None:
        self._world, self._gateway, self._loop = world, gateway, gateway.loop
        self.number, self.call, self.object = number, call, call.object
        self.end = ""
        self.lost = self.given_up = False
        self._life: Life | None = None
        self._next = 0  # the place in the list of what it is told next
        self._sent: list[int] = []
        self._handled = 0  # how many of them are in the list
        self._quits: set[int] = set()
        self._questions: dict[int, Asked] = {}
        self._held: HeldSocket | None = None

    # -- its gateway ------------------------------------------------------------------------------------------

    def carry(self, held: HeldSocket) -> None:
        """See `SocketProtocol`."""
        self._held = held
        held.on_out = self._pass_out
        self._pass_out()

    def _pass_out(self) -> None:
        assert self._held is not None
        while (what := self._held.take()) is not None:
            self._world.clock.after(PASSING_S, self._told, what)

    def _say(self, pass_on: Callable[[HeldSocket], object]) -> None:
        """Have what the client says, or its end, come to the gateway, if that is there then."""

        def come() -> None:
            if self._loop is not None and self._loop.alive and self._held is not None:
                self._loop.spawn(pass_on, self._held)

        self._world.clock.after(PASSING_S, come)

    # -- its client -------------------------------------------------------------------------------------------

    def begins(self, life: Life, told: int) -> None:
        """The client has its answer, a list of so many numbers."""
        self._life, self._next = life, told

    @property
    def open(self) -> bool:
        """The client takes it to be."""
        return not self.end and not self.lost

    def says(self, what: bytes) -> None:
        """Send a message."""
        if not what:
            self._say(lambda held: held.came(TEXT, PING.encode()))
            return
        number = self._world.clients.next_number()
        if what == READ:
            self._questions[number] = self.object.asked(self._world.now)
        else:
            self._sent.append(number)
            self.object.messages[number] = self
        if what == QUIT:
            self._quits.add(number)
        if self._world.tracing:
            self._world.trace(f"client says {what!r} {number} on {self}")
        # What runs longer than its first turn does that behind it, for the order of messages is that of first turns.
        seconds = self._world.random.random() * 0.5 if what == TWICE else 0.0
        data = encode_call(what, number, seconds)
        self._say(lambda held: held.came(BINARY, data))

    def leaves(self, *, politely: bool) -> None:
        """Close it, or vanish."""
        self.end = "left"
        self._say(lambda held: held.closed(NORMAL if politely else ABNORMAL, ""))

    def _told(self, what: Outgoing) -> None:
        if not self.open:
            return
        if what.kind == CLOSE:
            self._closed(what.code, what.reason)
            return
        if what.kind == TEXT:
            assert what.data == PONG.encode()
            self._world.connections.told += 1
            return
        assert self._life is not None
        kind, place, number, rest = decode_said(what.data)
        self._world.connections.told += 1
        if kind != ADDED:
            if self.object.told(decode_list(rest), self._questions[place], self._world.now) is not self._life:
                raise Violation(f"{self} is told of another life than its own")
            return
        if place != self._next:
            raise Violation(f"{self} is told the number at {place}, and that at {self._next} comes next")
        self.object.told_one(self._life, place, number)
        self._next += 1

    def handled(self, number: int, life: Life) -> None:
        """The object has added the number of a message."""
        if life is not self._life:
            raise Violation(f"{self}: message {number} was handled in another life than that of its socket")
        if self._sent[self._handled] != number:
            raise Violation(f"{self}: message {number} was handled, and {self._sent[self._handled]} comes before it")
        self._handled += 1

    def waits(self) -> bool:
        """Something is to come of it yet: a message to be handled, a number to be told, its end."""
        life = self._life
        if self.lost or life is None:
            return False
        if life.dead_at <= self._world.now:
            return self.open
        if self.end in ("", "left", "quit") and self._handled < len(self._sent):
            return True
        return self.open and self._next < len(life.truth)

    # -- its end ----------------------------------------------------------------------------------------------

    def _closed(self, code: int, reason: str) -> None:
        """It is closed from the other side. There must be a reason for that."""
        thing, life = self.object, self._life
        assert life is not None
        if self._world.tracing:
            self._world.trace(f"client is closed {self}: {code} {reason}")
        self._world.connections.closed[code] += 1
        if code == NORMAL:
            if life.truth[self._next - 1] not in self._quits:
                raise Violation(f"{self} is closed before it was told what its object said last")
            self.end = "quit"
        elif code == GOING_AWAY and self.given_up:
            self.end = "given up"
        elif code == GOING_AWAY:
            thing.ended(life, self._world.now)
            self.end = "deleted"
        elif code == RESTART and self._world.connections.unheld_s(self) > SOCKET_UNATTACHED_S_MAX / 2:
            self.end = "nobody serves it"
        else:
            raise Violation(f"{self} is closed with {code} {reason}, for no reason that there may be")
        self._say(lambda held: held.closed(code, reason))

    def __repr__(self) -> str:
        return f"the socket that call {self.call.number} opened to {self.object.name} by {self._gateway.id}"


class Visitor:
    """A client that has a connection, most of the time.

    Args:
        connections: all of them.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._world = connections.world
        self._call: Call | None = None
        self._later(3.0 + self._world.random.random() * 2.0)

    def _later(self, seconds: float = 0.0) -> None:
        world = self._world
        world.clock.after(seconds or world.random.expovariate(1 / world.plan.think_s), self._next)

    def _next(self) -> None:
        world, random = self._world, self._world.random
        if not world.rough:
            return
        connection = self._call.connection if self._call is not None else None
        if connection is None or not connection.open:
            thing = random.choice(world.clients.things[:ROOMS])
            self._call = world.clients.call(thing, ACCEPT, 0.0, self, keyed=False)
            return
        if random.random() * 100 < LEAVES:
            connection.leaves(politely=random.random() < 0.5)
        else:
            for _ in range(random.choice((1, 1, 3))):
                connection.says(random.choices(list(SAID), list(SAID.values()))[0])
        self._later()

    def ended(self) -> None:
        """Its request has come to an end."""
        self._later()


class Connections:
    """All connections of a world, and what may be known of them beside what their clients are told.

    Args:
        world: where they are.

    Attributes:
        told: messages that clients were told.
        closed: connections that were closed from the other side, by code.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.told = 0
        self.closed: Counter[int] = Counter()
        self._by_number: dict[int, Connection] = {}
        self._held_at: dict[int, float] = {}  # a node had it attached then, or lost it
        self._visitors = [Visitor(self) for _ in range(world.plan.visitors)]

    @property
    def opened(self) -> int:
        """How many there have been."""
        return len(self._by_number)

    @property
    def handled(self) -> int:
        """Messages of clients that are in lists."""
        return sum(each._handled for each in self._by_number.values())

    def of(self, thing: Thing) -> list[Connection]:
        """Those of an object."""
        return [each for each in self._by_number.values() if each.object is thing]

    def opens(self, gateway: Gateway, number: int, call: Call) -> Connection:
        """A gateway has the answer to a request that becomes one."""
        made = call.connection = self._by_number[number] = Connection(self.world, gateway, number, call)
        return made

    def lost(self, gateway: Gateway) -> None:
        """A gateway ended, and its connections with it."""
        for each in self._by_number.values():
            each.lost = each.lost or each._gateway is gateway

    def quiet(self) -> bool:
        """Those that are open wait for nothing."""
        return not any(each.open and each.waits() for each in self._by_number.values())

    def settled(self) -> bool:
        """Nobody keeps more sockets than there are connections: neither gateways, nor nodes that serve their objects."""
        still = [each for each in self._by_number.values() if each.open]
        for gateway in self.world.gateways:
            if len(gateway.hub or ()) != sum(each._gateway is gateway for each in still):
                return False
        return all(
            sum(host.sockets.count(thing.raw) for host in self.world.hosts(thing.slot))
            == sum(each.object is thing for each in still)
            for thing in self.world.clients.things[:ROOMS]
        )

    def unsettled(self) -> str:
        """What they wait for."""
        waiting = [repr(each) for each in self._by_number.values() if each.waits()]
        return f"connections that wait: {waiting[:3]}, settled={self.settled()}"

    # -- what is seen of nodes and workers --------------------------------------------------------------------

    def held(self, number: int) -> None:
        """A node has a socket attached, or does not any more since now."""
        self._held_at[number] = self.world.now

    def unheld_s(self, connection: Connection) -> float:
        """For how long no node has held it, at most."""
        return self.world.now - self._held_at.get(connection.number, 0.0)

    def gives_up(self, number: int) -> None:
        """A node closes a socket that no gateway holds."""
        connection = self._by_number.get(number)
        if connection is None or not connection.open or connection.given_up:
            return
        unheld_s = min(self.unheld_s(connection), self.world.now - self.world.served_at[connection.object.slot])
        if unheld_s < socket_reattach_s - 2 * socket_tick_s:
            raise Violation(f"{connection} is given up, and was held {unheld_s:.1f} s ago")
        connection.given_up = True

    def heard_of_end(self, number: int, *, code: int) -> None:
        """An object hears that a socket has ended."""
        connection = self._by_number.get(number)
        if connection is not None and connection.open and not connection.given_up:
            raise Violation(f"{connection}: its object hears that it has ended, with {code}")

    def has_attachment(self, number: int, found: Any) -> None:
        """What an object finds attached to a socket."""
        connection = self._by_number.get(number)
        if connection is not None and found != connection.call.number:
            raise Violation(f"{connection} has {found} attached to it")
