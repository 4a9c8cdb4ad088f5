"""A cluster as a fixture of pytest: `pytest_plugins = ["homing.testing.fixtures"]` in conftest.py.

`homing_app` says of which application; override it where that is not the folder that pytest runs in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from homing.testing.cluster import Cluster


@pytest.fixture(scope="session")
def homing_app(pytestconfig: pytest.Config) -> Path:
    """Folder of the application: pytest's root."""
    return pytestconfig.rootpath


@pytest.fixture(scope="session")
def homing_cluster(homing_app: Path) -> Iterator[Cluster]:
    """One cluster of one node for all tests; give each test objects of its own."""
    with Cluster(homing_app) as cluster:
        yield cluster
