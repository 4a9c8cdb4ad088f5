"""Spans of calls for OpenTelemetry. Imported only when they are to be exported: its packages are the extra `otel`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from homing.observability import trace
from homing_gateway.limits import SPANS_FLUSH_S_MAX
from homing_placement.routing.pending import KIND_RPC, Pending


class Spans:
    """Makes one span for each call, and exports them from a thread of its own.

    Where they go, how many wait and which are sampled is said by the `OTEL_*` variables of the standard.

    Args:
        gateway_id: tells the gateways of a cluster apart.

    Example:
        >>> spans = Spans("4f1c")  # doctest: +SKIP
        >>> spans.begin(pending)  # doctest: +SKIP
    """

    def __init__(self, gateway_id: str) -> None:
        own = Resource.create({"service.name": "homing-gateway", "service.instance.id": gateway_id})
        # What the variables say counts more than our own words; `create` sees it the other way round.
        resource = own.merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("homing")

    def begin(self, pending: Pending) -> None:
        """Give a call a span, and let what follows be its child; a call that is not sampled goes on as it came."""
        started_ns = pending.entered_ns + time.time_ns() - time.monotonic_ns()
        parent = _parent(pending.traceparent)
        span = self._tracer.start_span(_name(pending), parent, SpanKind.SERVER, start_time=started_ns)
        if not isinstance(span, Span):
            return
        here = span.get_span_context()
        context = trace.TraceContext(f"{here.trace_id:032x}", f"{here.span_id:016x}", here.trace_flags.sampled)
        pending.span = span
        pending.traceparent = context.header()
        if pending.url:
            kept = [header for header in pending.headers if header[0] != "traceparent"]
            pending.headers = [*kept, ("traceparent", pending.traceparent)]

    def end(self, pending: Pending, route: str, outcome: str, written_ns: int) -> None:
        """A call ends, and its span with it: what became of it, and an event where each stage begins."""
        span = pending.span
        if span is None:
            return
        wall_ns = (span.start_time or 0) - pending.entered_ns  # from this process's clock to the time of day
        if pending.received_ns:
            _add_stages(span, pending, wall_ns)
        span.set_attributes(_attributes(pending, route, outcome))
        if pending.error is not None:
            span.set_attribute("error.type", pending.error.code)
            if outcome != "client_error":
                span.set_status(Status(StatusCode.ERROR, pending.error.code))
        span.end(written_ns + wall_ns)

    async def close(self) -> None:
        """Export what is left; not for longer than `SPANS_FLUSH_S_MAX` if nobody takes it."""
        ending = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        ending.start()
        limit_s = time.monotonic() + SPANS_FLUSH_S_MAX
        while ending.is_alive() and time.monotonic() < limit_s:
            await asyncio.sleep(0.02)


def _add_stages(span: Span, pending: Pending, wall_ns: int) -> None:
    """The node's clock is another: its times are put where the way there took as long as the way back."""
    sent_ns, arrived_ns = pending.sent_ns, pending.arrived_ns
    received_ns, released_ns = pending.received_ns, pending.released_ns
    node_ns = wall_ns + (sent_ns + arrived_ns - received_ns - released_ns) // 2
    span.add_event("forward", timestamp=sent_ns + wall_ns)
    span.add_event("queue", timestamp=received_ns + node_ns)
    if pending.started_ns:
        span.add_event("execute", timestamp=pending.started_ns + node_ns)
        span.add_event("commit", timestamp=pending.ended_ns + node_ns)
    span.add_event("forward", timestamp=released_ns + node_ns)
    span.add_event("gateway", timestamp=arrived_ns + wall_ns)


def _attributes(pending: Pending, route: str, outcome: str) -> Mapping[str, str | int]:
    found: dict[str, str | int] = {
        "homing.route": route,
        "homing.outcome": outcome,
        "homing.request_id": pending.request_id,
        "homing.tries": pending.tries + 1,
    }
    if pending.class_name:
        found |= {
            "homing.class": pending.class_name,
            "homing.object": pending.object_id.hex(),
            "homing.slot": pending.slot,
            "homing.epoch": pending.epoch,
        }
    return found


def _name(pending: Pending) -> str:
    """As few different names as there is code: never the name of an object."""
    if pending.kind == KIND_RPC:
        return f"{pending.class_name}/{pending.method}"
    return f"{pending.method} {pending.class_name}".rstrip()


def _parent(traceparent: str) -> Context:
    """The caller's place in its trace; an empty context, not the current one, when it names none."""
    came = trace.parse(traceparent)
    if came is None:
        return Context()
    flags = TraceFlags(TraceFlags.SAMPLED if came.sampled else TraceFlags.DEFAULT)
    remote = SpanContext(int(came.trace_id, 16), int(came.span_id, 16), is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(remote), Context())
