"""What is heard of a run while it goes on: what its code prints, and what it does under its grants.

A node keeps what its giver has not heard yet, and answers when it is asked for it; what is left at the end comes with
the outcome. So whoever hears slowly hears late, and holds up neither the run nor anybody else.
"""

from __future__ import annotations

import codecs
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

STDOUT, STDERR = 1, 2
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class Use(NamedTuple):
    """What code did under a grant, or tried to; told when it is over. There is no secret, argument or body in it.

    What the code chose itself, the method and where to, is its text: show it as text.

    Attributes:
        grant: its name in the `env` of the code.
        kind: `http`, `stub`, `sql` or `kv`.
        at_ms: when it was asked for, in milliseconds of Unix time, by the clock of the node.
        method: of a request; or the method, or the operation, of an object.
        target: host, port and path of a request, without its query; or class and name of an object.
        outcome: `ok`; `refused`: nothing was done; `failed`: by the other side; `cut`: ended on the way; `left`: the
            code wanted no more of it.
        rule: which rule refused or cut it, or how it failed; else empty. `revoked` is one.
        status: of an answer to a request, or 0.
        sent_bytes, received_bytes: as they travelled.
        took_ms: until it was over.
        missed: so many uses before this one are not told, since too many waited to be heard.
    """

    grant: str
    kind: str
    at_ms: int
    method: str
    target: str
    outcome: str
    rule: str
    status: int
    sent_bytes: int
    received_bytes: int
    took_ms: float
    missed: int = 0


OnOutput = Callable[[str, str], object]
OnUse = Callable[[Use], object]


class Item(NamedTuple):
    """One thing to be heard.

    Attributes:
        stream: on which something was printed, or 0.
        data: what.
        use: or what was done.
    """

    stream: int = 0
    data: bytes = b""
    use: Use | None = None


class News(NamedTuple):
    """What there is to be heard since it was last asked for.

    Attributes:
        more: the run goes on; else what there is besides comes with its outcome.
        items: in the order in which they were.
    """

    more: bool
    items: Sequence[Item]

    def encode(self) -> bytes:
        """As bytes."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> News:
        """Out of bytes.

        Raises:
            ValueError: it is nothing that a node says.
        """
        return msgspec.msgpack.decode(data, type=cls)


class Ear:
    """Hears, and tells the functions that were given to `homing.run`.

    Args:
        on_output, on_use: see there.
    """

    def __init__(self, on_output: OnOutput | None, on_use: OnUse | None) -> None:
        self._on_output, self._on_use = on_output, on_use
        self._texts = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in _NAMES}

    async def hear(self, items: Iterable[Item]) -> None:
        """Tell them, one after the other."""
        for item in items:
            if item.use is not None and self._on_use is not None:
                await _awaited(self._on_use(item.use))
            elif item.stream in self._texts:
                await self._printed(item.stream, self._texts[item.stream].decode(item.data))

    async def end(self) -> None:
        """There is no more: tell what is left of a character that broke off."""
        for stream, text in self._texts.items():
            await self._printed(stream, text.decode(b"", final=True))

    async def _printed(self, stream: int, text: str) -> None:
        if text and self._on_output is not None:
            await _awaited(self._on_output(_NAMES[stream], text))


async def _awaited(returned: object) -> None:
    if inspect.isawaitable(returned):
        told: Awaitable[object] = returned
        await told
