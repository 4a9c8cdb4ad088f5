"""docs/reference/command-line.md names every command and every variable that there is."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from homing.cli import ENTRY_POINT_GROUP, main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "command-line.md").read_text()


def command(name: str) -> click.Command:
    assert isinstance(main, click.Group)
    found = main.get_command(click.Context(main), name)
    assert isinstance(found, click.Command)
    return found


def test_every_command_is_named() -> None:
    assert isinstance(main, click.Group)
    for name in main.list_commands(click.Context(main)):
        assert f"| `homing {name}" in PAGE, name


@pytest.mark.parametrize("name", [point.name for point in entry_points(group=ENTRY_POINT_GROUP)])
def test_every_variable_of_a_process_is_named(name: str) -> None:
    named = set(re.findall(r"`(HOMING_\w+)`", PAGE))
    for option in command(name).params:
        variables = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
        assert set(variables) <= named, option.name


@pytest.mark.parametrize("name", ["backup", "dev", "restore", "status"])
def test_every_flag_of_ours_is_named(name: str) -> None:
    for option in command(name).params:
        flags = [flag for flag in option.opts if flag.startswith("--")]
        assert all(f"`{flag}" in PAGE for flag in flags), option.name
