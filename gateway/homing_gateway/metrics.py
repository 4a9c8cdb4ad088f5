"""What the gateway records of each request: its time, its outcome, its stages, and a span if one is wanted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from homing.errors import ApplicationError, HomingError, OutcomeUnknown
from homing.observability.catalogue import LATENCY_TARGET_S, OUTCOMES, ROUTES
from homing.observability.metrics import Metrics
from homing_placement.routing.pending import Pending

if TYPE_CHECKING:
    from homing_gateway.spans import Spans

_NS = 1e-9


def outcome_of(error: HomingError | None) -> str:
    """The value of the label `outcome`.

    Example:
        >>> outcome_of(None), outcome_of(OutcomeUnknown())
        ('ok', 'unknown')
    """
    if error is None:
        return "ok"
    if isinstance(error, ApplicationError):
        return "application_error"
    if isinstance(error, OutcomeUnknown):
        return "unknown"
    return "client_error" if error.http_status < 500 else "unavailable"


class GatewayMetrics:
    """Recorders of one gateway, every child made ahead.

    Args:
        target_s: the latency target in seconds.
        spans: what makes spans of calls, or None.
    """

    def __init__(self, target_s: float = LATENCY_TARGET_S, spans: Spans | None = None) -> None:
        self.spans = spans
        self.registry = Metrics(target_s=target_s, process=True)
        self._requests = {
            route: {outcome: self.registry.histogram("homing_request_seconds", route, outcome) for outcome in OUTCOMES}
            for route in ROUTES
        }
        self._over = self.registry.counter("homing_requests_over_target_total")
        stage = self.registry.histogram
        self._gateway = stage("homing_stage_seconds", "gateway")
        self._forward = stage("homing_stage_seconds", "forward")
        self._queue = stage("homing_stage_seconds", "queue")
        self._execute = stage("homing_stage_seconds", "execute")
        self._commit = stage("homing_stage_seconds", "commit")
        self.sockets = self.registry.gauge("homing_sockets")

    def request(self, route: str, outcome: str, entered_ns: int) -> None:
        """A request ends that was no call, or whose call never came to a node."""
        self._total(route, outcome, (time.monotonic_ns() - entered_ns) * _NS)

    def call(self, route: str, pending: Pending, written_ns: int) -> None:
        """A call ends: record its whole time, and the stages when a node answered it (docs/reference/metrics.md).

        No stage is what the others leave over: each is made of times that were taken where it starts and ends, so a
        time that belongs to none would be missing from their sum. Clocks of two machines are only subtracted in pairs:
        the way there and the way back are one stage.

        Args:
            route: the value of the label.
            pending: the call, with an answer or an error.
            written_ns: when the answer was handed to the transport; this process's clock.
        """
        total_ns = time.monotonic_ns() - pending.entered_ns
        outcome = "ok" if pending.error is None else outcome_of(pending.error)
        self._total(route, outcome, total_ns * _NS)
        if self.spans is not None:
            self.spans.end(pending, route, outcome, written_ns)
        received_ns = pending.received_ns
        if not received_ns:
            return
        sent_ns, arrived_ns, lost_ns = pending.sent_ns, pending.arrived_ns, pending.lost_ns
        released_ns = pending.released_ns
        self._gateway.observe((sent_ns - pending.entered_ns - lost_ns + written_ns - arrived_ns) * _NS)
        self._forward.observe((arrived_ns - sent_ns - (released_ns - received_ns) + lost_ns) * _NS)
        started_ns = pending.started_ns
        if not started_ns:
            self._queue.observe((released_ns - received_ns) * _NS)
            return
        self._queue.observe((started_ns - received_ns) * _NS)
        self._execute.observe((pending.ended_ns - started_ns) * _NS)
        self._commit.observe((released_ns - pending.ended_ns) * _NS)

    def _total(self, route: str, outcome: str, seconds: float) -> None:
        self._requests[route][outcome].observe(seconds)
        if seconds > self.registry.target_s:
            self._over.value += 1.0
