"""Effects and errors as frames for the gateway."""

from __future__ import annotations

from typing import Any

from homing.errors import ApplicationError, BrokenOff, HomingError, NotOwner, from_wire
from homing.wire.v1 import call_pb2 as wire

ANSWER, HTTP, FAILURE = 0, 1, 2


def of_effect(call_id: int, status: int, payload: Any) -> wire.Reply:
    """The frame for what a handler emitted.

    Raises:
        TypeError, ValueError: the worker sent something else than an effect.
    """
    if status == ANSWER:
        return wire.Reply(id=call_id, body=payload)
    if status == HTTP:
        code, headers, body = payload
        return wire.Reply(
            id=call_id, status=code, headers=[wire.Header(name=n, value=v) for n, v in headers], body=body
        )
    if status != FAILURE:
        raise ValueError(f"effect status {status}")
    code, message, error_type = payload
    failure = wire.Failure(code=code, message=message, error_type=error_type, started=True)
    return wire.Reply(id=call_id, failure=failure)


def error_of(code: str, message: str) -> HomingError:
    """The error that a worker named; an unknown code is an application error."""
    found = from_wire(code, message)
    return found if type(found) is not HomingError else ApplicationError(message, error_type=code)


def of_error(call_id: int, error: HomingError, *, started: bool) -> wire.Reply:
    """The frame for an error of the node itself."""
    failure = wire.Failure(code=error.code, message=error.message, started=started)
    if error.retry_after_s is not None:
        failure.retry_after_ms = int(error.retry_after_s * 1_000)
    if isinstance(error, NotOwner):
        failure.epoch, failure.owner = error.epoch, error.owner
    if isinstance(error, ApplicationError):
        failure.error_type = error.error_type
    elif isinstance(error, BrokenOff):
        failure.error_type = "BrokenOff"  # it shares its code with OutcomeUnknown, and must not be tried again
    return wire.Reply(id=call_id, failure=failure)
