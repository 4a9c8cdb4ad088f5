"""What an application depends on: the packages of its `pyproject.toml`, or of its `requirements.txt`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from homing.errors import ConfigurationError
from homing_node.workers import limits

# homing stands for these: what they hold for tools and editors is there without them.
_STOOD_FOR = frozenset({"homing", "workers-py", "workers-runtime-sdk", "webtypy", "pyodide-py"})
_CONTINUED = re.compile(r"\\\r?\n")
_COMMENT = re.compile(r"(^|\s)#.*")
_HASH = re.compile(r"\s--hash=(\w+:[0-9a-fA-F]+)")


@dataclass(frozen=True, slots=True)
class Requirements:
    """Packages that are wanted.

    Attributes:
        file: the file that lists them.
        lines: each with what is said of its version, and with its hashes where it has any.
    """

    file: str
    lines: tuple[str, ...]


def read_requirements(files: Mapping[str, bytes]) -> Requirements | None:
    """What an application depends on; None: on nothing.

    Args:
        files: of the application, by path.

    Raises:
        ConfigurationError: a file cannot be read, or lists what is no package of an index by its name.

    Example:
        >>> read_requirements({"requirements.txt": b"flask==3.1.2  # the web"}).lines
        ('flask==3.1.2',)
    """
    listed = _of_project(files.get("pyproject.toml", b""))
    if listed is None:
        return read_listed(files.get("requirements.txt", b""), "requirements.txt")
    return _read(listed, "pyproject.toml")


def read_listed(data: bytes, file: str) -> Requirements | None:
    """What a file in the form of a `requirements.txt` lists; None: nothing.

    Args:
        data: what is in it.
        file: its name.

    Raises:
        ConfigurationError: as `read_requirements`.
    """
    return _read(_of_text(data, file), file)


def _read(listed: list[str], file: str) -> Requirements | None:
    if len(listed) > limits.requirements_max:
        raise ConfigurationError(f"{file} lists {len(listed)} packages; at most {limits.requirements_max}")
    lines = tuple(line for line in (_checked(line, file) for line in listed) if line)
    return Requirements(file, lines) if lines else None


def _of_project(data: bytes) -> list[str] | None:
    """`dependencies` of the table `project`; None where there is no such key."""
    try:
        project = tomllib.loads(_text(data, "pyproject.toml")).get("project")
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"pyproject.toml cannot be read: {error}") from error
    listed = cast("dict[str, Any]", project).get("dependencies") if isinstance(project, dict) else None
    if listed is not None and not (
        isinstance(listed, list) and all(isinstance(line, str) for line in cast("list[Any]", listed))
    ):
        raise ConfigurationError("dependencies in pyproject.toml must be a list of texts")
    return cast("list[str] | None", listed)


def _of_text(data: bytes, file: str) -> list[str]:
    """The lines of a requirements file, without comments."""
    whole = _CONTINUED.sub(" ", _text(data, file))
    lines = (_COMMENT.sub("", line).strip() for line in whole.splitlines())
    return [line for line in lines if line]


def _text(data: bytes, file: str) -> str:
    if len(data) > limits.app_config_bytes_max:
        raise ConfigurationError(f"{file} is over {limits.app_config_bytes_max} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not UTF-8") from error


def _checked(line: str, file: str) -> str:
    """The line as the installer gets it, or nothing. Options, paths and addresses could lead it anywhere."""
    try:
        requirement = Requirement(_HASH.sub("", line))
    except InvalidRequirement:
        requirement = None
    # A marker may hold what is written as an escape, a line end too; pip would read what follows as a line of its own.
    if requirement is None or requirement.url is not None or not str(requirement).isprintable():
        raise ConfigurationError(
            f"{file} has {line[:200]!r}; it can list packages by name and version, as in flask==3.1.2"
        )
    if canonicalize_name(requirement.name) in _STOOD_FOR:
        return ""
    return " ".join([str(requirement), *(f"--hash={found}" for found in _HASH.findall(line))])
