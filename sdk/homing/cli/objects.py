"""`homing objects`: which objects a class has, and where one lives."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click
import msgspec

from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.tables import table
from homing.errors import NotSupported

PAGE_OBJECTS = 1_000


class Page(msgspec.Struct):
    """One page of a listing; `cursor` asks for the next, and is absent on the last."""

    objects: list[dict[str, Any]] = []
    cursor: str | None = None


@click.group()
def objects() -> None:
    """Look at objects."""


@objects.command("ls")
@click.argument("class_name", metavar="CLASS")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many. [all]")
@gateway_options
def list_objects(class_name: str, limit: int | None, url: str, token: str, as_json: bool) -> None:
    """List the objects of CLASS."""
    found: list[dict[str, Any]] = []
    with GatewayApi(url, token) as api:
        cursor: str | None = ""
        while cursor is not None and (limit is None or len(found) < limit):
            wanted = PAGE_OBJECTS if limit is None else min(PAGE_OBJECTS, limit - len(found))
            query = {"cursor": cursor} if cursor else {}
            body = api.get(f"/objects/{quote(class_name, safe='')}", limit=wanted, **query)
            page = msgspec.json.decode(body, type=Page)
            found.extend(page.objects)
            cursor = page.cursor or None
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
    else:
        click.echo(table(["NAME", "ID", "BYTES", "ACTIVE"], [_row(each) for each in found]))


def _row(each: dict[str, Any]) -> list[str]:
    active = "yes" if each.get("active") else "no"
    return [str(each.get("name") or "-"), str(each.get("id", "-")), str(each.get("database_bytes", "-")), active]


@objects.command("show")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@gateway_options
def show_object(class_name: str, name: str, url: str, token: str, as_json: bool) -> None:
    """Show where the object NAME of CLASS lives; `id:…` names it by id. It wakes nothing."""
    # The colon of an id must stay; everything else that is special in a path must not.
    with GatewayApi(url, token) as api:
        body = api.get(f"/objects/{quote(class_name, safe='')}/{quote(name, safe=':')}")
    if as_json:
        click.echo(body.decode())
        return
    fields: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    width = max(map(len, fields), default=0)
    for field, value in fields.items():
        click.echo(f"{field:<{width}}  {_text(value)}")


@objects.command("sql")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@click.argument("query")
def query_object(class_name: str, name: str, query: str) -> None:
    """Query the database of an object (not in this version)."""
    raise NotSupported(f"`homing objects sql`: {class_name}/{name} cannot be queried from outside in this version")


@objects.command("export")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@click.argument("file", type=click.Path())
def export_object(class_name: str, name: str, file: str) -> None:
    """Write the database of an object to FILE (not in this version)."""
    raise NotSupported(f"`homing objects export`: {class_name}/{name} cannot be exported in this version")


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
