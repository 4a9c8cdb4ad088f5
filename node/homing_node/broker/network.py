"""The network as grants meet it: names, connections, and whom to trust. Everything else decides without it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Protocol, cast

import httpcore

from homing_node import limits


class Network(Protocol):
    """What requests of grants go through. A node has one, `System`; a test of the broker brings its own."""

    @property
    def trust(self) -> ssl.SSLContext:
        """Which certificates are believed."""
        ...

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """Every address that a name stands for, at this moment; raises `OSError` if there is none."""
        ...

    def is_own(self, address: str) -> bool:
        """Whether it is an address of this machine."""
        ...

    async def connect(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        """Connect to an address; it is not looked up."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class System:
    """The network of this machine: its resolver, and the certificates that it trusts.

    Nothing of the environment leads elsewhere: there is no proxy, and no file that keys would be written to.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(limits.grant_lookups_max, thread_name_prefix="look-up")
        self._inner = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())  # typed for where anyio is missing

    @property
    def trust(self) -> ssl.SSLContext:
        """See `Network`: what the system trusts, TLS 1.2 at least, and the name is checked."""
        return self._trust

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_default_certs()
        return context

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """See `Network`."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _addresses, host, port)
        return list(dict.fromkeys(found))

    def is_own(self, address: str) -> bool:
        """See `Network`: whoever would talk to it from here would do so from the same address. Nothing is sent."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((address, 9))
            except OSError:
                return False  # no way leads there
            return str(probe.getsockname()[0]) == address

    async def connect(self, address: str, port: int) -> httpcore.AsyncNetworkStream:
        """See `Network`."""
        return await self._inner.connect_tcp(address, port, limits.grant_connect_s)

    def close(self) -> None:
        """See `Network`."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> list[str]:
    whole = f"{host}."  # without the dot the system would also look below the domains of its own network
    return [str(each[4][0]) for each in socket.getaddrinfo(whole, port, type=socket.SOCK_STREAM)]
