"""Clients of a homing cluster, asynchronous and not: call objects by class, name and method."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

import httpx

from homing.client_wire import (
    MARGIN_S,
    TIMEOUT_S_DEFAULT,
    TRIES_MAX_DEFAULT,
    Call,
    Retries,
    any_chance,
    authorization,
    check_method,
    fetch_path,
    make_call,
    read_answer,
    read_failure,
)
from homing.errors import HomingError
from homing.ids import ObjectId, in_jurisdiction

URL_DEFAULT = "http://127.0.0.1:8787"


class Client:
    """An asynchronous client; an asynchronous context manager.

    Args:
        url: a gateway.
        token: its API token, if it has one.
        timeout_s: how long a call may take, tries included.
        tries_max: how often a call is sent at most; 1: never again.
        auto_key: give every call an idempotency key of its own, so that it is exactly-once and can always be repeated.
            It costs the object a little storage for each call.
        transport: of httpx; for tests and proxies.

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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._tries_max = tries_max
        self._auto_key = auto_key
        self._http = httpx.AsyncClient(
            base_url=url, headers=authorization(token), timeout=timeout_s + MARGIN_S, transport=transport
        )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        await self._http.aclose()

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
                return await self._send(call, retries.left_s(time.monotonic()))
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
        """
        try:
            return await self._http.request(
                method, fetch_path(class_name, name, path), content=content, headers=dict(headers or {})
            )
        except httpx.TransportError as failure:
            raise read_failure(failure, has_key=False) from failure

    async def _send(self, call: Call, left_s: float) -> Any:
        try:
            answer = await self._http.post(
                call.path, content=call.body, headers=call.headers(left_s), timeout=left_s + MARGIN_S
            )
        except httpx.TransportError as failure:
            raise read_failure(failure, has_key=call.key is not None) from failure
        return read_answer(answer)


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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._tries_max = tries_max
        self._auto_key = auto_key
        self._http = httpx.Client(
            base_url=url, headers=authorization(token), timeout=timeout_s + MARGIN_S, transport=transport
        )

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

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
                return self._send(call, retries.left_s(time.monotonic()))
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
        try:
            return self._http.request(
                method, fetch_path(class_name, name, path), content=content, headers=dict(headers or {})
            )
        except httpx.TransportError as failure:
            raise read_failure(failure, has_key=False) from failure

    def _send(self, call: Call, left_s: float) -> Any:
        try:
            answer = self._http.post(
                call.path, content=call.body, headers=call.headers(left_s), timeout=left_s + MARGIN_S
            )
        except httpx.TransportError as failure:
            raise read_failure(failure, has_key=call.key is not None) from failure
        return read_answer(answer)


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
