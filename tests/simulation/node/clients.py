"""Clients, and the judge of what they are told: lists that only grow, each number once, nothing lost, nothing refused."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from tests.simulation.ledger import Violation
from tests.simulation.node.lists import (
    DELETE,
    PASS,
    PASSED,
    RANG,
    READ,
    SET,
    SLOW,
    TWICE,
    WRITE,
    decode_list,
    encode_call,
    encode_pass,
)
from tests.simulation.node.lives import Asked, Deletion, Thing
from tests.simulation.node.workers import CLASS

from homing.errors import BrokenOff, HomingError, KeyReused, NotFound
from homing.ids import ObjectId
from homing_placement.routing.policy import retryable

if TYPE_CHECKING:
    from tests.simulation.node.connections import Connection
    from tests.simulation.node.world import World

SENDINGS_MAX = 40  # of one call by its client
KINDS = {READ: 28, WRITE: 40, SLOW: 8, TWICE: 10, SET: 8, PASS: 6}  # and how often
DELETIONS = 5  # beside them, where the object is mortal


class Caller(Protocol):
    """Whoever waits for a call."""

    def ended(self) -> None:
        """It has come to an end."""
        ...


@dataclass(slots=True, eq=False)
class Call:
    """One call of a client, with its repetitions; or a deletion.

    Attributes:
        connection: what became of the request, if that is a socket.
    """

    number: int
    object: Thing
    what: bytes
    key: str
    seconds: float
    asked: Asked
    client: Caller | None
    gateway: int = 0
    sendings: int = 0
    body: bytes = b""
    fingerprint: bytes = b""
    deletion: Deletion | None = None
    connection: Connection | None = None


class Client:
    """Calls, waits for the answer, thinks, calls again.

    Args:
        clients: all of them.
        number: which it is.
    """

    def __init__(self, clients: Clients, number: int) -> None:
        self._clients = clients
        self._world = clients.world
        self.number = number
        self.call: Call | None = None
        self._world.clock.after(3.0 + self._world.random.random() * 2.0, self.next)

    def next(self) -> None:
        """The next call, unless it is over."""
        world = self._world
        if not world.rough:
            return
        random = world.random
        thing = random.choice(self._clients.things)
        if thing.mortal and random.random() * 100 < DELETIONS:
            self.call = self._clients.call(thing, DELETE, 0.0, self, keyed=False)
            return
        what = random.choices(list(KINDS), list(KINDS.values()))[0]
        seconds = random.choice((0.3, 1.0, 3.0)) * random.random() if what == SLOW else random.random() * 0.05
        if what == SET:
            seconds = world.clock.now + random.choice((0.0, 1.0, 10.0, 40.0)) * random.random()
        # With a key what broke off before a commit is run again, and would have others add the same once more.
        keyed = what not in (READ, PASS) and random.random() < 0.6
        self.call = self._clients.call(thing, what, seconds, self, keyed=keyed)

    def ended(self) -> None:
        """Its call has come to an end."""
        self.call = None
        self._world.clock.after(self._world.random.expovariate(1 / self._world.plan.think_s), self.next)


class Clients:
    """All clients of a world.

    Args:
        world: where they live.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        names = [f"o{i}" for i in range(world.plan.objects)]
        bound = 0 if world.plan.layout.jurisdictions else None  # every second one is in the jurisdiction
        ids = [ObjectId.from_name(CLASS, name, bound if i % 2 else None) for i, name in enumerate(names)]
        self.things = [
            Thing(name, one.slot(world.plan.hashed), one.raw, mortal=world.plan.mortal and i % 2 == 1)
            for i, (name, one) in enumerate(zip(names, ids, strict=True))
        ]
        self.open: dict[Call, None] = {}
        self.acknowledged = 0
        self.reads = 0
        self.passes = 0
        self.unknown = 0
        self.refused = 0
        self.replayed = 0
        self.deletions = 0
        self._passed: list[tuple[Thing, Thing, int]] = []  # who has whom add which number
        self._number = 0
        self._clients = [Client(self, i) for i in range(world.plan.clients)]

    def next_number(self) -> int:
        """A number that no list has."""
        self._number += 1
        return self._number

    def call(self, thing: Thing, what: bytes, seconds: float, client: Caller | None, *, keyed: bool) -> Call:
        """Begin a call."""
        number = self.next_number()
        call = Call(
            number, thing, what, f"k{number}" if keyed else "", seconds, thing.asked(self.world.clock.now), client,
            gateway=self.world.random.randrange(len(self.world.gateways)),
        )  # fmt: skip
        if keyed:
            thing.keyed.add(number)
        if what == DELETE:
            call.deletion = thing.deletion(self.world.clock.now)
        call.body = encode_call(what, call.number, seconds)
        if what == PASS:
            target = self.world.random.choice(self.things)
            call.body = encode_pass(call.number, target.raw, target.name)
            self._passed.append((thing, target, call.number))
        call.fingerprint = blake2b(call.body, digest_size=16).digest()
        self.open[call] = None
        self._send(call)
        return call

    def _send(self, call: Call) -> None:
        if call not in self.open:
            return
        call.sendings += 1
        call.asked.sent_at = self.world.clock.now
        if self.world.tracing:
            self.world.trace(f"client calls {call.object.name} {call.what!r} {call.number} key={call.key!r}")
        gateway = self.world.gateways[call.gateway]
        if not gateway.submit(call):
            self.failed(call, None)

    # -- answers ----------------------------------------------------------------------------------------------

    def answered(self, call: Call, data: bytes) -> None:
        """A gateway answered."""
        if call not in self.open:
            return
        thing = call.object
        found = decode_list(data)
        if self.world.tracing:
            self.world.trace(f"client is answered {thing.name} {call.number}: {len(found)} numbers")
        life = thing.told(found, call.asked, self.world.clock.now)
        self.passes += call.what == PASS
        if call.what == READ:
            self.reads += 1
            thing.final |= call.client is None
        else:
            if life is None or call.number not in found:
                raise Violation(f"{thing.name}: call {call.number} was answered, and is not in the list")
            if call.what == SET:
                life.alarms.add(call.number | RANG)
            if call.connection is not None:
                call.connection.begins(life, len(found))
            self.acknowledged += 1
        self._end(call)

    def deleted(self, call: Call, error: HomingError | None) -> None:
        """A gateway answered to a deletion."""
        if call not in self.open or call.deletion is None:
            return
        thing, now = call.object, self.world.clock.now
        if self.world.tracing:
            self.world.trace(f"client deleted {thing.name} {call.number}: {error!r}")
        if error is None or isinstance(error, NotFound):
            thing.deleted(call.deletion, now, was_there=error is None)
            self.deletions += error is None
        else:
            self.unknown += 1
        self._end(call)

    def failed(self, call: Call, error: HomingError | None) -> None:
        """A gateway answered with an error; None: it ended, or is not there."""
        if call not in self.open:
            return
        thing = call.object
        if self.world.tracing:
            self.world.trace(f"client fails {thing.name} {call.number}: {error!r}")
        again = bool(call.key) if error is None else retryable(error, has_key=bool(call.key))
        if isinstance(error, KeyReused):
            raise Violation(f"{thing.name}: the key of call {call.number} counts as used for another call")
        if error is not None and error.retryable and not call.key:
            if call.sendings == 1 and call.what != READ:
                thing.refuse(call.number)
            self.refused += 1
            self._end(call)
            return
        if call.what == READ or not again or call.sendings >= SENDINGS_MAX:
            self.unknown += 1
            self.world.fired["broken off" if isinstance(error, BrokenOff) else "outcome unknown"] += 1
            self._end(call)
            return
        self.replayed += 1
        call.gateway = self.world.random.randrange(len(self.world.gateways))
        self.world.clock.after(0.1 + self.world.random.random() * 0.3, self._send, call)

    def passed(self, name: str, number: int, *, done: bool, refused: bool) -> None:
        """An object that had another add a number was answered, or was told that it did not run."""
        thing = next(thing for thing in self.things if thing.name == name)
        if done:
            thing.acknowledged.add(number)
            self.acknowledged += 1
            if thing.final:  # a call that was under way when its object was read for the last time: it is read again
                thing.final = False
                self._ask(thing)
        elif refused:
            thing.refuse(number)

    def _end(self, call: Call) -> None:
        del self.open[call]
        if call.client is not None:
            call.client.ended()

    def lost(self, gateway: int) -> None:
        """A gateway ended: whoever waits there knows nothing."""
        for call in [call for call in self.open if call.gateway == gateway]:
            self.failed(call, None)

    # -- the end ----------------------------------------------------------------------------------------------

    def ask_all(self) -> None:
        """Read every object for the last time, when its alarms have rung."""
        for thing in self.things:
            thing.final = False
            self._ask(thing)

    def _ask(self, thing: Thing) -> None:
        if not self._is_read(thing):
            if not any(call.object is thing for call in self.open):
                self.call(thing, READ, 0.0, None, keyed=False)
            self.world.clock.after(1.0, self._ask, thing)

    def all_read(self) -> bool:
        """Whether every object was."""
        return all(self._is_read(thing) for thing in self.things)

    def _is_read(self, thing: Thing) -> bool:
        told = thing.final and all(life.rang for life in thing.alive)
        return told and not any(each.waits() for each in self.world.connections.of(thing))

    def check_all(self) -> None:
        """Nothing that was acknowledged is lost, and nobody acted on what was taken back."""
        for thing, target, number in self._passed:
            acted = any(number | mark in target for mark in PASSED)
            if acted and number not in thing and not thing.deletions:
                raise Violation(f"{target.name} has what {thing.name} had it add with {number}, which is lost")
        for thing in self.things:
            missing = sorted(number for number in thing.acknowledged if number not in thing)
            if missing and not thing.deletions:
                raise Violation(f"{thing.name}: {missing} were acknowledged, and are lost")

    @property
    def alarms(self) -> int:
        """How many rang, as far as that was told."""
        return sum(number & RANG > 0 for thing in self.things for life in thing.lives.values() for number in life.truth)
