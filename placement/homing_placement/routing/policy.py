"""What a failure means for a call: answer it, or send the call again. Pure.

The rule behind it (rules 22 and 23): a call is sent again only if no code of the object ran for it, or if it carries a
key, with which a repetition gives the one answer.
"""

from __future__ import annotations

from enum import Enum

from homing.errors import (
    ApplicationError,
    BrokenOff,
    HomingError,
    NotOwner,
    ObjectReset,
    OutcomeUnknown,
    Unavailable,
    from_wire,
)
from homing.wire.v1 import call_pb2
from homing_placement.routing.limits import RETRY_S_MAX, RETRY_S_MIN

BROKEN_OFF = "BrokenOff"


class Verdict(Enum):
    """What to do with a call that failed."""

    ANSWER = "answer"
    RETRY = "retry"
    REFRESH_AND_RETRY = "refresh and retry"


def decide(error: HomingError, *, started: bool, has_key: bool) -> tuple[Verdict, HomingError]:
    """The verdict on a failure that a node reported, and the error to answer with if it comes to that.

    Args:
        error: what the node said.
        started: code of the object may have run for this call.
        has_key: the call carries an idempotency key.
    """
    repeatable = has_key or not started
    if isinstance(error, NotOwner):
        stale = Unavailable("the object is moving between nodes", retry_after_s=error.retry_after_s)
        return (Verdict.REFRESH_AND_RETRY, stale) if repeatable else (Verdict.ANSWER, OutcomeUnknown(error.message))
    if isinstance(error, ObjectReset):
        return (Verdict.RETRY if repeatable else Verdict.ANSWER), error
    if isinstance(error, Unavailable):
        return (Verdict.RETRY, error) if repeatable else (Verdict.ANSWER, OutcomeUnknown(error.message))
    if isinstance(error, OutcomeUnknown):
        return (Verdict.RETRY if has_key else Verdict.ANSWER), error
    return Verdict.ANSWER, error


def error_of(failure: call_pb2.Failure) -> HomingError:
    """The error that a failure on the wire stands for.

    `outcome-unknown` names two errors; `error_type` tells the one that ends the matter, a call that broke off under its
    key, from the one that a repetition resolves.
    """
    if failure.code == BrokenOff.code and failure.error_type == BROKEN_OFF:
        return BrokenOff(failure.message)
    error = from_wire(
        failure.code, failure.message, error_type=failure.error_type, epoch=failure.epoch, owner=failure.owner
    )
    if isinstance(error, ApplicationError):
        error.overloaded, error.retryable = failure.overloaded, failure.retryable
    if failure.retry_after_ms:
        error.retry_after_s = failure.retry_after_ms / 1_000
    return error


def retryable(error: HomingError, *, has_key: bool) -> bool:
    """Whether the client may send the same request again.

    Example:
        >>> retryable(OutcomeUnknown(), has_key=True), retryable(OutcomeUnknown(), has_key=False)
        (True, False)
    """
    if error.code in ("outcome-unknown", "deadline-exceeded"):
        return has_key and not isinstance(error, BrokenOff)
    # What the object's code says of its own error is for its callers: the call itself has run.
    return error.retryable and not isinstance(error, ApplicationError)


def backoff_s(tries: int) -> float:
    """How long to wait before the next try: doubling from the least to the most."""
    return min(RETRY_S_MAX, RETRY_S_MIN * (1 << min(tries, 10)))
