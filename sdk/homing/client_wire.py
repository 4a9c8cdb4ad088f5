"""What all clients share, without I/O: a call as a request, the result in an answer, a retry as a wait.

A call is sent again only when that is safe: the gateway says so, nothing was sent at all, or the call carries an
idempotency key, with which a repetition gives the one answer.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from homing import values
from homing.errors import BrokenOff, HomingError, from_wire
from homing.ids import ObjectId

TIMEOUT_S_DEFAULT = 30.0
TRIES_MAX_DEFAULT = 8
BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 2.0
# How much longer than the call's own deadline the client waits for the gateway to say that it passed.
MARGIN_S = 2.0
SCHEMES = frozenset(("http", "https", "grpc", "grpcs"))

_OBJECTS = "/_homing/v1/objects"


class Call(msgspec.Struct, frozen=True):
    """One call, ready to be sent any number of times; `name` is the object's, or `id:` and its id."""

    class_name: str
    name: str
    method: str
    body: bytes
    key: str | None = None


def address_of(name: str | ObjectId) -> str:
    """How an object is named to a gateway."""
    return f"id:{name}" if isinstance(name, ObjectId) else name


def object_path(class_name: str, name: str | ObjectId) -> str:
    """The path of an object; every character of its name is kept.

    Example:
        >>> object_path("Room", "a/b ü")
        '/_homing/v1/objects/Room/a%2Fb%20%C3%BC'
    """
    quoted = quote(address_of(name), safe=":")
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
        ValueError: NaN, an infinity, or nesting without end; a key that is empty.
    """
    if key == "":
        raise ValueError("an idempotency key is not empty")
    fields: dict[str, Any] = {}
    if args:
        fields["args"] = list(args)
    if kwargs:
        fields["kwargs"] = dict(kwargs)
    return Call(class_name, address_of(name), method, values.to_json(fields), key)


def result_of(body: bytes) -> Any:
    """The result in the JSON of an answer.

    Raises:
        HomingError: it is none.
    """
    try:
        return values.from_json(body)["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise HomingError("the gateway answered with something that is not a result") from error


def check_url(url: str, *, has_ca: bool) -> str:
    """The scheme of a gateway's address.

    Raises:
        ValueError: none that a client knows; or there is an authority to trust, and no TLS.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ValueError(f"{url!r} is no address of a gateway: write http://, https://, grpc:// or grpcs://")
    if has_ca and scheme in ("http", "grpc"):
        raise ValueError(f"an authority to trust (ca) goes with https:// and grpcs://, not with {scheme}://")
    return scheme


def named_error(
    code: str, detail: str, kind: str, *, ends_the_call: bool, retryable: bool, retry_after_s: float | None,
    request_id: str,
) -> HomingError:  # fmt: skip
    """The error that a gateway named, with what it said of repeating the call.

    Args:
        code, detail: of the error.
        kind: the type of an application's error, or the cause of overload.
        ends_the_call: the status is that of `BrokenOff`, which shares its code with an error that may be tried again.
        retryable, retry_after_s: whether to repeat the call, and after how long.
        request_id: of the call, or empty.
    """
    broken_off = code == BrokenOff.code and ends_the_call
    error: HomingError = BrokenOff(detail) if broken_off else from_wire(code, detail, error_type=kind)
    error.retryable, error.retry_after_s = retryable, retry_after_s
    if request_id:
        error.add_note(f"request id {request_id}")
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


def check_method(name: str) -> str:
    """Refuse attribute names that Python itself asks for.

    Raises:
        AttributeError: it begins with an underscore; such methods are not public.
    """
    if name.startswith("_"):
        raise AttributeError(f"{name!r} is not a public method")
    return name
