"""What a turn did, as one record; and what a call under an idempotency key may do (rule 22). Pure."""

from __future__ import annotations

from homing.alarms import TIME_MS_MAX
from homing.errors import BrokenOff, HomingError, KeyReused, Overloaded
from homing_node.objects import limits
from homing_node.objects.activation import Activation, PendingCall
from homing_node.objects.images import PAGE_BYTES
from homing_node.objects.keys import KeyTable
from homing_node.objects.replies import REFUSED, Done
from homing_node.objects.socket_state import SocketTurn
from homing_node.objects.turn_record import KeyEntry, KeyState, TurnBody
from homing_node.workers.inside import pages

NO_ROOM_RETRY_S = 60.0


def verdict(
    act: Activation, call: PendingCall, now_ms: int, began_ms: int
) -> PendingCall | KeyEntry | HomingError | None:
    """What becomes of a call under a key; the times are those of `KeyTable.prunable`.

    Returns:
        None: run it. A PendingCall: wait for that one. A KeyEntry: its recorded effect is the answer. An error: refuse.
    """
    m = call.m
    running = act.key_in_use(m.key)
    if running is not None:
        return running if running.m.fingerprint == m.fingerprint else KeyReused()
    if act.keys is None:
        act.keys = KeyTable()
    known = act.keys.get(m.key)
    if known is None:
        if act.keys.prunable(now_ms, began_ms) is None:
            full = "too many idempotency keys of the last 10 minutes are kept for this object"
            return Overloaded(full, retry_after_s=NO_ROOM_RETRY_S)
        return None
    if known.fingerprint != m.fingerprint:
        return KeyReused()
    return known if known.state == KeyState.DONE else BrokenOff()


def take_commit(act: Activation, n: int, commit: bytes | None, wake_ms: int | None) -> None:
    """Accept the next commit of an activation, or none (rule 25); `wake_ms`: when it is to be woken then.

    Raises:
        ValueError: there is none, or it is not the next, or not within its bounds.
    """
    if commit is None:
        raise ValueError("a time for an alarm without a commit")
    if wake_ms is not None and (type(wake_ms) is not int or not 0 <= wake_ms <= TIME_MS_MAX):
        raise ValueError("a time for an alarm that cannot be")
    if n != act.commits + 1:
        raise ValueError(f"commit {n} after commit {act.commits}")
    pages.validate(commit, limits.database_bytes_max // PAGE_BYTES)
    act.commits = n
    act.database_bytes = pages.page_count(commit) * PAGE_BYTES


def may_record(commit: bytes | None, done: Done, sockets: SocketTurn | None) -> bool:
    """Whether a turn may have a record; most that only read are told here that they have none (see `turn_body`)."""
    if commit is not None or sockets is not None:
        return True
    has_key = False
    for call, _ in done:  # `any` takes three times as long
        has_key = has_key or (call is not None and call.m.key != "")
    return has_key


def turn_body(
    act: Activation,
    commit: bytes | None,
    runner: PendingCall | None,
    done: Done,
    at_ms: int,
    began_ms: int,
    wake_ms: int | None = None,
    sockets: SocketTurn | None = None,
) -> TurnBody | None:
    """The record of a turn, or None if there is nothing to record.

    Args:
        act: whose turn it was.
        commit: the pages, already taken.
        runner: the call whose handler ran, if it has not been answered before.
        done: the effects of the turn.
        at_ms: the time in the record, which is the slot's.
        began_ms: when this ownership began.
        wake_ms: when the object's earliest alarm rings after the commit, if it says so.
        sockets: what it did to the object's sockets, if it did.
    """
    entries = [
        KeyEntry(call.m.key, call.m.fingerprint, KeyState.DONE, 0, effect[1], effect[2])
        for call, effect in done
        if call is not None and call.m.key and effect[1] != REFUSED
    ]
    if commit is not None and runner is not None:
        runner.committed = True
        if runner.m.key and not runner.began_key and not any(runner is call for call, _ in done):
            runner.began_key = True
            entries.append(KeyEntry(runner.m.key, runner.m.fingerprint, KeyState.RUNNING))
    if commit is None and not entries and not (sockets is not None and sockets.lasting):
        return None
    dropped: list[str] = []
    if entries:
        act.keys = act.keys or KeyTable()
        dropped = act.keys.prunable(at_ms, began_ms) or []
    class_name, name = ("", None) if act.exists else (act.class_name, act.name)
    changes = sockets.changes if sockets is not None else None
    return TurnBody(class_name, name, commit, entries, dropped, wake_ms=wake_ms, sockets=changes)
