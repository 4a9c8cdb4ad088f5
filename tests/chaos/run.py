"""`make chaos`: processes of a real cluster are killed under load, and what the clients saw is checked.

    run.py --seconds 180 --seed N [--report FILE.md]     faults of every kind under load
    run.py --takeover-kills 20 [--report FILE.md]        only kills of nodes, each measured for every slot it owned

The exit code is 0 only if every check passed. The seed gives the plan of faults and the choice of victims; which calls
meet which fault is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from tests.chaos.cluster import DevCluster, StartFailed
from tests.chaos.faults import Fired, Hand, Planned, Target, plan
from tests.chaos.load import Load
from tests.chaos.report import Check, Run, judge, judge_takeover, write
from tests.chaos.takeover import CLASS, names_by_slot

APP = ROOT / "tests" / "chaos" / "apps" / "counter"
NODES = 3
CLIENTS = 64
OBJECTS = 200
OPERATIONS_MAX = 1_000_000  # of a whole run: histories are kept in memory and checked at the end
PROGRESS_S = 10.0
PAUSE_BETWEEN_KILLS_S = 2.0
REST_BEFORE_KILL_S = 60.0
WARM_UP_AT_ONCE = 32


async def chaos(cluster: DevCluster, seconds: float, seed: int) -> Run:
    """Load and faults together, for so many seconds."""
    await cluster.wait_settled(REST_BEFORE_KILL_S)
    names = names_by_slot(cluster.slots)
    load = Load(cluster.connect, CLIENTS, OBJECTS, seed, OPERATIONS_MAX / seconds)
    hand = Hand(cluster, names, load.busiest, lambda: load.history.in_flight, seed)
    started_s = time.monotonic()
    fired: list[Fired] = []
    async with asyncio.TaskGroup() as group:
        calling = group.create_task(load.run())
        progress = group.create_task(_progress(load, started_s, fired))
        for planned in plan(seconds, seed):
            await asyncio.sleep(max(0.0, started_s + planned.at_s - time.monotonic()))
            fired.append(await hand.fire(planned, started_s))
        await asyncio.sleep(max(0.0, started_s + seconds - time.monotonic()))
        load.stop()
        ended_s = time.monotonic()
        await calling
        progress.cancel()
    return Run(seconds, seed, started_s, ended_s, load.history, fired)


async def takeovers(cluster: DevCluster, kills: int, seed: int, clients: int) -> Run:
    """Kill one node after the other, under load, each time from rest."""
    await cluster.wait_settled(REST_BEFORE_KILL_S)
    names = names_by_slot(cluster.slots)
    await _warm_up(cluster, list(names.values()))
    load = Load(cluster.connect, clients, OBJECTS, seed)
    hand = Hand(cluster, names, load.busiest, lambda: load.history.in_flight, seed)
    started_s = time.monotonic()
    fired: list[Fired] = []
    async with asyncio.TaskGroup() as group:
        calling = group.create_task(load.run())
        for number in range(kills):
            await cluster.wait_settled(REST_BEFORE_KILL_S)
            await asyncio.sleep(PAUSE_BETWEEN_KILLS_S)
            now = time.monotonic() - started_s
            fault = await hand.fire(Planned(now, Target.NODE), started_s)
            fired.append(fault)
            say(f"kill {number + 1} of {kills}: {fault.victim} {judge_takeover([fault]).detail} {fault.problem}")
        load.stop()
        ended_s = time.monotonic()
        await calling
    return Run(ended_s - started_s, seed, started_s, ended_s, load.history, fired)


async def _warm_up(cluster: DevCluster, names: list[str]) -> None:
    """Write to each probed object once: a takeover of slots that hold something is what is measured."""
    waiting = iter(names)

    async def some() -> None:
        connection = cluster.connect()
        for name in waiting:
            await connection.rpc(CLASS, name, "increment", timeout_s=30.0)
        connection.close()

    await asyncio.gather(*(some() for _ in range(WARM_UP_AT_ONCE)))


async def _progress(load: Load, started_s: float, fired: list[Fired]) -> None:
    before = 0
    while True:
        await asyncio.sleep(PROGRESS_S)
        now = load.history.acknowledged
        rate = (now - before) / PROGRESS_S
        before = now
        last = f"; last fault: {fired[-1].planned.target.value}" if fired else ""
        seconds = time.monotonic() - started_s
        say(f"{seconds:4.0f} s  {now:8,} answered  {rate:6,.0f}/s  {len(fired)} faults{last}")


def judge_kills(run: Run, kills: int) -> list[Check]:
    """The checks of a takeover measurement: all that a chaos run checks of histories, and the figure itself."""
    done = sum(not fault.problem for fault in run.fired)
    problems = "; ".join(fault.problem for fault in run.fired if fault.problem)
    about_faults = ("every planned fault", "at least")
    kept = [check for check in judge(run) if not check.name.startswith(about_faults)]
    return [Check(f"{kills} kills were made", done == kills, f"{done} {problems}"), *kept]


def say(text: str) -> None:
    """Progress for people and logs."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run what was asked for; 0 if all is well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--report", type=Path, default=ROOT / "reports" / "chaos.md")
    parser.add_argument("--takeover-kills", type=int, default=0)
    parser.add_argument("--clients", type=int, default=16, help="load during --takeover-kills")
    options = parser.parse_args()
    seed: int = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    kills: int = options.takeover_kills
    say(f"chaos: seed {seed}; starting {NODES} nodes")
    try:
        with DevCluster(APP, NODES) as cluster:
            if kills:
                run = uvloop.run(takeovers(cluster, kills, seed, options.clients))
            else:
                run = uvloop.run(chaos(cluster, options.seconds, seed))
        run.leftovers = len(cluster.leftovers)
    except (StartFailed, TimeoutError) as error:
        say(f"{error}\nchaos: 0 passed, 1 failed (seed {seed})")
        return 1
    checks = judge_kills(run, kills) if kills else judge(run)
    write(run, checks, options.report)
    for check in checks:
        say(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.detail}")
    say(f"the report is {options.report}; again with --seed {seed}")
    failed = sum(not check.passed for check in checks)
    say(f"chaos: {len(checks) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
