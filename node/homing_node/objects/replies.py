"""Effects and errors as frames for the gateway."""

from __future__ import annotations

from typing import Any

from homing.errors import (
    ApplicationError,
    BrokenOff,
    HomingError,
    NotFound,
    NotOwner,
    Overloaded,
    Unavailable,
    from_wire,
)
from homing.flow import streams_per_value_max
from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.activation import Activation, PendingCall

ANSWER, HTTP, FAILURE, REFUSED = 0, 1, 2, 3
_STREAMS_MAX = {
    wire.CALL_KIND_FETCH: 1,
    wire.CALL_KIND_DEFAULT: 1,
    wire.CALL_KIND_METHOD: streams_per_value_max,
}  # behind an answer, by the kind of the call


def flowing(call: PendingCall, effect: list[Any]) -> int:
    """How many streams flow behind an answer that says so: one of more than five elements.

    Raises:
        ValueError: none can: it is a failure, or kept, or there is nobody to read, or there are too many.
    """
    count = effect[5]
    kept = call.port is None or bool(call.m.key) or effect[1] in (FAILURE, REFUSED)
    if kept or type(count) is not int or not 0 < count <= _STREAMS_MAX.get(call.m.kind, 0):
        raise ValueError("an answer that flows where it cannot")
    return count


def of_effect(call_id: int, status: int, payload: Any, whose: Activation | bytes, flows: int = 0) -> wire.Reply:
    """The frame for what a handler emitted; `whose`: it was, or the key of an entrypoint's sockets.

    Raises:
        TypeError, ValueError: the worker sent something else than an effect.
    """
    if type(status) is not int:
        raise ValueError("an effect without a status")
    if status == ANSWER:
        reply = wire.Reply(id=call_id, body=payload)
        if flows:
            reply.flows = flows
        return reply
    if status == HTTP:
        code, headers, body, *socket = payload
        fields = [wire.Header(name=n, value=v) for n, v in headers]
        reply = wire.Reply(id=call_id, status=code, headers=fields, body=body, flows=flows)
        if socket:
            reply.socket.CopyFrom(_socket(socket[0], whose))
        return reply
    if status not in (FAILURE, REFUSED):
        raise ValueError(f"effect status {status}")
    code, message, error_type, *said = payload
    failure = wire.Failure(code=code, message=message, error_type=error_type, started=status == FAILURE)
    if said:
        failure.overloaded, failure.retryable = said
    return wire.Reply(id=call_id, failure=failure)


Done = list[tuple[PendingCall | None, list[Any]]]
"""The effects of a turn, each with the call that it answers."""


def of_turn(act: Activation, effects: list[list[Any]]) -> tuple[Done, list[tuple[PendingCall, wire.Reply]]]:
    """What a turn answers, before anything has come of it.

    Args:
        act: whose turn it was.
        effects: of the turn, as its worker says them.

    Returns:
        The effects, each with the call that it answers. And the answers, each with the call that it is for: those that
        end in this turn, and those that wait for the same.

    Raises:
        TypeError, ValueError, LookupError: one is no effect, or ends what another has ended.
    """
    if len(effects) > 1 and len({effect[0] for effect in effects}) < len(effects):
        raise ValueError("a call that ends twice")
    done: Done = []
    answers: list[tuple[PendingCall, wire.Reply]] = []
    for effect in effects:
        call = act.calls.get(effect[0])
        done.append((call, effect))
        if call is None:
            continue
        if effect[1] == REFUSED and call.committed:
            raise ValueError("a call that is refused and has begun")
        flows = flowing(call, effect) if len(effect) > 5 else 0
        answer = of_effect(call.m.id, effect[1], effect[2], act, flows)
        timing = answer.timing
        timing.received_ns, timing.started_ns, timing.ended_ns = call.received_ns, effect[3], effect[4]
        answers.append((call, answer))
        if call.waiters is not None:
            answers += [(waiter, of_effect(waiter.m.id, effect[1], effect[2], act)) for waiter in call.waiters]
    return done, answers


def _socket(told: Any, whose: Activation | bytes) -> wire.SocketRef:
    """What a connection becomes: a socket of whoever answers, or one that it passes on."""
    if len(told) == 2:
        own = ("", whose, "") if isinstance(whose, bytes) else (whose.class_name, whose.object, whose.name or "")
        told = (*own, *told)
    class_name, object_id, name, number, live = told
    return wire.SocketRef(class_name=class_name, object=object_id, name=name, number=number, live=live)


def error_of(code: str, message: str) -> HomingError:
    """The error that a worker named; an unknown code is an application error.

    Raises:
        TypeError: it named none.
    """
    if type(code) is not str or type(message) is not str:
        raise TypeError("an error without a code and a message")
    found = from_wire(code, message)
    return found if type(found) is not HomingError else ApplicationError(message, error_type=code)


def no_class(class_name: str) -> NotFound:
    """The error of a call to a class that the application does not have."""
    return NotFound(f"there is no class {class_name}, or no such object in it")


def given_up(call_id: int) -> wire.Reply:
    """The frame for a call that nobody waits for, and that was not begun."""
    return of_error(call_id, Unavailable("nobody waits for this call any more"), started=False)


def failure_of(error: HomingError) -> wire.Failure:
    """What a reply says of an error that is no call's."""
    return of_error(0, error, started=False).failure


def of_error(call_id: int, error: HomingError, *, started: bool) -> wire.Reply:
    """The frame for an error of the node itself."""
    failure = wire.Failure(code=error.code, message=error.message, started=started)
    if error.retry_after_s is not None:
        failure.retry_after_ms = int(error.retry_after_s * 1_000)
    if isinstance(error, NotOwner):
        failure.epoch, failure.owner = error.epoch, error.owner
    if isinstance(error, ApplicationError):
        failure.error_type = error.error_type
    elif isinstance(error, Overloaded):
        failure.error_type = error.cause
    elif isinstance(error, BrokenOff):
        failure.error_type = "BrokenOff"  # it shares its code with OutcomeUnknown, and must not be tried again
    return wire.Reply(id=call_id, failure=failure)
