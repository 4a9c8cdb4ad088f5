"""Whose a cancellation is."""

from __future__ import annotations

import asyncio


def is_own(error: BaseException) -> bool:
    """Whether an error is the cancellation of the task that runs.

    gRPC also raises `CancelledError` where the other side, or the end of a channel, cancelled a call: that is a failure
    of the call, and the task goes on.
    """
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
