"""What is in one object: `homing objects sql`, `export`, `import`, `clone`, `evict` and `delete`."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import click
import msgspec

from homing.cli.gateway_api import GatewayApi, gateway_options, object_path
from homing.cli.limits import (
    DATABASE_BYTES_MAX,
    DATABASE_PAGE_BYTES,
    DELETE_TIMEOUT_S,
    EVICT_TIMEOUT_S,
    FILE_PIECE_BYTES,
)
from homing.cli.slots_at_once import Stop, patiently, size_text
from homing.cli.tables import table
from homing.errors import BadRequest, TooLarge, Unavailable


class Evicted(msgspec.Struct):
    """Whether an object was in memory."""

    evicted: bool


class Rows(msgspec.Struct):
    """What a query found."""

    columns: list[str] = []
    rows: list[list[Any]] = []


@click.command("sql")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@click.argument("query")
@gateway_options
def query_object(class_name: str, name: str, query: str, url: str, token: str, as_json: bool) -> None:
    """Query the database of the object NAME of CLASS, as it is now, without waking it. Only reading is possible."""
    with GatewayApi(url, token) as api:
        body = api.send_json(object_path(class_name, name, "/sql"), {"query": query})
    if as_json:
        click.echo(body.decode())
        return
    found = msgspec.json.decode(body, type=Rows)
    if found.columns:
        click.echo(table(found.columns, [[_cell(value) for value in row] for row in found.rows]))


def _cell(value: Any) -> str | int:
    """A value for a terminal, which must not take what an application wrote for orders."""
    if value is None:
        return "NULL"
    if isinstance(value, int) or (isinstance(value, str) and value.isprintable()):
        return value
    return msgspec.json.encode(value).decode()


@click.command("export")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path))
@gateway_options
def export_object(class_name: str, name: str, file: Path, url: str, token: str, as_json: bool) -> None:
    """Write the database of the object NAME of CLASS to FILE, as of one moment, while it serves; it does not wake."""
    if file.exists():
        raise BadRequest(f"{file} exists; name another file, or remove that one")
    with GatewayApi(url, token) as api:
        size = patiently(lambda: _export(api, object_path(class_name, name, "/export"), file), Stop())
    _say({"class": class_name, "name": name, "file": str(file), "bytes": size}, as_json,
         f"exported {class_name}/{name} to {file}: {size_text(size)}")  # fmt: skip


def _export(api: GatewayApi, path: str, file: Path) -> int:
    """Write the file; it is there when this returns, else nothing is."""
    handle, part = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out, api.stream(path) as body:
            for data in body:
                out.write(data)
            size = out.tell()
        Path(part).rename(file)
    except BaseException:
        Path(part).unlink()
        raise
    return size


@click.command("import")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--overwrite", is_flag=True, help="Replace the object if it exists. Without it that is an error.")
@gateway_options
def import_object(
    class_name: str, name: str, file: Path, url: str, token: str, as_json: bool, *, overwrite: bool
) -> None:
    """Make the SQLite database in FILE that of the object NAME of CLASS. Tables and their rows stay as they are."""
    with tempfile.TemporaryDirectory() as folder, GatewayApi(url, token) as api:
        ours = Path(folder, "database")
        size = _convert(file, ours)
        with ours.open("rb") as opened:
            _send(api, object_path(class_name, name, "/import"), _pieces(opened), overwrite=overwrite)
    _say({"class": class_name, "name": name, "bytes": size}, as_json,
         f"imported {file} as {class_name}/{name}: {size_text(size)}")  # fmt: skip


def _convert(file: Path, to: Path) -> int:
    """Write a database anew as objects have it: with their size of pages, without a log beside it; returns its size.

    Raises:
        BadRequest: SQLite cannot read it.
        TooLarge: no object can be so large.
    """
    try:
        connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size={DATABASE_PAGE_BYTES}")
            connection.execute("VACUUM INTO ?", (str(to),))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise BadRequest(f"{file} cannot be read as a SQLite database: {error}") from error
    size = to.stat().st_size
    if size > DATABASE_BYTES_MAX:
        raise TooLarge(f"{file} has {size_text(size)} as an object's database; at most {size_text(DATABASE_BYTES_MAX)}")
    return size


def _pieces(opened: BinaryIO) -> Iterator[bytes]:
    while data := opened.read(FILE_PIECE_BYTES):
        yield data


def _send(api: GatewayApi, path: str, body: Iterator[bytes], *, overwrite: bool) -> None:
    try:
        api.send(path, body, verb="PUT", overwrite=int(overwrite))
    except BadRequest as error:
        if overwrite or "exists" not in error.message:
            raise
        raise BadRequest(f"{error.message}; --overwrite replaces it") from error


@click.command("clone")
@click.argument("class_name", metavar="CLASS")
@click.argument("source", metavar="FROM")
@click.argument("to")
@click.option("--overwrite", is_flag=True, help="Replace TO if it exists. Without it that is an error.")
@gateway_options
def clone_object(
    class_name: str, source: str, to: str, url: str, token: str, as_json: bool, *, overwrite: bool
) -> None:
    """Make the object TO of CLASS with what the database of FROM holds now, its alarms included."""
    with GatewayApi(url, token) as api, api.stream(object_path(class_name, source, "/export")) as body:
        _send(api, object_path(class_name, to, "/import"), body, overwrite=overwrite)
    _say({"class": class_name, "from": source, "to": to}, as_json, f"cloned {class_name}/{source} to {class_name}/{to}")


@click.command("evict")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@click.option("--now", is_flag=True, help="End what runs in it. Without it, it goes when nothing does.")
@gateway_options
def evict_object(class_name: str, name: str, url: str, token: str, as_json: bool, *, now: bool) -> None:
    """Take the object NAME of CLASS out of memory; its next event makes it anew, from what it has stored.

    Its WebSockets stay open. With --now calls that run in it end as when it is reset.
    """
    with GatewayApi(url, token, timeout_s=EVICT_TIMEOUT_S) as api:
        try:
            body = api.post(object_path(class_name, name, "/evict"), now=int(now))
        except Unavailable as error:
            if now or "does not go to sleep" not in error.message:
                raise
            raise Unavailable(f"{error.message}; --now ends that") from error
    was = msgspec.json.decode(body, type=Evicted).evicted
    _say({"class": class_name, "name": name, "evicted": was}, as_json,
         f"evicted {class_name}/{name}" if was else f"{class_name}/{name} is not in memory")  # fmt: skip


@click.command("delete")
@click.argument("class_name", metavar="CLASS")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@gateway_options
def delete_object(class_name: str, name: str, url: str, token: str, as_json: bool, *, yes: bool) -> None:
    """Delete the object NAME of CLASS: its database, its alarms, its sockets. Who calls it next finds a new one."""
    if not yes:
        click.confirm(f"Delete {class_name}/{name} and all that it holds?", abort=True)
    with GatewayApi(url, token, timeout_s=DELETE_TIMEOUT_S) as api:
        api.delete(object_path(class_name, name))
    _say({"class": class_name, "name": name}, as_json, f"deleted {class_name}/{name}")


def _say(done: dict[str, object], as_json: bool, text: str) -> None:
    click.echo(msgspec.json.encode(done).decode() if as_json else text)
