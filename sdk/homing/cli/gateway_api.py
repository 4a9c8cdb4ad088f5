"""How commands ask a gateway: one base address, the token, and errors as ours."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar
from urllib.parse import quote

import click
import httpx
import msgspec

from homing.cli.limits import HTTP_TIMEOUT_S, STREAM_TIMEOUT_S
from homing.errors import HomingError, Unavailable, from_wire

API = "/_homing/v1"

_Command = TypeVar("_Command", bound=Callable[..., Any])


class Problem(msgspec.Struct):
    """What is read of a problem document."""

    type: str = ""
    title: str = ""
    detail: str = ""


def gateway_options(command: _Command) -> _Command:
    """Give a command `--url`, `--token` and `--json`."""
    json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
    token_option = click.option(
        "--token", envvar="HOMING_API_TOKEN", default="", show_envvar=True, help="The API token, if there is one."
    )
    url_option = click.option(
        "--url", envvar="HOMING_URL", default="http://127.0.0.1:8787", show_default=True, show_envvar=True,
        help="The gateway.",
    )  # fmt: skip
    return url_option(token_option(json_option(command)))


def object_path(class_name: str, name: str, what: str = "") -> str:
    """The path of an object, or of something of it; `id:…` names it by id.

    Example:
        >>> object_path("Counter", "a/b", "/export")
        '/objects/Counter/a%2Fb/export'
    """
    # The colon of an id must stay; everything else that is special in a path must not.
    return f"/objects/{quote(class_name, safe='')}/{quote(name, safe=':')}{what}"


class GatewayApi:
    """The gateway's API for the command line; a context manager.

    Args:
        url: the gateway's address, such as `http://127.0.0.1:8787`.
        token: the API token, or empty.
        timeout_s: how long to wait for an answer.
        silence_s: how long nothing may come of one that is streamed.
    """

    def __init__(
        self, url: str, token: str = "", *, timeout_s: float = HTTP_TIMEOUT_S, silence_s: float = STREAM_TIMEOUT_S
    ) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._silence_s = silence_s
        self._url = url
        self._client = httpx.Client(base_url=url.rstrip("/") + API, headers=headers, timeout=timeout_s)

    def __enter__(self) -> GatewayApi:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int) -> bytes:
        """The body of a successful answer.

        Raises:
            HomingError: the one that the gateway named; `Unavailable` when no gateway answers.
        """
        return self._ask("GET", path, query)

    def post(self, path: str, value: object = None, **query: str | int) -> bytes:
        """The same, for a route that changes something.

        Args:
            path: of the route.
            value: what is posted as JSON, if anything is.
            **query: beside the path.

        Raises:
            HomingError: as `get`.
        """
        return self._ask("POST", path, query, None if value is None else [msgspec.json.encode(value)])

    def stream(self, path: str, **query: str | int) -> AbstractContextManager[Iterator[bytes]]:
        """The body of a successful answer, as it comes.

        Raises:
            HomingError: as `get`; `Unavailable` also where the body breaks off.
        """
        return self._stream("GET", path, params=query)

    def post_for_lines(self, path: str, value: object) -> AbstractContextManager[Iterator[bytes]]:
        """Post a value, and ask for lines of JSON, as they come.

        Raises:
            HomingError: as `stream`.
        """
        headers = {"content-type": "application/json", "accept": "application/x-ndjson"}
        return self._stream("POST", path, content=msgspec.json.encode(value), headers=headers)

    @contextmanager
    def _stream(self, verb: str, path: str, **asked: Any) -> Generator[Iterator[bytes]]:
        try:
            with self._client.stream(verb, path, timeout=self._silence_s, **asked) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _as_error(answer)
                yield answer.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unanswered(error) from error

    def send(self, path: str, body: Iterable[bytes], *, verb: str = "POST", **query: str | int) -> bytes:
        """Send a body as it is made; returns that of the answer.

        Raises:
            HomingError: as `get`, and what `body` raises.
        """
        return self._ask(verb, path, query, body)

    def send_json(self, path: str, value: object) -> bytes:
        """Post a value; returns the body of the answer.

        Raises:
            HomingError: as `get`.
        """
        return self._ask("POST", path, {}, msgspec.json.encode(value), {"content-type": "application/json"})

    def delete(self, path: str) -> None:
        """Let something be no more.

        Raises:
            HomingError: as `get`.
        """
        self._ask("DELETE", path, {})

    def _unanswered(self, error: httpx.HTTPError) -> HomingError:
        return Unavailable(f"no gateway answers at {self._url} ({error}); is it running? See --url")

    def _ask(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str | int],
        body: Iterable[bytes] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        patience = httpx.USE_CLIENT_DEFAULT if body is None else STREAM_TIMEOUT_S
        try:
            answer = self._client.request(verb, path, params=query, content=body, headers=headers, timeout=patience)
        except httpx.HTTPError as error:
            raise self._unanswered(error) from error
        if not answer.is_success:
            raise _as_error(answer)
        return answer.content


def _as_error(answer: httpx.Response) -> HomingError:
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem()
    detail = problem.detail or problem.title or f"the gateway answered {answer.status_code}"
    return from_wire(problem.type.rpartition("/")[2], detail)
