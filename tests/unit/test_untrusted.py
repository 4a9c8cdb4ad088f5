"""Values that code without trust wrote: honest ones are as they were, and none takes as long as it likes."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing import untrusted
from homing.sandboxes import decode_outcome, encode_outcome
from homing.untrusted import from_untrusted
from homing.values import EXT_SET, from_stored, to_stored

PRIME = 2**61 - 1  # the hash of a number is what is left of it by this one


def extension(code: int, content: Any) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, content if isinstance(content, bytes) else msgspec.msgpack.encode(content))


def long(value: int) -> msgspec.msgpack.Ext:
    return extension(1, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True))


def keys(*items: bytes) -> bytes:
    """A map whose keys are these; no encoder would write it so."""
    return b"\xdf" + len(items).to_bytes(4, "big") + b"".join(item + b"\xc0" for item in items)


HONEST = {
    "numbers as keys": {n: str(n) for n in range(30_000)},
    "a set of numbers": set(range(30_000)),
    "fractions": {n / 7 for n in range(30_000)},
    "a set of pairs": {(n, n + 1) for n in range(7_500)},
    "long numbers": {2**70 + n for n in range(7_500)},
    "texts without end": {str(n): n for n in range(200_000)},
    "a set of texts": {str(n) for n in range(200_000)},
    "a long list of numbers": list(range(500_000)),
    "one long tuple in a set": {"a", tuple(range(100_000))},
    "many small ones": [{n: n, -n: n} for n in range(50_000)],
    "what only looks like it": b"\xdf\xff\xff\xff\xff" * 1_000,
    "times": {datetime(2026, 1, 1, tzinfo=UTC): [b"\xdf", 1.5, None, True, 2**40, -(2**40)]}.popitem()[1],
}


@pytest.mark.parametrize("name", HONEST)
def test_what_honest_code_returns_is_read(name: str) -> None:
    data = to_stored(HONEST[name])
    assert from_untrusted(data) == from_stored(data)


HOSTILE = {
    "a set of numbers that collide": msgspec.msgpack.encode(
        extension(EXT_SET, [long(PRIME * n) for n in range(2, 8_000)])
    ),
    "keys that collide": keys(*(msgspec.msgpack.encode(long(PRIME * n)) for n in range(2, 8_000))),
    "numbers as keys": to_stored(dict.fromkeys(range(32_000))),
    "a set of numbers": to_stored(set(range(32_000))),
    "tuples as keys": keys(*(msgspec.msgpack.encode([n]) for n in range(8_000))),
    "a set of tuples": to_stored({(n,) for n in range(8_000)}),
    "a set of sets": to_stored({frozenset([n]) for n in range(8_000)}),
    "behind what counts for nothing": to_stored(["x" * 300, b"y" * 70_000, [1.5, None, 2**70], set(range(32_000))]),
    "one in the other": to_stored([[{"a": {"b": {n: n for n in range(32_000)}}}]]),
    "in a map of a few": to_stored({"a": set(range(32_000))}),
    "many of some size": to_stored([{n: n for n in range(10_000)} for _ in range(11)]),
    "in the list of a set": to_stored({frozenset(range(32_000)), "a"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_could_collide_without_end_is_refused(name: str) -> None:
    """Nothing is timed: the decoder is never reached. Broken by: `from_stored` in its place; `_OTHER` of 1."""
    with pytest.raises(ValueError, match="too many members"):
        from_untrusted(HOSTILE[name])


def test_a_run_whose_result_is_so_came_to_nothing() -> None:
    """Broken by: `from_stored` in `homing.sandboxes`."""
    ran = decode_outcome(encode_outcome((HOSTILE["a set of numbers"], b"", b"", None, 1.0)))
    assert ran.error is not None
    assert (ran.error.code, ran.result) == ("sandbox-no-value", None)


def test_sets_in_sets_take_no_copy_each() -> None:
    """Broken by: `bytes(data)` for what is decoded of a set."""
    data = msgspec.msgpack.encode(bytes(1 << 20))
    for _ in range(100):
        data = msgspec.msgpack.encode(msgspec.msgpack.Ext(EXT_SET, b"\x91" + data))
    tracemalloc.start()
    try:
        from_untrusted(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 << 20


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**60), 2**60), inner),
) | st.sets(st.integers() | st.text() | st.tuples(st.integers(), st.text()))


@given(values)
def test_any_value_is_walked_to_its_end(value: Any) -> None:
    """The walk ends where the value does. Broken by: a length of `_BYTES` that is another."""
    data = to_stored([value, {"a": 1}])
    walk = untrusted._Walk(data)
    walk.check()
    assert walk._at == len(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_walked_without_an_error_of_another_type(data: bytes) -> None:
    untrusted._Walk(data).check()
