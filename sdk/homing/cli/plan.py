"""What `homing dev` starts: settings in, the parts of a cluster out. Nothing is started or looked up here."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from homing.cli.limits import ETCD_STOP_S, GATEWAY_STOP_S, NODE_STOP_S
from homing.cli.ports import LOOPBACK

HOMING = (sys.executable, "-m", "homing.cli")
PORT_DEFAULT = 8_787
GATEWAY_METRICS_PORT_DEFAULT = 9_464
NODE_METRICS_PORT_FIRST = 9_465

# The caller's variables reach every part, so that any setting can be tried; but not those that are one process's own.
NOT_PASSED_ON = frozenset(
    f"HOMING_{name}"
    for name in (
        "ADVERTISE", "DATA_DIR", "GRPC_LISTEN", "LISTEN", "METRICS_LISTEN", "NODE_ID", "TLS_CA", "TLS_CERT", "TLS_KEY",
        "ZONE",
    )
)  # fmt: skip


@dataclass(frozen=True)
class PartSpec:
    """One process of the cluster.

    Attributes:
        name: how it is called in the merged log.
        argv: the program and its arguments.
        env: its whole environment.
        stop_s: how long it may take to end after SIGTERM.
        log_file: where its output goes; None merges it into ours.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    stop_s: float
    log_file: Path | None = None


@dataclass(frozen=True)
class Ports:
    """Every port of a cluster on loopback; `etcd_*` are 0 when etcd is not ours."""

    http: int
    grpc: int
    gateway_metrics: int
    nodes: Sequence[int]
    node_metrics: Sequence[int]
    etcd_client: int = 0
    etcd_peer: int = 0


@dataclass(frozen=True)
class Cluster:
    """The settings of one development cluster.

    Attributes:
        name: the cluster's name in etcd.
        app: the application's folder or file, absolute.
        data_dir: where all state goes, absolute.
        nodes: how many nodes.
        ports: where everything listens.
        etcd_urls: a running etcd, comma-separated; empty starts one.
        etcd_program: the etcd to start.
        workers: worker processes for each node.
        zones: of the nodes, in turn; empty: they are in none.
        jurisdictions: as HOMING_JURISDICTIONS has them.
        colour: whether the parts may write colours.
        env: the caller's environment.
        command: the program whose `node` and `gateway` are started.
        started_ms: when, in milliseconds since 1970: what was deployed to an earlier one counts for nothing.
    """

    name: str
    app: Path
    data_dir: Path
    nodes: int
    ports: Ports
    etcd_urls: str = ""
    etcd_program: Path | None = None
    workers: int = 1
    zones: Sequence[str] = ()
    jurisdictions: str = ""
    colour: bool = False
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    command: Sequence[str] = HOMING
    started_ms: int = 0

    @property
    def replicas(self) -> int:
        """How many nodes keep each slot's log."""
        return replicas_for(self.nodes)


def replicas_for(nodes: int) -> int:
    """1 below three nodes, else 3: two replicas would need both for a majority, and protect nothing."""
    return 1 if nodes < 3 else 3


def workers_for(nodes: int, cores: int) -> int:
    """How many workers each node gets: the nodes share this machine's cores, and each has one at least.

    A node alone on its machine has a worker for each core; three times as many would only take turns.
    """
    return -(-cores // nodes)


def first_ports(port: int | None, nodes: int) -> tuple[int, int, int, list[int]]:
    """The ports that follow from `--port`: HTTP, gRPC, gateway metrics, and the nodes' metrics if they are fixed."""
    if port is None:
        metrics = list(range(NODE_METRICS_PORT_FIRST, NODE_METRICS_PORT_FIRST + nodes))
        return PORT_DEFAULT, PORT_DEFAULT + 1, GATEWAY_METRICS_PORT_DEFAULT, metrics
    return port, port + 1, port + 2, []


def etcd_part(cluster: Cluster) -> PartSpec:
    """Our own etcd: one member, small delays, everything fsynced as in production."""
    client = f"http://{LOOPBACK}:{cluster.ports.etcd_client}"
    peer = f"http://{LOOPBACK}:{cluster.ports.etcd_peer}"
    flags = {
        "name": "dev",
        "data-dir": str(cluster.data_dir / "etcd"),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"dev={peer}",
        "heartbeat-interval": "50",
        "election-timeout": "500",
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": "1h",
        "logger": "zap",
        "log-level": "warn",
    }
    argv = [str(cluster.etcd_program), *(f"--{flag}={value}" for flag, value in flags.items())]
    # Variables named ETCD_* would be settings too, and clash with the flags.
    env = {name: value for name, value in cluster.env.items() if not name.startswith("ETCD_")}
    return PartSpec("etcd", argv, env, ETCD_STOP_S, cluster.data_dir / "etcd.log")


def node_parts(cluster: Cluster) -> list[PartSpec]:
    """The nodes, `n1` first."""
    parts: list[PartSpec] = []
    for index in range(cluster.nodes):
        name = f"n{index + 1}"
        settings = {
            "HOMING_APP": str(cluster.app),
            "HOMING_INITIAL_NODES": str(cluster.nodes),
            "HOMING_NODE_ID": name,
            "HOMING_LISTEN": f"{LOOPBACK}:{cluster.ports.nodes[index]}",
            "HOMING_METRICS_LISTEN": f"{LOOPBACK}:{cluster.ports.node_metrics[index]}",
            "HOMING_DATA_DIR": str(cluster.data_dir / name),
            "HOMING_WORKERS": str(cluster.workers),
            "HOMING_APPLY_MIGRATIONS": "1",
            "HOMING_ZONE": cluster.zones[index % len(cluster.zones)] if cluster.zones else "",
        }
        parts.append(PartSpec(name, [*cluster.command, "node"], _environment(cluster, settings), NODE_STOP_S))
    return parts


def gateway_part(cluster: Cluster) -> PartSpec:
    """The gateway."""
    settings = {
        "HOMING_LISTEN": f"{LOOPBACK}:{cluster.ports.http}",
        "HOMING_GRPC_LISTEN": f"{LOOPBACK}:{cluster.ports.grpc}",
        "HOMING_METRICS_LISTEN": f"{LOOPBACK}:{cluster.ports.gateway_metrics}",
    }
    return PartSpec("gateway", [*cluster.command, "gateway"], _environment(cluster, settings), GATEWAY_STOP_S)


def _environment(cluster: Cluster, settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in cluster.env.items() if name not in NOT_PASSED_ON}
    own_etcd = f"http://{LOOPBACK}:{cluster.ports.etcd_client}"
    common = {
        "PYTHONUNBUFFERED": "1",
        "HOMING_CLUSTER": cluster.name,
        "HOMING_ETCD": cluster.etcd_urls or own_etcd,
        "HOMING_REPLICAS": str(cluster.replicas),
        "HOMING_DEPLOYS_SINCE_MS": str(cluster.started_ms),
        "HOMING_LOG_STYLE": "pretty",
        "HOMING_JURISDICTIONS": cluster.jurisdictions,
    }
    if cluster.colour:
        common["FORCE_COLOR"] = "1"
    return {**inherited, **common, **settings}
