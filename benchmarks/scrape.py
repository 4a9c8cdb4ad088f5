"""Histograms from `/metrics`: the difference of two scrapes, means and percentiles, and the table of stages."""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from tests.chaos.client import Connection
from tests.chaos.cluster import DevCluster, View

STAGES = ("gateway", "forward", "queue", "execute", "commit")
Labels = frozenset[tuple[str, str]]


@dataclass
class Histogram:
    """Counts up to each edge (`le`, cumulative), and the sum of what was observed."""

    up_to: dict[float, float] = field(default_factory=dict[float, float])
    total: float = 0.0

    @property
    def count(self) -> float:
        """How many observations."""
        return self.up_to.get(math.inf, 0.0)

    @property
    def mean(self) -> float:
        """Their mean; NaN when there are none."""
        return self.total / self.count if self.count else math.nan

    def percentile(self, share: float) -> float:
        """The value below which `share` lie, by straight lines between edges; the last edge for what lies above it."""
        if not self.count:
            return math.nan
        wanted = share * self.count
        low, below = 0.0, 0.0
        for edge, count in sorted(self.up_to.items()):
            if count >= wanted:
                if math.isinf(edge) or count == below:
                    return low
                return low + (edge - low) * (wanted - below) / (count - below)
            low, below = edge, count
        return low

    def add(self, other: Histogram, sign: int = 1) -> None:
        """Add another with the same edges, or take it away."""
        for edge, count in other.up_to.items():
            self.up_to[edge] = self.up_to.get(edge, 0.0) + sign * count
        self.total += sign * other.total


@dataclass
class Scrape:
    """All that the parts of a cluster expose at one moment, added up over its processes."""

    histograms: dict[tuple[str, Labels], Histogram] = field(
        default_factory=lambda: defaultdict[tuple[str, Labels], Histogram](Histogram)
    )
    values: dict[str, float] = field(default_factory=lambda: defaultdict[str, float](float))

    def read(self, text: str) -> None:
        """Add the exposition of one process.

        Raises:
            ValueError: this is not Prometheus text.
        """
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = dict(sample.labels)
                if family.type != "histogram":
                    self.values[sample.name] += sample.value
                    continue
                edge = labels.pop("le", "")
                histogram = self.histograms[family.name, frozenset(labels.items())]
                if sample.name.endswith("_bucket"):
                    histogram.up_to[float(edge)] = histogram.up_to.get(float(edge), 0.0) + sample.value
                elif sample.name.endswith("_sum"):
                    histogram.total += sample.value

    def since(self, before: Scrape) -> Scrape:
        """What was observed between an earlier scrape and this one; plain values stay as they are now."""
        found = Scrape(values=self.values)
        for key, histogram in self.histograms.items():
            found.histograms[key].add(histogram)
            if key in before.histograms:
                found.histograms[key].add(before.histograms[key], -1)
        return found

    def histogram(self, name: str, labels: Mapping[str, str] | None = None) -> Histogram:
        """The sum of all histograms of this name whose labels include the given ones."""
        wanted = frozenset((labels or {}).items())
        total = Histogram()
        for (found, has), histogram in self.histograms.items():
            if found == name and wanted <= has:
                total.add(histogram)
        return total

    def stages(self) -> dict[str, Histogram]:
        """`homing_stage_seconds`, one for each stage."""
        return {stage: self.histogram("homing_stage_seconds", {"stage": stage}) for stage in STAGES}


async def scrape(cluster: DevCluster) -> Scrape:
    """Scrape the gateway and every node."""
    return await scrape_addresses(metrics_addresses(await cluster.view()))


def metrics_addresses(view: View) -> list[str]:
    """Where the parts of a cluster serve `/metrics`."""
    return [part.metrics for part in (*view.gateways, *view.nodes) if part.metrics]


async def scrape_addresses(addresses: Iterable[str]) -> Scrape:
    """Scrape each `host:port` (or URL) once.

    Raises:
        OSError: one of them did not answer.
    """
    result = Scrape()
    for text in await asyncio.gather(*map(_text, addresses)):
        result.read(text)
    return result


async def _text(address: str) -> str:
    host, _, port = address.removeprefix("http://").partition("/")[0].rpartition(":")
    connection = Connection(host, int(port))
    answer = await connection.get("/metrics")
    connection.close()
    if answer.status != 200:
        raise ConnectionError(f"{address} answered {answer.status}")
    return answer.body.decode()


def stage_table(observed: Scrape, target_ms: float = 15.0) -> list[str]:
    """p50 and p99 of each stage and of the whole, in ms, and how the whole compares with the target."""
    rows = [*observed.stages().items(), ("whole call", observed.histogram("homing_request_seconds", {"route": "rpc"}))]
    lines = [f"{'stage':<12} {'calls':>9} {'mean ms':>9} {'p50 ms':>9} {'p99 ms':>9}"]
    for name, histogram in rows:
        figures = (histogram.mean, histogram.percentile(0.5), histogram.percentile(0.99))
        lines.append(f"{name:<12} {histogram.count:>9.0f} " + " ".join(f"{value * 1e3:9.3f}" for value in figures))
    p99_ms = rows[-1][1].percentile(0.99) * 1e3
    verdict = "within" if p99_ms <= target_ms else "OVER"
    return [*lines, f"p99 of the whole call is {p99_ms:.2f} ms: {verdict} the target of {target_ms:g} ms"]
