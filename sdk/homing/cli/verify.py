"""`homing verify [SLOT|CLASS/NAME]`: compare what the replicas of slots hold, now, and say where they differ."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import click
import msgspec

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.limits import DRAIN_POLL_S, VERIFY_AT_ONCE, VERIFY_TIMEOUT_S, VERIFY_TRIES_MAX
from homing.cli.move import slot_of
from homing.cli.status import read_cluster
from homing.errors import Unavailable

_SAID_EVERY = 128  # slots between two lines of progress


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
        count = len(read_cluster(api).slots)
        slots = range(count) if what is None else [slot_of(what, count)]
        found = list(_said(_compare_all(api, slots), len(slots), quiet=as_json))
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


def _compare_all(api: GatewayApi, slots: Iterable[int]) -> Iterator[Compared]:
    with ThreadPoolExecutor(VERIFY_AT_ONCE) as pool:
        yield from pool.map(partial(_compare, api), slots)


def _compare(api: GatewayApi, slot: int) -> Compared:
    """Compare one slot; while it has no owner, try again."""
    for _ in range(VERIFY_TRIES_MAX - 1):
        try:
            return msgspec.json.decode(api.post(f"/slots/{slot}/verify"), type=Compared)
        except Unavailable:
            time.sleep(4 * DRAIN_POLL_S)
    return msgspec.json.decode(api.post(f"/slots/{slot}/verify"), type=Compared)


def _said(compared: Iterable[Compared], total: int, *, quiet: bool) -> Iterator[Compared]:
    """The same, with a line now and then."""
    for number, each in enumerate(compared, 1):
        if not quiet and number % _SAID_EVERY == 0 and number < total:
            click.echo(f"{number} of {total} slots compared", err=True)
        yield each


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
