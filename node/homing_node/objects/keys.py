"""Idempotency keys of one object (rule 22): what is known of each, and which may be forgotten. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from homing_node.objects import limits
from homing_node.objects.turn_record import KeyEntry, TurnBody


class KeyTable:
    """The keys of one object, oldest first.

    Invariant: `bytes` is the sum of the sizes of `entries`.
    """

    __slots__ = ("bytes", "entries")

    def __init__(self, entries: Iterable[KeyEntry] = ()) -> None:
        self.entries: dict[str, KeyEntry] = {}
        self.bytes = 0
        for entry in entries:
            self._put(entry)

    def _put(self, entry: KeyEntry) -> None:
        before = self.entries.pop(entry.key, None)
        if before is not None:
            self.bytes -= before.size()
        self.entries[entry.key] = entry
        self.bytes += entry.size()

    def get(self, key: str) -> KeyEntry | None:
        """What is known of a key."""
        return self.entries.get(key)

    def take(self, body: TurnBody, at_ms: int) -> None:
        """What a record says of keys; the same on every replica."""
        for key in body.dropped:
            gone = self.entries.pop(key, None)
            if gone is not None:
                self.bytes -= gone.size()
        for entry in body.keys:
            self._put(msgspec.structs.replace(entry, at_ms=at_ms))

    def prunable(self, now_ms: int, began_ms: int) -> list[str] | None:
        """Which keys go to make room for one more, or None if no room can be made (429).

        A key is kept 10 minutes always, then up to 24 hours or until there are more than 1,000. Of a key from before
        this ownership only the time since its beginning counts: the clock of that owner may have been any.

        Args:
            now_ms: the slot's time.
            began_ms: when this ownership began.
        """
        dropped: list[str] = []
        count, size = len(self.entries) + 1, self.bytes
        for entry in self.entries.values():
            age = now_ms - (entry.at_ms if began_ms <= entry.at_ms <= now_ms else began_ms)
            crowded = count > limits.keys_kept_max or size > limits.keys_bytes_max
            if age <= limits.key_kept_min_ms or not (crowded or age > limits.key_kept_max_ms):
                break  # younger ones follow
            dropped.append(entry.key)
            count -= 1
            size -= entry.size()
        return dropped if size <= limits.keys_bytes_max else None
