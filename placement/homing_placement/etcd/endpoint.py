"""One etcd endpoint: its URL, its channel, and whether a connection is there now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import grpc
import grpc.aio
from google.protobuf.message import Message

from homing.errors import ConfigurationError
from homing_placement.limits import ETCD_MESSAGE_BYTES_MAX

_Reply = TypeVar("_Reply", bound=Message)

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.max_receive_message_length", ETCD_MESSAGE_BYTES_MAX),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # etcd closes connections that ping more often than every 5 s.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Else two clients of one process share a connection, and its backoff.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of the PEM files for a TLS connection.

    Attributes:
        ca: certificates that may sign the server's; None takes the system's.
        cert: our own certificate, for servers that ask for one.
        key: its private key.
    """

    ca: str | None = None
    cert: str | None = None
    key: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises:
            ConfigurationError: a file cannot be read, or only one of certificate and key is given.
        """
        if (self.cert is None) != (self.key is None):
            raise ConfigurationError("a TLS certificate and its key must be given together")
        try:
            ca, key, cert = (Path(name).read_bytes() if name else None for name in (self.ca, self.key, self.cert))
        except OSError as error:
            raise ConfigurationError(f"a TLS file cannot be read: {error}") from error
        return grpc.ssl_channel_credentials(ca, key, cert)


class Endpoint:
    """One URL, `http://host:port` or `https://host:port`, with a channel that connects when it is first needed."""

    def __init__(self, url: str, tls: TlsFiles | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ConfigurationError(f"an etcd endpoint is http://host:port or https://host:port, not {url!r}")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        target = f"{host}:{parts.port or 2379}"
        self.url = url
        if parts.scheme == "https":
            credentials = (tls or TlsFiles()).credentials()
            self.channel = grpc.aio.secure_channel(target, credentials, options=_OPTIONS)
        else:
            self.channel = grpc.aio.insecure_channel(target, options=_OPTIONS)
        self._unary: dict[str, grpc.aio.UnaryUnaryMultiCallable[Message, Any]] = {}

    async def connected(self, timeout_s: float) -> bool:
        """Whether a connection is up, after waiting for it up to `timeout_s`; a refused one is known at once."""
        state = self.channel.get_state(try_to_connect=True)
        if state is grpc.ChannelConnectivity.READY:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connect(state)
        except TimeoutError:
            return False

    async def _connect(self, state: grpc.ChannelConnectivity) -> bool:
        # A failure that is remembered from an earlier attempt says nothing about now: one new attempt is seen through.
        tried = state is not grpc.ChannelConnectivity.TRANSIENT_FAILURE
        while state is not grpc.ChannelConnectivity.READY:
            await self.channel.wait_for_state_change(state)
            state = self.channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE and tried:
                return False
            tried = True
        return True

    async def call(self, path: str, request: Message, reply: type[_Reply], timeout_s: float) -> _Reply:
        """Send one request and wait for its answer; gRPC's own errors pass through."""
        method = self._unary.get(path)
        if method is None:
            method = self.channel.unary_unary(
                path, request_serializer=_serialize, response_deserializer=reply.FromString
            )
            self._unary[path] = method
        return cast("_Reply", await method(request, timeout=timeout_s))

    def stream(
        self, path: str, reply: type[_Reply], metadata: Sequence[tuple[str, str]] = (), timeout_s: float | None = None
    ) -> grpc.aio.StreamStreamCall[Message, _Reply]:
        """Open a stream in both directions."""
        method = self.channel.stream_stream(path, request_serializer=_serialize, response_deserializer=reply.FromString)
        return method(metadata=tuple(metadata) or None, timeout=timeout_s)

    async def close(self) -> None:
        """End every call and the connection."""
        await self.channel.close()


def _serialize(message: Message) -> bytes:
    return message.SerializeToString()
