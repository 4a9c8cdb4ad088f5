"""Recorders cheap enough for a hot path, read by Prometheus only when it asks.

A recorder is a plain list or number that one thread adds to; no lock, no lookup by label. Callers keep the child they
need: `rpc_ok = metrics.histogram("homing_request_seconds", "rpc", "ok")`, then `rpc_ok.observe(0.004)`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from homing.observability.catalogue import CATALOGUE, LATENCY_TARGET_S, Entry, Kind


class Histogram:
    """Counts of observations per bucket, and their sum."""

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)  # Invariant: counts[i] is of values in (edges[i-1], edges[i]]
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Add one observation, in the unit of the metric's name."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Add to it."""
        self.value += amount


class Gauge:
    """A number that goes up and down; `read`, when set, gives it at the time of a scrape."""

    __slots__ = ("read", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self.read: Callable[[], float] | None = None

    def set(self, value: float) -> None:
        """Say what it is now."""
        self.value = value

    def now(self) -> float:
        """What a scrape shows."""
        return self.value if self.read is None else self.read()


class Metrics(Collector):
    """The recorders of one process, by the names of the catalogue.

    Args:
        target_s: the latency target in seconds; it becomes an edge of every histogram of seconds.

    Example:
        >>> metrics = Metrics()
        >>> metrics.counter("homing_worker_restarts_total").add()
        >>> b"homing_worker_restarts_total 1.0" in metrics.exposition()
        True
    """

    def __init__(self, *, target_s: float = LATENCY_TARGET_S, process: bool = False) -> None:
        self.target_s = target_s
        self._histograms: dict[str, dict[tuple[str, ...], Histogram]] = {}
        self._counters: dict[str, dict[tuple[str, ...], Counter]] = {}
        self._gauges: dict[str, dict[tuple[str, ...], Gauge]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        if process:
            ProcessCollector(registry=self._registry)
        self.gauge("homing_latency_target_seconds").set(target_s)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """The histogram of these label values; the same object for the same values."""
        entry = _entry(name, "histogram", labels)
        children = self._histograms.setdefault(name, {})
        found = children.get(labels)
        if found is None:
            found = children[labels] = Histogram(self._edges(name, entry))
        return found

    def counter(self, name: str, *labels: str) -> Counter:
        """The counter of these label values."""
        _entry(name, "counter", labels)
        return self._counters.setdefault(name, {}).setdefault(labels, Counter())

    def gauge(self, name: str, *labels: str) -> Gauge:
        """The gauge of these label values."""
        _entry(name, "gauge", labels)
        return self._gauges.setdefault(name, {}).setdefault(labels, Gauge())

    def exposition(self) -> bytes:
        """The Prometheus text of everything recorded."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """What a scrape shows; for the Prometheus client library."""
        for name, children in self._histograms.items():
            family = HistogramMetricFamily(name, CATALOGUE[name].help, labels=CATALOGUE[name].labels)
            for labels, histogram in children.items():
                family.add_metric(labels, _buckets(histogram), sum_value=histogram.total)
            yield family
        for name, counters in self._counters.items():
            counted = CounterMetricFamily(name, CATALOGUE[name].help, labels=CATALOGUE[name].labels)
            for labels, counter in counters.items():
                counted.add_metric(labels, counter.value)
            yield counted
        for name, gauges in self._gauges.items():
            shown = GaugeMetricFamily(name, CATALOGUE[name].help, labels=CATALOGUE[name].labels)
            for labels, gauge in gauges.items():
                shown.add_metric(labels, gauge.now())
            yield shown

    def _edges(self, name: str, entry: Entry) -> tuple[float, ...]:
        if not name.endswith("_seconds") or self.target_s in entry.edges:
            return entry.edges
        return tuple(sorted((*entry.edges, self.target_s)))


def _entry(name: str, kind: Kind, labels: tuple[str, ...]) -> Entry:
    entry = CATALOGUE[name]
    assert entry.kind == kind, f"{name} is a {entry.kind}"
    assert len(labels) == len(entry.labels), f"{name} has the labels {entry.labels}"
    return entry


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    running = 0
    rows: list[tuple[str, float]] = []
    for edge, count in zip((*histogram.edges, None), histogram.counts, strict=True):
        running += count
        rows.append(("+Inf" if edge is None else repr(edge), float(running)))
    return rows
