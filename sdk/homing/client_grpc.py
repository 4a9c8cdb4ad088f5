"""What the clients do over gRPC: `homing.v1.Objects/Call` of a gateway, with the errors that HTTP has.

Imported only by a client with such an address: a program that speaks HTTP needs no gRPC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast
from urllib.parse import urlsplit

import grpc
import grpc.aio

from homing import cancellation
from homing.client_wire import MARGIN_S, Call, named_error, result_of
from homing.errors import (
    BrokenOff,
    DeadlineExceeded,
    HomingError,
    NotSupported,
    OutcomeUnknown,
    Overloaded,
    TooLarge,
    Unavailable,
)
from homing.v1 import objects_pb2 as api

CALL = "/homing.v1.Objects/Call"
PORT_DEFAULT = 8788
ANSWER_BYTES_MAX = 20 * 1024 * 1024  # more than an object may answer

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    # What an error says is in its metadata, where every byte that is not ASCII takes three.
    ("grpc.max_metadata_size", 65_536),
    ("grpc.absolute_max_metadata_size", 65_536),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
# How gRPC says that a call was not sent, for which it has no code of its own. Should it find other words, the error is
# `OutcomeUnknown`, which is safe, and tests/conformance/test_clients.py sees it.
_NEVER_SENT = ("failed to connect", "dns resolution failed", "name resolution", "empty address list")


class Failed(Protocol):
    """A call that failed, of either kind of channel."""

    def code(self) -> grpc.StatusCode:
        """Its status."""
        ...

    def details(self) -> str | None:
        """What is said of it."""
        ...

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What the gateway said beside it."""
        ...


class _Address:
    """Where a gateway is, and how to talk to it.

    Raises:
        ValueError: the address has no host, or more than host and port.
    """

    def __init__(self, url: str, token: str | None, ca: str | Path | None) -> None:
        parts = urlsplit(url)
        if not parts.hostname or parts.path.strip("/") or parts.query or parts.username:
            raise ValueError(f"{url!r} is no address: write {parts.scheme}://host:port")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.target = f"{host}:{parts.port or PORT_DEFAULT}"
        self.credentials: grpc.ChannelCredentials | None = None
        if parts.scheme == "grpcs":
            self.credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes() if ca is not None else None)
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()


class GrpcConnection:
    """A connection to a gateway, which stands when it is needed.

    Args:
        url: `grpc://host:port`, or `grpcs` for TLS; port 8788 by default.
        token: its API token, if it has one.
        ca: file of the authority to trust, in PEM; None: those that gRPC trusts.

    Raises:
        ValueError: the address is none.
        OSError: the file cannot be read.
    """

    def __init__(self, url: str, token: str | None, ca: str | Path | None) -> None:
        self._address = _Address(url, token, ca)
        self._channel: grpc.aio.Channel | None = None  # of the loop in which the first call was made

    def _open(self) -> grpc.aio.Channel:
        address = self._address
        if address.credentials is None:
            return grpc.aio.insecure_channel(address.target, options=_OPTIONS)
        return grpc.aio.secure_channel(address.target, address.credentials, options=_OPTIONS)

    async def send(self, call: Call, left_s: float) -> Any:
        """What a call returns, if it does so in time.

        Raises:
            HomingError: how it failed.
        """
        if self._channel is None:
            self._channel = self._open()
        send = self._channel.unary_unary(CALL, api.CallRequest.SerializeToString, api.CallResponse.FromString)
        try:
            answer = await send(_request(call, left_s), timeout=left_s + MARGIN_S, metadata=self._address.metadata)
        except grpc.aio.AioRpcError as failed:
            raise read_error(cast("Failed", failed), has_key=call.key is not None) from failed
        except asyncio.CancelledError as cancelled:
            if cancellation.is_own(cancelled):
                raise
            raise OutcomeUnknown("the client was closed while a call was under way") from cancelled
        return result_of(answer.result_json)

    async def fetch(self, *_: object) -> NoReturn:
        """Not over gRPC.

        Raises:
            NotSupported: always.
        """
        raise _no_fetch()

    async def close(self) -> None:
        """Close it."""
        if self._channel is not None:
            await self._channel.close()


class SyncGrpcConnection:
    """The same for a client that does not wait asynchronously."""

    def __init__(self, url: str, token: str | None, ca: str | Path | None) -> None:
        address = _Address(url, token, ca)
        if address.credentials is None:
            self._channel = grpc.insecure_channel(address.target, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(address.target, address.credentials, options=_OPTIONS)
        self._metadata = address.metadata
        self._send = self._channel.unary_unary(CALL, api.CallRequest.SerializeToString, api.CallResponse.FromString)

    def send(self, call: Call, left_s: float) -> Any:
        """As `GrpcConnection.send`."""
        try:
            answer = self._send(_request(call, left_s), timeout=left_s + MARGIN_S, metadata=self._metadata)
        except grpc.RpcError as failed:
            raise read_error(cast("Failed", failed), has_key=call.key is not None) from failed
        return result_of(answer.result_json)

    def fetch(self, *_: object) -> NoReturn:
        """As `GrpcConnection.fetch`."""
        raise _no_fetch()

    def close(self) -> None:
        """Close it."""
        self._channel.close()


def _no_fetch() -> NotSupported:
    return NotSupported("`fetch` goes over HTTP only: make a client with the http:// address of the gateway")


def _request(call: Call, left_s: float) -> api.CallRequest:
    """The message of a try that may take `left_s` seconds."""
    return api.CallRequest(
        class_name=call.class_name, name=call.name, method=call.method, arguments_json=call.body,
        idempotency_key=call.key or "", timeout_ms=max(1, int(left_s * 1_000)),
    )  # fmt: skip


def read_error(failed: Failed, *, has_key: bool) -> HomingError:
    """The error that a gateway named in its metadata, or what gRPC's own failure means."""
    said = dict(failed.trailing_metadata() or ())
    code, detail = said.get("homing-code"), failed.details() or ""
    if not isinstance(code, str):
        return _own_failure(failed.code(), detail, has_key=has_key)
    kind = said.get("homing-cause-bin" if code == Overloaded.code else "homing-error-type-bin", b"")
    wait = said.get("retry-after-ms", "")
    return named_error(
        code, detail, kind.decode(errors="replace") if isinstance(kind, bytes) else kind,
        ends_the_call=failed.code().name == BrokenOff.grpc_status, retryable=said.get("homing-retryable") == "true",
        retry_after_s=int(wait) / 1_000 if isinstance(wait, str) and wait.isdigit() else None,
        request_id=str(said.get("x-request-id") or ""),
    )  # fmt: skip


def _own_failure(status: grpc.StatusCode, detail: str, *, has_key: bool) -> HomingError:
    """What a failure means of which no gateway spoke: nothing was sent, or nobody knows."""
    if status is grpc.StatusCode.UNAVAILABLE and detail.lower().startswith(_NEVER_SENT):
        return Unavailable(f"no gateway answers: {detail}")
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return TooLarge(f"the call or its answer is over a limit: {detail}")
    if status is grpc.StatusCode.UNIMPLEMENTED:
        return NotSupported(f"what answers at this address is no gateway of homing: {detail}")
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        error: HomingError = DeadlineExceeded("the gateway did not answer in time")
    else:
        error = OutcomeUnknown(f"the connection to the gateway broke: {status.name}: {detail}")
    error.retryable = has_key
    return error
