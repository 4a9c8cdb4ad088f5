"""What the clients do over HTTP: a call as a POST, an answer or a problem document as a value or an error."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from homing.client_wire import MARGIN_S, Call, named_error, object_path, result_of
from homing.errors import BrokenOff, DeadlineExceeded, HomingError, OutcomeUnknown, Overloaded, Unavailable
from homing.ids import ObjectId


class Problem(msgspec.Struct):
    """What is read of a problem document."""

    type: str = ""
    title: str = ""
    detail: str = ""
    retryable: bool = False
    request_id: str = ""
    error_type: str = ""
    cause: str = ""


class HttpConnection:
    """Connections to a gateway.

    Args:
        url: its address.
        token: its API token, if it has one.
        timeout_s: for what has no deadline of its own.
        ca: file of the authority to trust, in PEM; None: those that the system trusts.
        transport: of httpx.
    """

    def __init__(
        self, url: str, token: str | None, timeout_s: float, ca: str | Path | None,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:  # fmt: skip
        self._http = httpx.AsyncClient(
            base_url=url, headers=authorization(token), timeout=timeout_s, transport=transport, verify=_trust(ca)
        )

    async def send(self, call: Call, left_s: float) -> Any:
        """What a call returns, if it does so in time.

        Raises:
            HomingError: how it failed.
        """
        try:
            answer = await self._http.post(
                _path(call), content=call.body, headers=_headers(call, left_s), timeout=left_s + MARGIN_S
            )
        except httpx.TransportError as failure:
            raise read_failure(failure, has_key=call.key is not None) from failure
        return read_answer(answer)

    async def fetch(
        self, class_name: str, name: str | ObjectId, path: str, method: str, content: bytes | str | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:  # fmt: skip
        """What an object's `fetch` answers.

        Raises:
            HomingError: nothing.
        """
        where = fetch_path(class_name, name, path)
        try:
            return await self._http.request(method, where, content=content, headers=dict(headers or {}))
        except httpx.TransportError as failure:
            raise read_failure(failure, has_key=False) from failure

    async def close(self) -> None:
        """Close them."""
        await self._http.aclose()


class SyncHttpConnection:
    """The same for a client that does not wait asynchronously."""

    def __init__(
        self, url: str, token: str | None, timeout_s: float, ca: str | Path | None,
        transport: httpx.BaseTransport | None,
    ) -> None:  # fmt: skip
        self._http = httpx.Client(
            base_url=url, headers=authorization(token), timeout=timeout_s, transport=transport, verify=_trust(ca)
        )

    def send(self, call: Call, left_s: float) -> Any:
        """As `HttpConnection.send`."""
        try:
            answer = self._http.post(
                _path(call), content=call.body, headers=_headers(call, left_s), timeout=left_s + MARGIN_S
            )
        except httpx.TransportError as failure:
            raise read_failure(failure, has_key=call.key is not None) from failure
        return read_answer(answer)

    def fetch(
        self, class_name: str, name: str | ObjectId, path: str, method: str, content: bytes | str | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:  # fmt: skip
        """As `HttpConnection.fetch`."""
        where = fetch_path(class_name, name, path)
        try:
            return self._http.request(method, where, content=content, headers=dict(headers or {}))
        except httpx.TransportError as failure:
            raise read_failure(failure, has_key=False) from failure

    def close(self) -> None:
        """Close them."""
        self._http.close()


def authorization(token: str | None) -> dict[str, str]:
    """The header that carries a token."""
    return {"authorization": f"Bearer {token}"} if token else {}


def fetch_path(class_name: str, name: str | ObjectId, path: str) -> str:
    """The path of an object's fetch."""
    return f"{object_path(class_name, name)}/fetch/{path.lstrip('/')}"


def read_answer(answer: httpx.Response) -> Any:
    """The result that an answer carries.

    Raises:
        HomingError: the error that the gateway named.
    """
    if not answer.is_success:
        raise read_error(answer)
    return result_of(answer.content)


def read_error(answer: httpx.Response) -> HomingError:
    """The error that a problem document names, with what the gateway said of repeating it."""
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(detail=f"the gateway answered {answer.status_code}", retryable=answer.status_code == 503)
    code = problem.type.rpartition("/")[2]
    wait = answer.headers.get("retry-after", "")
    return named_error(
        code, problem.detail or problem.title, problem.cause if code == Overloaded.code else problem.error_type,
        ends_the_call=answer.status_code == BrokenOff.http_status, retryable=problem.retryable,
        retry_after_s=float(wait) if wait.isdigit() else None, request_id=problem.request_id,
    )  # fmt: skip


def read_failure(failure: httpx.TransportError, *, has_key: bool) -> HomingError:
    """What a failed exchange means: nothing was sent, or nobody knows."""
    if isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
        return Unavailable(f"no gateway answers: {failure}")
    if isinstance(failure, httpx.TimeoutException):
        error: HomingError = DeadlineExceeded("the gateway did not answer in time")
    else:
        error = OutcomeUnknown(f"the connection to the gateway broke: {failure}")
    error.retryable = has_key
    return error


def _trust(ca: str | Path | None) -> ssl.SSLContext | bool:
    return True if ca is None else ssl.create_default_context(cafile=str(ca))


def _path(call: Call) -> str:
    return f"{object_path(call.class_name, call.name)}/rpc/{quote(call.method, safe='')}"


def _headers(call: Call, left_s: float) -> dict[str, str]:
    """The headers of a try that may take `left_s` seconds."""
    headers = {"content-type": "application/json", "homing-timeout-ms": str(max(1, int(left_s * 1_000)))}
    if call.key is not None:
        headers["idempotency-key"] = call.key
    return headers
