"""What object code prints, as structured log lines with the object and the request, and to those who watch."""

from __future__ import annotations

import structlog

from homing.levels import CRITICAL
from homing.observability import trace
from homing_node.objects.activation import Activation
from homing_node.objects.ports import WorkerPort
from homing_node.objects.tails import Tails

_log = structlog.stdlib.get_logger("homing.object")


def emit(
    act: Activation | None, worker: WorkerPort, tails: Tails, act_id: int, request_id: str, stream: str, text: str,
    traceparent: str, level: int,
) -> None:  # fmt: skip
    """One line of a worker.

    Args:
        act: whose the worker says that it is; None for what the process itself printed, or what has ended.
        worker: who says so.
        tails: those who watch.
        act_id: the number that the worker gave.
        request_id: of the call that was running, or empty.
        stream: stdout, stderr, traceback or error.
        text: bounded by the worker-side runtime, and again here by the frame's bounds.
        traceparent: of the same call, or empty.
        level: by the numbers of the module `logging`.

    Raises:
        TypeError, ValueError: it is no such line.
    """
    if not (type(request_id) is type(stream) is type(text) is str):
        raise TypeError("a line that is no text")
    if type(level) is not int or not 0 <= level <= CRITICAL:
        raise ValueError("a line of no level")
    if act is not None and act.worker is not worker:
        act = None  # of another worker
    where = {} if act is None else {"object": act.object.hex(), "class": act.class_name, "name": act.name}
    trace_id = trace.id_of(traceparent)
    _log.info(text, stream=stream, request_id=request_id, trace_id=trace_id, worker=worker.id, **where)
    if tails.open:
        tails.line(worker, act, act_id, request_id, stream, text, level)
