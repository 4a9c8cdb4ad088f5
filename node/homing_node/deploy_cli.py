"""`homing deploy APP`, `homing rollback` and `homing deployment`: which version of the application a cluster runs."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.tables import table
from homing.errors import BadRequest, Unavailable
from homing_node import limits
from homing_node.workers.app_package import pack

_STARTED_WITH = "(started with)"


class _Share(msgspec.Struct):
    version: str | None
    percent: int


class _Added(msgspec.Struct):
    version: str


class _Version(msgspec.Struct):
    version: str
    bytes: int
    made_ms: int
    message: str


class _Deployment(msgspec.Struct):
    """What the gateway says of it."""

    versions: list[_Version]
    serving: list[_Share]
    before: str | None
    nodes: dict[str, list[_Share] | None]


@click.command()
@click.argument("app", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--version", help="Deploy a version that the cluster has, instead of APP.")
@click.option("--percent", type=click.IntRange(1, 100), default=100, show_default=True, help="Of the objects.")
@click.option("--message", "-m", default="", help="What is said of the version.")
@gateway_options
def deploy(
    app: Path | None, version: str | None, percent: int, message: str, url: str, token: str, as_json: bool
) -> None:
    """Bring APP to a running cluster and let it serve, all objects or some; no socket closes, no call fails.

    APP is a folder or one .py file. Every node loads it before any object runs it; what cannot be loaded changes
    nothing. With --percent it serves so many of a hundred objects, and the version before it the others: deploy the
    same again with more, or `homing rollback`.
    """
    if (app is None) == (version is None):
        raise BadRequest("give an application, or --version with one that the cluster has")
    with GatewayApi(url, token) as api:
        if app is not None:
            package = pack(app)
            if not as_json:
                click.echo(f"bringing {len(package):,} bytes to {url}")
            answer = api.send("/versions", [package], message=message)
            version = msgspec.json.decode(answer, type=_Added).version
        if not as_json:
            click.echo(f"every node loads version {version}")
        answer = api.post("/deployment", {"version": version, "percent": percent})
        _report(api, answer, as_json)


@click.command()
@gateway_options
def rollback(url: str, token: str, as_json: bool) -> None:
    """Let the version serve again that did before the last one came."""
    with GatewayApi(url, token) as api:
        _report(api, api.post("/deployment", {"back": True}), as_json)


@click.command()
@gateway_options
def deployment(url: str, token: str, as_json: bool) -> None:
    """List the versions that the cluster has, and what each serves."""
    with GatewayApi(url, token) as api:
        answer = api.get("/deployment")
    if as_json:
        click.echo(answer)
        return
    found = msgspec.json.decode(answer, type=_Deployment)
    shares = {share.version: f"{share.percent} %" for share in found.serving}
    rows = [(_STARTED_WITH, shares.get(None, ""), "", "", "")]
    rows += [
        (each.version, shares.get(each.version, ""), f"{each.bytes:,}", _day(each.made_ms), each.message)
        for each in reversed(found.versions)
    ]
    click.echo(table(("VERSION", "SERVES", "BYTES", "CAME", "MESSAGE"), rows))


def _report(api: GatewayApi, answer: bytes, as_json: bool) -> None:
    """Wait until every node that can be reached runs what serves, and say so."""
    found = msgspec.json.decode(answer, type=_Deployment)
    deadline = time.monotonic() + limits.deploy_seen_s
    while late := [node for node, serving in found.nodes.items() if serving != found.serving]:
        if time.monotonic() > deadline:
            raise Unavailable(f"{', '.join(late)} does not run it yet, and will when it can; see `homing deployment`")
        time.sleep(limits.deploy_poll_s)
        answer = api.get("/deployment")
        found = msgspec.json.decode(answer, type=_Deployment)
    if as_json:
        click.echo(answer)
        return
    for share in found.serving:
        click.echo(f"{share.version or 'the application that nodes were started with'} serves {share.percent} %")


def _day(made_ms: int) -> str:
    return datetime.fromtimestamp(made_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")
