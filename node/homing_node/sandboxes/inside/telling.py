"""What is told of an error of code in a sandbox: its own words, and its traceback, whatever its class does."""

from __future__ import annotations

import traceback
from collections.abc import Container
from types import TracebackType

from homing_node.sandboxes.inside import limits


def message_of(error: BaseException) -> str:
    """The text of an error, bounded."""
    try:
        return str(error)[: limits.message_chars_max]
    except BaseException as worse:  # an exception whose text raises
        return f"its text cannot be had: {type(worse).__name__}"[: limits.message_chars_max]


def trace_of(error: BaseException, files: Container[str]) -> str:
    """The traceback, from the first frame on that is in one of these files: without what is ours of it."""
    try:
        own = error.with_traceback(_own_part(error.__traceback__, files))
        lines = traceback.format_exception(own, limit=-limits.traceback_frames_max)
        return "".join(lines)[-limits.traceback_chars_max :]
    except BaseException as worse:
        return f"the traceback cannot be had: {type(worse).__name__}"[: limits.message_chars_max]


def _own_part(trace: TracebackType | None, files: Container[str]) -> TracebackType | None:
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename not in files:
        first = first.tb_next
    return first
