"""etcd, nodes and a gateway, each in a network namespace of its own, kept alive as `homing dev` keeps its parts.

    apart.py SPEC.json

It is started on the side of the clients. `NetCluster` writes the specification, and makes the networks before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # as a program, only this folder is on the path

from tests.chaos.client import Connection

from homing.cli import plan
from homing.cli.etcd import find_etcd
from homing.cli.limits import ETCD_START_S, READY_POLL_S
from homing.cli.output import Output
from homing.cli.ports import LOOPBACK
from homing.cli.supervisor import Supervisor, stop_on_signals

CLUSTER = "chaos"
READY_S = 120.0
HTTP_PORT = plan.PORT_DEFAULT
GRPC_PORT = HTTP_PORT + 1
NODE_PORT = 7_000
METRICS_PORT = plan.GATEWAY_METRICS_PORT_DEFAULT
ETCD_PORT, ETCD_PEER_PORT = 2_379, 2_380


class Spec(msgspec.Struct, frozen=True):
    """What is to be started.

    Attributes:
        app: the application's folder.
        nodes: how many nodes, `n1` first.
        data_dir: where all state goes.
        workers: worker processes for each node.
        addresses: the address of each member: `etcd`, `gateway`, and the nodes.
        commands: what goes before a command to run it in the member's namespace.
    """

    app: str
    nodes: int
    data_dir: str
    workers: int
    addresses: dict[str, str]
    commands: dict[str, list[str]]


def cluster_of(spec: Spec, environment: Mapping[str, str]) -> plan.Cluster:
    """The cluster that `homing dev` would make of it; every part may have the same ports."""
    ports = plan.Ports(
        http=HTTP_PORT,
        grpc=GRPC_PORT,
        gateway_metrics=METRICS_PORT,
        nodes=[NODE_PORT] * spec.nodes,
        node_metrics=[METRICS_PORT] * spec.nodes,
        etcd_client=ETCD_PORT,
        etcd_peer=ETCD_PEER_PORT,
    )
    return plan.Cluster(
        name=CLUSTER,
        app=Path(spec.app),
        data_dir=Path(spec.data_dir),
        nodes=spec.nodes,
        ports=ports,
        etcd_urls=f"http://{spec.addresses['etcd']}:{ETCD_PORT}",
        etcd_program=find_etcd().path,
        workers=spec.workers,
        env=environment,
    )


def put_apart(part: plan.PartSpec, spec: Spec) -> plan.PartSpec:
    """The same part in its own namespace: where it would listen on loopback, it listens on its address."""
    address = spec.addresses[part.name]
    argv = [*spec.commands[part.name], *(word.replace(LOOPBACK, address) for word in part.argv)]
    env = {name: value.replace(LOOPBACK, address) if "LISTEN" in name else value for name, value in part.env.items()}
    return replace(part, argv=argv, env={**env, "HOMING_INSECURE": "1"})


async def run(spec: Spec) -> str | None:
    """Run the parts until a signal ends it; returns why it could not go on, or None."""
    cluster = cluster_of(spec, dict(os.environ))
    nodes = plan.node_parts(cluster)
    output = Output(["etcd", *(node.name for node in nodes), "gateway"], colour=False)
    async with Supervisor(output) as supervisor:
        stop_on_signals(supervisor.finish, supervisor.kill)
        await supervisor.until_finished(_bring_up(spec, cluster, nodes, supervisor))
        await supervisor.finished.wait()
    return supervisor.failure


async def _bring_up(spec: Spec, cluster: plan.Cluster, nodes: Sequence[plan.PartSpec], supervisor: Supervisor) -> None:
    supervisor.add(put_apart(plan.etcd_part(cluster), spec))
    if not await _answers(Connection(spec.addresses["etcd"], ETCD_PORT), "/health", ETCD_START_S):
        supervisor.fail("etcd did not answer")
        return
    supervisor.add(*(put_apart(node, spec) for node in nodes))
    supervisor.add(put_apart(plan.gateway_part(cluster), spec))
    if not await _answers(Connection(spec.addresses["gateway"], HTTP_PORT), "/_homing/readyz", READY_S):
        supervisor.fail("the gateway was not ready")
        return
    supervisor.was_ready = True


async def _answers(connection: Connection, path: str, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if (await connection.get(path, timeout_s=2.0)).status == 200:
                connection.close()
                return True
        await asyncio.sleep(READY_POLL_S)
    return False


def main() -> int:
    """Run what the file says; 0 if it was told to end."""
    spec = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Spec)
    failure = asyncio.run(run(spec))
    if failure:
        sys.stderr.write(f"{failure}\n")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
