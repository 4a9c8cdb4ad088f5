"""Every metric that homing exposes: its name, kind, labels and meaning. The names are an interface."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["histogram", "counter", "gauge"]

LATENCY_TARGET_S = 0.015

# Edges in seconds. The target is one of them, so that the share of calls within it is exact.
SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.0125, LATENCY_TARGET_S, 0.02,
    0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
# Stages are shares of the whole and begin far below a millisecond.
STAGE_SECONDS = (0.000005, 0.00001, 0.000025, 0.00005, *SECONDS)
RECORDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

DIRECTIONS = ("in", "out")
SOURCES = ("spare", "forked", "cold", "strict")
STAGES = ("gateway", "forward", "queue", "execute", "commit")
ROUTES = ("rpc", "fetch", "default", "admin")
OUTCOMES = ("ok", "client_error", "application_error", "unavailable", "unknown")


class Entry(NamedTuple):
    """What one metric is; `edges` only for a histogram."""

    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()


CATALOGUE: dict[str, Entry] = {
    "homing_request_seconds": Entry(
        "histogram", "Time of a request in the gateway, first byte in to first byte out.", ("route", "outcome"), SECONDS
    ),
    "homing_stage_seconds": Entry("histogram", "Time of each stage of a call.", ("stage",), STAGE_SECONDS),
    "homing_latency_target_seconds": Entry("gauge", "The latency target that is configured."),
    "homing_requests_over_target_total": Entry("counter", "Requests that took longer than the target."),
    "homing_activations": Entry("gauge", "Objects that are active."),
    "homing_activation_seconds": Entry("histogram", "Time to start an activation.", (), SECONDS),
    "homing_sockets": Entry("gauge", "WebSockets that are open."),
    "homing_flows": Entry(
        "gauge", "Bodies and streams that flow now: in, with calls; out, behind their answers.", ("direction",)
    ),
    "homing_flow_bytes_total": Entry("counter", "Bytes that passed in them.", ("direction",)),
    "homing_slots": Entry("gauge", "Slots of this process by state.", ("state",)),
    "homing_takeover_seconds": Entry(
        "histogram", "Time of a takeover, from the last contact with the owner to ACTIVE.", (), SECONDS
    ),
    "homing_log_append_seconds": Entry("histogram", "Time from a record's append to its commit.", (), SECONDS),
    "homing_log_batch_records": Entry("histogram", "Records in one durable batch.", (), RECORDS),
    "homing_replica_lag_records": Entry("gauge", "Records that the slowest replica lacks, the worst slot."),
    "homing_slots_compared_total": Entry("counter", "Comparisons of the pages of a slot's replicas."),
    "homing_replica_differences_total": Entry(
        "counter", "Comparisons in which a replica held other pages, or could not read them. An alarm."
    ),
    "homing_workers": Entry("gauge", "Workers that run."),
    "homing_worker_restarts_total": Entry("counter", "Workers that were replaced after they died or hung."),
    "homing_sandboxes": Entry("gauge", "Sandboxes by state.", ("state",)),
    "homing_sandbox_starts_total": Entry(
        "counter", "Runs by where their sandbox came from, and zygotes that were started cold.", ("source",)
    ),
    "homing_sandbox_start_seconds": Entry("histogram", "Time to start a sandbox.", (), SECONDS),
    "homing_grant_calls_total": Entry(
        "counter", "Calls that code in sandboxes made under grants.", ("kind", "outcome")
    ),
}
