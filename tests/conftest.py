"""What all tests share: a marker for each kind, taken from the folder, and the paths of the helpers.

`pytest -m property` runs one kind; `make test` runs each kind as a command of its own.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# A slow machine is no counterexample.
settings.register_profile("homing", deadline=None, print_blob=True)
# A mutant need only be noticed: the smallest counterexample is for people.
settings.register_profile("mutants", settings.get_profile("homing"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("homing")

# Collections look again and again at all that thousands of tests were made of: an eighth of the time of unit tests.
# Processes that serve have the same thresholds.
gc.set_threshold(50_000, 20, 50)

TESTS = Path(__file__).parent
KINDS = {
    "tidy": "the source itself is linted (tests/test_*.py)",
    "unit": "one module, no process, no network",
    "property": "hypothesis looks for a counterexample",
    "scenario": "golden histories of a core, as text",
    "conformance": "any implementation of an interface must pass",
    "integration": "several parts with a real etcd, store or socket",
    "fuzz": "every input that a fuzzer's corpus keeps, once more",
    "simulation": "seeded faults on the cores",
    "e2e": "real processes, started as users start them",
    "examples": "the same, for what the pages and examples/ show: typed and run as a reader does",
    "sandboxes": "the same, for code that came a moment ago",
    "chaos": "processes are killed under load",
    "soak": "long runs; not part of `make test`",
}

# `tests.chaos.checker` and the modules of tests/support can be imported from every kind.
sys.path[:0] = [str(TESTS.parent), str(TESTS / "support")]
pytest_plugins = ["whereabouts"]


def kind_of(path: Path) -> str:
    """The kind of a test file: the first folder below tests/."""
    inside = path.relative_to(TESTS).parts
    return inside[0] if len(inside) > 1 else "tidy"


def pytest_configure(config: pytest.Config) -> None:
    for kind, meaning in KINDS.items():
        config.addinivalue_line("markers", f"{kind}: {meaning}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        kind = kind_of(item.path)
        if kind not in KINDS:
            raise pytest.UsageError(f"{item.nodeid}: tests/{kind}/ is no kind that tests/conftest.py knows")
        item.add_marker(kind)
