"""Whether one that is woken may push aside the one that runs follows how full messages are."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from homing.pace import Passed

PROGRAM = """
import asyncio, os, threading
from homing import scheduling
from homing.pace import Passed

NAMES = {os.SCHED_OTHER: "other", os.SCHED_BATCH: "batch", os.SCHED_IDLE: "idle"}
said = []

def tell(what):
    tasks = os.listdir("/proc/self/task")
    found = {NAMES[os.sched_getscheduler(int(each))] for each in tasks}
    said.append(f"{what}: {'+'.join(sorted(found))} of {min(len(tasks), 2)}")

async def main():
    scheduling.LOOK_S = 0.01
    passed = Passed()
    following = asyncio.ensure_future(scheduling.follow(passed))
    for what, frames, messages in (("lone", 100, 100), ("full", 800, 100), ("nothing", 0, 0)):
        passed.frames, passed.messages = frames, messages
        while passed.messages or passed.frames:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.005 if messages else 0.05)
        tell(what)
        if what == "lone":
            with scheduling.batch():
                child = os.posix_spawn("/bin/sleep", ["sleep", "5"], {})
            said.append(f"child: {NAMES[os.sched_getscheduler(child)]}")
            os.kill(child, 9)
            os.waitpid(child, 0)
            tell("then")
    following.cancel()

SETUP
scheduling.begin()
threading.Thread(target=threading.Event().wait, daemon=True).start()
tell("begin")
asyncio.run(main())
print("; ".join(said))
"""


def run(setup: str) -> str:
    program = textwrap.dedent(PROGRAM).replace("SETUP", setup)
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_a_mean_is_of_what_passed_since() -> None:
    """Broken by: sums that are never begun anew; what a process did in its youth would decide for ever."""
    passed = Passed()
    assert passed.take() == 0.0
    passed.frames, passed.messages = 12, 4
    assert passed.take() == 3.0
    assert passed.take() == 0.0


def test_all_threads_follow_and_what_is_started_within_does_not() -> None:
    """Broken by: setting the calling thread alone; gRPC's would wait, and each message passes through one of them.

    And by choosing anew where nothing was sent: what begins after a pause would begin as lone messages do.
    """
    found = run("")
    if not found.startswith("begin: batch"):
        pytest.fail(f"this system forbids sched_setscheduler: {found}")
    assert found.split("; ") == [
        "begin: batch of 2", "lone: other of 2", "child: batch", "then: other of 2", "full: batch of 2",
        "nothing: batch of 2",
    ]  # fmt: skip


def test_what_the_user_chose_stays() -> None:
    """Broken by: setting whatever was set."""
    found = run("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))")
    assert found.split("; ")[0] == "begin: idle of 2"
    assert {each.split(": ")[1] for each in found.split("; ")} == {"idle of 2", "idle"}
