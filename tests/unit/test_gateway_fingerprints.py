"""The digest of a call under an idempotency key."""

from __future__ import annotations

import pytest

from homing.errors import BadRequest
from homing_gateway.fingerprints import FINGERPRINT_BYTES, of_fetch, of_rpc
from homing_gateway.routes import Router

router = Router()


def digest(body: bytes, *, name: str = "a", method: str = "add") -> bytes:
    return of_rpc(router.address("Counter", name, method), body)


@pytest.mark.parametrize("body", [b"", b"{}", b" { } ", b'{"args":[]}', b'{"kwargs":{},"args":[]}'])
def test_no_arguments_are_one_call(body: bytes) -> None:
    assert digest(body) == digest(b"{}")
    assert len(digest(body)) == FINGERPRINT_BYTES


def test_spelling_makes_no_difference() -> None:
    one = digest(b'{"args": [1, "\\u00fc"], "kwargs": {"a": 1, "b": {"y": 2, "x": 1}}}')
    assert one == digest('{"kwargs":{"b":{"x":1,"y":2},"a":1},"args":[1,"ü"]}'.encode())


@pytest.mark.parametrize(
    "other", [b'{"args":[2]}', b'{"args":["1"]}', b'{"args":[1.0]}', b'{"args":[1,1]}', b'{"kwargs":{"args":1}}', b"{}"]
)
def test_values_make_a_difference(other: bytes) -> None:
    assert digest(b'{"args":[1]}') != digest(other)


def test_large_integers_are_kept_apart() -> None:
    assert digest(b'{"args":[%d]}' % 2**70) != digest(b'{"args":[%d]}' % (2**70 + 1))


def test_object_and_method_make_a_difference() -> None:
    assert len({digest(b"{}"), digest(b"{}", name="b"), digest(b"{}", method="sub")}) == 3


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"1",
        b'{"args":[NaN]}',
        b"\xff",
        b'{"args":["\xff"]}',
        b'{"args":[%s]}' % (b"9" * 5_000),
        b'{"args":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_not_a_call_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        digest(body)


def test_a_fetch_is_told_by_verb_address_and_body() -> None:
    route = router.parse(b"/_homing/v1/objects/Counter/a/fetch/x")
    base = of_fetch(route, "POST", "http://h/x", b"1")
    assert base == of_fetch(route, "POST", "http://h/x", b"1")
    assert base != of_fetch(route, "PUT", "http://h/x", b"1")
    assert base != of_fetch(route, "POST", "http://h/y", b"1")
    assert base != of_fetch(route, "POST", "http://h/x", b"2")
