"""`homing dev`: a whole cluster on this machine, every part a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import httpx

from homing.cli import plan
from homing.cli.application import example_call, find_application
from homing.cli.data_dir import OWN_ETCD, Shape, locked, open_state
from homing.cli.etcd import find_etcd
from homing.cli.limits import ETCD_START_S, NODES_MAX, READY_PATIENCE_S, READY_POLL_S
from homing.cli.output import Output
from homing.cli.ports import LOOPBACK, find_free, require_free
from homing.cli.reload import Watch, changes
from homing.cli.supervisor import Part, Supervisor, stop_on_signals
from homing.errors import ConfigurationError
from homing.ids import SLOTS_DEFAULT
from homing.locations import read_jurisdictions, written


@click.command()
@click.argument("app", type=click.Path(path_type=Path))
@click.option("--nodes", type=click.IntRange(1, NODES_MAX), default=3, show_default=True, help="How many nodes.")
@click.option(
    "--port", type=click.IntRange(1, 65_533), help=f"The gateway's HTTP port; gRPC is the next. [{plan.PORT_DEFAULT}]"
)
@click.option("--data-dir", type=click.Path(path_type=Path), default=Path(".homing"), help="State. [.homing]")
@click.option("--etcd", "etcd_urls", default="", help="Use this etcd (comma-separated URLs) instead of starting one.")
@click.option(
    "--workers", type=click.IntRange(1), help="Worker processes for each node. [the cores, shared among the nodes]"
)
@click.option(
    "--zones", envvar="HOMING_ZONES", default="", metavar="ZONE,…", help="The zones of the nodes, in turn. [none]"
)
@click.option(
    "--jurisdictions",
    envvar="HOMING_JURISDICTIONS",
    default="",
    metavar="NAME=ZONE,…;…",
    help="What binds objects to zones.",
)
def dev(
    app: Path, nodes: int, port: int | None, data_dir: Path, etcd_urls: str, workers: int | None, zones: str,
    jurisdictions: str,
) -> None:  # fmt: skip
    """Run APP on a cluster on this machine: etcd, nodes, a gateway.

    APP is a folder or one .py file. It is loaded again when its files change; a part that dies is started again;
    Ctrl-C stops everything. State stays in the data directory.
    """
    wish = Wish(
        find_application(app), nodes, port, data_dir.absolute(), etcd_urls, workers,
        [zone.strip() for zone in zones.split(",") if zone.strip()], jurisdictions,
    )  # fmt: skip
    failure = develop(wish)
    if failure:
        raise click.ClickException(failure)


@dataclass(frozen=True)
class Wish:
    """What was asked for on the command line; paths are absolute.

    Attributes:
        zones: of the nodes, in turn; empty: they are in none.
        jurisdictions: as HOMING_JURISDICTIONS has them.
        command: the program whose `node` and `gateway` are started.
    """

    app: Path
    nodes: int
    port: int | None
    data_dir: Path
    etcd_urls: str = ""
    workers: int | None = None
    zones: Sequence[str] = ()
    jurisdictions: str = ""
    command: Sequence[str] = plan.HOMING


def develop(wish: Wish) -> str | None:
    """Run a cluster until a signal ends it; returns why it could not go on, or None.

    Raises:
        ConfigurationError: the wish cannot be met: a busy port, a data directory in use or of another cluster, no etcd.
    """
    with locked(wish.data_dir):
        return asyncio.run(run(_plan(wish)))


def _plan(wish: Wish) -> plan.Cluster:
    """Choose ports, etcd and the cluster's name; everything that can be refused is refused here, before a start."""
    nodes = wish.nodes
    jurisdictions = told_jurisdictions(wish)
    http, grpc, gateway_metrics, node_metrics = plan.first_ports(wish.port, nodes)
    fixed = [(http, "HTTP"), (grpc, "gRPC"), (gateway_metrics, "the gateway's metrics")]
    require_free([*fixed, *((number, "a node's metrics") for number in node_metrics)])
    shape = Shape(nodes, plan.replicas_for(nodes), _slots(), wish.etcd_urls or OWN_ETCD)
    free = iter(find_free(2 * nodes + 2, avoid=(http, grpc, gateway_metrics)))
    ports = plan.Ports(
        http=http,
        grpc=grpc,
        gateway_metrics=gateway_metrics,
        nodes=[next(free) for _ in range(nodes)],
        node_metrics=node_metrics or [next(free) for _ in range(nodes)],
        etcd_client=next(free),
        etcd_peer=next(free),
    )
    return plan.Cluster(
        etcd_program=None if wish.etcd_urls else find_etcd().path,
        name=open_state(wish.data_dir, shape).cluster,
        app=wish.app,
        data_dir=wish.data_dir,
        nodes=nodes,
        ports=ports,
        etcd_urls=wish.etcd_urls,
        workers=wish.workers or _workers(nodes),
        zones=wish.zones,
        jurisdictions=jurisdictions,
        colour=os.isatty(1),
        env=dict(os.environ),
        command=wish.command,
        started_ms=int(time.time() * 1_000),
    )


def told_jurisdictions(wish: Wish) -> str:
    """What the parts are told; each jurisdiction has a node.

    Raises:
        ConfigurationError: it cannot be read, or a zone of it has no node.
    """
    there = wish.zones[: wish.nodes]
    found = read_jurisdictions(wish.jurisdictions)
    for each in found:
        if not set(each.zones) & set(there):
            raise ConfigurationError(
                f"no node is in a zone of the jurisdiction {each.name} ({', '.join(each.zones)}); the nodes' zones are "
                f"{', '.join(there) or 'none'}. Name its zones with --zones, one for each node in turn"
            )
    return written(found)


def _slots() -> int:
    return _number("HOMING_SLOTS") or SLOTS_DEFAULT


def _workers(nodes: int) -> int:
    return _number("HOMING_WORKERS") or plan.workers_for(nodes, len(os.sched_getaffinity(0)))


def _number(variable: str) -> int:
    """The number in an environment variable, 0 without one."""
    try:
        return int(os.environ.get(variable) or 0)
    except ValueError as error:
        raise ConfigurationError(f"{variable} is not a number") from error


async def run(cluster: plan.Cluster) -> str | None:
    """Run a cluster until it is told to end; returns why it could not go on, or None."""
    names = ["etcd", *(f"n{index + 1}" for index in range(cluster.nodes)), "gateway"]
    async with Supervisor(Output(names, colour=cluster.colour)) as supervisor:
        supervisor.output.on_closed = supervisor.finish
        stop_on_signals(supervisor.finish, supervisor.kill)
        async with httpx.AsyncClient(trust_env=False, timeout=2) as client:
            await supervisor.until_finished(_bring_up(cluster, supervisor, client))
        await supervisor.finished.wait()
        supervisor.output.say("stopping" if supervisor.failure is None else "giving up")
    return supervisor.failure


async def _bring_up(cluster: plan.Cluster, supervisor: Supervisor, client: httpx.AsyncClient) -> None:
    """Start the parts in order, wait until they work together, and then watch the application's files."""
    output = supervisor.output
    output.say(f"state is kept in {cluster.data_dir}")
    if not cluster.etcd_urls:
        output.say(f"starting etcd, {cluster.nodes} node{'s' if cluster.nodes > 1 else ''} and a gateway")
        supervisor.add(plan.etcd_part(cluster))
        if not await _answers(client, f"http://{LOOPBACK}:{cluster.ports.etcd_client}/health", ETCD_START_S):
            supervisor.fail(f"etcd did not answer within {ETCD_START_S:g} s; see {cluster.data_dir / 'etcd.log'}")
            return
    nodes = supervisor.add(*plan.node_parts(cluster))
    supervisor.add(plan.gateway_part(cluster))
    url = f"http://{LOOPBACK}:{cluster.ports.http}"
    while not await _answers(client, f"{url}/_homing/readyz", READY_PATIENCE_S):
        output.say(f"not ready after {READY_PATIENCE_S:g} s; still waiting for {url}/_homing/readyz")
    supervisor.was_ready = True
    output.say(_welcome(cluster))
    await _reload_on_change(cluster, supervisor, nodes)


async def _answers(client: httpx.AsyncClient, url: str, patience_s: float) -> bool:
    """Whether `url` answers with success within the time given."""
    try:
        async with asyncio.timeout(patience_s):
            while True:
                try:
                    if (await client.get(url)).is_success:
                        return True
                except httpx.HTTPError:
                    pass  # not listening yet, or still starting: ask again
                await asyncio.sleep(READY_POLL_S)
    except TimeoutError:
        return False


async def _reload_on_change(cluster: plan.Cluster, supervisor: Supervisor, nodes: Sequence[Part]) -> None:
    try:
        async for names in changes(Watch(cluster.app, cluster.data_dir), supervisor.finished):
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            supervisor.output.say(f"{shown} changed; loading the application again")
            for node in nodes:
                node.signal(signal.SIGHUP)
    except (OSError, RuntimeError) as error:  # a cluster without live reload is still worth having
        supervisor.output.say(f"live reload is off: {error}")


def _welcome(cluster: plan.Cluster) -> str:
    lines = [f"ready: http://{LOOPBACK}:{cluster.ports.http}"]
    call = example_call(cluster.app)
    if call is not None:
        token = ' -H "authorization: Bearer $HOMING_API_TOKEN"' if cluster.env.get("HOMING_API_TOKEN") else ""
        lines.append(
            f"try:   curl -s -X POST -H 'content-type: application/json'{token} -d '{{}}' "
            f"localhost:{cluster.ports.http}/_homing/v1/objects/{call.class_name}/a/rpc/{call.method}"
        )
    lines.append("Ctrl-C stops everything")
    return "\n".join(lines)
