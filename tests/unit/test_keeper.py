"""What a node does with the news of its log."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from homing_node.keeper import Keeper


class _Log:
    """A log that says which epoch it serves once it was told that the record is ACTIVE."""

    def __init__(self) -> None:
        self.active = 0
        self.resigned: list[int] = []
        self.core = SimpleNamespace(replica=lambda slot: SimpleNamespace(commit=7))

    def activated(self, _slot: int, epoch: int) -> None:
        self.active = epoch

    def serving(self, _slot: int) -> int:
        return self.active

    def resign(self, slot: int, _reason: str) -> None:
        self.resigned.append(slot)


@pytest.mark.parametrize("in_time", [True, False])
async def test_a_slot_is_served_only_when_its_record_became_active(
    in_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule 14. Seen to fail when a recovered slot is served whatever became of its record."""
    log, served = _Log(), list[tuple[int, int, int]]()

    async def activated(_slot: int, _epoch: int) -> bool:
        return in_time

    host = SimpleNamespace(serve=lambda slot, epoch, commit: served.append((slot, epoch, commit)))
    stubs = cast(
        "dict[str, Any]",
        {"client": None, "links": None, "log": log, "host": host, "metrics": None, "credentials": None},
    )
    keeper = Keeper(cast("Any", None), "incarnation", "disk", **stubs)
    monkeypatch.setattr(keeper, "_placer", SimpleNamespace(activated=activated, last_contact=lambda _slot: None))
    keeper.recovered(3, 5)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (log.active, served, log.resigned) == ((5, [(3, 5, 7)], []) if in_time else (0, [], [3]))
