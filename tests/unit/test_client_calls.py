"""The clients: what is sent, what comes back, what is sent again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import unquote

import httpx
import pytest

import homing
from homing import errors
from homing.client_wire import BACKOFF_S_MAX, Retries, make_call, object_path
from homing.ids import ObjectId

Handler = Callable[[httpx.Request], httpx.Response]


def sync_client(handler: Handler, **more: object) -> homing.SyncClient:
    return homing.SyncClient(transport=httpx.MockTransport(handler), **more)


def problem(status: int, code: str, **fields: object) -> httpx.Response:
    document = {"type": f"https://x/{code}", "status": status, "detail": "because", "request_id": "r-1", **fields}
    return httpx.Response(status, json=document, headers={"content-type": "application/problem+json"})


async def test_a_stub_calls_methods() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b'{"result": [1, {"$bytes": "aGk="}]}')

    async with homing.Client("http://g:1", token="t", transport=httpx.MockTransport(handler)) as client:
        found = await client.get("Counter", "a/ü").add(2**70, when=datetime(2026, 1, 2, tzinfo=UTC))
    assert found == [1, b"hi"]
    (request,) = seen
    assert request.url.raw_path == b"/_homing/v1/objects/Counter/a%2F%C3%BC/rpc/add"
    assert request.headers["authorization"] == "Bearer t"
    assert request.headers["content-type"] == "application/json"
    assert 29_000 < int(request.headers["homing-timeout-ms"]) <= 30_000
    assert "idempotency-key" not in request.headers
    assert json.loads(request.content) == {
        "args": [2**70],
        "kwargs": {"when": {"$datetime": "2026-01-02T00:00:00+00:00"}},
    }


def test_the_other_client_is_the_same() -> None:
    with sync_client(lambda _request: httpx.Response(200, content=b'{"result":3}')) as client:
        assert client.get("Counter", "a").increment() == 3
        assert client.call("Counter", "a", "add", 1, kwargs={"by": 2}, key="k") == 3


@pytest.mark.parametrize("name", [".", "..", "a/../b", "%2F", "?q#f", " ", "id:x", "ü", "a:b"])
def test_every_name_arrives_as_it_is(name: str) -> None:
    seen: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(200, content=b'{"result":null}')

    with sync_client(handler) as client:
        client.get("Counter", name).read()
    raw = seen[0].removeprefix(b"/_homing/v1/objects/Counter/").removesuffix(b"/rpc/read")
    assert b"/" not in raw
    assert b"?" not in raw
    assert raw not in (b".", b"..")
    assert unquote(raw.decode()) == name


def test_an_id_addresses_by_id() -> None:
    object_id = ObjectId.from_name("Counter", "a")
    assert object_path("Counter", object_id) == f"/_homing/v1/objects/Counter/id:{object_id}"


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "bad-request", errors.BadRequest),
        (401, "unauthenticated", errors.Unauthenticated),
        (404, "not-found", errors.NotFound),
        (409, "outcome-unknown", errors.BrokenOff),
        (422, "key-reused", errors.KeyReused),
        (502, "outcome-unknown", errors.OutcomeUnknown),
        (500, "application-error", errors.ApplicationError),
        (500, "something-new", errors.HomingError),
    ],
)
def test_problems_become_errors(status: int, code: str, kind: type[errors.HomingError]) -> None:
    answered = problem(status, code, error_type="KeyError")
    with sync_client(lambda _request: answered) as client, pytest.raises(errors.HomingError) as failed:
        client.get("Counter", "a").x()
    assert type(failed.value) is kind
    assert failed.value.message == "because"
    assert "request id r-1" in failed.value.__notes__
    if isinstance(failed.value, errors.ApplicationError):
        assert failed.value.error_type == "KeyError"


def test_an_answer_that_is_no_answer() -> None:
    for wrong in (httpx.Response(200, content=b"<html>"), httpx.Response(200, content=b"[]"), httpx.Response(500)):
        with sync_client(lambda _request, wrong=wrong: wrong) as client, pytest.raises(errors.HomingError):
            client.get("Counter", "a").x()


def test_what_may_be_repeated_is_repeated_and_nothing_else() -> None:
    """Seen to fail when `Retries` looks at the class of an error only."""
    answers = [problem(503, "unavailable", retryable=True), problem(429, "overloaded", retryable=True)]
    done = httpx.Response(200, content=b'{"result":1}')
    sent: list[int] = []

    def handler(_request: httpx.Request) -> httpx.Response:
        sent.append(1)
        return answers[len(sent) - 1] if len(sent) <= len(answers) else done

    with sync_client(handler) as client:
        assert client.get("Counter", "a").x() == 1
    assert len(sent) == 3
    sent.clear()
    answers[:] = [problem(503, "unavailable", retryable=False)]
    with sync_client(handler) as client, pytest.raises(errors.Unavailable):
        client.get("Counter", "a").x()
    assert len(sent) == 1


@pytest.mark.parametrize(("key", "tries"), [(None, 1), ("k", 3)])
def test_a_broken_connection_is_repeated_only_under_a_key(key: str | None, tries: int) -> None:
    sent: list[str | None] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("idempotency-key"))
        raise httpx.RemoteProtocolError("gone")

    with sync_client(handler, tries_max=3) as client, pytest.raises(errors.OutcomeUnknown) as failed:
        client.call("Counter", "a", "x", key=key)
    assert sent == [key] * tries
    assert failed.value.retryable is (key is not None)


def test_a_gateway_that_is_not_there_is_tried_again() -> None:
    sent: list[int] = []

    def handler(_request: httpx.Request) -> httpx.Response:
        sent.append(1)
        raise httpx.ConnectError("refused")

    with sync_client(handler, tries_max=2) as client, pytest.raises(errors.Unavailable):
        client.get("Counter", "a").x()
    assert len(sent) == 2


def test_auto_keys_differ_by_call_and_stay_for_a_repetition() -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) == 1:
            raise httpx.ReadError("gone")
        return httpx.Response(200, content=b'{"result":1}')

    with sync_client(handler, auto_key=True) as client:
        client.get("Counter", "a").x()
        client.get("Counter", "a").x()
    assert keys[0] == keys[1] != keys[2]


def test_retries_wait_longer_each_time_and_stop_in_time() -> None:
    retries = Retries(deadline_s=100.0, tries_max=50)
    error = errors.Unavailable()
    waits = [retries.wait_s(error, 0.0, 1.0) for _ in range(8)]
    assert waits == sorted(waits)
    assert waits[-1] == BACKOFF_S_MAX
    assert retries.wait_s(errors.Unavailable(retry_after_s=7.0), 0.0, 0.0) == 7.0
    with pytest.raises(errors.Unavailable):
        retries.wait_s(error, 99.0, 1.0)


def test_private_names_are_no_methods() -> None:
    with sync_client(lambda _request: httpx.Response(500)) as client, pytest.raises(AttributeError):
        _ = client.get("Counter", "a")._secret


def test_what_cannot_travel_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TypeError):
        make_call("Counter", "a", "x", [object()], {})
    with pytest.raises(ValueError, match=r".+"):
        make_call("Counter", "a", "x", [float("nan")], {})


def test_a_fetch_returns_whatever_the_object_says() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(418, content=request.method.encode() + b" " + request.url.raw_path)

    with sync_client(handler) as client:
        found = client.fetch("Counter", "a", "/x?y=1", method="PUT", content=b"z")
    assert (found.status_code, found.content) == (418, b"PUT /_homing/v1/objects/Counter/a/fetch/x?y=1")
