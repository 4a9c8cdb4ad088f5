"""Every number of a system call, asked of the kernel by a sealed sandbox: what gets through is the checked-in list."""

from __future__ import annotations

import platform

from homing_node.sandboxes.inside.allowed import NUMBERS, SEALED
from sandboxed import run, sandboxes

CALLS_MAX = 600
# These end the process or its thread, or begin another: the unit tests run the filter's program over them.
NOT_ASKED = ("exit", "exit_group", "rt_sigreturn", "clone")
# uretprobe and uprobe: the kernel lets them pass every filter (secure_computing, since 6.13), and answers with SIGILL
# wherever it has not put them itself.
EXEMPT = {"x86_64": {335, 336}}
# Arguments that the filter lets pass, and that the kernel refuses or finds harmless.
ARGUMENTS = {
    "mmap": (0, 4096, 3, 0x22, -1, 0),
    "mprotect": (0, 0, 1),
    "futex": (8, 129, 0, 0, 0, 0),
    "fcntl": (-1, 1),
    "ioctl": (-1, 0x5421),
    "socketpair": (1, 1, 0, 8),
    "sendto": (-1, 0, 0, 0, 0, 0),
    "getsockopt": (-1, 1, 3, 0, 0),
}
CODE = """
import gc
gc.unfreeze()
libc = next(each for each in gc.get_objects() if type(each).__name__ == "CDLL")
c = type(libc).__init__.__globals__
found = []
for number in range(count):
    if number in skipped:
        continue
    arguments = given.get(str(number), [-1] * 6)
    c["set_errno"](0)
    answer = libc.syscall(c["c_long"](number), *[c["c_long"](each) for each in arguments])
    found.append([number, c["get_errno"]() if answer == -1 else 0])
found
"""
EPERM, ENOSYS = 1, 38


async def test_what_gets_through_equals_the_list():
    """Seen to fail without the sealed filter, which lets openat and many others through."""
    numbers = NUMBERS[platform.machine()]
    skipped = {numbers[name] for name in NOT_ASKED} | EXEMPT.get(platform.machine(), set())
    given = {str(numbers[name]): list(arguments) for name, arguments in ARGUMENTS.items()}
    async with sandboxes() as node:
        ran = await run(node, CODE, args={"count": CALLS_MAX, "skipped": skipped, "given": given})
    through = {number for number, error in ran.check() if error not in (EPERM, ENOSYS)}
    # What the kernel itself does not have is ENOSYS only if the filter let it pass: EPERM is the filter's default.
    passed_on = {number for number, error in ran.check() if error == ENOSYS}
    never = {numbers[name] for name, rule in SEALED.items() if rule.never and name in numbers}
    assert through == set(numbers.values()) - skipped - never
    assert passed_on == never
