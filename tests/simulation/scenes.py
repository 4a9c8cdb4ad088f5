"""Directed histories: chains of faults that chance alone puts together too seldom. Each is a script of waits and acts.

A scene needs an owner A of a slot, and other members of its set; what else befalls the cluster meanwhile goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.machine import Machine
    from tests.simulation.process import Process
    from tests.simulation.world import World

Script = Generator[float, None, None]
TRIES = 12


class Stage:
    """Where scenes are played.

    Args:
        world: the cluster.
        slot: of the scene.
        owner: who serves it.
        others: the other members of its set that run, in random order.
    """

    def __init__(self, world: World, slot: int, owner: Process, others: list[Machine]) -> None:
        self.world = world
        self.slot = slot
        self.owner = owner
        self.a = owner.machine
        self.others = others

    def cut(self, some: list[Machine], rest: list[Machine]) -> list[tuple[str, str]]:
        """No message passes between two groups, in either direction; returns what `mend` takes."""
        pairs = [(x.id, y.id) for x in some for y in rest if x is not y]
        pairs += [(b, a) for a, b in pairs]
        self.world.cuts.update(pairs)
        return pairs

    def mend(self, pairs: list[tuple[str, str]]) -> None:
        """The links work again."""
        self.world.cuts.difference_update(pairs)

    def claim(self, machine: Machine) -> None:
        """A machine claims the slot."""
        self.world.claim(self.slot, machine)

    def write(self, machine: Machine | None = None) -> None:
        """A client writes, at one machine or wherever the slot seems to be served."""
        for process in self.world.serving(self.slot):
            if machine is None or process.machine is machine:
                process.handle(process.write, (self.slot, self.world.clients.body()))

    def read(self, machine: Machine) -> None:
        """A client reads at one machine."""
        if machine.process is not None:
            machine.process.handle(machine.process.read, (self.slot,))

    def deaf(self, machine: Machine, length_s: float) -> None:
        """The watch of a machine tells nothing for a while."""
        machine.deaf_until = self.world.now + length_s

    def end(self, machine: Machine, down_s: float) -> None:
        """A machine crashes and comes back."""
        self.world.crash(machine)
        self.world.after(down_s, self.world.start, machine)

    def on_stage(self, machine: Machine) -> None:
        """Whatever was wrong with a machine's process, it runs."""
        if machine.process is None:
            self.world.start(machine)
        elif machine.process.paused:
            machine.process.resume()

    def resume(self, *, call_first: bool) -> None:
        """The owner goes on after a pause, perhaps with a call before anything that arrived meanwhile."""
        if not self.owner.alive:
            return
        self.owner.paused = False
        if call_first:
            self.read(self.a)
        self.owner.resume()


def deposed(stage: Stage) -> Script:
    """An owner is stopped, another takes over; the first goes on and is asked, and reaches one member only (rule 19)."""
    world, a = stage.world, stage.a
    c, *rest = stage.others
    b = rest[0] if rest else c
    stage.deaf(a, 3.0)
    pairs = stage.cut([a], [m for m in world.machines if m is not b])
    if len(rest) > 2:  # a majority is left without that member: it never hears of the other epoch
        pairs += stage.cut([b], [m for m in world.machines if m is not a])
    stage.read(a)
    stage.owner.paused = True
    stage.claim(c)
    yield 0.3
    stage.claim(c)
    yield 0.3
    stage.write(c)
    yield 0.05
    if b is not c and world.faults.spoil(b, world.random.choice(("", "wipe", "forget"))):
        pairs += stage.cut([b], [m for m in world.machines if m is not a])
        yield 0.05
        stage.on_stage(b)
        yield 0.05
    stage.resume(call_first=world.random.random() < 0.7)
    for _ in range(4):
        yield 0.03
        stage.read(a)
        stage.write(a)
    yield 0.5
    stage.mend(pairs)


def forgotten_promise(stage: Stage) -> Script:
    """A member with a slow disk is asked to seal, dies, and may have forgotten; the old owner goes on with it (rule 10)."""
    world, a = stage.world, stage.a
    c, *rest = stage.others
    if not rest:
        return
    b = rest[0]
    stage.deaf(a, 3.0)
    apart = stage.cut([a], [m for m in world.machines if m is not b])
    b.slow_until = world.now + 0.5
    stage.claim(c)
    yield 0.012 + world.random.random() * 0.02
    late = stage.cut([b], [c])
    stage.end(b, 0.02)
    b.slow_until = 0.0
    for _ in range(4):
        yield 0.04
        stage.write(a)
    yield 0.1
    stage.mend(late)
    yield 0.6
    stage.mend(apart)


def spoilt_witness(stage: Stage) -> Script:
    """The owner and a member hold what is committed; the owner dies, the member loses it; a third lags (rules 11, 17)."""
    world, a = stage.world, stage.a
    c, *rest = stage.others
    if not rest:
        return
    b = rest[0]
    lag = stage.cut([c, *rest[2:]], world.machines)
    for _ in range(3):
        yield 0.02
        stage.write(a)
    yield 0.05
    for witness in rest[:2]:
        world.faults.spoil(witness, "keep" if world.random.random() < 0.7 else "wipe")
    stage.end(a, 2.0)
    yield 0.1
    stage.on_stage(b)
    stage.mend(lag)
    for _ in range(3):
        stage.claim(c)
        yield 0.3
    stage.write(c)
    yield 0.1


def empty_successors(stage: Stage) -> Script:
    """A takeover names other members, which do not get the log; then the new owner dies (rules 13, 14)."""
    world = stage.world
    b = stage.others[0]
    members = [stage.a, *stage.others]
    fresh = [m for m in world.machines if m not in members and m.store.trusted and not m.spoiled]
    if len(fresh) < 2 or not world.plan.moves:
        return
    stage.write(stage.a)
    yield 0.05
    pairs = stage.cut(fresh, world.machines)
    world.wanted_next[stage.slot] = [b, *fresh[:2]]
    stage.claim(b)
    yield 0.3
    stage.write(b)
    yield 0.2
    world.wanted_next.pop(stage.slot, None)
    stage.end(b, 2.0)
    stage.mend(pairs)
    yield 0.05
    for x in fresh[:2]:
        for y in fresh[:2]:
            if x is not y and x.process is not None and y.process is not None:
                world.connect(x, y)
    yield 0.05
    for _ in range(3):
        stage.claim(fresh[0])
        yield 0.3


def old_answers(stage: Stage) -> Script:
    """Answers of an earlier ownership of the same node arrive in a later one (rule 8); it takes five copies to matter."""
    world, a = stage.world, stage.a
    if len(stage.others) < 4:
        return
    b, c, d, e = stage.others[:4]
    world.held[b.id, a.id] = []
    stage.cut([a, b], [c, d, e])
    for _ in range(6):
        yield 0.01
        stage.write(a)
    yield 0.05
    stage.claim(c)
    yield 0.3
    world.cuts.clear()
    apart = stage.cut([b], [c, d, e])
    for _ in range(3):
        stage.claim(a)
        yield 0.25
    apart += stage.cut([a], [c, e])
    world.cuts.add((a.id, b.id))
    stage.write(a)
    yield 0.02
    for message in world.held.pop((b.id, a.id), []):
        message()
    for _ in range(3):
        yield 0.02
        stage.write(a)
    yield 0.1
    world.cuts.discard((a.id, b.id))
    stage.mend(apart)


def long_tail(stage: Stage) -> Script:
    """An owner that is cut off grows a long log; a later, shorter one is committed elsewhere, and its owner dies (rule 12)."""
    world, a = stage.world, stage.a
    c, *rest = stage.others
    stage.deaf(a, 3.0)
    apart = stage.cut([a], world.machines)
    for _ in range(world.random.randint(3, 7)):
        yield 0.01
        stage.write(a)
    stage.claim(c)
    yield 0.25
    stage.write(c)
    yield 0.1
    stage.end(c, 2.0)
    stage.mend(apart)
    claimant = world.random.choice([a, *rest])
    for _ in range(3):
        yield 0.05
        stage.claim(claimant)
    yield 0.3
    stage.write(claimant)
    yield 0.1


SCENES: tuple[Callable[[Stage], Script], ...] = (deposed, forgotten_promise, spoilt_witness, long_tail)


def fitting(world: World) -> tuple[Callable[[Stage], Script], ...]:
    """The scenes that a cluster is large enough for; what only a few clusters can play, these play more often."""
    plan = world.plan
    if plan.replicas == 5:
        return (*SCENES, deposed, old_answers, old_answers, old_answers)
    if plan.moves and plan.machines - plan.replicas >= 2:
        return (*SCENES, empty_successors, empty_successors, empty_successors, empty_successors)
    return (*SCENES, deposed, deposed)


def play_next(world: World) -> None:
    """Begin one of the scenes that fit."""
    slot = world.random.randrange(world.plan.slots)
    _play(world, slot, world.random.choice(fitting(world)), TRIES)


def _play(world: World, slot: int, scene: Callable[[Stage], Script], tries: int) -> None:
    """Begin a scene as soon as somebody serves the slot and the members of its set run, or nearly all of them."""
    if not world.rough:
        return
    record = world.etcd.records[slot][0]
    owner = next((p for p in world.serving(slot) if p.me == record.owner and not p.paused), None)
    members = {replica.node for replica in record.replicas}
    others = [m for m in world.machines if m.id in members and m.process is not None and not m.process.paused]
    enough = len(members) if tries > TRIES // 3 else len(members) // 2 + 1
    if owner is None or len(others) < enough:
        if owner is None and world.plan.quiet:
            world.claim(slot, world.random.choice(world.machines))
        if tries:
            world.after(0.2, _play, world, slot, scene, tries - 1)
        return
    others = [m for m in others if m is not owner.machine]
    world.random.shuffle(others)
    others.sort(key=lambda m: not world.fit(m, slot, record))  # those that may take over come first
    if world.tracing:
        world.trace(f"scene {scene.__name__}: A {owner.id}, others {[m.id for m in others]}")
    world.fired["directed"] += 1
    _go_on(world, scene(Stage(world, slot, owner, others)))


def _go_on(world: World, script: Script) -> None:
    if not world.rough:
        return
    delay = next(script, None)
    if delay is not None:
        world.after(delay, _go_on, world, script)
    elif world.plan.quiet:
        world.after(0.5 + world.random.random(), play_next, world)
