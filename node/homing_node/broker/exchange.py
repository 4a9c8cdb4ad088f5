"""One request under a grant, on its way out, and its answer on its way in."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import httpcore

from homing.errors import HomingError
from homing_node.broker import fields
from homing_node.broker.audit import CUT, FAILED, LEFT, OK, REFUSED, AuditRecord
from homing_node.broker.decoding import Decoder
from homing_node.broker.meter import Meter
from homing_node.broker.outcomes import CERTIFICATE, FAILURES, ON_CONNECTING, PROTOCOL, UNREACHABLE, error_of
from homing_node.broker.reflection import Mirror
from homing_node.broker.urls import Refusal

T = TypeVar("T")
_BODILESS = frozenset((204, 304))


@dataclass(slots=True, frozen=True)
class OutboundRequest:
    """What somebody without trust asks for. Nothing in it is believed.

    Attributes:
        method, url, headers: as they were written.
        body: as a whole, or as it comes.
        length: of a body that comes, if it was said; else it goes in chunks.
        timeout_s: after which nobody waits any more; the grant's own limit holds as well.
    """

    method: str
    url: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncIterable[bytes] = b""
    length: int | None = None
    timeout_s: float | None = None


class Exchange:
    """What one request and its answer cost, and how it ended.

    Args:
        request: what was asked for.
        meter: of the grant.
        record: of the audit; it is filled in as things happen.
    """

    def __init__(self, request: OutboundRequest, meter: Meter, record: AuditRecord) -> None:
        self.request, self.meter, self.record = request, meter, record
        self.begun = False  # the request may have left
        self.whole = False  # the answer has passed to its end

    def refused(self, refusal: Refusal) -> HomingError:
        """Note what was refused; the error for whoever asked."""
        self.record.rule, self.record.detail = refusal.rule, refusal.detail
        waits = refusal.rule == "calls_per_s_max"
        return error_of(refusal, self.meter.wait_s() if waits else None)

    def conclude(self) -> None:
        """It is over: say in the record how it ended."""
        record = self.record
        if record.rule in FAILURES:
            record.outcome = FAILED
        elif record.rule:
            record.outcome = CUT if self.begun and record.rule not in ON_CONNECTING else REFUSED
        else:
            record.outcome = OK if self.whole else LEFT
        if record.rule in ON_CONNECTING:
            record.sent_bytes = 0

    def sends(self, count: int) -> None:
        """Bytes leave.

        Raises:
            Refusal: they are too many.
        """
        self.meter.sent(count)
        self.record.sent_bytes += count

    def came(self, count: int) -> None:
        """Bytes came.

        Raises:
            Refusal: they are too many.
        """
        self.record.received_bytes += count
        self.meter.received(count)

    def body(self) -> tuple[fields.Fields, bytes | AsyncIterator[bytes] | None]:
        """The fields of the request's body, and the body.

        Raises:
            Refusal: it is too long.
        """
        body, length = self.request.body, self.request.length
        if isinstance(body, bytes):
            self._fits(len(body))
            self.sends(len(body))
            none = not body and self.request.method in ("GET", "HEAD", "OPTIONS", "DELETE")
            return ([] if none else [("content-length", str(len(body)))]), body
        if length is None:
            return [("transfer-encoding", "chunked")], self._flowing(body, None)
        self._fits(length)
        return [("content-length", str(length))], self._flowing(body, length)

    async def _flowing(self, body: AsyncIterable[bytes], length: int | None) -> AsyncIterator[bytes]:
        total = 0
        async for piece in body:
            total += len(piece)
            self._fits(total)
            if length is not None and total > length:
                raise Refusal("length", "the body of the request is longer than was said")
            self.sends(len(piece))
            yield piece
        if length is not None and total < length:
            raise Refusal("length", "the body of the request is shorter than was said")

    def _fits(self, count: int) -> None:
        most = self.meter.limits.request_bytes_max
        if count > most:
            raise Refusal("request_bytes_max", f"the body of a request has at most {most:,} bytes under this grant")


class OutboundAnswer:
    """An answer; iterate over it for its body, once.

    Attributes:
        status: of the answer.
        headers: its fields, without those of the connection; names in lower case.
    """

    def __init__(self, exchange: Exchange, response: httpcore.Response, mirror: Mirror) -> None:
        self._exchange, self._response, self._mirror = exchange, response, mirror
        self.status = exchange.record.status = response.status
        exchange.came(sum(len(name) + len(value) + 4 for name, value in response.headers))
        bodiless = exchange.request.method == "HEAD" or response.status in _BODILESS
        codings = [value.decode("latin-1") for name, value in response.headers if name.lower() == b"content-encoding"]
        length = next((value for name, value in response.headers if name.lower() == b"content-length"), b"")
        exchange.whole = bodiless or length == b"0"
        self._body = self._passed()
        self._decoder = Decoder("" if bodiless else ",".join(codings), exchange.meter.limits.decoded_bytes_max)
        for name, value in response.headers:
            mirror.field(name.decode("latin-1"), value.decode("latin-1"))
        decoded = bool(codings) and not self._decoder.plain
        self.headers = fields.incoming(response.headers, secretive=mirror.looks, decoded=decoded)

    def __aiter__(self) -> AsyncGenerator[bytes]:
        """The body, decompressed, as it comes.

        Raises:
            AnswerRefused: there is too much of it, it cannot be decompressed, or it gives back a secret.
            GrantEnded: the grant has no room for so many bytes.
            Unavailable: it broke off.
        """
        return self._body

    async def whole(self) -> bytes:
        """All of the body. Raises what iterating raises."""
        return b"".join([piece async for piece in self])

    async def aclose(self) -> None:
        """No more of it is wanted."""
        await self._body.aclose()

    async def _passed(self) -> AsyncGenerator[bytes]:
        try:
            async with aclosing(self._pieces()) as pieces:
                async for piece in pieces:
                    if piece:
                        yield piece
        except Refusal as refusal:
            raise self._exchange.refused(refusal) from None
        self._exchange.whole = True

    async def _pieces(self) -> AsyncGenerator[bytes]:
        wire_bytes = 0
        stream = aiter(self._response.aiter_stream())
        while data := await mapped(anext(stream, b"")):
            self._exchange.came(len(data))
            wire_bytes += len(data)
            if wire_bytes > self._exchange.meter.limits.response_bytes_max:
                raise Refusal("response_bytes_max", "the answer is longer than the grant lets it be")
            for piece in self._decoder.feed(data):
                yield self._mirror.feed(piece)
        self._decoder.end()
        yield self._mirror.end()


async def mapped(work: Awaitable[T]) -> T:
    """Await something of the network.

    Raises:
        Refusal: it failed. What the library says stays inside: it may quote what was sent.
    """
    try:
        return await work
    except httpcore.ConnectError as error:
        if isinstance(error.__cause__, ssl.SSLError) or _is_of_tls(error):
            raise Refusal(CERTIFICATE, "the host's certificate is not trusted", _text(error)) from None
        raise Refusal(UNREACHABLE, "the host cannot be reached", _text(error)) from None
    except (httpcore.ProtocolError, ValueError) as error:
        raise Refusal(PROTOCOL, "the host does not answer as HTTP has it", type(error).__name__) from None
    except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as error:
        raise Refusal(UNREACHABLE, "the host cannot be reached", type(error).__name__) from None


def _is_of_tls(error: Any) -> bool:
    return "SSL" in str(error) or "certificate" in str(error)


def _text(error: BaseException) -> str:
    return str(error)[:200]
