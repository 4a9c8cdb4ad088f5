"""Waits of tests, each with an end: for what is to come about, and no longer than for what it comes about by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

PATIENCE_S = 60.0


async def until(
    holds: Callable[[], Awaitable[object]],
    what: str,
    *,
    by: asyncio.Future[Any] | None = None,
    patience_s: float = PATIENCE_S,
    pause_s: float = 0.05,
) -> None:
    """Wait until something holds.

    Args:
        holds: asked again and again.
        what: what is waited for, for the message.
        by: the task that brings it about: once it has ended, nothing will.
        patience_s, pause_s: for how long, and between two questions.

    Raises:
        AssertionError: it did not come about, or `by` has ended without it; whatever that raised is raised instead.

    Example:
        >>> await until(lambda: read(client, "a"), "a value of a", by=writing)  # doctest: +SKIP
    """
    deadline = time.monotonic() + patience_s
    while not await holds():
        if by is not None and by.done():
            raise AssertionError(f"{what}: not seen, and what it comes about by has ended with {by.result()!r}")
        assert time.monotonic() < deadline, f"{what}: not seen in {patience_s:g} s"
        await asyncio.sleep(pause_s)
