"""`homing objects`: which objects a class has, and where one lives; see `object_state.py` for what is in one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click
import msgspec

from homing.cli.gateway_api import GatewayApi, gateway_options, object_path
from homing.cli.object_state import (
    clone_object,
    delete_object,
    evict_object,
    export_object,
    import_object,
    query_object,
)
from homing.cli.tables import Cell, table
from homing.listing import LIST_OBJECTS_MAX


class Page(msgspec.Struct):
    """One page of a listing; `cursor` asks for the next, and is absent on the last."""

    objects: list[dict[str, Any]] = []
    cursor: str | None = None


@click.group()
def objects() -> None:
    """Look at objects, and into them."""


for command in (clone_object, delete_object, evict_object, export_object, import_object, query_object):
    objects.add_command(command)


@objects.command("ls")
@click.argument("class_name", metavar="CLASS")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many. [all]")
@gateway_options
def list_objects(class_name: str, limit: int | None, url: str, token: str, as_json: bool) -> None:
    """List the objects of CLASS; `CLASS@JURISDICTION` lists those that one binds."""
    found: list[dict[str, Any]] = []
    with GatewayApi(url, token) as api:
        cursor: str | None = ""
        while cursor is not None and (limit is None or len(found) < limit):
            wanted = LIST_OBJECTS_MAX if limit is None else min(LIST_OBJECTS_MAX, limit - len(found))
            query = {"cursor": cursor} if cursor else {}
            body = api.get(f"/objects/{quote(class_name, safe='')}", limit=wanted, **query)
            page = msgspec.json.decode(body, type=Page)
            found.extend(page.objects)
            cursor = page.cursor or None
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        head = ["NAME", "ID", "BYTES", "ACTIVE", "LAST USE", "ALARM", "OWNER"]
        bound = any(each.get("jurisdiction") for each in found)  # then each row says whose it is
        rows = [[*_row(each), *([str(each.get("jurisdiction") or "-")] if bound else [])] for each in found]
        click.echo(table([*head, "JURISDICTION"] if bound else head, rows))


def _row(each: dict[str, Any]) -> list[Cell]:
    return [
        str(each.get("name") or "-"), str(each.get("id", "-")), int(each.get("database_bytes", 0)),
        "yes" if each.get("active") else "no", _when(each.get("last_use")), _when(each.get("alarm")),
        str(each.get("owner") or "-"),
    ]  # fmt: skip


def _when(at_ms: int | None) -> str:
    return datetime.fromtimestamp(at_ms / 1_000, UTC).isoformat(timespec="seconds") if at_ms else "-"


@objects.command("show")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@gateway_options
def show_object(class_name: str, name: str, url: str, token: str, as_json: bool) -> None:
    """Show where the object NAME of CLASS lives; `id:…` names it by id. It wakes nothing."""
    with GatewayApi(url, token) as api:
        body = api.get(object_path(class_name, name))
    if as_json:
        click.echo(body.decode())
        return
    fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    width = max(map(len, fields), default=0)
    for field, value in fields.items():
        click.echo(f"{field:<{width}}  {_text(value)}")


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
