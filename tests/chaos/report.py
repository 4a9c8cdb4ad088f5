"""What a chaos run came to: the verdict, a Markdown page and its plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.checker import Kind, check_all, check_exactly_once
from tests.chaos.faults import Fired, Planned, Target, missing_kinds
from tests.chaos.load import History
from tests.chaos.plot import draw
from tests.chaos.takeover import GIVE_UP_S, percentile

ACKNOWLEDGED_MIN_PER_S = 20_000 / 180
IN_FLIGHT_MIN = 200
TAKEOVER_MAX_S = 5.0
SHOWN_MAX = 5
FAULT_COLUMNS = (
    "at, s", "until, s", "fault", "victim", "in flight", "answered meanwhile", "seen", "slots: first answer after",
    "slots: first answer once it was over", "",
)  # fmt: skip


@dataclass
class Check:
    """One thing that must hold; `detail` says what was seen."""

    name: str
    passed: bool
    detail: str


@dataclass
class Run:
    """What happened, from the start of the load on.

    Attributes:
        seconds: how long the load was planned to last.
        seed: what the plan was made from.
        started_s: monotonic time at the start of the load.
        ended_s: monotonic time when the load was told to stop.
        history: what the clients saw.
        fired: the faults, in order.
        planned: what was to happen.
        leftovers: processes that outlived the cluster.
    """

    seconds: float
    seed: int
    started_s: float
    ended_s: float
    history: History
    fired: list[Fired]
    planned: list[Planned] = field(default_factory=list[Planned])
    leftovers: int = 0


def judge(run: Run) -> list[Check]:
    """Every check of a run, each passed or not."""
    history = run.history
    planned_bad = [f"{fault.planned.target.value}: {fault.problem}" for fault in run.fired if fault.problem]
    missing = missing_kinds(run.planned, run.fired)
    in_flight = sum(fault.in_flight for fault in run.fired)
    in_flight_min = IN_FLIGHT_MIN * min(1.0, run.seconds / 180)
    needed = ACKNOWLEDGED_MIN_PER_S * run.seconds
    violations = check_all(history.operations)
    replies = {name: check_exactly_once(history.replies(name)) for name in history.operations}
    wrong = [f"{name}: {text}" for name, text in replies.items() if text]
    final = [text for name in history.operations if (text := _final_read(history, name))]
    killing = any(one.target in (Target.NODE, Target.OWNER) for one in run.planned)
    few = [
        f"{fault.planned.target.value}: {fault.acknowledged} in {fault.ended_s - fault.at_s:.1f} s"
        for fault in run.fired
        if fault.acknowledged < fault.acknowledged_min
    ]
    silent = [
        f"{fault.planned.target.value} at {fault.at_s:.0f} s: {len(slots)} slots, such as {slots[:SHOWN_MAX]}"
        for fault in run.fired
        if (slots := [slot for slot, s in (*fault.takeover_s.items(), *fault.healed_s.items()) if s >= GIVE_UP_S])
    ]
    return [
        Check("every planned fault happened", not planned_bad and not missing, _some(planned_bad + missing)),
        Check(f"at least {needed:,.0f} calls answered", history.acknowledged >= needed, f"{history.acknowledged:,}"),
        Check(f"at least {in_flight_min:.0f} calls in flight at faults", in_flight >= in_flight_min, str(in_flight)),
        Check("every key was answered", history.unanswered == 0, f"{history.unanswered} were not"),
        Check("no call got an answer that it should not", not history.failures, _some(history.failures)),
        Check("replies per object are exactly {1 … n}", not wrong, _some(wrong)),
        Check("histories are linearizable", not violations, _some([f"{name}: {v}" for name, v in violations.items()])),
        Check("the last read of each object is its last reply", not final, _some(final)),
        *([] if run.planned and not killing else [judge_takeover(run.fired)]),
        Check("every slot answered again after every fault", not silent, _some(silent)),
        Check("calls were answered while faults lasted", not few, _some(few)),
        Check("no process was left behind", run.leftovers == 0, f"{run.leftovers} were"),
    ]


def judge_takeover(fired: Sequence[Fired]) -> Check:
    """Whether every slot of every killed node answered in time."""
    kills = [fault for fault in fired if fault.planned.target in (Target.NODE, Target.OWNER) and not fault.problem]
    times = [seconds for fault in kills for seconds in fault.takeover_s.values()]
    slowest = max(times, default=float("inf"))
    detail = f"{len(kills)} kills, {len(times)} slots: {_figures(times)}"
    return Check(f"takeover after kill -9 of a node under {TAKEOVER_MAX_S:g} s", slowest < TAKEOVER_MAX_S, detail)


def write(run: Run, checks: Sequence[Check], path: Path) -> None:
    """Write the Markdown report, and the plot beside it."""
    rates, p50, p99 = by_second(run)
    plot = path.with_suffix(".svg")
    path.parent.mkdir(parents=True, exist_ok=True)
    plot.write_text(draw(rates, p50, p99, [(fault.at_s, fault.ended_s, _short(fault)) for fault in run.fired]))
    history = run.history
    increments = sum(op.kind is Kind.INCREMENT for ops in history.operations.values() for op in ops)
    took = sorted(history.took_s)
    lines = [
        f"# Chaos: {run.seconds:g} s, seed {run.seed}",
        "",
        *_table(("check", "", "seen"), [(c.name, "passed" if c.passed else "**FAILED**", c.detail) for c in checks]),
        "",
        f"![calls per second and latency, with the faults]({plot.name})",
        "",
        "## Faults",
        "",
        *_table(FAULT_COLUMNS, map(_fault_row, run.fired)),
        "",
        "## Calls",
        "",
        f"{history.acknowledged:,} answered, {increments:,} of them increments with a key, on "
        f"{len(history.operations)} objects in {run.ended_s - run.started_s:.0f} s; from the first sending to the "
        f"answer p50 {percentile(took, 0.5) * 1e3:.1f} ms, p99 {percentile(took, 0.99) * 1e3:.0f} ms, "
        f"longest {percentile(took, 1.0):.2f} s.",
        "",
        "Sent again: " + (", ".join(f"{why} {times:,}" for why, times in history.retries.most_common()) or "nothing"),
        "",
        "## Latency over time",
        "",
        *_table(("second", "answered", "p50, ms", "p99, ms"), _second_rows(rates, p50, p99)),
        "",
    ]
    path.write_text("\n".join(lines))


def by_second(run: Run) -> tuple[list[float], list[float | None], list[float | None]]:
    """Answers, median and 99th percentile (ms) of each second of the load."""
    count = max(1, int(run.ended_s - run.started_s))
    buckets: list[list[float]] = [[] for _ in range(count)]
    for answered_s, took_s in zip(run.history.answered_s, run.history.took_s, strict=True):
        second = int(answered_s - run.started_s)
        if 0 <= second < count:
            buckets[second].append(took_s * 1e3)
    p50 = [percentile(bucket, 0.5) if bucket else None for bucket in buckets]
    p99 = [percentile(bucket, 0.99) if bucket else None for bucket in buckets]
    return [float(len(bucket)) for bucket in buckets], p50, p99


def _final_read(history: History, name: str) -> str:
    """The read after all other calls must show the number of increments, no more and no less."""
    last = max(history.operations[name], key=lambda op: op.invoked_s)
    replies = len(history.replies(name))
    if last.kind is Kind.READ and last.value == replies:
        return ""
    return f"{name}: {replies} replies, but the last operation was {last}"


def _fault_row(fault: Fired) -> tuple[str, ...]:
    return (
        f"{fault.at_s:.1f}",
        f"{fault.ended_s:.1f}",
        fault.planned.target.value,
        fault.victim,
        str(fault.in_flight),
        f"{fault.acknowledged:,}",
        fault.seen,
        _slots(fault.takeover_s),
        _slots(fault.healed_s),
        fault.problem,
    )


def _slots(times: Mapping[int, float]) -> str:
    return f"{len(times)}: {_figures(list(times.values()))}" if times else ""


def _second_rows(
    rates: Sequence[float], p50: Sequence[float | None], p99: Sequence[float | None]
) -> list[tuple[str, ...]]:
    def text(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    rows = enumerate(zip(rates, p50, p99, strict=True))
    return [(str(second), f"{rate:.0f}", text(middle), text(tail)) for second, (rate, middle, tail) in rows]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]] | map[tuple[str, ...]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _figures(times: Sequence[float]) -> str:
    if not times:
        return "none"
    return f"p50 {percentile(times, 0.5):.2f} s, p99 {percentile(times, 0.99):.2f} s, max {max(times):.2f} s"


def _short(fault: Fired) -> str:
    return fault.planned.target.name.lower().replace("_", " ")


def _some(complaints: Sequence[str]) -> str:
    shown = "; ".join(complaints[:SHOWN_MAX])
    return shown + (f"; and {len(complaints) - SHOWN_MAX} more" if len(complaints) > SHOWN_MAX else "")
