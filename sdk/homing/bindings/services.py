"""`services`: a class of entrypoints that is called as if it were another application.

Names and shapes are those of https://developers.cloudflare.com/workers/runtime-apis/bindings/service-bindings/.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from homing.http import Request, Response, as_request


class Callee(Protocol):
    """Who answers the calls of a service; the worker's runtime implements it."""

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """Begin a call of a public method."""
        ...

    def fetch(self, request: Request) -> asyncio.Future[Response]:
        """Begin a request."""
        ...


class Service:
    """A class of entrypoints, `env.NAME`: its public methods, and `fetch`.

    Values go and come as between objects: by value, functions and `RpcTarget`s by reference. What its code raises
    arrives as `ApplicationError` with `remote` set.

    Example:
        >>> await self.env.PRICES.of("apple")  # doctest: +SKIP
        3
    """

    __slots__ = ("_callee",)

    def __init__(self, callee: Callee) -> None:
        self._callee = callee

    def fetch(self, request: Request | str, **options: Any) -> asyncio.Future[Response]:
        """Send the entrypoint an HTTP request.

        Args:
            request: a request, or its URL.
            options: with a URL, what `Request` takes: `method`, `headers`, `body`.
        """
        return self._callee.fetch(as_request(request, options))

    def __getattr__(self, method: str) -> Callable[..., asyncio.Future[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
            return self._callee.call(method, args, kwargs)

        return call
