"""Whole-cluster histories of the log as text: each command, and below it what happened.

    test_log_histories.py --rewrite [name…]     write what happens now into the scripts; read the difference

A script is blocks of a command, a line of dashes and the expected lines, with a blank line between blocks; a line that
begins with # is prose. `perform` lists the commands.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "support")]  # as a program

from homing_node.log import limits  # noqa: E402 - needs the line above
from log_cluster import Cluster  # noqa: E402 - needs the line above

SCRIPTS = Path(__file__).parent / "log"
DASHES = "----"


def perform(cluster: Cluster, word: str, arguments: list[str]) -> None:
    """One command."""
    match [word, *arguments]:
        case ["claim", name, epoch]:
            cluster.claim(name, int(epoch))
        case ["activate", name, epoch]:
            cluster.activate(name, int(epoch))
        case ["write", name, body]:
            cluster.write(name, body)
        case ["deliver", *ends]:
            if not cluster.deliver(*ends):
                cluster.say("nothing is under way")
        case ["twice", source, target]:
            cluster.network += [m for m in cluster.network if m[:2] == (source, target)]
        case ["hold", source, target]:
            cluster.hold(source, target)
        case ["release"]:
            cluster.release()
        case ["lose", source, target]:
            cluster.lose(source, target)
        case ["piece-bytes", count]:
            limits.append_bytes_max = int(count)
        case ["tick", seconds]:
            cluster.tick(float(seconds))
        case ["cut", a, b]:
            cluster.cut.update({(a, b), (b, a)})
        case ["mend", a, b]:
            cluster.cut.difference_update({(a, b), (b, a)})
        case ["restart", name]:
            cluster.start(name)
        case ["restart-distrusted", name]:
            cluster.start(name, trusted=False)
        case ["settle" | "logs"]:
            getattr(cluster, word)()
        case ["ask" | "apply" | "sync" | "crash" | "wipe", name]:
            getattr(cluster, word)(name)
        case _:
            raise ValueError(f"{word} {arguments} is no command")


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
            perform(cluster, word, arguments)
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
