"""What routing needs of placement: the whole seam. `homing_placement.table.SlotTable` is the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from homing_placement.events import TableSeen
from homing_placement.records import GatewayRecord, NodeRecord, SlotRecord


class Table(Protocol):
    """A cached, watched view: a hint and never an authority, because the node checks the epoch of every call."""

    @property
    def ready(self) -> asyncio.Event:
        """Set when every slot is known."""
        ...

    @property
    def nodes(self) -> Mapping[str, NodeRecord]:
        """Registered nodes by id."""
        ...

    @property
    def gateways(self) -> Mapping[str, GatewayRecord]:
        """Registered gateways by id."""
        ...

    def route(self, slot: int) -> tuple[NodeRecord | None, SlotRecord | None]:
        """The node that a slot's calls go to, and the slot's record; None where it is not known."""
        ...

    async def refresh(self, slot: int) -> object:
        """Read one record linearizably."""
        ...

    def on_change(self, callback: Callable[[TableSeen], None], /) -> None:
        """Call back, in the event loop, with each group of records that was applied."""
        ...
