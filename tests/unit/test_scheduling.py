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
now_s = 100.0

def tell(what):
    tasks = os.listdir("/proc/self/task")
    found = {NAMES[os.sched_getscheduler(int(each))] for each in tasks}
    said.append(f"{what}: {'+'.join(sorted(found))} of {min(len(tasks), 2)}")

async def main():
    passed = Passed()
    scheduling.follow(passed)

    def send(frames, each_s, times):
        global now_s
        for _ in range(times):
            now_s += each_s
            passed.sent(frames, now_s)

    for what, frames, each_s, times in (
        ("lone", 1, 0.0005, 100),
        ("full at once", 8, 0.001, 90),
        ("full", 8, 0.001, 30),
        ("full of what waited", 4, 0.004, 10),
        ("full again", 8, 0.001, 200),
        ("after silence", 8, 5.0, 1),
    ):
        send(frames, each_s, times)
        tell(what)
        if what == "lone":
            with scheduling.batch():
                child = os.posix_spawn("/bin/sleep", ["sleep", "5"], {})
            said.append(f"child: {NAMES[os.sched_getscheduler(child)]}")
            os.kill(child, 9)
            os.waitpid(child, 0)
            tell("then")

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


def test_what_passed_is_counted_anew_after_each_look() -> None:
    """Broken by: sums that are never begun anew; what a process did in its youth would decide for ever."""
    told: list[tuple[int, int, float, float]] = []
    passed = Passed()
    passed.look = lambda frames, messages, since_s, now_s: told.append((frames, messages, since_s, now_s))
    passed.sent(3, 5.0)
    passed.sent(5, 5.004)
    passed.sent(7, 5.012)
    passed.sent(1, 5.024)
    assert told == [(3, 1, 0.0, 5.0), (12, 2, 5.0, 5.012), (1, 1, 5.012, 5.024)]


def test_all_threads_follow_and_what_is_started_within_does_not() -> None:
    """Broken by: setting the calling thread alone; gRPC's would wait, and each message passes through one of them.

    And, a case each: by waiting as soon as one window was full ("full at once"); by asking only how full messages are,
    since those of 1,000 echoes a second are full too when each has waited for a tick; by passing over a silence.
    """
    found = run("")
    if not found.startswith("begin: batch"):
        pytest.fail(f"this system forbids sched_setscheduler: {found}")
    assert found.split("; ") == [
        "begin: batch of 2", "lone: other of 2", "child: batch", "then: other of 2", "full at once: other of 2",
        "full: batch of 2", "full of what waited: other of 2", "full again: batch of 2", "after silence: other of 2",
    ]  # fmt: skip


def test_what_the_user_chose_stays() -> None:
    """Broken by: setting whatever was set."""
    found = run("os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))")
    assert found.split("; ")[0] == "begin: idle of 2"
    assert {each.split(": ")[1] for each in found.split("; ")} == {"idle of 2", "idle"}
