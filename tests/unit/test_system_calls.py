"""The lists of system calls against the kernel's own tables, for both machines: only one of them can be run here.

`tests/support/system_calls` holds what Linux publishes of each: number and name of every call.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
from pathlib import Path

import pytest

from homing_node.sandboxes.inside.allowed import NUMBERS, SEALED

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "node/homing_node/workers/policies"
MACHINES = ("aarch64", "x86_64")
# nsjail calls these by the kernel's functions.
ENTRY_POINTS = {
    "newstat": "stat", "newfstat": "fstat", "newlstat": "lstat", "newuname": "uname",
}  # fmt: skip
# What the C library of a machine asks for because the machine lacks the call that the other one has.
ONLY = {
    "x86_64": {
        "access", "arch_prctl", "dup2", "epoll_wait", "lstat", "poll", "readlink", "select", "stat", "time",
    },
    "aarch64": set[str](),
}  # fmt: skip


def table(machine: str) -> dict[str, int]:
    """What the kernel publishes."""
    lines = (ROOT / f"tests/support/system_calls/{machine}.txt").read_text().splitlines()
    pairs = [line.split() for line in lines if not line.startswith("#")]
    return {name: int(number) for number, name in pairs}


def allowed(kind: str, machine: str) -> list[tuple[str, str]]:
    """The calls that a jail's filter names, by their names in the table, with what it demands of their arguments."""
    policy = re.sub(r"//[^\n]*", "", (POLICIES / f"{kind}.{machine}.kafel").read_text())
    found: list[tuple[str, str]] = []
    for block in re.findall(r"(?:ALLOW|ERRNO\(\d+\)) \{((?:[^{}]|\{[^}]*\})*)\}", policy):
        for name, demands in re.findall(r"(\w+)\s*((?:\([\w, ]*\)\s*\{[^}]*\})?)\s*(?:,|$)", block.strip()):
            found.append((ENTRY_POINTS.get(name, name), " ".join(demands.split())))
    return found


@pytest.mark.parametrize("machine", MACHINES)
def test_the_sealed_filter_has_the_kernels_numbers(machine: str):
    """Broken by: any other number, as each of the two lists was written by hand."""
    published = table(machine)
    assert len(published) > 300
    assert NUMBERS[machine] == {name: published[name] for name in NUMBERS[machine]}


@pytest.mark.parametrize("machine", MACHINES)
def test_the_sealed_filter_lacks_only_what_the_machine_lacks(machine: str):
    """What one machine's sandboxes may, the other's may, too. Broken by: a call that is left out of one list."""
    assert set(NUMBERS[machine]) == set(SEALED) & set(table(machine))


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", ["worker", "zygote", "strict"])
def test_a_jails_filter_names_calls_of_its_machine(kind: str, machine: str):
    """nsjail refuses a whole filter for one name that it does not know. Broken by: `poll` for aarch64."""
    named = [name for name, _ in allowed(kind, machine)]
    assert len(named) == len(set(named)) > 60
    assert set(named) <= set(table(machine))


@pytest.mark.parametrize("kind", ["worker", "zygote", "strict"])
def test_the_jails_filters_of_both_machines_are_one_list(kind: str):
    """Broken by: a call, or a condition on its arguments, that only one file has."""
    x86, arm = (dict(allowed(kind, machine)) for machine in ("x86_64", "aarch64"))
    assert {name for name in x86 if name not in arm} == ONLY["x86_64"]
    assert not ONLY["x86_64"] & set(table("aarch64"))
    assert {name: demands for name, demands in x86.items() if name in arm} == arm


def test_the_table_of_this_machine_is_the_one_that_its_kernel_has():
    """So that it is known that such a table says what a kernel does: `getpid`, asked by its number."""
    assert ctypes.CDLL(None).syscall(table(platform.machine())["getpid"]) == os.getpid()
