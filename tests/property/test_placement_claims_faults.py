"""Random faults on the claims of a small cluster: whatever happens, records stay lawful, and peace brings owners."""

from __future__ import annotations

import pytest

from claims_world import World
from homing_placement.records import Owner

SEEDS = 60


@pytest.mark.parametrize("seed", range(SEEDS))
def test_after_any_faults_every_slot_has_one_living_owner(seed: int) -> None:
    """The world asserts rules 1, 3, 14 and 16 at each write, and the core its own invariants after each event.

    Seen to fail: with a claim that keeps the epoch; when a record counts for every incarnation of its node; when a slot
    is claimed again while a claim of it is under way; when `Ready` is taken for an epoch that is over.
    """
    world = World(slots=24, seed=seed, unknown=0.15)
    names = ["a", "b", "c", "d"]
    for name in names:
        world.start(name)
    random = world.random
    for _ in range(25):
        world.run(random.uniform(0.05, 3))
        name = random.choice(names)
        node = world.nodes[name]
        match random.randrange(7):
            case 0 if node.alive:
                world.kill(name, link_breaks=random.random() < 0.5)
            case 1 if not node.alive:
                world.start(name)
            case 2 if node.alive:
                node.paused = True
            case 3 if node.paused:
                world.resume(name)
            case 4:
                node.mute = not node.mute
            case 5:
                world.etcd_up = not world.etcd_up
            case _:
                world.unregister(name)
    world.etcd_up = True
    for name in names:
        node = world.nodes[name]
        node.mute = False
        world.resume(name) if node.alive else world.start(name)
        world.register(name)
    world.unknown = 0.0
    world.run_until(world.served, 90)
    world.run(5)  # writes that come late and probes that were under way
    world.run_until(world.served, 30)
    claimants: dict[tuple[int, int], Owner | None] = {}
    for _, slot, record in world.history:
        assert claimants.setdefault((slot, record.epoch), record.owner) == record.owner, (
            "one claimant an epoch (rule 2)"
        )
    settled = dict(world.records)
    world.run(20)
    assert world.records == settled, "in peace nothing moves"
