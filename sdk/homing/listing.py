"""The objects of a class as a list, in pages."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from homing.ids import bound_of

LIST_OBJECTS_MAX = 1_000
"""Of one page."""


class ListedObject(NamedTuple):
    """What a list says of one object.

    Attributes:
        id: 64 hexadecimal digits; `namespace.id_from_string` takes them.
        name: that it was first addressed by; None: it was addressed by its id.
        active: it is in memory.
        database_bytes: how large its database is.
        alarm: when its earliest alarm rings, in milliseconds since 1970; None: none does.
        sockets: how many WebSockets it has open.
        last_use: when a call last came to it since it is in memory, else when it last wrote, in milliseconds since
            1970; None: that is not known.
        owner: the node that it lives on.
    """

    id: str
    name: str | None
    active: bool
    database_bytes: int
    alarm: int | None
    sockets: int
    last_use: int | None
    owner: str


class ObjectList(NamedTuple):
    """One page of a list.

    Attributes:
        objects: in the order of their ids.
        cursor: asks for the next page; None: this is the last.
    """

    objects: list[ListedObject]
    cursor: str | None


def in_bounds(page: ObjectList, bound: int | None) -> ObjectList:
    """Of a page that begins among a jurisdiction's objects, or before them, those that it binds; None: all.

    They follow each other in the order of ids, so another one behind them says that this was the last page.
    """
    if bound is None:
        return page
    found = [each for each in page.objects if bound_of(bytes.fromhex(each.id)) == bound]
    return ObjectList(found, page.cursor if len(found) == len(page.objects) else None)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(ObjectList).decode
