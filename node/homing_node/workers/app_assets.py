"""The static assets of an application: which of its files are served, and what its configuration says of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, cast

from homing.bindings.asset_paths import HTML_HANDLING, NOT_FOUND_HANDLING
from homing.errors import ConfigurationError
from homing_node.workers import limits
from homing_node.workers.app_ignore import Ignored

IGNORE_FILE, HEADERS_FILE, REDIRECTS_FILE = ".assetsignore", "_headers", "_redirects"

# From this date on a browser that goes to a page is answered by the assets; a compatibility flag of the reference.
_NAVIGATION_SINCE = "2025-04-01"
_NAVIGATION_ON, _NAVIGATION_OFF = "assets_navigation_prefers_asset_serving", "assets_navigation_has_no_effect"


def site_of(
    values: Mapping[str, Any], file: str, main: PurePosixPath, files: Mapping[str, bytes], app: Path
) -> dict[str, Any] | None:
    """The settings of the application's `assets`, as its workers are told them; None: it has none.

    Args:
        values: what the configuration file holds.
        file: its name, for errors.
        main: the main module, inside the application; no name if there is none.
        files: of the application, by path.
        app: its folder, without symbolic links in its own path.

    Returns:
        `folder`, inside the application; `files`, path to hash and size; `html_handling`, `not_found_handling`,
        `worker_first`; `headers` and `redirects`, as text; `navigation`: whether a browser's going to a page counts.

    Raises:
        ConfigurationError: a setting that is none, a folder that is none or holds the application's code, a file that
            is too large, or a link out of the folder.
    """
    settings = values.get("assets")
    if settings is None:
        return None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"assets in {file} must be a table")
    given = cast("dict[str, Any]", settings)
    folder = _folder(given.get("directory"), file, main, app)
    inside = {
        path.removeprefix(f"{folder}/"): content for path, content in files.items() if path.startswith(f"{folder}/")
    }
    ignored = Ignored(_ignored(inside, folder))
    served = {path: content for path, content in inside.items() if not ignored.match(path)}
    _check_files(served, folder, app)
    return {
        "folder": folder,
        "files": {f"/{path}": (_hash(path, content), len(content)) for path, content in served.items()},
        "html_handling": _one_of("html_handling", given, HTML_HANDLING, file),
        "not_found_handling": _one_of("not_found_handling", given, NOT_FOUND_HANDLING, file),
        "worker_first": _worker_first(given.get("run_worker_first", False), file, has_code=bool(main.name)),
        "headers": _text(HEADERS_FILE, inside, folder),
        "redirects": _text(REDIRECTS_FILE, inside, folder),
        "navigation": _navigation(values),
    }


def _folder(directory: object, file: str, main: PurePosixPath, app: Path) -> str:
    """The folder, inside the application."""
    if not isinstance(directory, str) or not directory:
        raise ConfigurationError(f"assets in {file} needs a directory")
    path = PurePosixPath(directory)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ConfigurationError(
            f"assets.directory in {file} must be a folder inside the application, not {directory!r}"
        )
    what, place = f"assets.directory in {file} is {directory!r}", app / path
    if not place.is_dir():
        raise ConfigurationError(f"{what}, but {app} has no such folder")
    if place.resolve() != place:
        raise ConfigurationError(f"{what}, which is a symbolic link, or is under one")
    if main.name and (app / main).resolve().is_relative_to(place):
        raise ConfigurationError(f"{what}, which holds the main module {main}")
    return path.as_posix()


def _ignored(inside: Mapping[str, bytes], folder: str) -> Iterable[str]:
    """Patterns of what is not served, in the format of .gitignore."""
    yield from (f"/{name}" for name in (IGNORE_FILE, REDIRECTS_FILE, HEADERS_FILE))
    lines = _text(IGNORE_FILE, inside, folder).split("\n")
    if len(lines) > limits.asset_ignore_lines_max:
        raise ConfigurationError(f"{folder}/{IGNORE_FILE} has more than {limits.asset_ignore_lines_max} lines")
    yield from lines


def _check_files(served: Mapping[str, bytes], folder: str, app: Path) -> None:
    """What a link leads to is in the snapshot, so that nothing of the application is served that lies elsewhere."""
    root = (app / folder).resolve()
    for path, content in served.items():
        if len(content) > limits.asset_bytes_max:
            raise ConfigurationError(
                f"{folder}/{path} has {len(content)} bytes; a static asset has at most {limits.asset_bytes_max}"
            )
        if not (app / folder / path).resolve().is_relative_to(root):
            raise ConfigurationError(
                f"{folder}/{path} is a symbolic link out of {folder}, which is served to everybody"
            )


def _hash(path: str, content: bytes) -> str:
    """Of content and kind: the same bytes under another ending are another answer."""
    found = hashlib.blake2b(f"{PurePosixPath(path).suffix}\0".encode(), digest_size=16)
    found.update(content)
    return found.hexdigest()


def _one_of(name: str, given: Mapping[str, Any], known: tuple[str, ...], file: str) -> str:
    value = given.get(name, known[0])
    if value not in known:
        raise ConfigurationError(f"assets.{name} in {file} is one of {', '.join(known)}, not {value!r}")
    return cast("str", value)


def _worker_first(value: object, file: str, *, has_code: bool) -> bool | list[str]:
    what = f"assets.run_worker_first in {file}"
    if value and not has_code:
        raise ConfigurationError(f"{what} needs a main module, which would run first")
    if isinstance(value, bool):
        return value
    rules = cast("list[object]", value) if isinstance(value, list) else []
    texts = [rule for rule in rules if isinstance(rule, str) and rule.startswith(("/", "!/"))]
    if not rules or len(texts) < len(rules) or not any(rule.startswith("/") for rule in texts):
        raise ConfigurationError(f"{what} is true, false, or patterns that begin with / or !/, not {value!r}")
    if len(texts) > limits.asset_rules_max or any(len(rule) > limits.asset_rule_chars_max for rule in texts):
        raise ConfigurationError(
            f"{what} has at most {limits.asset_rules_max} patterns of {limits.asset_rule_chars_max} characters"
        )
    return texts


def _text(name: str, inside: Mapping[str, bytes], folder: str) -> str:
    content = inside.get(name, b"")
    if len(content) > limits.asset_rules_bytes_max:
        raise ConfigurationError(f"{folder}/{name} is over {limits.asset_rules_bytes_max} bytes")
    return content.decode(errors="replace")


def _navigation(values: Mapping[str, Any]) -> bool:
    flags: object = values.get("compatibility_flags", [])
    listed = cast("list[object]", flags) if isinstance(flags, list) else []
    since = str(values.get("compatibility_date", "")) >= _NAVIGATION_SINCE
    return _NAVIGATION_ON in listed or (since and _NAVIGATION_OFF not in listed)
