"""`homing verify [SLOT|CLASS/NAME]`: compare what the replicas of slots hold, now, and say where they differ."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import click
import msgspec

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.limits import VERIFY_TIMEOUT_S
from homing.cli.move import slot_of
from homing.cli.slots_at_once import Stop, all_slots, patiently
from homing.cli.status import read_cluster


class Compared(msgspec.Struct):
    """What a gateway says of one slot."""

    slot: int
    lsn: int = 0
    equal: list[str] = []
    differing: list[str] = []
    silent: list[str] = []


@click.command()
@click.argument("what", metavar="[SLOT|CLASS/NAME]", required=False)
@gateway_options
def verify(what: str | None, url: str, token: str, as_json: bool) -> None:
    """Compare the copies of every slot, or of one. A copy that differs from the majority is repaired by its node."""
    with GatewayApi(url, token, timeout_s=VERIFY_TIMEOUT_S) as api:
        cluster = read_cluster(api)
        slots = [each.slot for each in cluster.slots] if what is None else [slot_of(what, cluster)]
        found = sorted(all_slots(slots, partial(_compare, api), _sum), key=lambda each: each.slot)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        _report(found)
    wrong = sum(bool(each.differing) for each in found)
    if wrong:
        raise click.ClickException(
            f"copies differ in {wrong} of {len(found)} slots. Nodes in the minority take theirs anew; "
            "run this again in a minute, and look at those nodes' disks"
        )


def _compare(api: GatewayApi, slot: int, stop: Stop) -> Compared:
    """Compare one slot; while it has no owner, try again."""
    return patiently(lambda: msgspec.json.decode(api.post(f"/slots/{slot}/verify"), type=Compared), stop)


def _sum(done: Iterable[Compared]) -> str:
    differ = sum(bool(each.differing) for each in done)
    return f"{differ} differ" if differ else "compared"


def _report(found: list[Compared]) -> None:
    for each in found:
        if each.differing:
            equal = f"; {', '.join(each.equal)} hold the same" if each.equal else ""
            click.echo(f"slot {each.slot}: {', '.join(each.differing)} differ{equal}")
    silent = sorted({node for each in found for node in each.silent})
    if silent:
        many = sum(bool(each.silent) for each in found)
        click.echo(f"{many} slots have copies that were not compared: {', '.join(silent)} did not answer or catch up")
    equal = sum(not each.differing and not each.silent for each in found)
    click.echo(f"{equal} of {len(found)} slots hold the same on all their replicas")
