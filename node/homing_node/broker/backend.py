"""What httpcore connects by, for requests of applications and of grants; a subclass says where they may go."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from types import CoroutineType
from typing import Any

import httpcore


class Backend(httpcore.AsyncNetworkBackend):
    """Connects where `connect` says."""

    async def connect(self, host: str, port: int, timeout_s: float | None) -> httpcore.AsyncNetworkStream:
        """Judge a host, and connect to it."""
        raise NotImplementedError

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> CoroutineType[Any, Any, httpcore.AsyncNetworkStream]:
        """What httpcore calls."""
        del local_address, socket_options  # nothing here gives any
        return self._connect(host, port, timeout)

    async def _connect(self, host: str, port: int, timeout_s: float | None) -> httpcore.AsyncNetworkStream:
        return _Plain(await self.connect(host, port, timeout_s))

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class _Plain(httpcore.AsyncNetworkStream):
    """A connection before TLS. It is closed if TLS is broken off on it: httpcore closes it only after an error."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> CoroutineType[Any, Any, bytes]:
        return self._inner.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> CoroutineType[Any, Any, None]:
        return self._inner.write(buffer, timeout)

    def aclose(self) -> CoroutineType[Any, Any, None]:
        return self._inner.aclose()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> CoroutineType[Any, Any, httpcore.AsyncNetworkStream]:
        return self._start_tls(ssl_context, server_hostname, timeout)

    async def _start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None, timeout_s: float | None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._inner.start_tls(ssl_context, server_hostname, timeout_s)
        except BaseException:
            await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
