"""The command `homing`: a group that imports a command only when it is asked for.

Commands of the sdk are named here; each other package adds its own through the entry point group `homing.commands`, so
that imports keep pointing one way and `homing --help` does not load a database.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version

import click

from homing.errors import HomingError

ENTRY_POINT_GROUP = "homing.commands"

_OWN_COMMANDS = {
    "backup": "homing.cli.backup:backup",
    "dev": "homing.cli.dev:dev",
    "drain": "homing.cli.drain:drain",
    "grants": "homing.cli.grants:grants",
    "move": "homing.cli.move:move",
    "objects": "homing.cli.objects:objects",
    "restore": "homing.cli.restore:restore",
    "sandbox": "homing.cli.sandbox:sandbox",
    "status": "homing.cli.status:status",
    "tail": "homing.cli.tail:tail",
    "verify": "homing.cli.verify:verify",
}


class LazyGroup(click.Group):
    """A group whose commands are found by name and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, the sdk's and the other packages'."""
        return sorted({*_OWN_COMMANDS, *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None when there is none."""
        own = _OWN_COMMANDS.get(cmd_name)
        if own is not None:
            module, _, attribute = own.partition(":")
            return _as_command(getattr(import_module(module), attribute), cmd_name)
        for point in entry_points(group=ENTRY_POINT_GROUP, name=cmd_name):
            return _load(point)
        return None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error of ours is one line and its hint, not a traceback."""
        try:
            return super().invoke(ctx)
        except HomingError as error:
            raise click.ClickException("\n".join(filter(None, (error.message, error.hint)))) from error


def _load(point: EntryPoint) -> click.Command:
    try:
        return _as_command(point.load(), point.name)
    except ModuleNotFoundError as error:
        if error.name is None or not point.module.startswith(error.name):
            raise
        raise click.ClickException(f"`homing {point.name}` is not part of this installation ({error.name})") from error


def _as_command(found: object, name: str) -> click.Command:
    if not isinstance(found, click.Command):
        raise click.ClickException(f"`homing {name}` is not a click command")
    return found


@click.group(cls=LazyGroup)
@click.version_option(version("homing"), prog_name="homing")
def main() -> None:
    """Durable Objects on your own machines, in Python."""
