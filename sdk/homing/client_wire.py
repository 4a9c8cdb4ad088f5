"""What both clients share, without I/O: a call as a request, an answer as a value or an error, a retry as a wait.

A call is sent again only when that is safe: the gateway says so, nothing was sent at all, or the call carries an
idempotency key, with which a repetition gives the one answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from homing import values
from homing.errors import BrokenOff, DeadlineExceeded, HomingError, OutcomeUnknown, Unavailable, from_wire
from homing.ids import ObjectId

TIMEOUT_S_DEFAULT = 30.0
TRIES_MAX_DEFAULT = 8
BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 2.0
# How much longer than the call's own deadline the client waits for the gateway to say that it passed.
MARGIN_S = 2.0

_OBJECTS = "/_homing/v1/objects"


class Problem(msgspec.Struct):
    """What is read of a problem document."""

    type: str = ""
    title: str = ""
    detail: str = ""
    retryable: bool = False
    request_id: str = ""
    error_type: str = ""


class Call(msgspec.Struct, frozen=True):
    """One call, ready to be sent any number of times."""

    path: str
    body: bytes
    key: str | None = None

    def headers(self, left_s: float) -> dict[str, str]:
        """The headers of a try that may take `left_s` seconds."""
        headers = {"content-type": "application/json", "homing-timeout-ms": str(max(1, int(left_s * 1_000)))}
        if self.key is not None:
            headers["idempotency-key"] = self.key
        return headers


def object_path(class_name: str, name: str | ObjectId) -> str:
    """The path of an object; every character of its name is kept.

    Example:
        >>> object_path("Room", "a/b ü")
        '/_homing/v1/objects/Room/a%2Fb%20%C3%BC'
    """
    text = f"id:{name}" if isinstance(name, ObjectId) else name
    quoted = quote(text, safe=":")
    if quoted.strip(".") == "":
        quoted = quoted.replace(".", "%2E")  # a lone dot or two would be taken for a step in the path
    return f"{_OBJECTS}/{quote(class_name, safe='')}/{quoted}"


def make_call(
    class_name: str,
    name: str | ObjectId,
    method: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    key: str | None = None,
) -> Call:
    """The request of a call.

    Raises:
        TypeError: an argument cannot travel as JSON.
        ValueError: NaN, an infinity, or nesting without end.
    """
    fields: dict[str, Any] = {}
    if args:
        fields["args"] = list(args)
    if kwargs:
        fields["kwargs"] = dict(kwargs)
    path = f"{object_path(class_name, name)}/rpc/{quote(method, safe='')}"
    return Call(path, values.to_json(fields), key)


def read_answer(answer: httpx.Response) -> Any:
    """The result that an answer carries.

    Raises:
        HomingError: the error that the gateway named.
    """
    if not answer.is_success:
        raise read_error(answer)
    try:
        return values.from_json(answer.content)["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise HomingError("the gateway answered with something that is not a result") from error


def read_error(answer: httpx.Response) -> HomingError:
    """The error that a problem document names, with what the gateway said of repeating it."""
    try:
        problem = msgspec.json.decode(answer.content, type=Problem)
    except msgspec.MsgspecError:
        problem = Problem(detail=f"the gateway answered {answer.status_code}", retryable=answer.status_code == 503)
    code = problem.type.rpartition("/")[2]
    detail = problem.detail or problem.title
    if code == BrokenOff.code and answer.status_code == BrokenOff.http_status:
        error: HomingError = BrokenOff(detail)
    else:
        error = from_wire(code, detail, error_type=problem.error_type)
    error.retryable = problem.retryable
    wait = answer.headers.get("retry-after", "")
    error.retry_after_s = float(wait) if wait.isdigit() else None
    if problem.request_id:
        error.add_note(f"request id {problem.request_id}")
    return error


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


class Retries:
    """Decides, for one call, whether to try again and after what wait. Time and chance come from outside.

    Args:
        deadline_s: on the caller's monotonic clock.
        tries_max: how often the call is sent at most.
    """

    def __init__(self, deadline_s: float, tries_max: int) -> None:
        self.deadline_s = deadline_s
        self._left = tries_max
        self._backoff_s = BACKOFF_S_MIN

    def left_s(self, now_s: float) -> float:
        """What is left of the time, in seconds; never nothing."""
        return max(0.001, self.deadline_s - now_s)

    def wait_s(self, error: HomingError, now_s: float, chance: float) -> float:
        """How long to wait before the next try.

        Args:
            error: how this try failed.
            now_s: the caller's clock.
            chance: a number from 0 to 1; it spreads clients that failed together.

        Raises:
            HomingError: `error` itself, when another try is not safe or there is no time for it.
        """
        self._left -= 1
        wait_s = max(self._backoff_s * (0.5 + chance / 2), error.retry_after_s or 0.0)
        self._backoff_s = min(BACKOFF_S_MAX, self._backoff_s * 2)
        if not error.retryable or self._left <= 0 or now_s + wait_s >= self.deadline_s:
            raise error
        return wait_s


def any_chance() -> float:
    """A number from 0 to 1."""
    return secrets.randbelow(1_000) / 1_000


def authorization(token: str | None) -> dict[str, str]:
    """The header that carries a token."""
    return {"authorization": f"Bearer {token}"} if token else {}


def check_method(name: str) -> str:
    """Refuse attribute names that Python itself asks for.

    Raises:
        AttributeError: it begins with an underscore; such methods are not public.
    """
    if name.startswith("_"):
        raise AttributeError(f"{name!r} is not a public method")
    return name


def fetch_path(class_name: str, name: str | ObjectId, path: str) -> str:
    """The path of an object's fetch."""
    return f"{object_path(class_name, name)}/fetch/{path.lstrip('/')}"
