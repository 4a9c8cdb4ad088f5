"""Structured logs: one event a line, JSON for machines or columns for people, to stderr, without secrets."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from homing.errors import ConfigurationError

_SECRET_KEYS = re.compile(r"token|secret|password|passwd|authorization|cookie|api_?key|private_?key|credential", re.I)
_BEARER = re.compile(r"(bearer\s+)[^\s\"',]+", re.I)
_HIDDEN = "[hidden]"
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class LogStyle(StrEnum):
    """How a line looks."""

    JSON = "json"
    PRETTY = "pretty"


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Blank every value whose name is a secret's, and bearer tokens inside any text.

    Example:
        >>> hide_secrets(None, "info", {"event": "sent Bearer abc", "api_token": "x"})
        {'event': 'sent Bearer [hidden]', 'api_token': '[hidden]'}
    """
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: object) -> object:
    if _SECRET_KEYS.search(name):
        return _HIDDEN
    if isinstance(value, str):
        return _BEARER.sub(rf"\1{_HIDDEN}", value)
    if isinstance(value, Mapping):
        inner = cast("Mapping[object, object]", value)
        return {str(key): _clean(str(key), item) for key, item in inner.items()}
    return value


def configure(level: str = "info", style: str = "json", *, stream: TextIO | None = None) -> None:
    """Set up logging for this process; `structlog` and the standard library both end in the same lines.

    Args:
        level: debug, info, warning, error or critical; any case.
        style: `json` or `pretty`.
        stream: where lines go; standard error by default.

    Raises:
        ConfigurationError: an unknown level or style.

    Example:
        >>> configure("info", "json")
        >>> structlog.get_logger().info("slot taken", slot=7, epoch=3)
    """
    number = _LEVELS.get(level.lower())
    if number is None:
        raise ConfigurationError(f"HOMING_LOG_LEVEL is {level!r}; use one of {', '.join(_LEVELS)}")
    if style not in list(LogStyle):
        raise ConfigurationError(f"the log style is {style!r}; use json or pretty")
    out = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    render = _renderer(style, out)
    structlog.configure(
        processors=[*shared[:3], *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)


def _renderer(style: str, out: TextIO) -> list[Processor]:
    """The last processors of both chains; secrets are hidden just before a line is made, after all that adds values."""
    last: Processor
    if style == LogStyle.PRETTY:
        # A plain traceback: the richer ones print the values of local variables, which may be secrets.
        plain = structlog.dev.plain_traceback
        last = structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)
    else:
        last = structlog.processors.JSONRenderer()
    return [structlog.processors.format_exc_info, hide_secrets, last]
