"""The sealed filter as a program: an interpreter of BPF, written from the kernel's description, runs it."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from homing_node.sandboxes.inside.allowed import NUMBERS, SEALED, sealed
from homing_node.sandboxes.inside.bpf import (
    ALLOW,
    AUDIT_ARCH,
    ENOSYS,
    EPERM,
    KILL,
    Rule,
    assemble,
    errno_of,
    having,
    null,
    one_of,
    without,
)

MACHINES = sorted(NUMBERS)
CALLS_MAX = 600
POLICIES = Path(__file__).resolve().parents[2] / "node/homing_node/workers/policies"
# What kafel calls otherwise.
KAFEL_NAMES = {"fstat": "newfstat"}


def verdict(program: bytes, machine: str, number: int, *arguments: int) -> int:
    """What the kernel would do."""
    padded = [*arguments, *[0] * 6][:6]
    data = struct.pack("=IIQ6Q", number, AUDIT_ARCH[machine], 0, *padded)
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = accumulator = 0
    while True:
        operation, if_true, if_false, operand = code[at]
        at += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif operation == 0x54:
            accumulator &= operand
        elif operation == 0x15:
            at += if_true if accumulator == operand else if_false
        elif operation == 0x35:
            at += if_true if accumulator >= operand else if_false
        elif operation == 0x06:
            return operand
        else:
            raise AssertionError(f"operation {operation:#x}")


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_on_no_list_fails_and_what_always_may_be_passes(machine: str):
    """Seen to fail with a default of ALLOW."""
    program = sealed(machine)
    names = {number: name for name, number in NUMBERS[machine].items()}
    for number in range(CALLS_MAX):
        name = names.get(number)
        found = verdict(program, machine, number)
        if name is None:
            assert found == errno_of(EPERM), number
        elif not SEALED[name].checks and not SEALED[name].never:
            assert found == ALLOW, name


@pytest.mark.parametrize("machine", MACHINES)
def test_every_call_of_the_list_has_a_rule_and_the_other_way_round(machine: str):
    assert set(NUMBERS[machine]) <= set(SEALED)
    assert len(set(NUMBERS[machine].values())) == len(NUMBERS[machine])
    assert {name for table in NUMBERS.values() for name in table} == set(SEALED)


def test_another_architecture_and_the_x32_calls_are_death():
    program = sealed("x86_64")
    assert verdict(program, "aarch64", NUMBERS["x86_64"]["read"]) == KILL
    assert verdict(program, "x86_64", 0x40000000 + NUMBERS["x86_64"]["read"]) == KILL
    assert verdict(sealed("aarch64"), "x86_64", NUMBERS["aarch64"]["read"]) == KILL


CASES = [
    ("mmap", (0, 4096, 3, 0x22), ALLOW),
    ("mmap", (0, 4096, 7, 0x22), errno_of(EPERM)),
    ("mmap", (0, 4096, 3, 0x02), errno_of(EPERM)),
    ("mprotect", (0, 4096, 1), ALLOW),
    ("mprotect", (0, 4096, 5), errno_of(EPERM)),
    ("clone", (0x3D0F00,), ALLOW),
    ("clone", (17,), errno_of(EPERM)),
    ("clone", (0x01200011,), errno_of(EPERM)),
    ("clone", (0x3D0F00 | 0x10000000,), errno_of(EPERM)),
    ("clone", (0x3D0F00 | 0x1000,), errno_of(EPERM)),
    ("clone3", (0, 88), errno_of(ENOSYS)),
    ("futex", (0, 128), ALLOW),
    ("futex", (0, 0x189), ALLOW),
    ("futex", (0, 3), errno_of(EPERM)),
    ("futex", (0, 6), errno_of(EPERM)),
    ("fcntl", (3, 4, 0x800), ALLOW),
    ("fcntl", (3, 8, 1), errno_of(EPERM)),
    ("socketpair", (1, 1 | 0x80000, 0), ALLOW),
    ("socketpair", (1, 2, 0), errno_of(EPERM)),
    ("socketpair", (2, 1, 0), errno_of(EPERM)),
    ("sendto", (3, 0, 0, 0, 0), ALLOW),
    ("sendto", (3, 0, 0, 0, 1), errno_of(EPERM)),
    ("sendto", (3, 0, 0, 0, 1 << 32), errno_of(EPERM)),
    ("getsockopt", (3, 1, 4), ALLOW),
    ("getsockopt", (3, 1, 77), errno_of(EPERM)),
    ("getsockopt", (3, 6, 4), errno_of(EPERM)),
    ("ioctl", (3, 0x5421), ALLOW),
    ("ioctl", (0, 0x5412), errno_of(EPERM)),
]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("name", "arguments", "expected"), CASES)
def test_arguments_decide(machine: str, name: str, arguments: tuple[int, ...], expected: int):
    assert verdict(sealed(machine), machine, NUMBERS[machine][name], *arguments) == expected


def test_checks_of_one_rule_must_all_hold():
    rules = {"x": Rule((one_of(0, 1, 2), without(1, 4), having(2, 3), null(3)))}
    program = assemble("x86_64", {"x": 9}, rules)
    assert verdict(program, "x86_64", 9, 2, 3, 7, 0) == ALLOW
    for wrong in ((3, 3, 7, 0), (2, 4, 7, 0), (2, 3, 1, 0), (2, 3, 7, 1), (2, 3, 7, 1 << 40)):
        assert verdict(program, "x86_64", 9, *wrong) == errno_of(EPERM)


@pytest.mark.parametrize("machine", MACHINES)
def test_the_jail_of_the_zygote_allows_what_its_sandboxes_need(machine: str):
    """Both filters judge every call: what the first refuses the second cannot give."""
    policy = re.sub(r"//[^\n]*", "", (POLICIES / f"zygote.{machine}.kafel").read_text())
    words = set(re.findall(r"\w+", policy))
    missing = {name for name in NUMBERS[machine] if name not in words and KAFEL_NAMES.get(name) not in words}
    assert missing == set()
    refused = ("socket", "connect", "mount", "ptrace", "bpf", "kill", "keyctl", "setsockopt", "seccomp", "setuid")
    for call in (*refused, "unshare", "setns", "pidfd_open"):
        assert call not in words
    assert "|| clone_flags == 0x20001011" in policy  # a fork is a pid namespace of its own, and no other
    assert policy.rstrip().endswith("DEFAULT ERRNO(1)")
