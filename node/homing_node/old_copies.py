"""Copies of slots that this node keeps no more: when they may be deleted (rule 16). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from homing_node import limits
from homing_placement.records import Replica, SlotRecord, SlotState


class OldCopies:
    """Which copies have been out of their slot's set for so long that they may go.

    Args:
        me: this node with its disk.

    Example:
        >>> old = OldCopies(Replica("n1", "d1"))
        >>> old.look([7], {7: record}, now=0.0), old.look([7], {7: record}, now=60.0)   # of a set without n1
        ([], [7])
    """

    def __init__(self, me: Replica) -> None:
        self._me = me
        self._out_since: dict[int, float] = {}

    def excluded(self, record: SlotRecord | None) -> bool:
        """Whether a record says that this node keeps no copy, and nobody is about to change that."""
        if record is None or record.state is not SlotState.ACTIVE:
            return False
        return self._me not in record.replicas and self._me not in (record.next_replicas or ())

    def look(self, held: Iterable[int], records: Mapping[int, SlotRecord | None], now: float) -> list[int]:
        """Slots whose copies are due, oldest first and no more than `limits.old_copies_at_once`.

        Args:
            held: slots of which this node has something.
            records: what is known of them; what is due must be read anew before it is deleted.
            now: monotonic seconds.
        """
        out = [slot for slot in held if self.excluded(records.get(slot))]
        self._out_since = {slot: self._out_since.get(slot, now) for slot in out}
        due = [slot for slot in out if now - self._out_since[slot] >= limits.old_copy_s]
        return due[: limits.old_copies_at_once]

    def sure(self, slots: Sequence[int], read: Mapping[int, SlotRecord]) -> list[tuple[int, int]]:
        """Of slots that were due, those whose record as read now still says so, with its epoch."""
        return [(slot, read[slot].epoch) for slot in slots if self.excluded(read.get(slot))]
