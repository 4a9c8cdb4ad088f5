"""What a workflow is held to: its limits, durations, retries, and what becomes of an error on its way through a step.

Pure. Numbers and names are those of https://developers.cloudflare.com/workflows/, where a duration is a text such as
"10 seconds" or a number of milliseconds.
"""

from __future__ import annotations

import builtins
import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, NamedTuple, cast

from homing.alarms import time_ms
from homing.errors import ApplicationError, BadRequest, HomingError, TooLarge, from_wire
from homing.values import from_stored, to_stored
from homing.workflows import NonRetryableError, WorkflowTimeoutError

NAME_CHARS_MAX = 64  # of a workflow
ID_CHARS_MAX = 100  # of an instance; and the type of an event
STEP_NAME_CHARS_MAX = 256
BATCH_MAX = 100
VALUE_BYTES_MAX = 1 << 20  # params, a step's result, an event's payload, what `run` returns
MESSAGE_CHARS_MAX = 4_096  # of an error
STEPS_DEFAULT = 10_000
STEPS_MAX = 25_000
DAY_MS = 24 * 60 * 60 * 1_000
DURATION_MS_MAX = 365 * DAY_MS
KEEP_MS_DEFAULT = 30 * DAY_MS  # an instance that has ended
EVENT_TIMEOUT = "24 hours"
SECONDS_BELOW = 100_000_000_000  # a moment given as a smaller number is in seconds: as milliseconds it were 1973
CUT_MAX = 10  # times in a row that an instance is begun anew without having come any further
WATCH_FIRST_MS = 2_000  # whether an instance that is under way still is; each time without progress twice as long
WATCH_LAST_MS = 60_000
GRACE_S = 5.0  # an instance that only waits leaves memory after this
NOT_FOUND = "instance.not_found"
EXISTS = "(instance.already_exists) Provided id already exists"

_UNITS_MS = {
    "second": 1_000, "minute": 60_000, "hour": 60 * 60_000, "day": DAY_MS, "week": 7 * DAY_MS, "month": 30 * DAY_MS,
    "year": 365 * DAY_MS,
}  # fmt: skip
_DURATION = re.compile(rf"\s*(\d{{1,15}}(?:\.\d{{1,15}})?) ?({'|'.join(_UNITS_MS)})s?\s*")
_IDENTIFIER = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_-]*")
_CONTROL = re.compile(r"[\x00-\x1f]")
_BACKOFFS = ("constant", "linear", "exponential")
_DEFAULT_RETRIES: dict[str, Any] = {"limit": 5, "delay": 10_000, "backoff": "exponential"}
_DEFAULT_TIMEOUT = "10 minutes"


def duration_ms(duration: object) -> int:
    """A duration in milliseconds.

    Args:
        duration: a number of milliseconds, a `timedelta`, or a text: a number and a unit from second to year.

    Raises:
        ValueError: it is none, or longer than 365 days.

    Example:
        >>> duration_ms("1 minute"), duration_ms("1.5 hours"), duration_ms(250)
        (60000, 5400000, 250)
    """
    found: float = -1
    if isinstance(duration, timedelta):
        found = duration.total_seconds() * 1_000
    elif isinstance(duration, str) and (parts := _DURATION.fullmatch(duration)):
        found = float(parts[1]) * _UNITS_MS[parts[2]]
    elif isinstance(duration, (int, float)) and not isinstance(duration, bool):
        found = duration
    if not 0 <= found <= DURATION_MS_MAX:
        raise ValueError(f"{duration!r} is no duration: milliseconds, or such as '10 seconds'; at most 365 days")
    return int(found)


def moment_ms(when: object) -> int:
    """A moment in milliseconds since 1970: a datetime, or such a number; a small one is of seconds.

    Example:
        >>> moment_ms(1_700_000_000), moment_ms(1_700_000_000_000)
        (1700000000000, 1700000000000)
    """
    if isinstance(when, (int, float)) and when < SECONDS_BELOW:
        when *= 1_000
    return time_ms(when)


class StepConfig(NamedTuple):
    """How a step is tried again.

    Attributes:
        limit: attempts after the first that may be made; may be infinite.
        delay_ms: before the second attempt.
        backoff: how the delay grows: constant, linear or exponential.
        timeout_ms: of one attempt.
        shown: what the step's context says.
    """

    limit: float
    delay_ms: int
    backoff: str
    timeout_ms: int
    shown: dict[str, Any]


def step_config(given: object) -> StepConfig:
    """The configuration of a step, with the defaults for what it leaves out.

    Raises:
        ValueError: something in it cannot be.

    Example:
        >>> step_config({"retries": {"limit": 2, "delay": "1 second"}})[:4]
        (2, 1000, 'exponential', 600000)
    """
    config, retries = _table(given), dict(_DEFAULT_RETRIES)
    if "retries" in config:
        retries.update(_table(config["retries"]))
    timeout = config.get("timeout", _DEFAULT_TIMEOUT)
    limit, backoff = retries["limit"], retries["backoff"]
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or math.isnan(limit) or limit < 0:
        raise ValueError(f"a step's retries have a limit of 0 or more, not {limit!r}")
    if backoff not in _BACKOFFS:
        raise ValueError(f"a step's backoff is one of {', '.join(_BACKOFFS)}, not {backoff!r}")
    shown = {"retries": retries, "timeout": timeout}
    return StepConfig(limit, duration_ms(retries["delay"]), backoff, duration_ms(timeout), shown)


def _table(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"a step's configuration is made of dicts, not of {value!r}")
    return dict(cast("Mapping[str, Any]", value))


def wait_ms(config: StepConfig, failures: int) -> int:
    """How long a step waits after so many failures.

    Example:
        >>> [wait_ms(step_config({"retries": {"delay": 10, "backoff": kind}}), 3) for kind in _BACKOFFS]
        [10, 30, 40]
    """
    factor = {"constant": 1, "linear": failures, "exponential": 1 << min(failures - 1, 40)}[config.backoff]
    return min(config.delay_ms * factor, DURATION_MS_MAX)


def is_identifier(text: object, chars_max: int = ID_CHARS_MAX) -> bool:
    """Whether it can be the id of an instance, the type of an event, or the name of a workflow."""
    return isinstance(text, str) and len(text) <= chars_max and _IDENTIFIER.fullmatch(text) is not None


def checked_type(event_type: object) -> str:
    """The type of an event; raises `BadRequest` if it cannot be one."""
    if not is_identifier(event_type):
        raise BadRequest(f"{event_type!r} is no event type: up to {ID_CHARS_MAX} letters, digits, _ and -")
    return cast("str", event_type)


def checked_step(name: object) -> str:
    """The name of a step; raises `ValueError` if it cannot be one."""
    if not isinstance(name, str) or len(name) > STEP_NAME_CHARS_MAX or _CONTROL.search(name):
        raise ValueError(f"{name!r} is no name of a step: text of at most {STEP_NAME_CHARS_MAX} characters")
    return name


def packed(value: Any, what: str) -> bytes:
    """The bytes of a value that an instance keeps.

    Raises:
        TypeError, ValueError: it is of a kind that cannot be kept.
        TooLarge: over 1 MiB.
    """
    data = to_stored(value)
    if len(data) > VALUE_BYTES_MAX:
        raise TooLarge(f"{what} has {len(data)} bytes; at most {VALUE_BYTES_MAX}")
    return data


# Errors on their way through a step

_OWN: dict[str, type[Exception]] = {kind.__name__: kind for kind in (NonRetryableError, WorkflowTimeoutError)}


def packed_error(error: BaseException) -> bytes:
    """What is kept of an error: its name, its message, and the code of one of homing's."""
    own = next((name for name, kind in _OWN.items() if isinstance(error, kind)), "")
    name = error.error_type if isinstance(error, ApplicationError) else own or type(error).__name__
    message = str(error)
    if len(error.args) == 1 and isinstance(error.args[0], str):
        message = error.args[0]  # what a KeyError was given, which its own text puts in quotes
    code = "" if own or not isinstance(error, HomingError) else error.code
    return to_stored([name, message[:MESSAGE_CHARS_MAX], code])


def error_of(data: bytes) -> Exception:
    """The error to raise for what was kept: of homing's, of Python's own, or an `ApplicationError` with its name."""
    name, message, code = from_stored(data)
    if code:
        return from_wire(code, message, error_type=name)
    kind: Any = _OWN.get(name) or getattr(builtins, name, None)
    is_error = isinstance(kind, type) and issubclass(kind, Exception)
    if is_error and not issubclass(kind, (StopIteration, StopAsyncIteration)):  # those two end a coroutine
        try:
            return cast("Exception", kind(message))
        except TypeError:  # one that is made of more than a message
            pass
    return ApplicationError(message, error_type=name)


def shown_error(data: bytes) -> dict[str, str]:
    """What the status of an instance says of its error."""
    name, message, _ = from_stored(data)
    return {"name": name, "message": message}
