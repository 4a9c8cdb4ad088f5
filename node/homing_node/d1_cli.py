"""`homing d1 migrations apply APP`: bring the databases of an application up to its migrations, on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from homing.bindings.d1 import D1_CLASS
from homing.cli.gateway_api import gateway_options
from homing.client import SyncClient
from homing.errors import ConfigurationError
from homing.ids import in_jurisdiction
from homing_node.workers.app_bindings import migrations_of, read_bindings
from homing_node.workers.app_bundle_config import read_config

APPLY_S = 120.0


@click.group()
def d1() -> None:
    """Databases of an application (`d1_databases`)."""


@d1.group()
def migrations() -> None:
    """Their migrations."""


@migrations.command()
@click.argument("app", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("database", required=False)
@gateway_options
def apply(app: Path, database: str | None, url: str, token: str, as_json: bool) -> None:
    """Apply what has not been applied yet, in the order of the files' names; each whole or not at all.

    APP is the application's folder; DATABASE one of its databases, by binding, name or id: all, where it is left out.
    """
    config = read_config(app)
    found: dict[str, dict[str, Any]] = read_bindings(config.values, config.file)["d1"]
    chosen = {
        name: each for name, each in found.items() if database is None or database in (name, each["name"], each["id"])
    }
    if not chosen:
        raise ConfigurationError(f"{app} has no database {database}" if database else f"{app} has no d1_databases")
    with SyncClient(url, token=token or None, timeout_s=APPLY_S) as client:
        for name, each in chosen.items():
            wanted = _migrations(app, each["migrations_dir"])
            kind = in_jurisdiction(D1_CLASS, each["jurisdiction"])
            done: list[str] = client.call(kind, each["id"], "migrate", wanted)
            said = ", ".join(done) if done else "nothing to apply"
            click.echo(msgspec.json.encode({"database": name, "applied": done}) if as_json else f"{name}: {said}")


def _migrations(app: Path, folder: str) -> list[list[str]]:
    files = {path.relative_to(app).as_posix(): path.read_bytes() for path in (app / folder).glob("*.sql")}
    return [list(each) for each in migrations_of(folder, files)]
