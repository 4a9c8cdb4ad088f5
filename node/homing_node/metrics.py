"""What a node counts, by the names of docs/reference/metrics.md."""

from __future__ import annotations

from homing.observability.metrics import Metrics


class NodeMetrics:
    """The recorders of a node process; hot paths keep the child they need."""

    def __init__(self, target_s: float) -> None:
        self.registry = Metrics(target_s=target_s, process=True)
        self._append = self.registry.histogram("homing_log_append_seconds")
        self._batch = self.registry.histogram("homing_log_batch_records")
        self.takeover = self.registry.histogram("homing_takeover_seconds")
        self.activation = self.registry.histogram("homing_activation_seconds")
        self.compared = self.registry.counter("homing_slots_compared_total")
        self.differing = self.registry.counter("homing_replica_differences_total")
        self.restarts = self.registry.counter("homing_worker_restarts_total")
        self.sandbox_start = self.registry.histogram("homing_sandbox_start_seconds")

    def log_written(self, seconds: float, records: int) -> None:
        """One batch of the log is on disk."""
        self._append.observe(seconds)
        self._batch.observe(records)
