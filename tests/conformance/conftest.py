"""The stores that every test of this folder runs against."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.store_subjects import Subject, memory_subject, rocks_subject


@pytest.fixture(params=[rocks_subject, memory_subject], ids=["rocks", "memory"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    made: Subject = request.param(tmp_path / "data")
    yield made
    made.store.close()
