"""Every attack of `attacks`, in a sandbox, a strict one and a pooled worker, whole and with layers off one by one.

With every layer off it works, so it is an attack; with all of them on it is stopped; and with the first ones off the
next that it names still stops it. Where this machine's kernel lacks the call, only the whole designs are looked at.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from attack_designs import DESIGNS
from attack_targets import Bare, targets
from attacks import Attack
from attacks_processes import ATTACKS

CASES_MIN = 120
AT_ONCE = 4
HERE = [attack for attack in ATTACKS.values() if attack.machine in ("", platform.machine())]


@pytest.fixture(scope="module")
def aims() -> Iterator[dict[str, Any]]:
    with targets() as found:
        yield found


@pytest.fixture(scope="module")
def bare(aims: dict[str, Any]) -> dict[str, str]:
    """What each attack comes to where nothing stops it."""
    process = Bare()
    try:
        return {attack.name: process(attack, aims) for attack in HERE}
    finally:
        process.close()


def is_open(attack: Attack, outcome: str) -> bool:
    """Whether it works, or gets as far as the kernel's own code."""
    return outcome == "works" or outcome in attack.reaches


def layers_in(design: str, attack: Attack) -> str:
    """What stops an attack there, in order; "-": it is none."""
    return {"worker": attack.pooled, "strict": attack.strict}.get(design.split(maxsplit=1)[0], attack.layers)


def test_there_are_enough_and_no_two_are_the_same():
    assert len({attack.code for attack in HERE}) == len(HERE) == len({attack.name for attack in HERE})
    for design in ("sandbox", "strict", "worker"):
        layers = [layers_in(design, attack) for attack in HERE]
        count, by_two = len(layers) - layers.count("-"), sum(len(each) > 1 for each in layers)
        sys.stdout.write(f"{design}: {count} attacks, {by_two} of them stopped by two layers or more\n")
        assert count >= CASES_MIN
        assert design == "worker" or by_two >= CASES_MIN


def test_with_every_layer_off_each_of_them_works(bare: dict[str, str]):
    only_root = set[str]() if os.geteuid() == 0 else {"EPERM", "EACCES"}
    wrong = {
        attack.name: bare[attack.name]
        for attack in HERE
        if not is_open(attack, bare[attack.name]) and bare[attack.name] not in {"ENOSYS", *only_root}
    }
    assert not wrong, wrong


@pytest.mark.parametrize("design", DESIGNS)
async def test_layers(design: str, aims: dict[str, Any], bare: dict[str, str]):
    make, off = DESIGNS[design]
    wrong: list[str] = []
    # In a worker they are tried one after the other, since they share it; each sandbox is for one.
    at_once = asyncio.Semaphore(1 if design.startswith("worker") else AT_ONCE)

    async def judge(attack: Attack) -> None:
        layers = layers_in(design, attack)
        if layers == "-" or (off and bare[attack.name] == "ENOSYS"):
            return
        async with at_once:
            outcome = await attempt(attack, aims)
        left = [layer for layer in layers if layer not in off]
        if bool(left) == is_open(attack, outcome):
            wrong.append(f"{attack.name}: {outcome}, though {left or 'nothing'} should stop it")

    async with make() as attempt:
        await asyncio.gather(*map(judge, HERE))
    assert not wrong, "\n".join(wrong)
