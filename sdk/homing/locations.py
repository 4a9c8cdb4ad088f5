"""Where objects may live: jurisdictions, which bind them to zones, and location hints.

A jurisdiction has a number, its place in the operator's list, for ever: ids carry it (`homing.ids`), and so it says
which slots are its own. All other slots stay what they are, so that a cluster may get jurisdictions at any time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from homing.errors import ConfigurationError, UnknownLocation
from homing.ids import JURISDICTIONS_MAX, SLOTS_MAX, slots_of_each

LOCATION_HINTS = ("wnam", "enam", "sam", "weur", "eeur", "apac", "apac-ne", "apac-se", "oc", "afr", "me")
"""Those of the reference, https://developers.cloudflare.com/durable-objects/reference/data-location/."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


class Jurisdiction(NamedTuple):
    """What binds objects to zones.

    Attributes:
        name: lower case letters, digits and dashes.
        zones: `HOMING_ZONE` of the nodes that its objects may be on.
    """

    name: str
    zones: tuple[str, ...]


def read_jurisdictions(text: str) -> tuple[Jurisdiction, ...]:
    """What `HOMING_JURISDICTIONS` says.

    Raises:
        ConfigurationError: it cannot be read; says what is wrong, and shows the form.

    Example:
        >>> read_jurisdictions("eu=berlin,paris;us=ohio")
        (Jurisdiction(name='eu', zones=('berlin', 'paris')), Jurisdiction(name='us', zones=('ohio',)))
    """
    found: list[Jurisdiction] = []
    for entry in filter(None, map(str.strip, text.split(";"))):
        name, has_zones, zones = (part.strip() for part in entry.partition("="))
        if not _NAME.fullmatch(name):
            raise _unreadable(f"{name!r} is no name of a jurisdiction: up to 32 lower case letters, digits and dashes")
        named = tuple(zone.strip() for zone in zones.split(","))
        if not has_zones or not all(named) or len(set(named)) < len(named):
            raise _unreadable(f"the jurisdiction {name} needs its zones, each once, with commas between them")
        if any(each.name == name for each in found):
            raise _unreadable(f"the jurisdiction {name} is there twice")
        found.append(Jurisdiction(name, named))
    if len(found) > JURISDICTIONS_MAX:
        raise _unreadable(f"a cluster has at most {JURISDICTIONS_MAX} jurisdictions")
    return tuple(found)


def _unreadable(why: str) -> ConfigurationError:
    return ConfigurationError(f"HOMING_JURISDICTIONS cannot be read: {why}. Write NAME=ZONE,ZONE;NAME=ZONE")


def written(jurisdictions: Sequence[Jurisdiction]) -> str:
    """The text that `read_jurisdictions` reads."""
    return ";".join(f"{each.name}={','.join(each.zones)}" for each in jurisdictions)


def extends(wider: Sequence[Jurisdiction], narrower: Sequence[Jurisdiction]) -> bool:
    """Whether a list only adds to another: zones, or jurisdictions at its end. Nothing that was bound gets loose."""
    pairs = zip(wider, narrower, strict=False)
    kept = all(new.name == old.name and set(new.zones) >= set(old.zones) for new, old in pairs)
    return kept and len(wider) >= len(narrower)


@dataclass(frozen=True, slots=True)
class Part:
    """Slots that are planned together, over the same nodes.

    Attributes:
        first: the lowest.
        count: how many.
        jurisdiction: whose they are; None: they are for all objects that nothing binds, on any node.
    """

    first: int
    count: int
    jurisdiction: Jurisdiction | None = None

    @property
    def slots(self) -> range:
        """Their numbers."""
        return range(self.first, self.first + self.count)

    def admits(self, zone: str) -> bool:
        """Whether nodes of a zone may keep them."""
        return self.jurisdiction is None or zone in self.jurisdiction.zones


class Layout:
    """Which slots a cluster has, and whose they are.

    Args:
        slots: how many there are for objects that nothing binds, a power of two; they come first.
        jurisdictions: each has slots of its own behind them, in this order.

    Attributes:
        count: how many slots there are in all.
        count_max: how many there could be with more jurisdictions.
        parts: the slots by who may keep them.

    Raises:
        ConfigurationError: there would be too many slots.

    Example:
        >>> layout = Layout(1_024, [Jurisdiction("eu", ("berlin",))])
        >>> layout.count, layout.parts[1].slots
        (1152, range(1024, 1152))
    """

    def __init__(self, slots: int, jurisdictions: Sequence[Jurisdiction] = ()) -> None:
        each = slots_of_each(slots)
        self.slots = slots
        self.jurisdictions = tuple(jurisdictions)
        self.count = slots + each * len(self.jurisdictions)
        self.count_max = min(SLOTS_MAX, slots + each * JURISDICTIONS_MAX)
        if self.count > SLOTS_MAX:
            raise ConfigurationError(f"with HOMING_SLOTS={slots} a cluster can have no jurisdictions; use fewer slots")
        bound = [Part(slots + number * each, each, found) for number, found in enumerate(self.jurisdictions)]
        self.parts = (Part(0, slots), *bound)

    @property
    def names(self) -> list[str]:
        """Of the jurisdictions, by number."""
        return [each.name for each in self.jurisdictions]

    def number_of(self, slot: int) -> int:
        """Which of `parts` a slot is in."""
        return 0 if slot < self.slots else 1 + (slot - self.slots) // slots_of_each(self.slots)

    def jurisdiction_of(self, slot: int) -> Jurisdiction | None:
        """Whose slot it is; None: nobody's, or there is no such slot."""
        return self.parts[self.number_of(slot)].jurisdiction if slot < self.count else None


def check_hint(hint: str | None) -> None:
    """Refuse a location hint that the reference does not know.

    Raises:
        UnknownLocation: the message names those that there are.
    """
    if hint is not None and hint not in LOCATION_HINTS:
        raise UnknownLocation(f"there is no location hint {str(hint)[:100]!r}: there are {', '.join(LOCATION_HINTS)}")
