"""Moves of slots between living nodes: who gets what, when events stop, and what happens when a move goes wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest

from homing_node import limits
from homing_node.moves import Abort, Change, Effect, Moves, Offer, Rest, Resume
from homing_placement.records import Replica

WISH = [Replica("a", "da"), Replica("b", "db"), Replica("c", "dc")]


class World:
    """Facts that a test sets, for the moves of node b."""

    def __init__(self, slots: Iterable[int] = (7,)) -> None:
        self.epochs = dict.fromkeys(slots, 3)
        self.sets: dict[int, Sequence[Replica]] = {}
        self.up = {"a", "c"}
        self.lags: dict[str, int | None] = {"a": 0, "c": 0}
        self.busy: set[int] = set()
        self.settled_slots: set[int] = set()
        self.nexts: dict[int, tuple[Replica, ...]] = {}
        self.moves = Moves("b")
        self.now = 0.0

    def served(self) -> Iterable[int]:
        return [slot for slot, epoch in self.epochs.items() if epoch]

    def candidates(self) -> Iterable[int]:
        return [slot for slot in self.served() if slot not in self.settled_slots]

    def epoch(self, slot: int) -> int:
        return self.epochs[slot]

    def replicas(self, slot: int) -> Sequence[Replica]:
        return self.sets.get(slot, WISH)

    def is_up(self, replica: Replica) -> bool:
        return replica.node in self.up

    def lag(self, slot: int, node: str) -> int | None:
        return self.lags[node]

    def at_rest(self, slot: int) -> bool:
        return slot not in self.busy

    def next_set(self, slot: int) -> tuple[Replica, ...] | None:
        return self.nexts.get(slot)

    def tick(self, seconds: float = 0.0) -> list[Effect]:
        self.now += seconds
        effects = self.moves.tick(self, self.now)
        self.moves.check(self)
        return effects

    def settled(self) -> list[Effect]:
        """The first effects once the others have been up for long enough."""
        assert self.tick() == []
        return self.tick(limits.settle_s)


def test_a_slot_goes_to_the_first_of_its_replicas_that_is_up() -> None:
    world = World()
    assert world.settled() == [Rest(7), Offer("a", ((7, 3),))]


def test_a_slot_stays_where_nobody_comes_first() -> None:
    """Seen to fail when a move goes to any replica: two nodes would give a slot to each other for ever."""
    world = World()
    world.sets[7] = [Replica("b", "db"), Replica("a", "da")]
    assert world.settled() == []


def test_a_node_that_came_just_now_is_left_alone_for_a_while() -> None:
    world = World()
    assert world.tick() == []
    assert world.tick(limits.settle_s - 0.01) == []
    world.up.remove("a")
    world.sets[7] = WISH[:2]
    assert world.tick() == []
    world.up.add("a")
    assert world.tick(0.02) == [], "its time begins anew"
    assert world.tick(limits.settle_s + 0.01) != []


def test_a_draining_node_gives_everything_to_the_next_at_once() -> None:
    world = World()
    world.sets[7] = [Replica("b", "db"), Replica("c", "dc"), Replica("a", "da")]
    world.moves.draining = True
    assert world.tick() == [Rest(7), Offer("c", ((7, 3),))]


def test_slots_that_are_right_here_are_looked_at_only_when_the_node_leaves_or_they_are_wanted() -> None:
    """Seen to fail when they are looked at always, and when a drain or an operator's wish passes over them."""
    world = World((7, 8))
    world.settled_slots = {7, 8}
    assert world.settled() == []
    world.moves.want(8, "c", world.now)
    assert world.tick() == [Rest(8), Offer("c", ((8, 3),), first=True)]
    world.moves.draining = True
    assert world.tick() == [Rest(7), Offer("a", ((7, 3),))]


@pytest.mark.parametrize("lag", [None, limits.move_lag_records_max + 1])
def test_a_replica_that_lacks_much_or_has_no_stream_is_passed_over(lag: int | None) -> None:
    world = World()
    world.moves.draining = True
    world.lags["a"] = lag
    assert world.tick() == [Rest(7), Offer("c", ((7, 3),))]


def test_nothing_is_offered_before_the_slot_is_at_rest_and_the_replica_lacks_nothing() -> None:
    """Seen to fail with either condition removed: the new owner would wait for what only the old one has."""
    world = World()
    world.lags["a"], world.busy = 5, {7}
    assert world.settled() == [Rest(7)]
    world.busy.clear()
    assert world.tick(0.01) == []
    world.lags["a"], world.busy = 0, {7}
    assert world.tick(0.01) == []
    world.busy.clear()
    assert world.tick(0.01) == [Offer("a", ((7, 3),))]
    assert world.tick(0.01) == [], "once"


def test_a_slot_that_was_claimed_is_forgotten() -> None:
    world = World()
    world.settled()
    world.epochs[7] = 0
    assert world.tick(0.01) == []
    assert world.moves.moving == 0


def test_an_offer_that_nobody_takes_is_withdrawn_and_tried_again_later() -> None:
    """Seen to fail when the slot is left at rest: its calls would wait for ever."""
    world = World()
    world.settled()
    assert world.tick(limits.offer_patience_s) == []
    assert world.tick(0.01) == [Resume(7)]
    assert world.tick(limits.move_pause_s - 0.01) == []
    assert world.tick(limits.move_round_s) == [Rest(7), Offer("a", ((7, 3),))]


def test_when_the_target_goes_the_slot_takes_events_again_at_once() -> None:
    world = World()
    world.settled()
    world.up.clear()
    assert world.tick(0.01) == [Resume(7)]


def test_a_slot_that_does_not_come_to_rest_is_left_for_later() -> None:
    world = World()
    world.busy = {7}
    assert world.settled() == [Rest(7)]
    assert world.tick(limits.rest_patience_s) == []
    assert world.tick(0.01) == [Resume(7)]


def test_a_draining_node_ends_what_runs_for_too_long() -> None:
    world = World()
    world.moves.draining, world.busy = True, {7}
    assert world.tick() == [Rest(7)]
    assert world.tick(limits.drain_grace_s) == []
    assert world.tick(0.01) == [Abort(7)]
    world.busy.clear()
    assert world.tick(0.01) == [Offer("a", ((7, 3),))]


def test_only_so_many_slots_rest_at_once_and_offers_to_a_node_go_together() -> None:
    world = World(range(100))
    world.moves.draining = True
    effects = world.tick()
    assert sum(isinstance(effect, Rest) for effect in effects) == limits.moves_at_once_max
    assert [len(effect.slots) for effect in effects if isinstance(effect, Offer)] == [limits.moves_at_once_max]
    for slot in range(limits.moves_at_once_max):
        world.epochs[slot] = 0
    assert sum(isinstance(effect, Rest) for effect in world.tick(0.01)) == limits.moves_at_once_max


def test_a_drain_is_over_when_nobody_can_take_what_is_left() -> None:
    world = World([7, 8])
    world.moves.draining = True
    assert not world.moves.stuck(world, world.now)
    world.tick()
    world.epochs[7] = 0
    world.up.clear()
    world.tick(0.01)
    assert world.moves.stuck(world, world.now)


def test_a_wanted_slot_goes_where_it_is_wanted_and_shall_stay_there() -> None:
    """Seen to fail without `first`: the new owner gave the slot back to the first of its replicas."""
    world = World((7, 8))
    world.sets[7] = world.sets[8] = [Replica("b", "db"), Replica("a", "da"), Replica("c", "dc")]
    world.moves.want(7, "c", world.now)
    assert world.tick() == [Rest(7), Offer("c", ((7, 3),), first=True)]
    world.epochs[7] = 0
    assert world.tick() == []
    world.epochs[7] = 5  # it came back, after c died
    assert world.tick(limits.settle_s) == [], "the wish was fulfilled"


def test_a_wanted_slot_is_not_given_to_another_and_the_wish_ends() -> None:
    """Seen to fail when the order counts beside the wish, and when a wish lasts for ever."""
    world = World()
    world.up = {"a"}
    world.moves.want(7, "c", world.now)
    assert world.tick() == []
    assert world.tick(limits.settle_s + 1) == []
    assert world.tick(limits.move_wish_s) == []
    world.up.add("c")
    assert world.tick(limits.settle_s) == [Rest(7), Offer("a", ((7, 3),))], "in its order again"


def test_a_wish_does_not_change_a_move_that_is_under_way() -> None:
    """Seen to fail when any offer of a wanted slot says that it shall stay: the first node would keep it."""
    world = World()
    world.lags["a"] = 5
    assert world.settled() == [Rest(7)]
    world.moves.want(7, "c", world.now)
    world.lags["a"] = 0
    assert world.tick(0.01) == [Offer("a", ((7, 3),))]


def test_a_wanted_slot_does_not_wait_behind_others_or_for_a_pause() -> None:
    """Seen to fail when slots begin in the order of their numbers: a full queue came first."""
    slots = range(limits.moves_at_once_max + 2)
    world = World(slots)
    last = slots[-1]
    world.moves.want(last, "c", world.now)
    assert world.tick(limits.settle_s)[0] == Rest(last)


NEW = (Replica("b", "db"), Replica("c", "new"), Replica("a", "da"))


def owned(world: World) -> World:
    """Slot 7 belongs to b, and shall have another disk of c."""
    world.sets[7] = [Replica("b", "db"), Replica("c", "dc"), Replica("a", "da")]
    world.nexts[7] = NEW
    return world


def test_a_slot_gets_another_set_when_it_is_at_rest() -> None:
    """Seen to fail when the slot does not rest: its calls would end with the epoch, as unknown."""
    world = owned(World())
    world.busy = {7}
    assert world.tick() == [Rest(7)]
    world.busy.clear()
    assert world.tick(0.01) == [Change(7, 3, NEW)]
    assert world.tick(0.01) == [], "once"
    world.epochs[7] = 4
    world.nexts.clear()
    assert world.tick(0.01) == []
    assert world.moves.moving == 0


def changing(slots: range, at_once: int = 0) -> World:
    """All slots shall have another set; those from `at_once` on move, when they may."""
    world = World(slots)
    for slot in slots:
        world.sets[slot] = [WISH[1], WISH[0]] if slot < at_once else WISH
        world.nexts[slot] = (WISH[1], WISH[2])
    return world


def done(world: World, slot: int) -> None:
    world.epochs[slot] = 4
    del world.nexts[slot]


def test_few_slots_change_their_sets_at_once_and_moves_go_on_beside_them() -> None:
    """Each change starts the slot's objects anew. Seen to fail when as many change as move."""
    world = changing(range(40), 30)
    most = limits.changes_at_once_max

    def rests(seconds: float = 0.0) -> list[int]:
        return [effect.slot for effect in world.tick(seconds) if isinstance(effect, Rest)]

    assert rests() == [*range(most)]
    assert rests(limits.move_round_s) == []
    for slot in range(most):
        done(world, slot)
    assert rests(limits.move_round_s) == [*range(most, 2 * most)]
    assert rests(limits.settle_s)[-10:] == [*range(30, 40)], "those that may move by now do"


def test_changes_of_sets_come_in_rounds() -> None:
    """Seen to fail when a change that is over lets the next begin: a node that comes then costs the others much."""
    world = changing(range(60), 60)
    begun: list[float] = []
    more: list[bool] = []
    while world.now < 3.0:
        for effect in world.tick(0.01):
            if isinstance(effect, Change):
                begun.append(world.now)
                done(world, effect.slot)
        more.append(world.moves.more)
    a_round = limits.changes_at_once_max
    assert sum(at <= 1.0 for at in begun) <= a_round / limits.move_round_s + a_round
    assert len(begun) == 60
    assert more[0], "it is said while others may be due"
    assert not more[-1]


def test_a_change_of_a_set_that_does_not_come_about_ends_and_is_tried_later() -> None:
    world = owned(World())
    assert world.tick() == [Rest(7), Change(7, 3, NEW)]
    assert world.tick(limits.offer_patience_s + 0.01) == [Resume(7)]
    assert world.tick(limits.move_pause_s + 0.01) == [Rest(7), Change(7, 3, NEW)]


def test_a_slot_moves_rather_than_to_change_its_set_first() -> None:
    """Where it belongs the change is made; a draining node makes none."""
    world = owned(World())
    world.sets[7] = WISH
    assert world.tick()[:1] == [Rest(7)], "nobody can take it yet"
    world = owned(World())
    world.moves.draining, world.up = True, set()
    assert world.tick() == []
