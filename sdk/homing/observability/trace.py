"""W3C trace context: read from a caller, passed on with a span of our own. No exporter is needed."""

from __future__ import annotations

import re
import secrets
from typing import NamedTuple

# Version 00 and any later version whose first four fields keep their form; ff is never a version.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


class TraceContext(NamedTuple):
    """One place in a trace: 32 and 16 lower-case hex digits, and whether it is sampled."""

    trace_id: str
    span_id: str
    sampled: bool

    def header(self) -> str:
        """The `traceparent` that says this."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return self._replace(span_id=_span_id())


def parse(traceparent: str) -> TraceContext | None:
    """The context that a header names, or None when it is not valid and must be ignored.

    Example:
        >>> parse("00-" + "a" * 32 + "-" + "b" * 16 + "-01").sampled
        True
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    trace_id, span_id, flags, rest = found.groups()
    if not trace_id.strip("0") or not span_id.strip("0") or (traceparent.startswith("00-") and rest):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & 1))


def id_of(traceparent: str) -> str:
    """The trace that a header names, for log lines; empty when it names none."""
    found = parse(traceparent)
    return "" if found is None else found.trace_id


def start(*, sampled: bool = False) -> TraceContext:
    """The first span of a new trace."""
    return TraceContext(secrets.token_hex(16), _span_id(), sampled)


def _span_id() -> str:
    return f"{secrets.randbits(64) or 1:016x}"
