"""Sandboxes of a node that is no root: the same attacks come to nothing, and what is lacking is said.

The tests run as whoever runs them; these make themselves another user, without any right, where root runs them.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from ordinary import TIMEOUT_S, OrdinaryUser, ordinary_user

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user; without, all tests are it"),
    pytest.mark.timeout(TIMEOUT_S + 100),  # each runs many tests
]

ATTACKS = "tests/sandboxes/test_sandbox_attacks.py"
RUN = """
import asyncio
from homing.errors import JailUnavailable
from homing.sandboxes import Asked
from homing_node.metrics import NodeMetrics
from homing_node.sandboxes.jails import SandboxJails
from homing_node.sandboxes.policy import SandboxPolicy
from homing_node.sandboxes.service import Sandboxes
async def main():
    jails = SandboxJails(policy=SandboxPolicy.read({strict!r}, {without!r}))
    node = Sandboxes(jails, NodeMetrics(0.015))
    serving = asyncio.ensure_future(node.serve())
    await asyncio.sleep(0)
    try:
        print((await node.run(Asked("6 * 7")))[0])
    except JailUnavailable as error:
        print(error.message)
    await node.close()
    await serving
    jails.close()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def user() -> Generator[OrdinaryUser]:
    with ordinary_user() as found:
        if found is None:
            pytest.skip("this machine has no Python that another user may execute")
        yield found


def test_the_same_attacks_come_to_nothing(user: OrdinaryUser):
    """In every design, and with the layers off one by one: see the tests that it runs."""
    done = user.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", ATTACKS)
    assert done.returncode == 0, done.stdout[-10_000:]
    assert " skipped" not in done.stdout


def test_the_doctor_names_what_is_lacking(user: OrdinaryUser):
    """Broken by: a doctor that runs its sandbox whatever is lacking."""
    done = user.run("-m", "homing.cli", "doctor")
    (line,) = [line for line in done.stdout.splitlines() if "a sandbox:" in line]
    assert (done.returncode, line[:3]) == (1, "NO ")
    assert "uids: " in line
    assert "cgroups: " in line
    assert "HOMING_SANDBOX_WITHOUT=cgroups,uids" in line
    told = user.run("-m", "homing.cli", "doctor", HOMING_SANDBOX_WITHOUT="uids,cgroups")
    (line,) = [line for line in told.stdout.splitlines() if "a sandbox:" in line]
    assert (told.returncode, line[:3]) == (0, "ok ")
    assert "uids: " in line
    assert "cgroups: " in line
    wrong = user.run("-m", "homing.cli", "doctor", "--sandbox-without", "seccomp")
    assert wrong.returncode == 1
    assert "what can be done without is uids, cgroups" in wrong.stdout


@pytest.mark.parametrize("strict", ["", "*"])
@pytest.mark.parametrize(
    ("without", "named"), [("", "cgroups,uids"), ("uids", "cgroups,uids"), ("cgroups", "cgroups,uids")]
)
def test_a_node_starts_no_sandbox_without_a_layer_unless_it_is_told(
    user: OrdinaryUser, without: str, named: str, strict: str
):
    """Broken by: `SandboxPolicy.check` that is not asked; one layer told does not stand for the other."""
    done = user.run("-c", RUN.format(without=without, strict=strict))
    assert f"HOMING_SANDBOX_WITHOUT={named} starts them" in done.stdout
    for layer in set(named.split(",")) - {without}:
        assert f"{layer}: " in done.stdout


@pytest.mark.parametrize("strict", ["", "*"])
def test_a_node_that_was_told_starts_them(user: OrdinaryUser, strict: str):
    assert "b'*'" in user.run("-c", RUN.format(without="cgroups,uids", strict=strict)).stdout
