"""Seccomp filters put together by hand: a list of what is allowed becomes a program of classic BPF. Pure.

The instructions are those of linux/filter.h, the data they look at is `struct seccomp_data` of linux/seccomp.h: the
number of the call at 0, the architecture at 4, the arguments, 64 bits each, from 16 on.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ALLOW = 0x7FFF0000
KILL = 0x80000000
_ERRNO = 0x00050000

EPERM, ENOSYS = 1, 38

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

_NR_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16
_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP_EQUAL, _JUMP_AT_LEAST = 0x15, 0x35
_JUMP_MAX = 255
_LEAF_MAX = 3

_instruction = struct.Struct("=HBBI")


def errno_of(number: int) -> int:
    """The verdict that a call fails with an errno.

    Example:
        >>> hex(errno_of(EPERM))
        '0x50001'
    """
    return _ERRNO | number


@dataclass(frozen=True, slots=True)
class Check:
    """What must hold of an argument: its bits under the mask are one of the values.

    Attributes:
        argument: its place, from 0.
        mask: of 32 bits, of the lower half of the argument.
        values: those that are allowed.
        whole: the upper half must be 0, too.
    """

    argument: int
    mask: int
    values: tuple[int, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """When a call is let through.

    Attributes:
        checks: all of them must hold; none: always.
        otherwise: the errno of one that is not.
    """

    checks: tuple[Check, ...] = ()
    otherwise: int = EPERM
    never: bool = False


def one_of(argument: int, *values: int) -> Check:
    """The lower half of an argument is one of these: for what the kernel takes as 32 bits."""
    return Check(argument, 0xFFFFFFFF, values)


def without(argument: int, bits: int) -> Check:
    """None of these bits is set in an argument."""
    return Check(argument, bits, (0,))


def having(argument: int, bits: int) -> Check:
    """All of these bits are set in an argument."""
    return Check(argument, bits, (bits,))


def null(argument: int) -> Check:
    """An argument, all 64 bits of it, is 0."""
    return Check(argument, 0xFFFFFFFF, (0,), whole=True)


def assemble(machine: str, numbers: Mapping[str, int], rules: Mapping[str, Rule]) -> bytes:
    """The program for a machine: what has no rule fails with EPERM, another architecture's call is death.

    Args:
        machine: as `uname -m` prints it.
        numbers: of the calls, on that machine.
        rules: by name of the call; those that the machine does not have are left out.

    Raises:
        KeyError: there is no such machine.
        ValueError: there is more than jumps can pass.

    Example:
        >>> len(assemble("x86_64", {"read": 0}, {"read": Rule()})) // 8
        9
    """
    program = [
        _do(_LOAD, _ARCH_AT),
        _jump(_JUMP_EQUAL, AUDIT_ARCH[machine], 1, 0),
        _do(_RETURN, KILL),
        _do(_LOAD, _NR_AT),
    ]
    if machine == "x86_64":
        program += [_jump(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _do(_RETURN, KILL)]
    bodies = sorted((numbers[name], _body(rule)) for name, rule in rules.items() if name in numbers)
    return b"".join([*program, *_search(bodies)])


def _search(bodies: Sequence[tuple[int, list[bytes]]]) -> list[bytes]:
    """A binary search: the kernel tries a new filter with every call that there is, to learn what it always allows."""
    if len(bodies) > _LEAF_MAX:
        middle = len(bodies) // 2
        below = _search(bodies[:middle])
        if len(below) > _JUMP_MAX:
            raise ValueError("too many rules for the jumps of BPF")
        return [_jump(_JUMP_AT_LEAST, bodies[middle][0], len(below), 0), *below, *_search(bodies[middle:])]
    program: list[bytes] = []
    for number, body in bodies:
        program += [_jump(_JUMP_EQUAL, number, 0, len(body)), *body]
    return [*program, _do(_RETURN, errno_of(EPERM))]


def _body(rule: Rule) -> list[bytes]:
    """Instructions that end in a verdict, whatever holds."""
    if rule.never:
        return [_do(_RETURN, errno_of(rule.otherwise))]
    refused = _do(_RETURN, errno_of(rule.otherwise))
    body: list[bytes] = []
    for check in rule.checks:
        body += [*_checked(check), refused]
    return [*body, _do(_RETURN, ALLOW)]


def _checked(check: Check) -> list[bytes]:
    """Instructions that pass over the next one, which refuses, if the check holds."""
    low = _ARGUMENTS_AT + 8 * check.argument
    high = low + 4
    if sys.byteorder == "big":
        low, high = high, low
    begin = [_do(_LOAD, low), _do(_AND, check.mask)]
    if check.whole:
        begin = [_do(_LOAD, high), _jump(_JUMP_EQUAL, 0, 0, len(check.values) + 2), *begin]
    count = len(check.values)
    tests = [
        _jump(_JUMP_EQUAL, value, count - place, 0) for place, value in enumerate(check.values)
    ]  # to behind the refusal, which is the next after the last test
    return [*begin, *tests]


def _do(code: int, operand: int) -> bytes:
    return _instruction.pack(code, 0, 0, operand)


def _jump(code: int, operand: int, if_true: int, if_false: int) -> bytes:
    return _instruction.pack(code, if_true, if_false, operand)
