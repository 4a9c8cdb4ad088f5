"""Headers, and who may come in."""

from __future__ import annotations

import pytest

from homing.errors import BadRequest, Forbidden, MethodNotAllowed, NotFound, Unauthenticated, UnsupportedMediaType
from homing_gateway.asked import Asked, Doorkeeper, new_request_id
from homing_gateway.routes import Router

RPC = Router().parse(b"/_homing/v1/objects/Counter/a/rpc/increment")
LOCAL = (b"host", b"localhost:8787")


def asked(*headers: tuple[bytes, bytes]) -> Asked:
    return Asked(headers)


@pytest.mark.parametrize("host", [b"localhost", b"LOCALHOST:1", b"127.0.0.1:8787", b"[::1]:8787", b"[::1]"])
def test_without_a_token_loopback_names_are_taken(host: bytes) -> None:
    Doorkeeper().admit(RPC, "POST", asked((b"host", host)))
    Doorkeeper().admit(RPC, "POST", asked((b"host", host), (b"origin", b"http://" + host)))


@pytest.mark.parametrize(
    "host", [b"example.org", b"localhost.example.org", b"127.0.0.1.nip.io", b"", b"localhost:8787@evil", b"127.0.0.2"]
)
def test_without_a_token_a_foreign_host_is_refused(host: bytes) -> None:
    with pytest.raises(Forbidden):
        Doorkeeper().admit(RPC, "POST", asked((b"host", host)))


def test_without_a_token_a_missing_host_is_refused() -> None:
    with pytest.raises(Forbidden):
        Doorkeeper().admit(RPC, "POST", asked())


@pytest.mark.parametrize(
    "origin",
    [
        b"http://evil.example",
        b"null",
        b"http://localhost:3000",
        b"http://localhost",
        b"file://",
        b"ftp://localhost:8787",
    ],
)
def test_without_a_token_a_foreign_origin_is_refused(origin: bytes) -> None:
    with pytest.raises(Forbidden):
        Doorkeeper().admit(RPC, "POST", asked(LOCAL, (b"origin", origin)))


@pytest.mark.parametrize(
    "value", [None, b"", b"Bearer", b"Bearer ", b"Bearer wrong", b"Basic secret", b"secret", b"Bearer secret2"]
)
def test_with_a_token_everything_else_is_refused(value: bytes | None) -> None:
    headers = [] if value is None else [(b"authorization", value)]
    with pytest.raises(Unauthenticated):
        Doorkeeper("secret").admit(RPC, "POST", asked(*headers))


def test_with_the_token_any_host_and_origin_may_come() -> None:
    keeper = Doorkeeper("secret")
    token = (b"authorization", b"bearer secret")
    keeper.admit(RPC, "POST", asked(token, (b"host", b"x.example"), (b"origin", b"http://y")))
    keeper.admit(Router().parse(b"/"), "GET", asked())


def test_the_token_comes_before_what_exists() -> None:
    with pytest.raises(Unauthenticated):
        Doorkeeper("secret").admit(Router().parse(b"/_homing/v1/nope"), "GET", asked())
    with pytest.raises(NotFound):
        Doorkeeper().admit(Router().parse(b"/_homing/v1/nope"), "GET", asked(LOCAL))


def test_a_wrong_verb_is_refused() -> None:
    with pytest.raises(MethodNotAllowed):
        Doorkeeper().admit(RPC, "GET", asked(LOCAL))


@pytest.mark.parametrize("name", [b"host", b"authorization", b"idempotency-key", b"homing-timeout-ms"])
def test_a_header_that_decides_must_not_be_there_twice(name: bytes) -> None:
    with pytest.raises(BadRequest):
        Doorkeeper().admit(RPC, "POST", asked(LOCAL, (name, b"localhost"), (name, b"localhost")))


@pytest.mark.parametrize("given", [b"x", b"x" * 128, b"!~"])
def test_a_request_id_is_taken_over(given: bytes) -> None:
    assert asked((b"x-request-id", given)).take_request_id() == given.decode()


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"\xff", b"a\tb"])
def test_a_bad_request_id_is_replaced(given: bytes) -> None:
    taken = asked((b"x-request-id", given)).take_request_id()
    assert taken != given.decode("latin-1")
    assert taken.isascii()


def test_request_ids_differ() -> None:
    assert new_request_id() != new_request_id()


@pytest.mark.parametrize(("given", "ms"), [(None, 30_000), (b"1", 1), (b"600000", 600_000), (b"0000001", 1)])
def test_timeouts_at_their_edges(given: bytes | None, ms: int) -> None:
    headers = [] if given is None else [(b"homing-timeout-ms", given)]
    assert asked(*headers).timeout_ms() == ms


@pytest.mark.parametrize("given", [b"0", b"600001", b"-1", b"1.5", b"", b"x", b"1e3", b"9" * 400, "²".encode()])
def test_bad_timeouts_are_refused(given: bytes) -> None:
    with pytest.raises(BadRequest):
        asked((b"homing-timeout-ms", given)).timeout_ms()


@pytest.mark.parametrize("given", [b"", b"x" * 257, b"a b", b"\x80"])
def test_bad_keys_are_refused(given: bytes) -> None:
    with pytest.raises(BadRequest):
        asked((b"idempotency-key", given)).idempotency_key()


def test_a_key_of_256_characters_is_taken() -> None:
    assert asked((b"idempotency-key", b"k" * 256)).idempotency_key() == "k" * 256
    assert asked().idempotency_key() == ""


@pytest.mark.parametrize("given", [b"application/json", b"Application/JSON", b"application/json; charset=utf-8"])
def test_json_is_taken(given: bytes) -> None:
    asked((b"content-type", given)).check_json()


@pytest.mark.parametrize(
    "given", [None, b"", b"text/plain", b"application/jsonp", b"application/x-www-form-urlencoded"]
)
def test_other_types_are_refused(given: bytes | None) -> None:
    headers = [] if given is None else [(b"content-type", given)]
    with pytest.raises(UnsupportedMediaType):
        asked(*headers).check_json()


def test_a_bad_traceparent_is_ignored() -> None:
    good = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    assert asked((b"traceparent", good.encode())).trace() == good
    assert asked((b"traceparent", b"00-zz")).trace() == ""
    assert asked().trace() == ""
