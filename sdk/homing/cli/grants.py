"""`homing grants`: what code in sandboxes may do just now, what it did, and the end of that."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import msgspec

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.tables import table


class _Grant(msgspec.Struct):
    node: str = ""
    id: str = ""
    name: str = ""
    kind: str = ""
    holder: str = ""
    calls: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    left_ms: int = 0


class _Record(msgspec.Struct):
    node: str = ""
    at_ms: int = 0
    holder: str = ""
    grant: str = ""
    kind: str = ""
    method: str = ""
    host: str = ""
    path: str = ""
    outcome: str = ""
    rule: str = ""
    sent_bytes: int = 0
    received_bytes: int = 0
    took_ms: float = 0.0


@click.group("grants", invoke_without_command=True)
@gateway_options
@click.pass_context
def grants(context: click.Context, url: str, token: str, as_json: bool) -> None:
    """List the grants that sandboxes hold now, on every node."""
    if context.invoked_subcommand is not None:
        return
    with GatewayApi(url, token) as api:
        answer = api.get("/grants")
    if as_json:
        click.echo(answer)
        return
    found = msgspec.json.decode(answer, type=dict[str, list[_Grant]])["grants"]
    rows = [
        (each.node, each.id, each.name, each.kind, each.holder, each.calls, each.sent_bytes, each.received_bytes,
         each.left_ms // 1_000)
        for each in found
    ]  # fmt: skip
    click.echo(table(("NODE", "ID", "NAME", "KIND", "HOLDER", "CALLS", "SENT", "RECEIVED", "LEFT s"), rows))


@grants.command("revoke")
@click.argument("node")
@click.argument("grant_id", metavar="ID")
@gateway_options
def revoke(node: str, grant_id: str, url: str, token: str, as_json: bool) -> None:
    """Revoke a grant, by what `homing grants` shows of it; what is done under it just then breaks off."""
    with GatewayApi(url, token) as api:
        api.delete(f"/grants/{node}/{grant_id}")
    click.echo("{}" if as_json else f"grant {grant_id} on {node} was revoked")


@grants.command("audit")
@click.option("--limit", default=100, show_default=True, help="At most so many records, the newest.")
@gateway_options
def audit(limit: int, url: str, token: str, as_json: bool) -> None:
    """Show what was done under grants lately, on every node."""
    with GatewayApi(url, token) as api:
        answer = api.get("/grants/audit", limit=limit)
    if as_json:
        click.echo(answer)
        return
    found = msgspec.json.decode(answer, type=dict[str, list[_Record]])["records"]
    rows = [
        (_time(each.at_ms), each.node, each.holder, each.grant, each.method, f"{each.host}{each.path}",
         f"{each.outcome} {each.rule}".rstrip(), each.sent_bytes, each.received_bytes, f"{each.took_ms:.1f}")
        for each in found
    ]  # fmt: skip
    click.echo(table(("TIME", "NODE", "HOLDER", "GRANT", "CALL", "OF", "OUTCOME", "SENT", "RECEIVED", "TOOK ms"), rows))


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).strftime("%H:%M:%S.%f")[:-3]
