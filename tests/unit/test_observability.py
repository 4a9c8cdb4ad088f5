"""Logs without secrets, metrics by their names, trace context."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from homing.errors import ConfigurationError
from homing.observability import logs, trace
from homing.observability.catalogue import CATALOGUE
from homing.observability.metrics import Histogram, Metrics
from homing.observability.scrape import CONNECTIONS_MAX, HEAD_BYTES_MAX, MetricsServer


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    out = io.StringIO()
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield out
    root.handlers[:], root.level = before[0], before[1]
    structlog.reset_defaults()


def test_both_kinds_of_logger_write_the_same_json(lines: io.StringIO) -> None:
    logs.configure("info", "json", stream=lines)
    structlog.get_logger("x").info("slot taken", slot=7)
    structlog.get_logger("x").debug("not shown")
    logging.getLogger("y").warning("from %s", "stdlib", extra={"slot": 8})
    first, second = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert (first["event"], first["slot"], first["level"]) == ("slot taken", 7, "info")
    assert (second["event"], second["slot"], second["level"]) == ("from stdlib", 8, "warning")
    assert first["timestamp"].endswith("Z")


@pytest.mark.parametrize("style", ["json", "pretty"])
def test_secrets_are_hidden(lines: io.StringIO, style: str) -> None:
    """Seen to fail without `hide_secrets` in the chain."""
    logs.configure("info", style, stream=lines)
    secret = "s3cr3tvalue"
    log = structlog.get_logger("x")
    log.info("a", api_token=secret, headers={"Authorization": secret, "cookie": secret}, text=f"Bearer {secret}")
    logging.getLogger("y").info("sent Bearer %s", secret)
    try:
        password = secret
        raise ValueError(f"authorization: Bearer {password}")
    except ValueError:
        log.exception("failed")
    assert secret not in lines.getvalue()
    assert lines.getvalue().count("[hidden]") >= 5


def test_wrong_log_settings_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        logs.configure("loud")
    with pytest.raises(ConfigurationError):
        logs.configure("info", "xml")


def test_an_observation_at_an_edge_counts_below_it() -> None:
    histogram = Histogram((0.01, 0.015))
    for value in (0.01, 0.0150, 0.015001):
        histogram.observe(value)
    assert histogram.counts == [1, 1, 1]
    assert histogram.total == pytest.approx(0.040001)


def test_the_text_parses_and_has_an_edge_at_the_target() -> None:
    metrics = Metrics(target_s=0.012)
    for name, entry in CATALOGUE.items():
        labels = ["x"] * len(entry.labels)
        if entry.kind == "histogram":
            metrics.histogram(name, *labels).observe(0.004)
        elif entry.kind == "counter":
            metrics.counter(name, *labels).add()
        else:
            metrics.gauge(name, *labels).set(2)
    families = {family.name: family for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert {name.removesuffix("_total") for name in CATALOGUE} == set(families)
    buckets = [s.labels["le"] for s in families["homing_request_seconds"].samples if s.name.endswith("_bucket")]
    assert "0.012" in buckets
    assert "0.015" in buckets
    assert buckets[-1] == "+Inf"


def test_a_gauge_may_be_read_at_the_scrape() -> None:
    metrics = Metrics()
    metrics.gauge("homing_sockets").read = lambda: 5.0
    assert b"homing_sockets 5.0" in metrics.exposition()


def test_a_name_or_label_that_is_not_in_the_catalogue_is_a_mistake() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.counter("homing_nothing")
    with pytest.raises(AssertionError):
        metrics.counter("homing_sockets")
    with pytest.raises(AssertionError):
        metrics.histogram("homing_request_seconds", "rpc")


async def _ask(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_the_metrics_port_answers_and_is_bounded() -> None:
    server = MetricsServer(lambda: b"x 1\n")
    port = int((await server.start("127.0.0.1", 0)).rpartition(":")[2])
    try:
        assert (await _ask(port, b"GET /metrics?x HTTP/1.1\r\nhost: x\r\n\r\n")).endswith(b"\r\n\r\nx 1\n")
        assert (await _ask(port, b"HEAD /metrics HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\n")
        assert b" 404 " in await _ask(port, b"GET / HTTP/1.1\r\n\r\n")
        assert b" 405 " in await _ask(port, b"POST /metrics HTTP/1.1\r\n\r\n")
        assert b" 431 " in await _ask(port, b"x" * (HEAD_BYTES_MAX + 1))
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
        assert b" 503 " in await _ask(port, b"")
        for _, writer in idle:
            writer.close()
    finally:
        await server.stop()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-" + "0" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "a" * 32 + "-" + "0" * 16 + "-01",
        "ff-" + "a" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "b" * 16 + "-01",
        "00-" + "a" * 32 + "-" + "b" * 16 + "-01-more",
        "00-" + "a" * 31 + "-" + "b" * 16 + "-01",
    ],
)
def test_a_wrong_traceparent_is_nothing(text: str) -> None:
    assert trace.parse(text) is None


def test_a_trace_goes_on() -> None:
    found = trace.parse("01-" + "a" * 32 + "-" + "b" * 16 + "-03-later")
    assert found is not None
    assert found.sampled
    child = found.child()
    assert child.trace_id == found.trace_id
    assert child.span_id != found.span_id
    assert trace.parse(child.header()) == child
    assert trace.parse(trace.start().header()) is not None
