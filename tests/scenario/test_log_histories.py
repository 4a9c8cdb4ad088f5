"""Whole-cluster histories of the log as text: each command, and below it what happened.

    test_log_histories.py --rewrite [name…]     write what happens now into the scripts; read the difference

A script is blocks of a command, a line of dashes and the expected lines, with a blank line between blocks; a line that
begins with # is prose. The commands are those of `COMMANDS`, one call of `Cluster` each.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "support")]  # as a program

from homing_node.log import limits  # noqa: E402 - needs the line above
from log_cluster import Cluster, told  # noqa: E402 - needs the line above

SCRIPTS = Path(__file__).parent / "log"
DASHES = "----"

COMMANDS: dict[str, Callable[..., None]] = {
    "claim": lambda cluster, name, epoch: cluster.claim(name, int(epoch)),
    "activate": lambda cluster, name, epoch: cluster.activate(name, int(epoch)),
    "write": lambda cluster, name, body: cluster.write(name, body),
    "ask": lambda cluster, name: cluster.ask(name),
    "apply": lambda cluster, name: cluster.apply(name),
    "sync": lambda cluster, name: cluster.sync(name),
    "deliver": lambda cluster, source="", target="": deliver(cluster, source, target),
    "twice": lambda cluster, source, target: twice(cluster, source, target),
    "hold": lambda cluster, source, target: hold(cluster, source, target),
    "release": lambda cluster: release(cluster),
    "lose": lambda cluster, source, target: lose(cluster, source, target),
    "piece-bytes": lambda _, count: setattr(limits, "append_bytes_max", int(count)),
    "settle": lambda cluster: cluster.settle(),
    "tick": lambda cluster, seconds: cluster.tick(float(seconds)),
    "cut": lambda cluster, a, b: cluster.cut.update({(a, b), (b, a)}),
    "mend": lambda cluster, a, b: cluster.cut.difference_update({(a, b), (b, a)}),
    "crash": lambda cluster, name: cluster.crash(name),
    "restart": lambda cluster, name: cluster.start(name),
    "restart-distrusted": lambda cluster, name: cluster.start(name, trusted=False),
    "wipe": lambda cluster, name: cluster.wipe(name),
    "logs": lambda cluster: cluster.logs(),
}

_held: dict[int, list[tuple[str, str, object]]] = {}


def deliver(cluster: Cluster, source: str, target: str) -> None:
    """Deliver what is under way between two nodes, or everywhere."""
    if not cluster.deliver(source, target):
        cluster.say("nothing is under way")


def twice(cluster: Cluster, source: str, target: str) -> None:
    """What is under way between two nodes will arrive twice."""
    cluster.network += [m for m in cluster.network if m[:2] == (source, target)]


def hold(cluster: Cluster, source: str, target: str) -> None:
    """Keep what is under way between two nodes for later."""
    kept = [m for m in cluster.network if m[:2] == (source, target)]
    cluster.network = [m for m in cluster.network if m[:2] != (source, target)]
    _held.setdefault(id(cluster), []).extend(kept)
    cluster.say(f"{len(kept)} held")


def release(cluster: Cluster) -> None:
    """What was held is under way again."""
    cluster.network += _held.pop(id(cluster), [])


def lose(cluster: Cluster, source: str, target: str) -> None:
    """The last message under way between two nodes is lost."""
    last = max(i for i, m in enumerate(cluster.network) if m[:2] == (source, target))
    cluster.say(f"{source} x {target}  {told(cluster.network.pop(last)[2])}")


def play(text: str) -> str:
    """Run a script; returns it with what happened in place of what was expected."""
    bytes_max = limits.append_bytes_max
    try:
        return _play(text)
    finally:
        limits.append_bytes_max = bytes_max


def _play(text: str) -> str:
    cluster: Cluster | None = None
    written: list[str] = []
    for block in text.strip().split("\n\n"):
        lines = [line for line in block.split("\n") if line.strip()]
        prose = [line for line in lines if line.startswith("#")]
        rest = [line for line in lines if not line.startswith("#")]
        commands = rest[: rest.index(DASHES)] if DASHES in rest else rest
        if not commands:
            written.append("\n".join(prose))
            continue
        happened: list[str] = []
        for command in commands:
            word, *arguments = command.split()
            if word == "cluster":
                cluster = Cluster(arguments)
                continue
            assert cluster is not None, "a script begins with `cluster NAMES…`"
            COMMANDS[word](cluster, *arguments)
            happened += cluster.lines
            cluster.lines.clear()
        written.append("\n".join([*prose, *commands, DASHES, *(happened or ["ok"])]))
    return "\n\n".join(written) + "\n"


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.txt")), ids=lambda path: path.stem)
def test_history(path: Path) -> None:
    expected = path.read_text()
    assert play(expected) == expected, f"if this is right: python {Path(__file__).name} --rewrite {path.stem}"


def test_there_are_histories() -> None:
    assert len(list(SCRIPTS.glob("*.txt"))) >= 10


if __name__ == "__main__":
    if sys.argv[1:2] != ["--rewrite"]:
        sys.exit(__doc__)
    for script in sorted(SCRIPTS.glob("*.txt")):
        if not sys.argv[2:] or script.stem in sys.argv[2:]:
            script.write_text(play(script.read_text()))
