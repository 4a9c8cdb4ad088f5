"""When an object has too much to do, and which of the causes it is. Pure."""

from __future__ import annotations

from homing.errors import Overloaded
from homing_node.objects import limits
from homing_node.objects.activation import Activation, PendingCall


def overload(act: Activation, call: PendingCall, window_max: int, now: float) -> Overloaded | None:
    """Why an activation cannot take a call, or None. A call that it takes is counted.

    Args:
        act: the activation.
        call: the next one for it.
        window_max: calls of one object within `limits.rate_window_s`; 0: any number.
        now: monotonic seconds.
    """
    if act.calls or act.flowing:
        if len(act.calls) + act.flowing >= limits.calls_per_object_max:
            return Overloaded("too many calls are queued for this object", cause="calls")
        if act.calls_bytes + call.size > limits.calls_bytes_per_object_max and act.calls:
            return Overloaded("too many bytes are queued for this object", cause="bytes")
    if not window_max:
        return None
    if now >= act.window_ends:
        act.window_ends, act.window_calls = now + limits.rate_window_s, 0
    if act.window_calls >= window_max:
        many = f"more than {window_max} calls for this object within {limits.rate_window_s:g} s"
        return Overloaded(many, cause="rate", retry_after_s=act.window_ends - now)
    act.window_calls += 1
    return None
