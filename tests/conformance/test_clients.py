"""What every client of a gateway must do, whichever way it goes there: over HTTP or gRPC, waiting or not.

The gateway is the real one, with a node behind it that answers by a script, and a line in front of it that can be cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

import homing
from gateway_process import Running, running, until
from homing import errors
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_gateway.rpc import RpcServer
from stub_node import OnCall, StubNode, answer, failure

SUBJECTS = [(kind, scheme) for kind in (homing.Client, homing.SyncClient) for scheme in ("http", "grpc")]
TOKEN = "t0ken"
NOTICED_TRIES_MAX = 20


class Line:
    """What is between a client and a gateway: bytes pass, until it is cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._work: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, back}
        self._work |= {
            asyncio.ensure_future(self._pass(reader, back)),
            asyncio.ensure_future(self._pass(there, writer)),
        }

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self) -> None:
        """Break what stands; new connections pass."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._work, return_exceptions=True)


class Subject:
    """A client, its gateway, and the line between them."""

    def __init__(self, make: Callable[..., Any], gate: Running, line: Line) -> None:
        self.make, self.gate, self.line = make, gate, line
        self.client: Any = make()

    async def call(self, *args: Any, client: Any = None, **kwargs: Any) -> Any:
        client = client or self.client
        if isinstance(client, homing.Client):
            return await client.call(*args, **kwargs)
        return await asyncio.to_thread(client.call, *args, **kwargs)

    async def close(self, client: Any = None) -> None:
        closed = (client or self.client).close()
        if closed is not None:
            await closed


@pytest.fixture(params=SUBJECTS, ids=lambda pair: f"{pair[0].__name__}-{pair[1]}")
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    kind, scheme = request.param
    async with running(lane=True, token=TOKEN, node=StubNode()) as gate:
        server = RpcServer(gate.gateway)
        port = await server.start("127.0.0.1:0")
        line = Line(gate.port if scheme == "http" else port)
        await line.start()

        def make(**more: Any) -> Any:
            return kind(f"{scheme}://127.0.0.1:{line.port}", **{"token": TOKEN, **more})

        found = Subject(make, gate, line)
        try:
            yield found
        finally:
            await found.close()
            await line.close()
            await server.stop(0)


def echo(call: wire.Call) -> wire.Reply:
    return answer(b'{"result":%s}' % json.dumps(json.loads(call.body)).encode())


async def test_values_go_there_and_come_back(subject: Subject) -> None:
    subject.gate.node.on_call = echo
    when = datetime(2026, 1, 2, tzinfo=UTC)
    found = await subject.call("Counter", "a", "m", 2**70, b"hi", kwargs={"when": when, "all": {1, 2}})
    assert found == {"args": [2**70, b"hi"], "kwargs": {"when": when, "all": {1, 2}}}
    assert await subject.call("Counter", "a", "m") == {}


async def test_a_stub_calls_methods(subject: Subject) -> None:
    stub = subject.client.get("Counter", "a")
    found = stub.increment(by=2) if isinstance(subject.client, homing.Client) else asyncio.to_thread(stub.increment)
    assert await found == 1
    assert subject.gate.node.calls[0].method == "increment"
    with pytest.raises(AttributeError):
        _ = stub._secret


@pytest.mark.parametrize("name", [".", "..", "a/../b", "%2F", "?q#f", " ", "ü", "a:b", "\N{PILE OF POO}" * 256])
async def test_every_name_arrives_as_it_is(subject: Subject, name: str) -> None:
    await subject.call("Counter", name, "m")
    (call,) = subject.gate.node.calls
    assert (call.name, call.object) == (name, ObjectId.from_name("Counter", name).raw)


async def test_an_id_addresses_by_id(subject: Subject) -> None:
    object_id = ObjectId.from_name("Counter", "a")
    await subject.call("Counter", object_id, "m")
    (call,) = subject.gate.node.calls
    assert (call.object, call.name) == (object_id.raw, "")
    with pytest.raises(errors.BadRequest):
        await subject.call("Counter", "id:12", "m")


async def test_the_token(subject: Subject) -> None:
    for token in (None, "wrong"):
        client = subject.make(token=token)
        with pytest.raises(errors.Unauthenticated):
            await subject.call("Counter", "a", "m", client=client)
        await subject.close(client)
    assert subject.gate.node.calls == []


async def test_a_deadline_goes_along_and_is_kept(subject: Subject) -> None:
    await subject.call("Counter", "a", "m", timeout_s=5.0)
    assert 4_000 < subject.gate.node.calls[0].timeout_ms <= 5_000
    subject.gate.node.on_call = lambda _call: None
    with pytest.raises(errors.DeadlineExceeded) as failed:
        await subject.call("Counter", "a", "m", timeout_s=0.3)
    assert not failed.value.retryable


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (failure("bad-request"), errors.BadRequest, {}),
        (failure("not-found"), errors.NotFound, {}),
        (failure("key-reused"), errors.KeyReused, {}),
        (failure("storage-error"), errors.StorageError, {}),
        (failure("not-supported"), errors.NotSupported, {}),
        (failure("outcome-unknown", started=True), errors.OutcomeUnknown, {"retryable": False}),
        (failure("outcome-unknown", error_type="BrokenOff"), errors.BrokenOff, {"retryable": False}),
        (failure("application-error", error_type="KéyError"), errors.ApplicationError, {"error_type": "KéyError"}),
        (
            failure("overloaded", error_type="rate", retry_after_ms=3_000), errors.Overloaded,
            {"cause": "rate", "retryable": True, "overloaded": True, "retry_after_s": 3.0},
        ),
        (failure("overloaded"), errors.Overloaded, {"cause": "", "retry_after_s": 1.0}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)  # fmt: skip
async def test_errors_keep_their_kind_and_what_they_say(
    subject: Subject, reply: wire.Reply, kind: type[errors.HomingError], said: dict[str, Any]
) -> None:
    """Seen to fail when the gateway's gRPC says no `homing-error-type-bin`, and no `homing-cause-bin`."""
    subject.gate.node.on_call = lambda _call: reply
    client = subject.make(tries_max=1)
    with pytest.raises(errors.HomingError) as failed:
        await subject.call("Counter", "a", "m", client=client)
    await subject.close(client)
    assert type(failed.value) is kind
    assert failed.value.message == "because"
    assert {name: getattr(failed.value, name) for name in said} == said
    assert failed.value.__notes__[0].startswith("request id ")


async def test_a_long_message_of_an_error_arrives_whole(subject: Subject) -> None:
    """Seen to fail when the client takes no more metadata than gRPC's default."""
    text = "é\n" * 1_300
    subject.gate.node.on_call = lambda _call: failure("application-error", text, error_type="E")
    with pytest.raises(errors.ApplicationError) as failed:
        await subject.call("Counter", "a", "m")
    assert failed.value.message == text


async def test_what_may_be_repeated_is_repeated_and_nothing_else(subject: Subject) -> None:
    replies = [failure("overloaded"), answer()]
    subject.gate.node.on_call = lambda _call: replies.pop(0)
    assert await subject.call("Counter", "a", "m") == 1
    assert replies == []
    subject.gate.node.calls.clear()
    subject.gate.node.on_call = lambda _call: failure("application-error")
    with pytest.raises(errors.ApplicationError):
        await subject.call("Counter", "a", "m", key="k")
    assert len(subject.gate.node.calls) == 1


async def test_keys(subject: Subject) -> None:
    await subject.call("Counter", "a", "m", key="k")
    client = subject.make(auto_key=True)
    for _ in range(2):
        await subject.call("Counter", "a", "m", client=client)
    await subject.close(client)
    keys = [call.key for call in subject.gate.node.calls]
    assert keys[0] == "k"
    assert len(set(keys)) == 3
    for wrong, kind in (("", ValueError), ("a b", errors.BadRequest)):
        with pytest.raises(kind):
            await subject.call("Counter", "a", "m", key=wrong)


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_call_whose_connection_breaks_is_repeated_only_under_a_key(subject: Subject, key: str | None) -> None:
    node = subject.gate.node

    def once(call: wire.Call) -> wire.Reply | None:
        return None if len(node.calls) == 1 else answer()

    await subject.call("Counter", "a", "m")
    node.calls.clear()
    node.on_call: OnCall = once
    calling = asyncio.ensure_future(subject.call("Counter", "a", "m", key=key))
    await until(lambda: node.calls)
    subject.line.cut()
    if key is None:
        with pytest.raises(errors.OutcomeUnknown) as failed:
            await calling
        assert not failed.value.retryable
        assert len(node.calls) == 1
    else:
        assert await calling == 1
        assert [call.key for call in node.calls] == ["k", "k"]


async def test_a_gateway_that_is_not_there_is_tried_again(subject: Subject) -> None:
    """A call that was never sent may be, and an old connection is no reason to doubt it."""
    await subject.call("Counter", "a", "m")
    await subject.line.close()
    client = subject.make(tries_max=2)
    for used in (subject.client, client):
        for _ in range(NOTICED_TRIES_MAX):
            with pytest.raises(errors.HomingError) as failed:
                await subject.call("Counter", "a", "m", client=used, timeout_s=1.0)
            if type(failed.value) is not errors.OutcomeUnknown:
                break  # before gRPC has noticed the end of a connection a call may be on its way
        assert type(failed.value) is errors.Unavailable
        assert failed.value.retryable
    calling = asyncio.ensure_future(subject.call("Counter", "a", "m", timeout_s=15.0))
    await asyncio.sleep(0.3)
    await subject.line.start()
    assert await calling == 1
    await subject.close(client)


async def test_what_is_too_large_is_refused(subject: Subject, request: pytest.FixtureRequest) -> None:
    """By the gateway, and over gRPC far above its limit by gRPC itself; a large answer is none too large."""
    subject.gate.gateway.rpc_bytes_max = 2_048
    for size in (3_000, 2_000_000) if "grpc" in request.node.name else (3_000,):
        with pytest.raises(errors.TooLarge):
            await subject.call("Counter", "a", "m", "x" * size)
    subject.gate.node.on_call = lambda _call: answer(b'{"result":"%s"}' % (b"x" * 12_000_000))
    assert len(await subject.call("Counter", "a", "m")) == 12_000_000


async def test_an_answer_that_is_none_is_an_error(subject: Subject) -> None:
    for wrong in (b"", b"<html>", b"[]"):
        subject.gate.node.on_call = lambda _call, wrong=wrong: answer(wrong)
        with pytest.raises(errors.HomingError):
            await subject.call("Counter", "a", "m")


async def test_a_fetch_goes_over_http_only(subject: Subject, request: pytest.FixtureRequest) -> None:
    client = subject.client

    async def fetch() -> Any:
        if isinstance(client, homing.Client):
            return await client.fetch("Counter", "a", "/x?y=1", method="PUT", content=b"z")
        return await asyncio.to_thread(client.fetch, "Counter", "a", "/x?y=1", method="PUT", content=b"z")

    subject.gate.node.on_call = lambda call: answer(call.body, status=418)
    if "grpc" in request.node.name:
        with pytest.raises(errors.NotSupported, match="http://"):
            await fetch()
    else:
        found = await fetch()
        assert (found.status_code, found.content) == (418, b"z")


@pytest.mark.parametrize("kind", [homing.Client, homing.SyncClient])
@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("127.0.0.1:8787", {}), ("ftp://h", {}), ("grpc://", {}), ("grpc://h:1/path", {}), ("grpc://h", {"ca": "x"}),
        ("http://h", {"ca": "x"}), ("grpc://h", {"transport": object()}),
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused_at_once(kind: type[Any], url: str, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        kind(url, **more)


def test_grpc_is_imported_by_those_who_use_it() -> None:
    """Seen to fail with `import homing.client_grpc` in homing/client.py."""
    program = (
        "import sys, homing\n"
        "with homing.SyncClient('http://127.0.0.1:1') as client: pass\n"
        "assert 'grpc' not in sys.modules and 'google.protobuf' not in sys.modules\n"
        "with homing.SyncClient('grpc://127.0.0.1:1') as client: pass\n"
        "assert 'grpc' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
