"""A node's sandboxes for tests: real zygotes in real jails, and a way to run code in them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from homing.sandboxes import Asked, Limits, Ran, decode_outcome, encode_outcome
from homing.values import to_stored
from homing_node.metrics import NodeMetrics
from homing_node.sandboxes.jails import ZygoteJails
from homing_node.sandboxes.service import Sandboxes
from homing_node.sandboxes.wheels import Wheels
from homing_node.workers.jail_config import Policy

ZYGOTE = "from homing_node.sandboxes.inside.zygote import main; main()"


@contextlib.asynccontextmanager
async def sandboxes(
    policy: Policy | None = None, program: str = ZYGOTE, wheels: Wheels | None = None, **options: Any
) -> AsyncIterator[Sandboxes]:
    """A node's sandboxes; ended at the end."""
    jails = ZygoteJails(wheels=wheels, policy=policy, program=program)
    found = Sandboxes(jails.spec, NodeMetrics(0.015), **options)
    serving = asyncio.ensure_future(found.serve())
    await asyncio.sleep(0)
    try:
        yield found
    finally:
        await found.close()
        async with asyncio.timeout(20):
            await serving
        jails.close()


async def run(node: Sandboxes, code: str, *, tenant: str = "", args: dict[str, Any] | None = None, **given: Any) -> Ran:
    async with asyncio.timeout(30):
        asked = Asked(code, to_stored(args or {}), b"", Limits(**given), tenant)
        return decode_outcome(encode_outcome(await node.run(asked)))


async def sleeping(node: Sandboxes, tenant: str = "") -> tuple[asyncio.Task[Ran], int]:
    """A run that goes on, and its pid."""
    known = {each.number for each in node.list()}
    task = asyncio.ensure_future(run(node, "import time\ntime.sleep(60)", tenant=tenant, wall_s=60))
    while True:
        await asyncio.sleep(0.02)
        found = [each for each in node.list() if each.number not in known and each.pid]
        if found:
            await asyncio.sleep(0.2)
            return task, found[0].pid
