"""What object code prints, as structured log lines with the object and the request."""

from __future__ import annotations

import structlog

from homing.observability import trace
from homing_node.objects.activation import Activation

_log = structlog.stdlib.get_logger("homing.object")


def emit(act: Activation | None, worker: int, request_id: str, stream: str, text: str, traceparent: str) -> None:
    """One line of a worker.

    Args:
        act: whose it is; None for what the process itself printed.
        worker: its id.
        request_id: of the call that was running, or empty.
        stream: stdout, stderr, traceback or error.
        text: bounded by the worker-side runtime, and again here by the frame's bounds.
        traceparent: of the same call, or empty.
    """
    where = {} if act is None else {"object": act.object.hex(), "class": act.class_name, "name": act.name}
    trace_id = trace.id_of(traceparent)
    _log.info(text, stream=stream, request_id=request_id, trace_id=trace_id, worker=worker, **where)
