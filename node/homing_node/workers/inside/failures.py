"""What an error of object code becomes: the failure that its caller is answered, and the text for the log."""

from __future__ import annotations

import traceback
from typing import Any

from homing.compat import waiting
from homing.errors import Forbidden, HomingError, NotSupported, StorageError
from homing.streams import RequestTooLarge
from homing_node.workers.inside import limits
from homing_node.workers.inside.channel import FAILURE


class NotGranted(Forbidden):
    """What whoever holds a grant to an object asks for is more than that grants: the runtime says so, no object."""


_OWN = (StorageError, NotSupported, RequestTooLarge, NotGranted)  # of the runtime
_RUNTIME = ("homing_node/workers/inside", "homing/compat/waiting.py")
_CALLED = waiting.called.__code__  # calls a function of the object for the runtime
Effect = tuple[Any, ...]
"""What answers an event: its number, a status, the payload, when its code began and ended (ns); and, where streams flow
behind it, how many."""


def failure(call: int, code: str, message: str, error_type: str, started_ns: int, ended_ns: int) -> Effect:
    """The effect that answers a call with a failure."""
    return (call, FAILURE, [code, message, error_type], started_ns, ended_ns)


def _says_of_itself(error: BaseException) -> list[bool]:
    """Whether it is one of overload and one to try again after, as an error of a call that this code made may be."""
    if not isinstance(error, HomingError):
        return []
    try:
        said = [bool(error.overloaded), bool(error.retryable)]
    except Exception:  # a class of the object's own may do anything here
        return []
    return said if any(said) else []


def of_error(call: int, error: BaseException, started_ns: int, ended_ns: int) -> Effect:
    """The answer to a call whose code raised: the runtime's own refusals keep their code, the rest is the object's."""
    code = error.code if isinstance(error, _OWN) else "application-error"
    said = [code, message_of(error), type(error).__name__, *_says_of_itself(error)]
    return (call, FAILURE, said, started_ns, ended_ns)


def message_of(error: BaseException) -> str:
    """An error's own words, bounded; it is the object's code that says them, so even this may raise."""
    try:
        text = error.message if isinstance(error, HomingError) else str(error)
    except Exception as broken:
        text = f"its message cannot be read: {type(broken).__name__}"
    return cut(text, limits.message_text_bytes_max)


def cut(text: str, bytes_max: int) -> str:
    """Text of at most so many bytes that every encoder takes; what is cut off is marked."""
    encoded = text.encode(errors="backslashreplace")
    if len(encoded) <= bytes_max:
        return encoded.decode()
    return encoded[:bytes_max].decode(errors="ignore") + "… (cut)"


def trace_of(error: BaseException) -> str:
    """The traceback, without the runtime's own frames at its beginning."""
    try:
        shown = traceback.TracebackException.from_exception(error, capture_locals=False)
        while shown.stack and any(own in shown.stack[0].filename for own in _RUNTIME):
            shown.stack.pop(0)
        text = "".join(shown.format())
    except Exception as broken:
        text = f"{type(error).__name__} (its traceback cannot be shown: {type(broken).__name__})"
    # The end says what happened; keep it when the whole is too long.
    encoded = text.encode(errors="backslashreplace")
    return encoded[-limits.traceback_bytes_max :].decode(errors="ignore")


def is_misfit(error: BaseException) -> bool:
    """Whether a TypeError came from the call itself: the arguments do not fit the method."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_next.tb_frame.f_code is _CALLED:
        trace = trace.tb_next
    return type(error) is TypeError and trace is not None and trace.tb_next is None
