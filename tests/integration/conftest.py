"""What tests of parts share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from egress_world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The world of the egress suite; what must hold in every case is looked at when one is over."""
    found = World(tmp_path)
    await found.start()
    yield found
    await found.stop()
    found.check()
