"""The few calls to the kernel that a zygote needs and Python does not wrap. Every failure is an OSError."""

from __future__ import annotations

import ctypes
import platform
import signal

_CLONE_NEWPID = 0x20000000
_CLONE_PIDFD = 0x00001000
# The numbers of these calls
_CLONE = {"x86_64": 56, "aarch64": 220}
_PRCTL = {"x86_64": 157, "aarch64": 167}
_PR_SET_SECCOMP = 22
_MADV_COLLAPSE = 25
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION = 0x20080522
_CAPABILITIES = 64  # more than there are

_libc = ctypes.CDLL(None, use_errno=True)
_syscall = ctypes.PyDLL(None, use_errno=True).syscall  # which keeps the interpreter's lock
_syscall.argtypes = (ctypes.c_long, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_long)
_syscall.restype = ctypes.c_long
_prctl = _libc.prctl
_prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_madvise = _libc.madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class _Program(ctypes.Structure):
    """`struct sock_fprog` of the kernel."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def _check(answer: int, what: str) -> None:
    if answer != 0:
        raise OSError(ctypes.get_errno(), f"{what} failed")


def drop_bounding_set() -> None:
    """Let no program that is ever executed from here have a capability; what this process holds, it keeps."""
    for capability in range(_CAPABILITIES):
        if _prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) != 1:
            continue
        _check(_prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), f"dropping capability {capability}")


def clear_ambient() -> None:
    """Empty the ambient set."""
    _check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "clearing the ambient capabilities")


def collapse(address: int, size: int) -> bool:
    """Have what lies in memory there moved to one large page; False: the kernel cannot, or not there."""
    return _madvise(address, size, _MADV_COLLAPSE) == 0


class Seal:
    """A seccomp filter and the end of all capabilities, made ready before the fork.

    Args:
        program: instructions of BPF, 8 bytes each.
    """

    def __init__(self, program: bytes) -> None:
        self._instructions = ctypes.create_string_buffer(program, len(program))
        self._program = _Program(len(program) // 8, ctypes.addressof(self._instructions))
        self._header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        self._nothing = (ctypes.c_uint32 * 6)()
        self._number, self._program_at = _PRCTL[platform.machine()], ctypes.addressof(self._program)

    def drop_capabilities(self) -> None:
        """Empty the permitted, effective and inheritable sets."""
        _check(_libc.capset(ctypes.byref(self._header), ctypes.byref(self._nothing)), "capset")

    def close(self) -> None:
        """Let the filter judge every call from now on, for good. What cannot be sealed must not live on."""
        # By the function that forked, whose pages are copied already
        if _syscall(self._number, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._program_at, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "the filter failed")


class Forking:
    """Forks a process of one thread, the first of its pid namespace: its pid is 1, as that of its child in another one.

    It calls the kernel, and neither `os.fork`, which runs functions of every module that wants to know and so writes to
    200 pages of memory, a copy of each, nor the C library, which has nothing to put right where one thread was alone
    and the child has the pid of its parent. Of all that a sandbox needs one thing: other random numbers than its
    siblings.
    """

    def __init__(self) -> None:
        self._number = _CLONE[platform.machine()]
        self._pidfd = ctypes.c_int(-1)
        self._pidfd_at = ctypes.addressof(self._pidfd)

    def fork(self) -> tuple[int, int]:
        """The child's pid here, and a descriptor of it; in the child 0, and nothing."""
        pid = _syscall(self._number, _CLONE_NEWPID | _CLONE_PIDFD | signal.SIGCHLD, None, self._pidfd_at, 0, 0)
        if pid < 0:
            raise OSError(ctypes.get_errno(), "fork failed")
        return pid, self._pidfd.value


def keep_no_inheritable() -> None:
    """Empty the inheritable set; what is permitted stays. A process that then gives up uid 0 has no capability left."""
    header, data = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _check(_libc.capget(ctypes.byref(header), ctypes.byref(data)), "capget")
    data[2] = data[5] = 0
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(data)), "capset")


def forbid_new_privileges() -> None:
    """Let no program that is executed from here gain anything."""
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
