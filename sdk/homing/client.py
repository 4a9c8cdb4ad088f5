"""Clients of a homing cluster, asynchronous and not, over HTTP and gRPC: call objects by class, name and method."""

from __future__ import annotations

import asyncio
import importlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import httpx

from homing.client_http import HttpConnection, SyncHttpConnection
from homing.client_wire import (
    MARGIN_S,
    TIMEOUT_S_DEFAULT,
    TRIES_MAX_DEFAULT,
    Call,
    Retries,
    any_chance,
    check_method,
    check_url,
    make_call,
)
from homing.errors import HomingError
from homing.ids import ObjectId, in_jurisdiction

URL_DEFAULT = "http://127.0.0.1:8787"


class _Connection(Protocol):
    """How an asynchronous client reaches a gateway."""

    async def send(self, call: Call, left_s: float) -> Any: ...

    async def fetch(
        self, class_name: str, name: str | ObjectId, path: str, method: str, content: bytes | str | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response: ...  # fmt: skip

    async def close(self) -> None: ...


class _SyncConnection(Protocol):
    """How the other client does."""

    def send(self, call: Call, left_s: float) -> Any: ...

    def fetch(
        self, class_name: str, name: str | ObjectId, path: str, method: str, content: bytes | str | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response: ...  # fmt: skip

    def close(self) -> None: ...


def _over_grpc(url: str, ca: str | Path | None, transport: object) -> Any:
    """The module that connects over gRPC, if that is what an address says; else None.

    Raises:
        ValueError: no client knows such addresses, or what else is given does not go with it.
    """
    if not check_url(url, has_ca=ca is not None).startswith("grpc"):
        return None
    if transport is not None:
        raise ValueError("a transport of httpx goes with an http:// or https:// address")
    # By its name: what runs in a jail imports this package, and there is no gRPC.
    return importlib.import_module("homing.client_grpc")


class Client:
    """An asynchronous client; an asynchronous context manager.

    Args:
        url: a gateway: `http://` or `https://`, or `grpc://` or `grpcs://` (TLS) for its gRPC port, which must be
            reached directly or through what passes gRPC on. Calls and errors are the same over both.
        token: its API token, if it has one.
        timeout_s: how long a call may take, tries included.
        tries_max: how often a call is sent at most; 1: never again.
        auto_key: give every call an idempotency key of its own, so that it is exactly-once and can always be repeated.
            It costs the object a little storage for each call.
        ca: file of the authority that signed the gateway's certificate, in PEM; by default those of the system.
        transport: of httpx; for tests and proxies.

    Raises:
        ValueError: an address that is none, or arguments that do not go with it.
        OSError: the file of the authority cannot be read.

    Example:
        >>> async with Client("http://127.0.0.1:8787") as client:
        ...     n = await client.get("Counter", "a").increment()
    """

    def __init__(
        self,
        url: str = URL_DEFAULT,
        *,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        tries_max: int = TRIES_MAX_DEFAULT,
        auto_key: bool = False,
        ca: str | Path | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._tries_max = tries_max
        self._auto_key = auto_key
        self._connection: _Connection
        if (over_grpc := _over_grpc(url, ca, transport)) is not None:
            self._connection = over_grpc.GrpcConnection(url, token, ca)
        else:
            self._connection = HttpConnection(url, token, timeout_s + MARGIN_S, ca, transport)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._connection.close()

    def get(self, class_name: str, name: str | ObjectId, *, jurisdiction: str | None = None) -> Stub:
        """A stub of one object: its public methods, awaitable.

        Args:
            class_name: its class; `Room@eu` is the class `Room` with `jurisdiction="eu"`, here as in every method.
            name: its name, or an `ObjectId`.
            jurisdiction: that binds the object; None: a name is in none, an `ObjectId` says itself.
        """
        return Stub(self.call, in_jurisdiction(class_name, jurisdiction), name)

    async def call(
        self,
        class_name: str,
        name: str | ObjectId,
        method: str,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Call a public method of an object.

        Args:
            class_name: its class, as for `get`.
            name: its name, or an `ObjectId`.
            method: the method.
            *args: positional arguments.
            kwargs: keyword arguments.
            key: an idempotency key; the call then runs once, however often it is sent.
            timeout_s: for this call, tries included.

        Returns:
            What the method returned.

        Raises:
            HomingError: the call failed; its class says how, `retryable` whether it may be sent again.
            TypeError, ValueError: an argument cannot travel.
        """
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        key = secrets.token_hex(16) if key is None and self._auto_key else key
        call = make_call(class_name, name, method, args, kwargs or {}, key=key)
        retries = Retries(time.monotonic() + limit_s, self._tries_max)
        while True:
            try:
                return await self._connection.send(call, retries.left_s(time.monotonic()))
            except HomingError as error:
                wait_s = retries.wait_s(error, time.monotonic(), any_chance())
            await asyncio.sleep(wait_s)

    async def fetch(
        self,
        class_name: str,
        name: str | ObjectId,
        path: str = "/",
        *,
        method: str = "GET",
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send an HTTP request to the object's `fetch`; its answer is returned as it is, whatever its status.

        Raises:
            HomingError: no answer came.
            NotSupported: this client speaks gRPC, which has no `fetch`.
        """
        return await self._connection.fetch(class_name, name, path, method, content, headers)


class Stub:
    """One object as an asynchronous client sees it: every attribute is a public method.

    Example:
        >>> room = client.get("Room", "lobby")
        >>> await room.post("hello", author="ada")
    """

    def __init__(self, call: Callable[..., Awaitable[Any]], class_name: str, name: str | ObjectId) -> None:
        self._call = call
        self._class_name = class_name
        self._name = name

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        check_method(method)

        def invoke(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            return self._call(self._class_name, self._name, method, *args, kwargs=kwargs)

        return invoke

    def __repr__(self) -> str:
        return f"Stub({self._class_name}, {self._name!r})"


class SyncClient:
    """The same client for code that does not wait asynchronously; a context manager.

    Args: as for `Client`.

    Example:
        >>> with SyncClient() as client:
        ...     n = client.get("Counter", "a").increment()
    """

    def __init__(
        self,
        url: str = URL_DEFAULT,
        *,
        token: str | None = None,
        timeout_s: float = TIMEOUT_S_DEFAULT,
        tries_max: int = TRIES_MAX_DEFAULT,
        auto_key: bool = False,
        ca: str | Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._tries_max = tries_max
        self._auto_key = auto_key
        self._connection: _SyncConnection
        if (over_grpc := _over_grpc(url, ca, transport)) is not None:
            self._connection = over_grpc.SyncGrpcConnection(url, token, ca)
        else:
            self._connection = SyncHttpConnection(url, token, timeout_s + MARGIN_S, ca, transport)

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._connection.close()

    def get(self, class_name: str, name: str | ObjectId, *, jurisdiction: str | None = None) -> SyncStub:
        """A stub of one object: its public methods; arguments as for `Client.get`."""
        return SyncStub(self.call, in_jurisdiction(class_name, jurisdiction), name)

    def call(
        self,
        class_name: str,
        name: str | ObjectId,
        method: str,
        *args: Any,
        kwargs: Mapping[str, Any] | None = None,
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Call a public method of an object; arguments and errors as for `Client.call`."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        key = secrets.token_hex(16) if key is None and self._auto_key else key
        call = make_call(class_name, name, method, args, kwargs or {}, key=key)
        retries = Retries(time.monotonic() + limit_s, self._tries_max)
        while True:
            try:
                return self._connection.send(call, retries.left_s(time.monotonic()))
            except HomingError as error:
                wait_s = retries.wait_s(error, time.monotonic(), any_chance())
            time.sleep(wait_s)

    def fetch(
        self,
        class_name: str,
        name: str | ObjectId,
        path: str = "/",
        *,
        method: str = "GET",
        content: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send an HTTP request to the object's `fetch`; as `Client.fetch`."""
        return self._connection.fetch(class_name, name, path, method, content, headers)


class SyncStub:
    """One object as a synchronous client sees it: every attribute is a public method."""

    def __init__(self, call: Callable[..., Any], class_name: str, name: str | ObjectId) -> None:
        self._call = call
        self._class_name = class_name
        self._name = name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        check_method(method)

        def invoke(*args: Any, **kwargs: Any) -> Any:
            return self._call(self._class_name, self._name, method, *args, kwargs=kwargs)

        return invoke

    def __repr__(self) -> str:
        return f"SyncStub({self._class_name}, {self._name!r})"
