"""Requests, responses and header fields; and what importing the SDK brings with it."""

import subprocess
import sys

import pytest

import homing
from homing import Headers, Request, Response
from homing_node.workers.inside.application import upper_snake_case


def test_headers_are_case_insensitive_and_keep_several_values():
    headers = Headers([("Set-Cookie", "a"), ("set-cookie", "b"), ("X-One", "1")])
    assert headers["SET-COOKIE"] == "a, b"
    assert headers.get_all("Set-cookie") == ["a", "b"]
    assert headers.raw() == [("Set-Cookie", "a"), ("set-cookie", "b"), ("X-One", "1")]
    assert list(headers) == ["set-cookie", "x-one"]
    assert len(headers) == 2
    assert "x-one" in headers
    assert 5 not in headers
    headers["x-one"] = "2"
    assert headers.raw()[-1] == ("x-one", "2")
    del headers["SET-COOKIE"]
    assert dict(headers) == {"x-one": "2"}
    assert headers.get("nothing") is None
    with pytest.raises(KeyError):
        del headers["nothing"]


@pytest.mark.parametrize(("name", "value"), [("a\r\nb", "1"), ("a", "1\r\nb: 2"), ("", "1"), ("a b", "1"), ("a:", "1")])
def test_a_field_cannot_carry_another(name: str, value: str):
    """Broken by: no check of line breaks."""
    with pytest.raises(ValueError, match="not a header field"):
        Headers({name: value})
    with pytest.raises(ValueError, match="not a header field"):
        Headers().append(name, value)


async def test_request_bodies():
    request = Request("http://h/p", method="post", headers={"A": "b"}, body='{"a": [1]}')
    assert request.method == "POST"
    assert await request.text() == '{"a": [1]}'
    assert await request.bytes() == b'{"a": [1]}'
    assert await request.json() == {"a": [1]}
    assert await Request("http://h/", body=b"\xff").text() == "\ufffd"
    with pytest.raises(ValueError, match="truncated"):
        await Request("http://h/", body=b"{").json()


async def test_responses():
    assert Response().body == b""
    assert Response("é").headers["content-type"].startswith("text/plain")
    assert Response("x", headers={"Content-Type": "text/html"}).headers["content-type"] == "text/html"
    assert "content-type" not in Response(b"x").headers
    answer = Response.json({"a": 1}, status=404)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (404, b'{"a":1}', "application/json")
    assert not answer.ok
    assert await answer.text() == '{"a":1}'
    for status in (100, 199, 600, 0):
        with pytest.raises(ValueError, match="a status is"):
            Response(status=status)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Counter", "COUNTER"), ("ChatRoom", "CHAT_ROOM"), ("HTTPCache", "HTTP_CACHE"), ("A", "A"), ("Room2", "ROOM2")],
)
def test_upper_snake_case(name: str, expected: str):
    assert upper_snake_case(name) == expected


def test_the_sdk_is_light():
    """Broken by: importing the client in homing/__init__.py. A worker's jail has none of these."""
    code = (
        "import sys; from homing import *; import homing_node.workers.inside.worker; "
        "print([m for m in ('grpc', 'httpx', 'click', 'google.protobuf', 'structlog') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_errors_are_names_of_the_package():
    assert homing.NotSupported is homing.errors.NotSupported
    assert issubclass(homing.StorageError, homing.HomingError)
    with pytest.raises(AttributeError):
        homing.Nothing  # noqa: B018 - the access is what raises
