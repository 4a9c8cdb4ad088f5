"""`homing move SLOT|CLASS/NAME NODE`: give one slot to another of its replicas, and say when it is there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import quote

import click

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.limits import DRAIN_POLL_S, MOVE_TIMEOUT_S
from homing.cli.status import Cluster, Slot, read_cluster
from homing.errors import BadRequest, Unavailable
from homing.ids import ObjectId, class_of


@click.command()
@click.argument("what", metavar="SLOT|CLASS/NAME")
@click.argument("node")
@gateway_options
def move(what: str, node: str, url: str, token: str, as_json: bool) -> None:
    """Give a slot, or the one that an object is in, to NODE, and leave it there. NODE must be one of its replicas.

    No call fails by it. The other objects of the slot move too.
    """
    with GatewayApi(url, token) as api:
        slot = slot_of(what, read_cluster(api))
        answer = api.post(f"/slots/{slot}/move/{quote(node, safe='')}")
        _watch(api, slot, node)
    click.echo(answer.decode() if as_json else f"{node} owns slot {slot}")


def slot_of(what: str, cluster: Cluster) -> int:
    """The slot that is meant: its number, or that of an object.

    Args:
        what: as it was typed; `CLASS/id:HEX` names an object by its id, `CLASS@JURISDICTION/NAME` one that is bound.
        cluster: whose slots they are.

    Raises:
        BadRequest: it is neither.

    Example:
        >>> slot_of("7", Cluster())
        7
    """
    if what.isdecimal():
        return int(what)
    if "/" not in what.strip("/"):
        raise BadRequest(f"{what} is no slot and no object: give a number, or CLASS/NAME")
    return object_of(what, cluster.names).slot(cluster.hashed_slots)


def object_of(text: str, jurisdictions: Sequence[str]) -> ObjectId:
    """The object that `CLASS/NAME` or `CLASS@JURISDICTION/NAME` names, in a cluster with these jurisdictions.

    Raises:
        BadRequest: it names none.
    """
    named, _, name = text.partition("/")
    class_name, bound = class_of(named, jurisdictions)
    if not class_name or not name:
        raise BadRequest(f"{text} is no object: give CLASS/NAME")
    return ObjectId.from_address(class_name, name, bound)


def _watch(api: GatewayApi, slot: int, node: str) -> None:
    """Return when the node owns the slot."""
    deadline = time.monotonic() + MOVE_TIMEOUT_S
    while True:
        record = next((found for found in read_cluster(api).slots if found.slot == slot), Slot(slot, "", 0))
        if record.owner == node and record.state == "ACTIVE":
            return
        if time.monotonic() > deadline:
            why = f"one of its calls does not end, or {node} lacks records"
            raise Unavailable(f"slot {slot} is still with {record.owner or 'nobody'}: {why}")
        time.sleep(DRAIN_POLL_S)
