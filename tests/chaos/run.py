"""`make chaos`: a real cluster is hurt under load, and what the clients saw is checked.

    run.py --seconds 180 --seed N [--report FILE.md]     faults of every kind under load
    run.py --hours 8                                     the same in rounds, each checked by itself
    run.py --takeover-kills 20 [--report FILE.md]        only kills of nodes, each measured for every slot it owned

As root every member has a network of its own, and the plan has cuts, losses, a full disk and kills of several nodes;
else, and with `--network no`, processes are killed and stopped.

The exit code is 0 only if every check passed. The seed gives the plan of faults and the choice of victims; which calls
meet which fault is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from tests.chaos.cluster import DevCluster
from tests.chaos.faults import LEAD_S, TAIL_S, Fired, Planned, Target, plan, plan_apart
from tests.chaos.hand import Hand
from tests.chaos.load import Load
from tests.chaos.net_cluster import NetCluster
from tests.chaos.network import NetworkFailed, why_not
from tests.chaos.report import Check, Run, judge, judge_takeover, write
from tests.chaos.takeover import CLASS, names_by_slot

from homing.testing import StartFailed

APP = ROOT / "tests" / "chaos" / "apps" / "counter"
NODES = 3
CLIENTS = 64
OBJECTS = 200
OPERATIONS_MAX = 1_000_000  # of a whole run: histories are kept in memory and checked at the end
PROGRESS_S = 10.0
PAUSE_BETWEEN_KILLS_S = 2.0
REST_BEFORE_KILL_S = 60.0
WARM_UP_AT_ONCE = 32
ROUND_S = 300.0
ROUND_OPERATIONS_MAX = 150_000
ROUNDS_PER_CLUSTER = 12  # then it starts anew: logs are not trimmed, and disks are not endless


async def chaos(
    cluster: DevCluster, seconds: float, seed: int, planned: Sequence[Planned], operations_max: int = OPERATIONS_MAX
) -> Run:
    """Load and faults together, for so many seconds, and longer if the faults take longer."""
    await cluster.wait_settled(REST_BEFORE_KILL_S)
    names = names_by_slot(cluster.slots)
    load = Load(cluster.connect, CLIENTS, OBJECTS, seed, operations_max / seconds)
    hand = Hand(cluster, names, load.busiest, load.history, seed)
    started_s = time.monotonic()
    fired: list[Fired] = []
    async with asyncio.TaskGroup() as group:
        calling = group.create_task(load.run())
        progress = group.create_task(_progress(load, started_s, fired))
        for one in planned:
            await asyncio.sleep(max(0.0, started_s + one.at_s - time.monotonic()))
            fired.append(await hand.fire(one, started_s))
        await asyncio.sleep(max(0.0, started_s + seconds - time.monotonic()))
        load.stop()
        ended_s = time.monotonic()
        await calling
        progress.cancel()
    return Run(seconds, seed, started_s, ended_s, load.history, fired, list(planned))


async def takeovers(cluster: DevCluster, kills: int, seed: int, clients: int) -> Run:
    """Kill one node after the other, under load, each time from rest."""
    await cluster.wait_settled(REST_BEFORE_KILL_S)
    names = names_by_slot(cluster.slots)
    await _warm_up(cluster, list(names.values()))
    load = Load(cluster.connect, clients, OBJECTS, seed)
    hand = Hand(cluster, names, load.busiest, load.history, seed)
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


class Judge:
    """Tells what runs came to, and writes their reports.

    Attributes:
        failed: how many runs failed.
        runs: how many there were.
    """

    def __init__(self, keep_log: bool = False) -> None:
        self.keep_log = keep_log
        self.failed = 0
        self.runs = 0

    def pronounce(self, run: Run, checks: list[Check], report: Path, cluster: DevCluster) -> None:
        """Judge one run; the log of the cluster is kept beside the report of one that failed, or of each."""
        write(run, checks, report)
        for check in checks:
            say(f"{'passed' if check.passed else 'FAILED'}  {check.name}: {check.detail}")
        say(f"the report is {report}; again with --seed {run.seed}")
        failed = sum(not check.passed for check in checks)
        self.runs += 1
        self.failed += failed > 0
        if (failed or self.keep_log) and cluster.log_path.exists():
            kept = shutil.copy(cluster.log_path, report.with_suffix(".log"))
            say(f"what the cluster wrote is {kept}")
        say(f"chaos: {len(checks) - failed} passed, {failed} failed")


def make_cluster(options: argparse.Namespace, apart: bool) -> DevCluster:
    """The cluster that was asked for."""
    environment = {"HOMING_LOG_LEVEL": options.log_level}
    return (NetCluster if apart else DevCluster)(APP, options.nodes, environment=environment)


def make_plan(options: argparse.Namespace, seconds: float, apart: bool, seed: int) -> list[Planned]:
    """The faults that were asked for, in their order, or those of the seed."""
    if options.faults:
        distance = (seconds - LEAD_S - TAIL_S) / len(options.faults)
        return [Planned(LEAD_S + n * distance, Target[name.upper()]) for n, name in enumerate(options.faults)]
    return plan_apart(seconds, seed) if apart else plan(seconds, seed)


def run_once(options: argparse.Namespace, apart: bool, seed: int, judge_of: Judge) -> None:
    """One run on a cluster of its own."""
    kills: int = options.takeover_kills
    planned = make_plan(options, options.seconds, apart, seed)
    cluster = make_cluster(options, apart)
    cluster.start()
    try:
        if kills:
            run = uvloop.run(takeovers(cluster, kills, seed, options.clients))
        else:
            run = uvloop.run(chaos(cluster, options.seconds, seed, planned))
        cluster.end_processes()
        run.leftovers = len(cluster.leftovers)
        judge_of.pronounce(run, judge_kills(run, kills) if kills else judge(run), options.report, cluster)
    finally:
        cluster.stop()


def soak(options: argparse.Namespace, apart: bool, seed: int, judge_of: Judge) -> None:
    """Rounds on one cluster after the other, until the hours are over; reports of rounds that failed are kept."""
    ends_s = time.monotonic() + options.hours * 3600
    number = 0
    while time.monotonic() < ends_s:
        cluster = make_cluster(options, apart)
        cluster.start()
        try:
            for _ in range(ROUNDS_PER_CLUSTER):
                if time.monotonic() >= ends_s:
                    break
                number += 1
                round_seed = seed + number
                seconds = min(ROUND_S, options.seconds)
                planned = make_plan(options, seconds, apart, round_seed)
                say(f"round {number}: seed {round_seed}, {max(0.0, ends_s - time.monotonic()) / 3600:.1f} h to go")
                run = uvloop.run(chaos(cluster, seconds, round_seed, planned, ROUND_OPERATIONS_MAX))
                checks = judge(run)
                failed = any(not check.passed for check in checks)
                name = f"{options.report.stem}-round-{number}.md" if failed else options.report.name
                judge_of.pronounce(run, checks, options.report.with_name(name), cluster)
        finally:
            cluster.stop()
        if cluster.leftovers:
            say(f"FAILED  {len(cluster.leftovers)} processes were left behind")
            judge_of.failed += 1


def parse() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=None, help="of a run or a round; 180, or 300 in a round")
    parser.add_argument("--hours", type=float, default=0.0, help="rounds for so long")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--network", choices=("auto", "yes", "no"), default="auto", help="faults of the network, too")
    kinds = [one.name.lower() for one in Target]
    parser.add_argument("--faults", nargs="+", default=[], choices=kinds, metavar="KIND", help="these, in this order")
    parser.add_argument("--report", type=Path, default=ROOT / "reports" / "chaos.md")
    parser.add_argument("--log-level", default="info", help="of every part; the log of a failed run is kept")
    parser.add_argument("--keep-log", action="store_true", help="also that of a run that passed")
    parser.add_argument("--takeover-kills", type=int, default=0)
    parser.add_argument("--clients", type=int, default=16, help="load during --takeover-kills")
    options = parser.parse_args()
    options.seconds = options.seconds or (ROUND_S if options.hours else 180.0)
    return options


def main() -> int:
    """Run what was asked for; 0 if all is well."""
    options = parse()
    seed: int = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    apart = options.network != "no" and not options.takeover_kills
    if apart and (reason := why_not()):
        say(f"SKIPPED faults of the network, of disks and of several nodes: {reason}")
        if options.network == "yes":
            return 1
        apart = False
    say(f"chaos: seed {seed}; starting {options.nodes} nodes{', each with a network of its own' if apart else ''}")
    judge_of = Judge(options.keep_log)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))  # so that everything is removed
    try:
        (soak if options.hours else run_once)(options, apart, seed, judge_of)
    except (StartFailed, TimeoutError, NetworkFailed) as error:
        say(f"{error}\nchaos: 0 passed, 1 failed (seed {seed})")
        return 1
    if options.hours:
        say(f"soak: {judge_of.runs - judge_of.failed} rounds passed, {judge_of.failed} failed")
    return 1 if judge_of.failed or not judge_of.runs else 0


if __name__ == "__main__":
    sys.exit(main())
