"""The benchmark of a worker's turns tells a worker what a node does: when an EVENT changes its shape, so must it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "worker_turn.py"


def test_it_measures_every_method() -> None:
    """Broken by: an element more in EVENT; the benchmark ended with an IndexError, and nobody saw it."""
    found = subprocess.run(
        [sys.executable, str(PROGRAM), "--calls", "64"], capture_output=True, text=True, timeout=60, check=False
    )
    assert found.returncode == 0, found.stderr
    figures = dict(line.rsplit(maxsplit=2)[:2] for line in found.stdout.splitlines())
    assert {"nothing", "read", "increment", "increment_async", "increment_sql"} <= figures.keys()
    assert all(float(figure) > 0 for figure in figures.values())
