"""docs/reference/metrics.md names every metric of the catalogue, and no other."""

from __future__ import annotations

from pathlib import Path

from homing.observability.catalogue import CATALOGUE, DIRECTIONS, OUTCOMES, ROUTES, SOURCES, STAGES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "metrics.md"


def test_the_table_of_metrics_is_the_catalogue() -> None:
    written = [line for line in PAGE.read_text().splitlines() if line.startswith("| `homing_")]
    assert written == [
        f"| `{name}` | {entry.kind} | {', '.join(entry.labels) or '-'} | {entry.help} |"
        for name, entry in CATALOGUE.items()
    ]


def test_the_values_of_labels_are_those_that_are_used() -> None:
    page = PAGE.read_text()
    labels = {"route": ROUTES, "outcome": OUTCOMES, "stage": STAGES, "direction": DIRECTIONS, "source": SOURCES}
    for label, values in labels.items():
        assert f"| {label} | {', '.join(values)} |" in page
