"""`homing move SLOT|CLASS/NAME NODE`: give one slot to another of its replicas, and say when it is there."""

from __future__ import annotations

import time
from urllib.parse import quote

import click

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.limits import DRAIN_POLL_S, MOVE_TIMEOUT_S
from homing.cli.status import Slot, read_cluster
from homing.errors import BadRequest, Unavailable
from homing.ids import ObjectId


@click.command()
@click.argument("what", metavar="SLOT|CLASS/NAME")
@click.argument("node")
@gateway_options
def move(what: str, node: str, url: str, token: str, as_json: bool) -> None:
    """Give a slot, or the one that an object is in, to NODE, and leave it there. NODE must be one of its replicas.

    No call fails by it. The other objects of the slot move too.
    """
    with GatewayApi(url, token) as api:
        slot = slot_of(what, len(read_cluster(api).slots))
        answer = api.post(f"/slots/{slot}/move/{quote(node, safe='')}")
        _watch(api, slot, node)
    click.echo(answer.decode() if as_json else f"{node} owns slot {slot}")


def slot_of(what: str, slots: int) -> int:
    """The slot that is meant: its number, or that of an object.

    Args:
        what: as it was typed; `CLASS/id:HEX` names an object by its id.
        slots: how many the cluster has.

    Raises:
        BadRequest: it is neither.

    Example:
        >>> slot_of("7", 1024)
        7
    """
    if what.isdecimal():
        return int(what)
    class_name, has_name, name = what.partition("/")
    if not class_name or not has_name:
        raise BadRequest(f"{what} is no slot and no object: give a number, or CLASS/NAME")
    return ObjectId.from_address(class_name, name).slot(slots)


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
