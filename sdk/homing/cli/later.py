"""Commands whose name is fixed and whose work comes in a later version."""

from __future__ import annotations

import click

from homing.errors import NotSupported


@click.command()
@click.argument("node")
def drain(node: str) -> None:
    """Hand over every slot of NODE (not in this version)."""
    raise NotSupported(
        f"`homing drain {node}`: handing over the slots of a living node comes in a later version. "
        "Until then stop the node with SIGTERM; others take its slots over."
    )
