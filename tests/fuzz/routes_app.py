"""A whole request, as bytes on a connection: through the server's parser, both ways of the gateway, to a node.

A call has a short way (`lane.py`) and the way of all others (`asgi.py`): both must give the same answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, cast

import uvicorn
from tests.fuzz.mutators import behind, changed_bytes, changed_text, either
from tests.fuzz.routes_parts import TOKEN, parsed_headers
from tests.fuzz.target import Check
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from homing.errors import OutcomeUnknown, Unavailable
from homing.flow import cost_of
from homing.wire.v1 import call_pb2 as wire
from homing_gateway.admin import Admin
from homing_gateway.asgi import App
from homing_gateway.asked import Doorkeeper
from homing_gateway.deploys import Deploys
from homing_gateway.gateway import Gateway
from homing_gateway.lane import lane_protocol
from homing_gateway.metrics import GatewayMetrics
from homing_gateway.routes import Router
from homing_gateway.socket_app import SocketApp
from homing_gateway.socket_lane import CONNECTION, end_of
from homing_gateway.sockets import BINARY, TEXT, HeldSocket, SocketHub
from homing_gateway.streams import SlotStreams
from homing_placement.deployments import Deployment
from homing_placement.records import NodeRecord
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.link import NodeLink
from homing_placement.routing.pending import Pending
from stub_node import StaticTable

SLOTS = 16
BREAKS_OFF = 201  # the status of an answer whose body has no end
TURNS_MAX = 200  # of the loop, for an answer
FAILED = b"the gateway failed on this request"
UNPARSED = b"Invalid HTTP request received"
_OWN = re.compile(rb'(?im)^(?:date|x-request-id|connection|content-length): .*\r\n|"(?:request_id|time)":"[^"]*"')
_loop = asyncio.new_event_loop()


class Deployed:
    """In the place of what etcd holds of deployments: nothing, and it takes nothing."""

    async def read(self) -> Deployment:
        """Nothing is deployed."""
        return Deployment()

    async def add(self, *_: Any) -> Any:
        """There is no room."""
        raise Unavailable("etcd is full")

    change = add


class Channel:
    """In the place of a connection to a node: every stream over it is empty."""

    def unary_stream(self, *_: Any) -> Any:
        """A slot that holds nothing, or a run that says nothing."""
        return lambda _request, **_: self

    def stream_unary(self, *_: Any) -> Any:
        """A restore that takes all."""
        return lambda: self

    async def read(self) -> bytes:
        """The end."""
        return b""

    async def write(self, message: Any) -> None:
        """Take a part."""
        if not isinstance(message, bytes):
            message.SerializeToString()

    async def done_writing(self) -> None:
        """The end of the parts."""

    def cancel(self) -> None:
        """Nothing runs."""

    def __await__(self) -> Any:
        async def reply() -> wire.RestoreReply:
            return wire.RestoreReply(epoch=1, objects=2)

        return reply().__await__()


class Node(NodeLink):
    """A link on which everything is answered at once: calls are written, and answers read, as on any."""

    def __init__(self, forwarder: Forwarder) -> None:
        super().__init__(NodeRecord(id="n1", address="", disk="d", incarnation="i1"), forwarder)
        self.up = True
        self.answer = wire.Reply(body=b"{}", status=200)
        self._channel = cast("Any", Channel())

    def send(self, pending: Pending) -> bool:
        """Write it, and answer."""
        sent = super().send(pending)
        while self._queue or self._pieces:
            wire.CallBatch.FromString(self._next_batch().SerializeToString())
        reply = wire.Reply()
        # With a key a call whose outcome is not known is made again, and no forwarder runs here that would.
        again = bool(pending.key) and self.answer.failure.code == OutcomeUnknown.code
        reply.CopyFrom(_ANSWERS[0] if again else self.answer)
        reply.id = pending.id
        if not pending.uploads:
            self._answer(reply)
        else:  # a little later: what is left of the body may come before
            self._flows.take([wire.Flow(id=reply.id, taken=cost_of(pending.body))])
            soon = asyncio.get_running_loop().call_soon
            soon(soon, soon, self._answer, reply)
        return sent

    def _answer(self, reply: wire.Reply) -> None:
        """Answer, with a body that flows where it does."""
        flows: list[wire.Flow] = []
        if reply.flows:
            end = wire.FLOW_END_BROKEN if reply.status == BREAKS_OFF else wire.FLOW_END_WHOLE
            said = [(b"one", wire.FLOW_END_UNSPECIFIED), (b"two", wire.FLOW_END_UNSPECIFIED), (b"", end)]
            flows = [wire.Flow(id=reply.id, data=data, end=each) for data, each in said]
        self._take_replies(wire.ReplyBatch(replies=[reply], flows=flows))

    def send_socket(self, frame: wire.FromSocket) -> None:
        """Pass it on; the object has handled it at once, and says the same."""
        super().send_socket(frame)
        self._next_batch().SerializeToString()
        if frame.seq and not frame.more:
            echo = wire.ToSockets(handles=[frame.handle], kind=frame.kind, seq=frame.seq, data=frame.data)
            said = [echo] if frame.kind != wire.SOCKET_FRAME_CLOSE else []
            batch = wire.ReplyBatch(sockets=said, handled_handles=[frame.handle], handled_seqs=[frame.seq])
            self._owner.on_sockets(self, batch)

    async def ask(self, method: str, request: Any, kind: Any, timeout_s: float = 0) -> Any:
        """Questions have an answer with nothing in it, of an object with one."""
        request.SerializeToString()
        if kind is wire.InspectReply:
            return wire.InspectReply(objects=[wire.ObjectFacts(object=bytes(32), class_name="C", name="a")])
        return kind()


class Transport(asyncio.Transport):
    """A connection on which is kept what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        """Keep it."""
        if not self.closed:
            self.written += data

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Both ends are of loopback."""
        return ("127.0.0.1", 1) if name in ("peername", "sockname") else default

    def close(self) -> None:
        """No more is read."""
        self.closed = True

    def is_closing(self) -> bool:
        """Whether it was closed."""
        return self.closed

    def pause_reading(self) -> None:
        """All is read already."""

    def resume_reading(self) -> None:
        """As above."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits."""


class Side:
    """One gateway. With a token, or without."""

    def __init__(self, token: str) -> None:
        table = StaticTable(SLOTS)
        forwarder = Forwarder(table)
        self.node = Node(forwarder)
        table.nodes["n1"] = self.node.node
        table.records = dict.fromkeys(range(table.slots), table.owned_by(cast("Any", self.node.node)))
        forwarder.links["n1"] = self.node
        forwarder.classes.known = frozenset({"C", ""})
        forwarder.classes.ask = lambda pending: forwarder._classes_known([pending])
        router = Router(table.slots, testing=bool(token))
        self.gateway = gateway = Gateway(
            router, forwarder, Doorkeeper(token), GatewayMetrics(), rpc_bytes_max=2_048, fetch_bytes_max=2_048
        )
        sockets = SocketApp(gateway, SocketHub(forwarder))
        deploys = Deploys(forwarder, cast("Any", Deployed()))
        self.app = App(gateway, Admin(forwarder, table.slots), SlotStreams(forwarder, table.slots), sockets, deploys)
        self.config = uvicorn.Config(
            self.app, lifespan="off", log_config=None, access_log=False, http="httptools", ws="none",
            server_header=False,
        )  # fmt: skip
        self.config.load()
        self.state = ServerState()
        self.lane = lane_protocol(gateway)

    async def serve(self, kind: Any, data: bytes, step: int) -> bytes:
        """What a connection of that kind answers to these bytes, which come in pieces."""
        protocol, transport = kind(self.config, self.state, {}, _loop), Transport()
        protocol.connection_made(transport)
        for at in range(0, len(data), step):
            if not transport.closed and protocol.parser is not None:
                protocol.data_received(data[at : at + step])
        await self._settle(lambda: False, 30)
        protocol.connection_lost(None)
        assert await self._settle(lambda: not self.state.tasks, TURNS_MAX), "a request has no end"
        return bytes(transport.written)

    @staticmethod
    async def _settle(done: Any, turns: int) -> bool:
        for _ in range(turns):
            if done():
                return True
            await asyncio.sleep(0)
        return done()


_sides: list[Side] = []


async def _made() -> list[Side]:
    if not _sides:
        _sides.extend((Side(""), Side(TOKEN)))
    return _sides


def check_http(data: bytes) -> None:
    """One connection: both ways answer alike, and never with a fault of the gateway's."""
    _loop.run_until_complete(_check_http(data))


async def _check_http(data: bytes) -> None:
    flags, data = (data[0], data[1:]) if data else (0, b"")
    side = (await _made())[flags & 1]
    side.node.answer = _ANSWERS[flags // 8 % len(_ANSWERS)]
    side.gateway.draining = True
    step = 7 if flags & 2 else max(1, len(data))
    short = await side.serve(side.lane, data, step)
    long = await side.serve(HttpToolsProtocol, data, step)
    for answer in (short, long):
        assert FAILED not in answer, answer
    if short and long and UNPARSED not in short + long:  # else the server answers what it cannot parse, before or after
        whole = b"HEAD " not in data and not side.node.answer.flows  # else there is less than is said, or nothing
        assert _shown(short, whole=whole) == _shown(long, whole=whole), f"{short!r} and {long!r}"


def _shown(answer: bytes, *, whole: bool) -> bytes:
    """The first answer, without what is new each time, or says how the connection goes on."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?im)^content-length: (\d+)", head)
    if not whole:
        body = b""
    elif length is not None:
        assert len(body) >= int(length[1]), answer
        body = body[: int(length[1])]
    return _OWN.sub(b"", head + b"\r\n\r\n" + body)


def check_scope(data: bytes) -> None:
    """A request as the server would never let it in: still nothing but an answer. Also one for a WebSocket."""
    _loop.run_until_complete(_check_scope(data))


async def _check_scope(data: bytes) -> None:
    flags, data = (data[0], data[1:]) if data else (0, b"")
    side = (await _made())[flags & 1]
    side.node.answer = _ANSWERS[flags // 8 % len(_ANSWERS)]
    side.gateway.draining = not flags & 2  # a gateway that drains takes no sockets
    head, _, body = data.partition(b"\n\n")
    line, _, rest = head.partition(b"\n")
    verb, _, target = line.partition(b" ")
    path, _, query = target.partition(b"?")
    scope: dict[str, Any] = {
        "type": "websocket" if flags & 2 else "http", "method": verb.decode("latin-1"), "raw_path": path,
        "query_string": query, "headers": parsed_headers(rest), "scheme": "ws" if flags & 2 else "http",
        "extensions": {CONNECTION: _Connection(body)} | ({"websocket.http.response": {}} if flags & 4 else {}),
    }  # fmt: skip
    sent: list[Mapping[str, Any]] = []
    await asyncio.wait_for(side.app(scope, _Receiver(scope["type"], body), _keeper(sent)), 5.0)
    _check_sent(sent)


class _Connection:
    """Carries a socket: the client says two messages, and goes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def carry(self, held: HeldSocket) -> None:
        half = len(self._body) // 2
        held.came(TEXT, self._body[:half].decode("utf-8", "replace").encode())
        held.came(BINARY, self._body[half:])
        held.closed(*end_of({"code": 1005} | ({"reason": ""} if half % 2 else {})))


class _Receiver:
    """What the client says: a body, or nothing more; then it goes."""

    def __init__(self, kind: str, body: bytes) -> None:
        half = len(body) // 2
        if kind == "http":
            self._messages = [
                {"type": "http.request", "body": body[:half], "more_body": True},
                {"type": "http.request", "body": body[half:], "more_body": False},
            ]
        else:
            self._messages = [{"type": "websocket.connect"}]
        self._gone = "http.disconnect" if kind == "http" else "websocket.disconnect"

    async def __call__(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop(0)
        if self._gone == "http.disconnect":
            await asyncio.get_running_loop().create_future()  # it waits for its answer
        return {"type": self._gone}


def _keeper(sent: list[Mapping[str, Any]]) -> Any:
    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    return send


def _check_sent(sent: list[Mapping[str, Any]]) -> None:
    for message in sent:
        if "status" in message:
            assert 200 <= message["status"] <= 599
        for name, value in message.get("headers", ()):
            assert re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9a-z]+", name), name
            assert not set(value) & {0, 10, 13}, value
        assert FAILED not in message.get("body", b"")


_REF = wire.SocketRef(class_name="C", object=bytes(32), name="a", number=7)
_ANSWERS = (
    wire.Reply(body=b'{"result":1}', status=200, headers=[wire.Header(name="X-Own", value="é")]),
    wire.Reply(body=b"gone", status=204, headers=[wire.Header(name="connection", value="close")]),
    wire.Reply(status=101, socket=_REF, headers=[wire.Header(name="sec-websocket-protocol", value="chat")]),
    wire.Reply(status=99),
    wire.Reply(status=200, headers=[wire.Header(name="bad name", value="x")]),
    wire.Reply(failure=wire.Failure(code="application-error", message="no", error_type="ValueError", started=True)),
    wire.Reply(failure=wire.Failure(code="not-found", message="no method", started=True)),
    wire.Reply(failure=wire.Failure(code="outcome-unknown", message="?", started=True)),
    wire.Reply(status=200, flows=1),
    wire.Reply(status=200, flows=1, headers=[wire.Header(name="content-length", value="6")]),
    wire.Reply(status=200, flows=1, headers=[wire.Header(name="content-length", value="7")]),
    wire.Reply(status=200, flows=1, headers=[wire.Header(name="content-length", value="4")]),
    wire.Reply(status=BREAKS_OFF, flows=1),
)

_RPC = b"POST /_homing/v1/objects/C/a/rpc/m HTTP/1.1\r\nhost: localhost:1\r\ncontent-type: application/json\r\n"
HTTP = [
    b"\x00" + _RPC + b'content-length: 12\r\n\r\n{"args":[1]}',
    b"\x01" + _RPC + b"authorization: Bearer secret\r\ncontent-length: 2\r\n\r\n{}",
    b"\x02" + _RPC + b"idempotency-key: k\r\ncontent-length: 2\r\nx-request-id: r1\r\nhoming-timeout-ms: 5\r\n\r\n{}",
    b"\x28" + _RPC + b"content-length: 2\r\n\r\n{}",
    b"\x38" + _RPC + b"content-length: 2\r\nidempotency-key: k\r\n\r\n{}",
    b"\x00" + _RPC + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"\x00" + _RPC + b"content-length: 9999\r\n\r\n",
    b"\x00" + _RPC + b"content-length: 2\r\nconnection: close\r\n\r\n{}",
    b"\x00GET /_homing/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"\x00GET /a?b=c HTTP/1.1\r\nhost: localhost\r\nx-own: \xe9\r\n\r\n",
    b"\x00" + _RPC + b"content-length: 2\r\n\r\n{}" + _RPC + b"content-length: 0\r\n\r\n",
    b"\x00GET /a HTTP/1.0\r\nhost: localhost\r\n\r\n",
    b"\x00\x16\x03\x01",
    *(
        bytes((answer * 8 + 2,)) + verb + b" /page HTTP/1.1\r\nhost: localhost\r\n" + rest
        for answer in (0, 5, 8, 9, 10, 11, 12)
        for verb, rest in (
            (b"POST", b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"), (b"HEAD", b"\r\n"),
            (b"POST", b"content-length: 70000\r\n\r\n" + b"x" * 500),
        )
    ),
]  # fmt: skip
_LOCAL = b"\nhost: localhost\n"
SCOPES = [
    b"\x00POST /_homing/v1/objects/C/a/rpc/m" + _LOCAL + b'content-type: application/json\ncontent-length: 2\n\n{}',
    b"\x00POST /_homing/v1/objects/C/a/rpc/m" + _LOCAL + b"content-type: application/json\nidempotency-key: k\n\n{",
    b"\x00POST /_homing/v1/objects/D/a/rpc/m" + _LOCAL + b"content-type: application/json\n\n{}",
    b"\x00POST /_homing/v1/objects/C/a/rpc/m" + _LOCAL + b"content-length: " + b"9" * 4_400 + b"\n\n",
    b"\x00PUT /_homing/v1/objects/C/a/fetch/x%20?y=\xff" + _LOCAL + b"te: x\nidempotency-key: k\n\nbody",
    b"\x01GET /_homing/v1/objects/C/a/fetch" + _LOCAL + b"authorization: Bearer secret\n\n",
    *(
        b"\x01" + line + b"\nauthorization: Bearer secret\nhost: localhost\n\n" + body
        for line, body in (
            (b"GET /_homing/v1/cluster", b""), (b"GET /_homing/v1/objects", b""),
            (b"GET /_homing/v1/objects/C?limit=5", b""),
            (b"GET /_homing/v1/objects/C/a", b""), (b"DELETE /_homing/v1/objects/C/a", b""),
            (b"GET /_homing/v1/objects/C/a/export", b""), (b"POST /_homing/v1/nodes/n1/drain", b""),
            (b"POST /_homing/v1/nodes/n2/stay", b""), (b"POST /_homing/v1/slots/1/move/n1", b""),
            (b"POST /_homing/v1/slots/1/verify", b""), (b"POST /_homing/v1/slots/99999/verify", b""),
            (b"GET /_homing/v1/slots/99999/backup", b""), (b"GET /_homing/v1/slots/1/backup?object=zz", b""),
            (b"GET /_homing/v1/slots/1/backup", b""), (b"POST /_homing/v1/slots/1/restore?run=ab", b"\0\0\0\1x"),
            (b"GET /_homing/v1/tail?class=C&name=a&level=error", b""), (b"GET /_homing/v1/tail?level=loud", b""),
            (b"GET /_homing/v1/tail?class=Nope", b""), (b"GET /_homing/v1/tail?name=a", b""),
            (b"POST /_homing/v1/objects/C/a/evict?now=1", b""),
            (b"POST /_homing/v1/tests/clock", b'{"ahead_ms": 5}'), (b"POST /_homing/v1/tests/clock", b"x"),
            (b"POST /_homing/v1/tests/C/a/run", b""), (b"POST /_homing/v1/tests/C/a/ring", b""),
            (b"GET /_homing/readyz", b""), (b"GET /_homing/healthz", b""), (b"PATCH /_homing/healthz", b""),
        )
    ),
    *(
        b"\x01" + line + b"\nauthorization: Bearer secret\nhost: localhost\ncontent-type: application/json\n" + rest
        for line, rest in (
            (b"POST /_homing/v1/objects/C/a/sql", b'\n{"query": "SELECT 1"}'),
            (b"POST /_homing/v1/objects/C/a/sql", b'\n{"query": "\\ud800"}'),
            (b"PUT /_homing/v1/objects/C/a/import?replace=1", b"\nSQLite format 3"),
            (b"GET /_homing/v1/deployment", b"\n"), (b"POST /_homing/v1/deployment", b'\n{"version": "1"}'),
            (b"POST /_homing/v1/versions?id=1", b"\nx"),
            (b"GET /_homing/v1/sandbox", b"\n"), (b"DELETE /_homing/v1/sandbox/n1/7", b"\n"),
            (b"DELETE /_homing/v1/sandbox/n9/7", b"\n"),
            (b"POST /_homing/v1/sandbox", b'\n{"code": "n", "args": {"n": 1}, "limits": {"wall_s": 1}}'),
            (b"POST /_homing/v1/sandbox", b'accept: application/x-ndjson\n\n{"code": "1"}'),
            (b"POST /_homing/v1/sandbox", b"\n{}"),
        )
    ),
    b"\x08GET /page" + _LOCAL + b"\n",
    b"\x18GET /page" + _LOCAL + b"\n",
    b"\x20GET /page" + _LOCAL + b"\n",
    b"\x28GET /page" + _LOCAL + b"\n",
    b"\x40PUT /page" + _LOCAL + b"transfer-encoding: chunked\n\nbody",
    b"\x60PUT /page" + _LOCAL + b"transfer-encoding: chunked\nidempotency-key: k\n\nbody",
    b"\x42GET /ws" + _LOCAL + b"\n",
    b"\x06GET /_homing/v1/objects/C/a/fetch/ws" + _LOCAL + b"\n",
    b"\x16GET /_homing/v1/objects/C/a/fetch/ws" + _LOCAL + b"\nhello, both halves",
    b"\x12GET /ws" + _LOCAL + b"\nx",
    b"\x2aGET /ws" + _LOCAL + b"\n",
    b"\x02GET /_homing/v1/cluster" + _LOCAL + b"\n",
    b"\x02GET /ws" + _LOCAL + b"idempotency-key: k\n\n",
]  # fmt: skip
_HTTP_WORDS = (
    "\r\n", "\r\n\r\n", " HTTP/1.1", "GET ", "POST ", "content-length: ", "content-length: 2\r\n",
    "host: localhost\r\n",
    "transfer-encoding: chunked\r\n", "connection: close\r\n", "connection: upgrade\r\nupgrade: websocket\r\n",
    "expect: 100-continue\r\n", "idempotency-key: k\r\n", "content-type: application/json\r\n", "{}", "0\r\n\r\n",
    "?", "#",
    "%2F", "/_homing/v1/objects/C/a/rpc/m", "x-request-id: r\r\n", "homing-timeout-ms: 1\r\n", "\x00", "\t", "é",
)  # fmt: skip
_SCOPE_WORDS = (
    *(word.replace("\r", "") for word in _HTTP_WORDS),
    "/_homing/v1/slots/1/restore?run=ab&above=",
    "/fetch/",
    "limit=",
)

CHECKS = (
    Check("http", check_http, HTTP, behind(1, either(changed_text(_HTTP_WORDS), changed_bytes))),
    Check("scope", check_scope, SCOPES, behind(1, either(changed_text(_SCOPE_WORDS), changed_bytes))),
)
