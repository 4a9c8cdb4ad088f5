"""What unit tests of the worker-side runtime share: workers, each in a thread of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker_harness import WorkerHarness, workers


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., WorkerHarness]]:
    """Starts workers, by default with the application of `worker_app`; they end with the test."""
    with workers(tmp_path) as make:
        yield make


@pytest.fixture
def worker(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    """One worker."""
    return start()
