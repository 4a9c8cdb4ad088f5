"""httpcore, which is under httpx: its pools hand each request to the broker instead of to a connection."""

from __future__ import annotations

from typing import Any

from homing.compat import waiting
from homing.compat.outbound.exchange import Failure, exchange, failure_of, phrase_of, words_of


def change(httpcore: Any) -> None:
    """Change the pools of `httpcore`, the module."""
    errors = {
        Failure.UNREACHED: httpcore.ConnectError,
        Failure.LATE: httpcore.ReadTimeout,
        Failure.BROKEN: httpcore.ReadError,
        Failure.WRONG: httpcore.LocalProtocolError,
    }

    def handle_request(self: Any, request: Any) -> Any:
        return waiting.wait(ask(self, request, b"".join(request.stream)))

    async def handle_async_request(self: Any, request: Any) -> Any:
        return await ask(self, request, b"".join([piece async for piece in request.stream]))

    async def ask(pool: Any, request: Any, body: bytes) -> Any:
        if isinstance(pool, proxies) or getattr(pool, "_proxy", None) or getattr(pool, "_uds", None):
            raise httpcore.ConnectError(
                "requests go out through the node's broker: there can be no proxy, and no socket"
            )
        timeout_s = _timeout_s(request.extensions.get("timeout") or {})
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers]
        try:
            found = await exchange(request.method.decode(), _url_of(request.url), headers, body, timeout_s)
        except Exception as error:
            failure = failure_of(error)
            if failure is None:
                raise
            raise errors[failure](words_of(error, timeout_s)) from error
        answered = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in found.headers.raw()]
        more = {"http_version": b"HTTP/1.1", "reason_phrase": phrase_of(found.status).encode()}
        return httpcore.Response(found.status, headers=answered, content=found.homing_body, extensions=more)

    proxies = (httpcore.HTTPProxy, httpcore.AsyncHTTPProxy, httpcore.SOCKSProxy, httpcore.AsyncSOCKSProxy)
    httpcore.ConnectionPool.handle_request = handle_request
    httpcore.AsyncConnectionPool.handle_async_request = handle_async_request


def _timeout_s(given: dict[str, float | None]) -> float | None:
    """For connecting and for reading; the answer comes whole, so it is until all of it is there."""
    connect, read = given.get("connect"), given.get("read")
    return None if connect is None or read is None else connect + read


def _url_of(url: Any) -> str:
    host = url.host.decode("ascii")
    host = f"[{host}]" if ":" in host and not host.startswith("[") else host
    port = f":{url.port}" if url.port is not None else ""
    return f"{url.scheme.decode()}://{host}{port}{url.target.decode('ascii')}"
