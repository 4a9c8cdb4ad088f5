"""What an application says of itself: `homing.toml`, `wrangler.jsonc` or `wrangler.toml`, or nothing."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, cast

from homing.errors import ConfigurationError
from homing_node.workers import limits

DEFAULT_MAIN = ("main.py", "src/main.py")

# What is matched is matched once: no text takes more than a few passes, whatever is missing at its end. A string comes
# first, so that what is in it stays; without its end it goes on to that of the text, and so does such a comment.
_STRING = r'("(?:[^"\\]++|\\.)*+"?)'
_COMMENT = re.compile(_STRING + r"|//[^\n]*|/\*.*?\*/|(/\*.*)", re.DOTALL)
_LAST_COMMA = re.compile(_STRING + r"|,(?=\s*+[}\]])", re.DOTALL)
_MODULE = re.compile(r"[^\W\d]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class AppConfig:
    """An application's main module and its whole configuration.

    Attributes:
        main: the file of the main module, relative to the application's folder; without a name where there is none, and
            static assets are all there is.
        file: the configuration file's name, or empty.
        values: what it holds.
    """

    main: PurePosixPath
    file: str = ""
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])


def read_config(folder: Path) -> AppConfig:
    """The configuration of an application's folder.

    Raises:
        ConfigurationError: a file that cannot be read, or no main module.
    """
    for name, (parse, main_of) in _READERS.items():
        file = folder / name
        if file.is_file():
            values = _parsed(file, parse)
            main = main_of(values)
            if main is not None:
                return AppConfig(_checked(folder, main, name), name, values)
            return AppConfig(_default(folder, needed="assets" not in values), name, values)
    return AppConfig(_default(folder))


def parse_jsonc(text: str) -> Any:
    """JSON with comments and trailing commas.

    Raises:
        ValueError: it is no such thing.

    Example:
        >>> parse_jsonc('{"main": "a.py", } // the entry')
        {'main': 'a.py'}
    """
    plain = _COMMENT.sub(lambda match: match[1] or match[2] or " ", text)
    return json.loads(_LAST_COMMA.sub(lambda match: match[1] or "", plain))


def _parsed(file: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    try:
        if file.stat().st_size > limits.app_config_bytes_max:
            raise ConfigurationError(f"{file} is over {limits.app_config_bytes_max} bytes")
        values = parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f"{file} does not hold an object")
    return cast("dict[str, Any]", values)


def _main_of_homing(values: Mapping[str, Any]) -> object:
    app = values.get("app", {})
    return cast("dict[str, Any]", app).get("main") if isinstance(app, dict) else None


def _main_of_wrangler(values: Mapping[str, Any]) -> object:
    return values.get("main")


_READERS: dict[str, tuple[Callable[[str], Any], Callable[[Mapping[str, Any]], object]]] = {
    "homing.toml": (tomllib.loads, _main_of_homing),
    "wrangler.jsonc": (parse_jsonc, _main_of_wrangler),
    "wrangler.toml": (tomllib.loads, _main_of_wrangler),
}


def _default(folder: Path, *, needed: bool = True) -> PurePosixPath:
    for name in DEFAULT_MAIN:
        if (folder / name).is_file():
            return _checked(folder, name, "the default")
    if not needed:
        return PurePosixPath()
    raise ConfigurationError(
        f'{folder} has no {" and no ".join(DEFAULT_MAIN)}; name the main module in homing.toml as [app] main = "…"'
    )


def _checked(folder: Path, main: object, where: str) -> PurePosixPath:
    if not isinstance(main, str) or not main:
        raise ConfigurationError(f"main in {where} must be the path of a .py file, not {main!r}")
    path = PurePosixPath(main)
    if path.is_absolute() or ".." in path.parts or path.suffix != ".py" or not _MODULE.fullmatch(path.stem):
        raise ConfigurationError(f"main in {where} must be a .py file inside the application, not {main!r}")
    try:
        there = (folder / path).is_file()
    except OSError as error:
        raise ConfigurationError(f"main in {where} cannot be looked for: {error}") from error
    if not there:
        raise ConfigurationError(f"main in {where} is {main!r}, but {folder} has no such file")
    return path
