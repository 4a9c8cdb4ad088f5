"""What becomes of a call that an object's worker makes to its node's sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog

from homing.errors import HomingError, Unavailable
from homing_placement.routing.pending import Pending

_log = structlog.stdlib.get_logger("homing.sandboxes")


async def settle(pending: Pending, doing: Awaitable[bytes | None], what: str, cancelled: str) -> None:
    """Wait for what a call asks for, and give the call its answer or its error; the caller says `on_done`.

    Args:
        pending: the call.
        doing: gives the answer; None: there is nothing to say.
        what: that is, for a fault in it, which ends that call only.
        cancelled: why nothing comes of it where this is cancelled.
    """
    try:
        answer = await doing
        if answer is not None:
            pending.answer = answer
    except HomingError as error:
        pending.error = error
    except asyncio.CancelledError:
        pending.error = Unavailable(cancelled)
    except Exception:
        _log.exception(f"{what} failed")
        pending.error = HomingError(f"the node failed on this {what}")
