"""`homing status`: the nodes, who owns the slots, in which epochs, and how far replicas are behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import click
import httpx
import msgspec

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.tables import Cell, table

LAG_METRIC = "homing_replica_lag_records"
METRICS_TIMEOUT_S = 1.0
RESTLESS_SLOTS_MAX = 20


class Node(msgspec.Struct):
    """A node in the cluster's document; `slots` is how many it owns."""

    id: str
    address: str = ""
    zone: str = ""
    state: str = ""
    pid: int = 0
    slots: int = 0
    metrics: str = ""
    version: str = ""


class Slot(msgspec.Struct):
    """A slot in the cluster's document; `owner` is a node's id, or None."""

    slot: int
    state: str
    epoch: int
    owner: str | None = None
    replicas: list[str] = []


class Bound(msgspec.Struct):
    """A jurisdiction in the cluster's document, with the slots that are its own."""

    name: str
    zones: list[str] = []
    first_slot: int = 0
    slots: int = 0


class Process(msgspec.Struct):
    """A gateway or a worker in the cluster's document."""

    pid: int = 0
    node: str = ""


class Cluster(msgspec.Struct):
    """What is read of `GET /_homing/v1/cluster`."""

    nodes: list[Node] = []
    gateways: list[Process] = []
    workers: list[Process] = []
    slots: list[Slot] = []
    jurisdictions: list[Bound] = []

    @property
    def hashed_slots(self) -> int:
        """How many slots there are for objects that no jurisdiction binds."""
        return self.jurisdictions[0].first_slot if self.jurisdictions else len(self.slots)

    @property
    def names(self) -> list[str]:
        """Of the jurisdictions, by number."""
        return [each.name for each in self.jurisdictions]


def read_cluster(api: GatewayApi) -> Cluster:
    """The cluster as the gateway sees it now.

    Raises:
        HomingError: as `GatewayApi.get`.
    """
    return msgspec.json.decode(api.get("/cluster"), type=Cluster)


@click.command()
@gateway_options
@click.option("--slots", "every_slot", is_flag=True, help="Also list every slot.")
def status(url: str, token: str, as_json: bool, every_slot: bool) -> None:
    """Show nodes, slots, epochs and lag."""
    with GatewayApi(url, token) as api:
        document = api.get("/cluster")
    if as_json:
        click.echo(document.decode())
        return
    cluster = msgspec.json.decode(document, type=Cluster)
    lags = {node.id: read_lag(node.metrics) for node in cluster.nodes}
    click.echo(render(cluster, lags, every_slot=every_slot))


def render(cluster: Cluster, lags: Mapping[str, int | None], *, every_slot: bool = False) -> str:
    """The cluster as text.

    Args:
        cluster: what the gateway knows.
        lags: for each node the records that its slowest replica is behind, None when the node does not say.
        every_slot: list all slots, not only the restless ones.
    """
    summary = [_summary(cluster), *(_bound(cluster, each) for each in cluster.jurisdictions)]
    blocks = [_nodes(cluster, lags), "\n".join(summary)]
    if every_slot:
        blocks.append(_slots(sorted(cluster.slots, key=lambda slot: slot.slot)))
    else:
        restless = sorted((slot for slot in cluster.slots if not _settled(slot)), key=lambda slot: slot.slot)
        if restless:
            blocks.append(_slots(restless[:RESTLESS_SLOTS_MAX]))
        if len(restless) > RESTLESS_SLOTS_MAX:
            blocks.append(f"… and {len(restless) - RESTLESS_SLOTS_MAX} more; --slots lists all")
    return "\n\n".join(blocks)


def _nodes(cluster: Cluster, lags: Mapping[str, int | None]) -> str:
    owned: dict[str, list[Slot]] = {}
    for slot in cluster.slots:
        owned.setdefault(slot.owner or "", []).append(slot)
    workers = Counter(worker.node for worker in cluster.workers)
    rows: list[list[Cell]] = []
    for node in sorted(cluster.nodes, key=lambda node: node.id):
        slots = owned.get(node.id, [])
        epochs = [slot.epoch for slot in slots]
        active = sum(slot.state == "ACTIVE" for slot in slots)
        lag = lags.get(node.id)
        rows.append([node.id, node.pid, node.state, node.zone or "-", node.address, len(slots), active])
        rows[-1] += [len(slots) - active, _span(epochs), "-" if lag is None else lag, workers[node.id], node.version]
    header = ["NODE", "PID", "STATE", "ZONE", "ADDRESS", "SLOTS", "ACTIVE"]
    return table([*header, "RECOVERING", "EPOCHS", "LAG", "WORKERS", "VERSION"], rows)


def _summary(cluster: Cluster) -> str:
    states = Counter(slot.state for slot in cluster.slots)
    unowned = sum(slot.owner is None for slot in cluster.slots)
    parts = [f"{count} {state}" for state, count in sorted(states.items())]
    if unowned:
        parts.append(f"{unowned} without an owner")
    replicas = Counter(len(slot.replicas) for slot in cluster.slots)
    counts = ", ".join(f"{count}" for count in sorted(replicas)) or "-"
    return (
        f"{len(cluster.slots)} slots: {', '.join(parts) or 'none yet'}; replicas: {counts}; "
        f"epochs {_span([slot.epoch for slot in cluster.slots])}; gateways: {len(cluster.gateways)}"
    )


def _bound(cluster: Cluster, bound: Bound) -> str:
    """One line of a jurisdiction; slots without a record wait for the first node in its zones."""
    mine = [slot for slot in cluster.slots if 0 <= slot.slot - bound.first_slot < bound.slots]
    served = sum(_settled(slot) for slot in mine)
    nodes = ", ".join(sorted(node.id for node in cluster.nodes if node.zone in bound.zones)) or "no node"
    return (
        f"jurisdiction {bound.name} in {', '.join(bound.zones)} ({nodes}): {served} of {bound.slots} slots are served"
    )


def _slots(slots: Sequence[Slot]) -> str:
    rows = [[slot.slot, slot.state, slot.owner or "-", slot.epoch, " ".join(slot.replicas)] for slot in slots]
    return table(["SLOT", "STATE", "OWNER", "EPOCH", "REPLICAS"], rows)


def _settled(slot: Slot) -> bool:
    return slot.state == "ACTIVE" and slot.owner is not None


def _span(epochs: Sequence[int]) -> str:
    if not epochs:
        return "-"
    low, high = min(epochs), max(epochs)
    return str(low) if low == high else f"{low}-{high}"


def read_lag(metrics: str) -> int | None:
    """The greatest lag in a node's metrics; None when they cannot be read or do not have it."""
    if not metrics:
        return None
    url = metrics if metrics.startswith("http") else f"http://{metrics}/metrics"
    try:
        answer = httpx.get(url, timeout=METRICS_TIMEOUT_S, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return greatest(answer.text, LAG_METRIC) if answer.is_success else None


def greatest(exposition: str, metric: str) -> int | None:
    """The greatest value of a metric in Prometheus' text format; None when it is not there."""
    values = [
        float(line.rsplit(" ", 1)[1])
        for line in exposition.splitlines()
        if line.startswith((f"{metric} ", f"{metric}{{"))
    ]
    return int(max(values)) if values else None
