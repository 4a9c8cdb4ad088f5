"""Sees to it that no answer gives back a secret that was sent with the question. Pure."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterable, Iterator

from homing_node.broker.urls import Refusal

_LEAST = 12  # characters of a secret in a row that are one
_GRAM = 6  # whatever is twice as long, but one, has one of these at a place that can be divided by it
_HELD = 160  # bytes: 12 characters, however they are escaped
_ESCAPED = re.compile(
    rb"%([0-9a-f]{2})|\\u00([0-9a-f]{2})|\\x([0-9a-f]{2})|&#x0*([0-9a-f]{2});|&#0*([0-9]{2,3});|&(amp|lt|gt|quot|apos);|\\+/"
)
_NAMED = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}


class Traces:
    """What secrets look like: as they are, backwards, in hex, in UTF-16, and in base64 at any offset; in lower case.

    Args:
        secrets: of at least 12 characters of ASCII.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = [form for secret in secrets for form in _forms(secret.lower().encode(), secret.encode())]
        self._places: dict[bytes, list[tuple[int, int]]] = {}
        for number, (form, _) in enumerate(self._forms):
            for at in range(len(form) - _GRAM + 1):
                self._places.setdefault(form[at : at + _GRAM], []).append((number, at))
        self._grams = frozenset((gram,) for gram in self._places)  # as `struct` gives them

    def __bool__(self) -> bool:
        return bool(self._forms)

    def are_in(self, data: bytes) -> bool:
        """Whether there is enough of one in a row, or of one that was escaped, wholly or in part."""
        lowered = data.lower()
        if self._found(lowered):
            return True
        plain = _ESCAPED.sub(_unescaped, lowered) if any(sign in lowered for sign in (b"%", b"\\", b"&")) else lowered
        return len(plain) != len(lowered) and self._found(plain)

    def _found(self, data: bytes) -> bool:
        size = len(data) - len(data) % _GRAM
        windows = memoryview(data)[:size]
        if self._grams.isdisjoint(struct.iter_unpack(f"{_GRAM}s", windows)):  # almost always, and as fast as it goes
            return False
        for begin in range(0, size, _GRAM):
            for number, at in self._places.get(data[begin : begin + _GRAM], ()):
                form, least = self._forms[number]
                if _run(form, at, data, begin) >= least:
                    return True
        return False


class Mirror:
    """Looks through an answer as it passes.

    An answer in which a trace is found is refused from there on, rather than mended: what else such a server does with
    a secret nobody knows, and whoever gets an answer with a hole would take it for whole. So that nothing of a trace
    has passed when enough of it has come, the last bytes are held back until more follows.

    Args:
        traces: what must not be in it.

    Attributes:
        looks: there are any.
    """

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self.looks = bool(traces)
        self._held = b""  # Invariant: no trace is in it, or begins before it

    def field(self, name: str, value: str) -> None:
        """A header field.

        Raises:
            Refusal: a trace is in it.
        """
        self._look(f"{name}: {value}".encode("latin-1"))

    def feed(self, data: bytes) -> bytes:
        """A part of the body; what may be passed on now.

        Raises:
            Refusal: a trace is in it, or in it and what came before.
        """
        if not self.looks:
            return data
        both = self._held + data
        self._look(both)
        passed = max(0, len(both) - _HELD)
        self._held = both[passed:]
        return both[:passed]

    def end(self) -> bytes:
        """The body has ended: the rest of it."""
        rest, self._held = self._held, b""
        return rest

    def _look(self, data: bytes) -> None:
        if self.looks and self._traces.are_in(data):
            raise Refusal("reflection", "the answer gives back a secret of the grant, and is not passed on")


def _forms(lowered: bytes, raw: bytes) -> Iterator[tuple[bytes, int]]:
    """Each form, and how much of it in a row is too much."""
    yield lowered, _LEAST
    yield lowered[::-1], _LEAST
    yield raw.hex().encode(), _LEAST * 2
    yield lowered.decode().encode("utf-16-le"), _LEAST * 2 - 1
    for skipped in range(3):  # base64 of a text in which it stands: its outermost digits depend on what is beside it
        digits = base64.b64encode(b"\0" * skipped + raw).rstrip(b"=").lower()
        inner = digits[-(-skipped * 8 // 6) : len(digits) - (1 if (skipped + len(raw)) % 3 else 0)]
        for form in {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}:
            yield form, min(len(form), _LEAST * 4 // 3)


def _run(form: bytes, at: int, data: bytes, begin: int) -> int:
    """How many bytes of a form stand in a row, around a place where some do."""
    first = 0
    while first < at and first < begin and form[at - first - 1] == data[begin - first - 1]:
        first += 1
    last = 0
    while at + last < len(form) and begin + last < len(data) and form[at + last] == data[begin + last]:
        last += 1
    return first + last


def _unescaped(found: re.Match[bytes]) -> bytes:
    hexadecimal = found[1] or found[2] or found[3] or found[4]
    if hexadecimal:
        return bytes((int(hexadecimal, 16),)).lower()
    if found[5]:
        return bytes((int(found[5]) & 0xFF,)).lower()
    return _NAMED.get(found[6], b"/")
