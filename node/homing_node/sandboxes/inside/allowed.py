"""What a sealed sandbox may ask of the kernel: a list. Everything that is not on it fails with EPERM.

No file can be opened, no program started, no socket made but a pair, no memory made executable, nobody signalled. A
sweep over every number of a call (tests/sandboxes/test_sandbox_sweep.py) holds the kernel to this list.
"""

from __future__ import annotations

import platform

from homing_node.sandboxes.inside.bpf import ENOSYS, Check, Rule, assemble, having, null, one_of, without

_PROT_EXEC = 0x4
_MAP_ANONYMOUS = 0x20
# CLONE_VM, CLONE_SIGHAND, CLONE_THREAD: a thread. Refused are namespaces, PIDFD, PTRACE, VFORK and PARENT.
_CLONE_THREAD = 0x00010000 | 0x00000800 | 0x00000100
_CLONE_REFUSED = 0x7E020000 | 0x00000080 | 0x00001000 | 0x00002000 | 0x00004000 | 0x00008000
_FIONREAD, _FIONBIO, _FIOCLEX, _FIONCLEX = 0x541B, 0x5421, 0x5451, 0x5450
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
# Of futexes waiting and waking only: requeueing and priority inheritance have been holes in kernels before.
_FUTEX_OPERATION = 0x7F
_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_WAIT_BITSET, _FUTEX_WAKE_BITSET = 0, 1, 9, 10
_AF_UNIX, _SOCK_STREAM, _SOCK_TYPE = 1, 1, 0xF
_SOL_SOCKET, _SO_TYPE, _SO_ERROR, _SO_PROTOCOL, _SO_DOMAIN = 1, 3, 4, 38, 39

_ALWAYS = (
    # memory
    "brk", "munmap", "mremap", "madvise",
    # descriptors that are open already: its channel, and what it makes of the calls below
    "read", "readv", "write", "writev", "close", "lseek", "fstat", "recvfrom", "shutdown", "getsockname", "getpeername",
    # an event loop
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "poll", "ppoll", "select", "pselect6", "eventfd2",
    "pipe2",
    # time
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    # handlers of its own signals
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack",
    # threads
    "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "gettid", "getpid",
    # what a process may know of itself, and its end
    "getuid", "geteuid", "getgid", "getegid", "getrusage", "getrandom", "exit", "exit_group", "restart_syscall",
)  # fmt: skip

SEALED: dict[str, Rule] = {
    **{name: Rule() for name in _ALWAYS},
    "mmap": Rule((without(2, _PROT_EXEC), having(3, _MAP_ANONYMOUS))),
    "mprotect": Rule((without(2, _PROT_EXEC),)),
    "futex": Rule((Check(1, _FUTEX_OPERATION, (_FUTEX_WAIT, _FUTEX_WAKE, _FUTEX_WAIT_BITSET, _FUTEX_WAKE_BITSET)),)),
    "clone": Rule((having(0, _CLONE_THREAD), without(0, _CLONE_REFUSED))),
    # The C library then falls back to `clone`, whose flags can be looked at.
    "clone3": Rule(otherwise=ENOSYS, never=True),
    "fcntl": Rule((one_of(1, _F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC),)),
    "ioctl": Rule((one_of(1, _FIONREAD, _FIONBIO, _FIOCLEX, _FIONCLEX),)),
    "socketpair": Rule((one_of(0, _AF_UNIX), Check(1, _SOCK_TYPE, (_SOCK_STREAM,)), one_of(2, 0))),
    "sendto": Rule((null(4),)),  # to the other end of what is connected, never to an address
    # Not SO_PEERPIDFD, which gives a descriptor of the process at the other end, and nothing of credentials.
    "getsockopt": Rule((one_of(1, _SOL_SOCKET), one_of(2, _SO_TYPE, _SO_ERROR, _SO_PROTOCOL, _SO_DOMAIN))),
}  # fmt: skip

# From arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
        "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "ioctl": 16, "readv": 19, "writev": 20,
        "select": 23, "sched_yield": 24, "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44,
        "recvfrom": 45, "shutdown": 48, "getsockname": 51, "getpeername": 52, "socketpair": 53, "getsockopt": 55,
        "clone": 56, "exit": 60, "fcntl": 72, "gettimeofday": 96, "getrusage": 98, "getuid": 102, "getgid": 104,
        "geteuid": 107, "getegid": 108, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202,
        "sched_getaffinity": 204, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "epoll_wait": 232, "epoll_ctl": 233, "pselect6": 270, "ppoll": 271,
        "set_robust_list": 273, "epoll_pwait": 281, "eventfd2": 290, "epoll_create1": 291, "pipe2": 293,
        "getrandom": 318, "rseq": 334, "clone3": 435,
    },
    "aarch64": {
        "eventfd2": 19, "epoll_create1": 20, "epoll_ctl": 21, "epoll_pwait": 22, "fcntl": 25, "ioctl": 29, "close": 57,
        "pipe2": 59, "lseek": 62, "read": 63, "write": 64, "readv": 65, "writev": 66, "pselect6": 72, "ppoll": 73,
        "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98, "set_robust_list": 99, "nanosleep": 101,
        "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
        "restart_syscall": 128, "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139,
        "getrusage": 165, "gettimeofday": 169, "getpid": 172, "getuid": 174, "geteuid": 175, "getgid": 176,
        "getegid": 177, "gettid": 178, "socketpair": 199, "getsockname": 204, "getpeername": 205, "sendto": 206,
        "recvfrom": 207, "getsockopt": 209, "shutdown": 210, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220,
        "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278, "rseq": 293, "clone3": 435,
    },
}  # fmt: skip


def sealed(machine: str | None = None) -> bytes:
    """The filter of a sealed sandbox.

    Args:
        machine: as `uname -m` prints it; by default this machine.

    Raises:
        KeyError: there is no list for it.
    """
    machine = machine or platform.machine()
    return assemble(machine, NUMBERS[machine], SEALED)
