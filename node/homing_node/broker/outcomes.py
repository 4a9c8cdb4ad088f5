"""What whoever asked is told when a rule says no: errors of the one tree, and nothing of the inside."""

from __future__ import annotations

from homing.errors import (
    AnswerRefused,
    BadRequest,
    DeadlineExceeded,
    Forbidden,
    GrantEnded,
    HomingError,
    Overloaded,
    TooLarge,
    Unavailable,
)
from homing_node.broker.urls import Refusal

REVOKED, CLOSED = "revoked", "closed"
UNREACHABLE, LOOKUP, CERTIFICATE, PROTOCOL = "unreachable", "lookup", "certificate", "protocol"
FAILURES = frozenset((UNREACHABLE, LOOKUP, CERTIFICATE, PROTOCOL))  # of the other side, or of the way there
ON_CONNECTING = frozenset(("address", LOOKUP))  # before which nothing is sent

_KINDS: dict[str, type[HomingError]] = {
    **dict.fromkeys(("url", "userinfo", "headers", "length"), BadRequest),
    **dict.fromkeys(("calls_per_s_max", "calls_at_once_max", "node"), Overloaded),
    **dict.fromkeys((REVOKED, CLOSED, "life_s_max", "calls_max", "sent_bytes_max", "received_bytes_max"), GrantEnded),
    **dict.fromkeys(("response_bytes_max", "decoded_bytes_max", "answer", "encoding", "reflection"), AnswerRefused),
    **dict.fromkeys(FAILURES, Unavailable),
    "request_bytes_max": TooLarge,
    "call_s_max": DeadlineExceeded,
}


def error_of(refusal: Refusal, retry_after_s: float | None = None) -> HomingError:
    """The error for whoever asked; `Forbidden` for every rule that names no other.

    Example:
        >>> error_of(Refusal("host", "the grant does not name this host"))
        Forbidden('the grant does not name this host')
    """
    return _KINDS.get(refusal.rule, Forbidden)(refusal.sentence, retry_after_s=retry_after_s)
