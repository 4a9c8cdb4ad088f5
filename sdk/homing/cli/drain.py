"""`homing drain NODE`: give every slot of a node to others, and show how far it is."""

from __future__ import annotations

import time
from urllib.parse import quote

import click

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.limits import DRAIN_POLL_S, DRAIN_STALLED_S
from homing.cli.status import read_cluster
from homing.errors import Unavailable


@click.command()
@click.argument("node")
@click.option("--stay", is_flag=True, help="Call a drain off: the node takes slots again.")
@gateway_options
def drain(node: str, url: str, token: str, as_json: bool, *, stay: bool) -> None:
    """Hand over every slot of NODE to other nodes; no call fails by it. Stopping a node with SIGTERM does the same."""
    with GatewayApi(url, token) as api:
        answer = api.post(f"/nodes/{quote(node, safe='')}/{'stay' if stay else 'drain'}")
        if stay:
            click.echo(answer.decode() if as_json else f"{node} stays; slots come back to it within seconds")
            return
        left = _watch(api, node, quiet=as_json)
    if left:
        raise Unavailable(f"{left} slots stay with {node}: no other replica of them can take them now")
    click.echo(answer.decode() if as_json else f"{node} owns no slot; it may be stopped")


def _watch(api: GatewayApi, node: str, *, quiet: bool) -> int:
    """Wait until the node owns nothing, or nothing changes any more; returns how many slots it still owns."""
    last, changed_at = -1, time.monotonic()
    while True:
        left = next((found.slots for found in read_cluster(api).nodes if found.id == node), 0)
        if left != last:
            last, changed_at = left, time.monotonic()
            if not quiet:
                click.echo(f"{left} slots to go")
        if not left or time.monotonic() - changed_at > DRAIN_STALLED_S:
            return left
        time.sleep(DRAIN_POLL_S)
