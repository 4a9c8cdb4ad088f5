"""The judge of one object: what its clients are told makes one history, of a list that only grows until it is deleted.

What is there from the first write to a deletion is a life. Lists of one life are prefixes of one another. A life ends
only by a deletion that may have come about since it was last seen; what is known to be gone is never seen again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from tests.simulation.ledger import Violation
from tests.simulation.node.lists import CALLED, PASSED, RANG


class Message(Protocol):
    """Whoever sent the messages that came on a socket."""

    def handled(self, number: int, life: Life) -> None:
        """The object has added the number of one."""
        ...


@dataclass(slots=True, eq=False)
class Life:
    """An object from its first write to its deletion.

    Attributes:
        truth: its list, as far as that was told.
        told_at: when it was told of first.
        seen_at: it was there at that time, or later.
        dead_at: it was gone by then.
        alarms: marks of acknowledged calls that set one.
        members: what is in the list.
    """

    truth: list[int]
    told_at: float
    seen_at: float
    dead_at: float = inf
    alarms: set[int] = field(default_factory=set[int])
    members: set[int] = field(default_factory=set[int])

    @property
    def rang(self) -> bool:
        """Every alarm has rung that is known to be set."""
        return self.alarms.issubset(self.members)


@dataclass(slots=True, eq=False)
class Deletion:
    """One that was asked for, and may come about at any time until it has ended; for ever if it is not known how."""

    began_at: float
    ended_at: float = inf


@dataclass(slots=True, eq=False)
class Asked:
    """A question that is answered with a list: a call, or a message on a socket.

    Attributes:
        began_at: when it was sent first.
        sent_at: and last.
        floors: what was known then, and how long it was.
    """

    began_at: float
    sent_at: float
    floors: list[tuple[Life, int]]


@dataclass(slots=True, eq=False)
class Thing:
    """One object, as its clients know it.

    Attributes:
        mortal: it is deleted at times.
        lives: by their numbers.
        refused: numbers that were refused as not run.
        acknowledged: numbers that another object had it add, and was told so.
        keyed: numbers of calls under a key: a deletion forgets that, and what is repeated then runs anew.
        messages: who sent a number on a socket.
        final: read after everything.
    """

    name: str
    slot: int
    raw: bytes
    mortal: bool = False
    lives: dict[int, Life] = field(default_factory=dict[int, Life])
    deletions: list[Deletion] = field(default_factory=list[Deletion])
    refused: set[int] = field(default_factory=set[int])
    acknowledged: set[int] = field(default_factory=set[int])
    keyed: set[int] = field(default_factory=set[int])
    messages: dict[int, Message] = field(default_factory=dict[int, Message])
    final: bool = False

    def __contains__(self, number: int) -> bool:
        """Whether a number was told to be in a list of it."""
        return any(number in life.members for life in self.lives.values())

    @property
    def alive(self) -> Iterator[Life]:
        """Those that may be there: one, but for what was told late."""
        return (life for life in self.lives.values() if life.dead_at == inf)

    def asked(self, now: float) -> Asked:
        """A question is put."""
        return Asked(now, now, [(life, len(life.truth)) for life in self.alive])

    # -- what is told -----------------------------------------------------------------------------------------

    def told(self, found: list[int], asked: Asked, now: float) -> Life | None:
        """An answer is a list; returns whose it is, None if there is no object.

        Raises:
            Violation: that cannot be.
        """
        life = self.lives.get(found[0]) if found else None
        if found and life is None:
            life = self.lives[found[0]] = Life(found[:1], now, asked.began_at)
        if life is not None and life.dead_at < asked.sent_at:
            raise Violation(f"{self.name}: told {found[-8:]}, which was deleted before it was asked for")
        for other, length in asked.floors:
            if other is not life:
                self.ended(other, now)
            elif len(found) < length:
                raise Violation(f"{self.name}: told {len(found)} numbers, and {length} were told before it was asked")
        if life is not None:
            life.seen_at = max(life.seen_at, asked.began_at)
            common = min(len(found), len(life.truth))
            if found[:common] != life.truth[:common]:
                raise Violation(f"{self.name}: told {found[-8:]}, and before {life.truth[-8:]}: two histories")
            for number in found[len(life.truth) :]:
                self.grow(life, number)
        return life

    def told_one(self, life: Life, place: int, number: int) -> None:
        """One number of a list was told; all before it were."""
        if place < len(life.truth):
            if life.truth[place] != number:
                raise Violation(f"{self.name}: told {number} at {place}, and before {life.truth[place]}: two histories")
        else:
            self.grow(life, number)

    def grow(self, life: Life, number: int) -> None:
        """A life's list goes on with a number."""
        if number in life.members:
            raise Violation(f"{self.name}: {number} ran twice")
        if number & CALLED not in self.keyed and number in self:
            raise Violation(f"{self.name}: {number} ran twice, before a deletion and after it")
        if number in self.refused:
            raise Violation(f"{self.name}: {number} were refused as not run, and ran")
        if number & RANG and number ^ RANG not in life.members:
            raise Violation(f"{self.name}: alarm {number} rang, and was not set")
        first, second = PASSED
        if number & first and (number ^ first | second) in life.members:
            raise Violation(f"{self.name}: {number} was overtaken by the call that was made behind it: one overtook")
        life.truth.append(number)
        life.members.add(number)
        if (sender := self.messages.get(number)) is not None:
            sender.handled(number, life)

    # -- ends -------------------------------------------------------------------------------------------------

    def deletion(self, now: float) -> Deletion:
        """Its deletion is asked for."""
        self.deletions.append(Deletion(now))
        return self.deletions[-1]

    def deleted(self, deletion: Deletion, now: float, *, was_there: bool) -> None:
        """A deletion was answered: what was there before it was asked for is gone; or was already."""
        for life in self.lives.values():
            if life.told_at < deletion.began_at:
                if not was_there:
                    self.ended(life, now, besides=deletion)
                life.dead_at = min(life.dead_at, now)
        deletion.ended_at = now

    def ended(self, life: Life, now: float, besides: Deletion | None = None) -> None:
        """A life is gone, as something that was told shows.

        Raises:
            Violation: nobody can have deleted it.
        """
        if life.dead_at > now and not self.may_be_deleted(life, besides):
            raise Violation(f"{self.name}: {life.truth[-8:]} are gone, and nobody deleted them: they are lost")
        life.dead_at = min(life.dead_at, now)

    def may_be_deleted(self, life: Life, besides: Deletion | None = None) -> bool:
        """Whether a deletion may have come about since a life was last seen."""
        return any(each is not besides and each.ended_at >= life.seen_at for each in self.deletions)

    def refuse(self, number: int) -> None:
        """A number was refused as not run."""
        self.refused.add(number)
        if number in self:
            raise Violation(f"{self.name}: {number} was refused as not run, and ran")
