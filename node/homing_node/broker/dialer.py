"""Opens WebSockets to hosts outside the cluster for object code, where its configuration lets it send requests.

To the node's table of sockets it is what a gateway is: it holds the connection. What comes is numbered and handed over,
up to a bound that is not handled; what is said is sent in order, and told to be there when the system has taken it.
The protocol itself (https://www.rfc-editor.org/rfc/rfc6455) is spoken by the package `websockets`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Protocol, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from homing.errors import BadRequest, DeadlineExceeded, HomingError, Overloaded, Unavailable
from homing.http import Headers
from homing.wire.v1 import call_pb2 as wire
from homing_node import limits
from homing_node.broker.addresses import look_up
from homing_node.broker.hosts import Destination, destination
from homing_node.broker.running import Running
from homing_node.objects.socket_record import Said
from homing_placement.routing.pending import Pending

ABNORMAL, GOING_AWAY = 1006, 1001
_OF_FAILURES = frozenset((1002, 1007, 1009, 1011))  # what the package closes with when the other side is at fault
_OF_HANDSHAKE = frozenset(
    ("host", "content-length", "connection", "transfer-encoding", "keep-alive", "te", "upgrade", "sec-websocket-key",
     "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol")
)  # fmt: skip


_log = logging.getLogger("homing.dialer")  # of the package: it would log whole headers and messages below this level
_log.setLevel(logging.WARNING)


class Table(Protocol):
    """Whose sockets they are: the node's table; see `homing_node.objects.sockets.Sockets`."""

    def offer(self, object_id: bytes, number: int, gateway: Dialer, handle: int, /) -> None:
        """A connection stands."""
        ...

    def withdraw(self, number: int, /) -> None:
        """It has ended before it was accepted."""
        ...

    def came(self, gateway: Dialer, m: wire.FromSocket, data: bytes, /) -> None:
        """A message came, or the end."""
        ...

    def had(self, gateway: Dialer, handle: int, seq: int, /) -> None:
        """What was said has left."""
        ...


class Dialer:
    """The WebSockets of a node's objects to the outside; implements `GatewayPort` and `DialerPort`.

    Args:
        table: where they are offered to objects.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lines: dict[int, _Line] = {}
        self._of: Counter[bytes] = Counter()  # connections, and those that are being made, by whose they are
        self._handles = itertools.count(1)
        self._running = Running()

    def submit(self, pending: Pending, hosts: Sequence[str], sockets: bytes) -> None:
        """See `DialerPort`."""
        self._running.start(self._run(pending, hosts, sockets))

    async def close(self) -> None:
        """End every connection."""
        await self._running.end()

    # -- see `GatewayPort` ----------------------------------------------------------------------------------------

    def say(self, handles: Sequence[int], said: Said) -> None:
        """See `GatewayPort`."""
        for handle in handles:
            if (line := self._lines.get(handle)) is not None:
                line.say(said)

    def tell(self, handle: int, kind: wire.SocketFrame, code: int = 0, reason: str = "") -> None:
        """See `GatewayPort`: ATTACH: it was accepted. Else nobody is there any more."""
        line = self._lines.get(handle)
        if line is not None and kind == wire.SOCKET_FRAME_ATTACH:
            line.begin()
        elif line is not None:
            line.leave()

    def handled(self, handle: int, seq: int) -> None:
        """See `GatewayPort`."""
        if (line := self._lines.get(handle)) is not None:
            line.handled(seq)

    # -- one connection -------------------------------------------------------------------------------------------

    async def _run(self, pending: Pending, hosts: Sequence[str], sockets: bytes) -> None:
        self._of[sockets] += 1
        try:
            connection = await self._answer(pending, hosts, sockets)
            if connection is not None:
                await self._hold(connection, pending, sockets)
        finally:
            self._of[sockets] -= 1
            if not self._of[sockets]:
                del self._of[sockets]

    async def _answer(self, pending: Pending, hosts: Sequence[str], sockets: bytes) -> ClientConnection | None:
        """Connect; None: the request has its answer, which is another."""
        left_s = min(limits.outbound_s_max, pending.deadline_s - time.monotonic())
        try:
            if self._of[sockets] > limits.outbound_sockets_per_object_max:
                raise Overloaded(f"an object has at most {limits.outbound_sockets_per_object_max} sockets to others")
            if self._of.total() > limits.outbound_sockets_max:
                raise Overloaded("too many sockets to the outside are open on this node")
            async with asyncio.timeout(max(0.0, left_s)):
                return await _connected(pending, destination(pending.url, hosts))
        except InvalidStatus as other:
            answer = other.response
            pending.status, pending.answer = answer.status_code, bytes(answer.body or b"")
            pending.answer_headers = list(answer.headers.raw_items())
        except HomingError as error:
            pending.error = error
        except TimeoutError:
            pending.error = DeadlineExceeded(f"{pending.url[:200]} did not answer in time")
        except (WebSocketException, OSError) as error:  # first: a certificate that is not known is a ValueError, too
            pending.error = Unavailable(f"{pending.url[:200]} cannot be reached: {error}")
        except ValueError as error:  # of a field that cannot be sent
            pending.error = BadRequest(f"the request cannot be sent: {error}")
        pending.on_done(pending)
        return None

    async def _hold(self, connection: ClientConnection, pending: Pending, sockets: bytes) -> None:
        handle, number = next(self._handles), secrets.randbits(63) | 1
        line = self._lines[handle] = _Line(self, self._table, connection, handle, number)
        self._table.offer(sockets, number, self, handle)
        response = connection.response
        pending.status, pending.answer_headers = 101, list(response.headers.raw_items()) if response is not None else []
        pending.socket = wire.SocketRef(number=number, live=True)
        pending.on_done(pending)
        try:
            await line.run()
        finally:
            del self._lines[handle]


class _Line:
    """One connection that stands.

    Args:
        dialer: whose it is.
        table: what comes goes there.
        connection: speaks the protocol.
        handle: its number here.
        number: under which it is offered.
    """

    def __init__(self, dialer: Dialer, table: Table, connection: ClientConnection, handle: int, number: int) -> None:
        self._dialer, self._table, self._connection = dialer, table, connection
        self._handle, self._number = handle, number
        self._out: deque[Said] = deque()  # the table bounds it
        self._unhandled: dict[int, int] = {}  # numbers of messages that came, and their bytes
        self._seq = 0
        self._accepted = asyncio.Event()
        self._news = asyncio.Event()  # something is to be sent
        self._room = asyncio.Event()  # what came was handled, or nothing more is wanted
        self._closing = False  # this side wants no more
        self._left = False  # nobody is there who would hear of it
        self._closer: asyncio.Task[None] | None = None
        self._patience: asyncio.TimerHandle | None = None  # of a close that waits for what was said before

    def begin(self) -> None:
        """It was accepted."""
        self._accepted.set()

    def leave(self) -> None:
        """Nobody is there any more."""
        self._left = True
        self._accepted.set()
        self._end(GOING_AWAY, "")

    def say(self, said: Said) -> None:
        """Send something when what was said before is sent."""
        if self._closing:
            return
        if said.kind == wire.SOCKET_FRAME_CLOSE:  # the other side may not read at all
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(limits.outbound_close_s, self._end, *said.data)
            self._closing = True
            self._room.set()
        self._out.append(said)
        self._news.set()

    def handled(self, seq: int) -> None:
        """The object has handled a message."""
        self._unhandled.pop(seq, None)
        self._room.set()

    async def run(self) -> None:
        """Pass messages on, to the end."""
        writing = asyncio.ensure_future(self._write())
        try:
            async with asyncio.timeout(limits.outbound_accept_s):
                await self._accepted.wait()
            code, reason, clean = await self._read()
            if not self._left:
                m = wire.FromSocket(kind=wire.SOCKET_FRAME_CLOSE, code=code, reason=reason, clean=clean)
                self._hand_over(m, b"")
        except TimeoutError:
            self._table.withdraw(self._number)
            self._end(GOING_AWAY, "")
        finally:
            if self._patience is not None:
                self._patience.cancel()
            writing.cancel()
            await asyncio.gather(writing, *filter(None, (self._closer,)), return_exceptions=True)
            self._connection.transport.abort()

    async def _read(self) -> tuple[int, str, bool]:
        """Hand over what comes, while there is room for it; the code, the reason and whether they were sent."""
        try:
            while True:
                while self._is_full() and not self._closing:
                    self._room.clear()
                    await self._room.wait()
                message = await self._connection.recv()
                if self._closing:
                    continue  # whoever closes hears of the end only
                text = isinstance(message, str)
                kind = wire.SOCKET_FRAME_TEXT if text else wire.SOCKET_FRAME_BINARY
                self._hand_over(wire.FromSocket(kind=kind), message.encode() if text else message)
        except ConnectionClosed as closed:
            return _end_of(closed)

    def _is_full(self) -> bool:
        many = len(self._unhandled) >= limits.outbound_unhandled_max
        return many or sum(self._unhandled.values()) > limits.outbound_unhandled_bytes_max

    def _hand_over(self, m: wire.FromSocket, data: bytes) -> None:
        self._seq += 1
        m.handle, m.seq = self._handle, self._seq
        m.base = next(iter(self._unhandled), self._seq)
        self._unhandled[self._seq] = len(data)
        self._table.came(self._dialer, m, data)

    async def _write(self) -> None:
        """Send what is said until there is nobody to send it to."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._out:
                said = self._out.popleft()
                if said.kind == wire.SOCKET_FRAME_CLOSE:
                    self._end(*said.data)
                    return
                try:
                    await self._connection.send(said.data)
                except ConnectionClosed:
                    return  # whoever reads says so
                self._table.had(self._dialer, self._handle, said.seq)

    def _end(self, code: int, reason: str) -> None:
        """Close it, whatever else was to be sent."""
        if self._closer is None:
            self._closing = True
            self._out.clear()
            self._room.set()
            self._closer = asyncio.ensure_future(self._close(code, reason))

    async def _close(self, code: int, reason: str) -> None:
        """Close it; who does not answer in time, or does not even take it, is left."""
        try:
            async with asyncio.timeout(limits.outbound_close_s):
                await self._connection.close(code, reason)
        except TimeoutError:
            self._connection.transport.abort()


class _Connect(connect):
    """Follows no redirect: where it leads is the object's to read, and to ask for anew."""

    def process_redirect(self, exc: Exception) -> Exception:
        """The redirect is the answer."""
        return exc


async def _connected(pending: Pending, to: Destination) -> ClientConnection:
    """A connection that speaks the protocol, to an address that may be connected to.

    Raises:
        HomingError: it may not be reached.
        ValueError, OSError, WebSocketException, TimeoutError: it cannot be.
    """
    if pending.method != "GET" or pending.body or min(to.url) <= " ":
        raise BadRequest("a WebSocket is asked for with GET, without a body")
    fields = Headers(pending.headers).raw()  # so that no value can become a field of its own
    protocols = [part.strip() for name, value in fields if name.lower() == "sec-websocket-protocol"
                 for part in value.split(",")]  # fmt: skip
    where: dict[str, Any] = {}
    if not to.by_address:
        where = {"host": await look_up(to.host, to.port), "port": to.port}
    return await _Connect(
        "ws" + to.url.removeprefix("http"),
        additional_headers=[pair for pair in fields if pair[0].lower() not in _OF_HANDSHAKE],
        subprotocols=cast("list[Subprotocol]", protocols) or None,
        user_agent_header=None,
        proxy=None,
        open_timeout=None,  # the caller's deadline counts
        close_timeout=limits.outbound_close_s,
        ping_interval=limits.outbound_ping_s,
        ping_timeout=limits.outbound_pong_s,
        max_size=limits.outbound_message_bytes_max,
        max_queue=1,
        logger=_log,
        **where,
    )


def _end_of(closed: ConnectionClosed) -> tuple[int, str, bool]:
    """Code, reason, and whether the other side sent them."""
    if closed.rcvd is not None:
        return int(closed.rcvd.code), closed.rcvd.reason, True
    if closed.sent is not None and closed.sent.code in _OF_FAILURES:
        return ABNORMAL, f"closed with {int(closed.sent.code)}: {closed.sent.reason}"[:100], False
    return ABNORMAL, "" if closed.sent is not None else "the connection was lost", False
