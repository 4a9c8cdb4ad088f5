"""What the gateway needs of placement: the whole seam. `homing_placement.table.SlotTable` is the real one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from homing_placement.records import GatewayRecord, NodeRecord, SlotRecord


class Table(Protocol):
    """A cached, watched view: a hint and never an authority, because the node checks the epoch of every call."""

    @property
    def ready(self) -> bool:
        """The records were read once."""
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
        """The owner of a slot, if it is registered, and the slot's record, if there is one."""
        ...

    async def refresh(self, slot: int) -> object:
        """Read one record linearizably."""
        ...

    def on_change(self, listener: Callable[[int | None], None], /) -> object:
        """Call `listener` with a slot whose record changed, or None when the set of nodes did."""
        ...
