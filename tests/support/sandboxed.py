"""A node's sandboxes for tests: real zygotes in real jails, and a way to run code in them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from homing.sandboxes import PYTHON, Asked, Limits, Ran, decode_outcome, encode_outcome
from homing.values import to_stored
from homing_node.metrics import NodeMetrics
from homing_node.sandboxes.jails import SandboxJails
from homing_node.sandboxes.policy import LAYERS, SandboxPolicy
from homing_node.sandboxes.service import Sandboxes
from homing_node.sandboxes.wheels import Wheels
from homing_node.workers.jail_config import Policy

EVERY = ("*",)
"""Tenants."""


@contextlib.asynccontextmanager
async def sandboxes(
    policy: Policy | None = None,
    program: str = "",
    wheels: Wheels | None = None,
    *,
    strict: tuple[str, ...] = (),
    **options: Any,
) -> AsyncIterator[Sandboxes]:
    """A node's sandboxes; ended at the end.

    Args:
        policy: of the jail; by default that of this machine.
        program: what runs in it.
        wheels: what it can import.
        strict: tenants who get jails of their own, which then are what the others are about.
        options: of `Sandboxes`.
    """
    kind = "strict" if strict else "zygote"
    jails = SandboxJails(
        policy=SandboxPolicy(strict, frozenset(LAYERS)),
        wheels=wheels,
        walls={kind: policy} if policy else {},
        programs={kind: program} if program else {},
    )
    found = Sandboxes(jails, NodeMetrics(0.015), **options)
    serving = asyncio.ensure_future(found.serve())
    await asyncio.sleep(0)
    try:
        yield found
    finally:
        await found.close()
        async with asyncio.timeout(20):
            await serving
        jails.close()


async def run(
    node: Sandboxes, code: str, *, tenant: str = "", args: dict[str, Any] | None = None,
    language: str = PYTHON, within_s: float = 30.0, **given: Any,
) -> Ran:  # fmt: skip
    async with asyncio.timeout(within_s):
        asked = Asked(code, to_stored(args or {}), b"", Limits(**given), tenant, language=language)
        return decode_outcome(encode_outcome(await node.run(asked)))


async def sleeping(node: Sandboxes, tenant: str = "") -> tuple[asyncio.Task[Ran], int]:
    """A run that goes on, and its pid."""
    known = {each.number for each in node.list()}
    task = asyncio.ensure_future(run(node, "import time\ntime.sleep(120)", tenant=tenant, wall_s=120, within_s=120))
    while True:
        await asyncio.sleep(0.01)
        found = [each for each in node.list() if each.number not in known and each.pid]
        if found:
            return task, found[0].pid
