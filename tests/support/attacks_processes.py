"""More of `attacks.py`: processes, memory, namespaces, the kernel itself, credentials, descriptors, resources."""

from __future__ import annotations

from attacks import ENVIRONMENT, FILES, NETWORK, WRITES, Attack, attack

PROCESSES = (
    attack("fork", "SJ", "pid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)"),
    attack(
        "clone: a process",
        "SJ",
        "pid = call(56, 220, 17, 0, 0, 0, 0)\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)",
        "died",
    ),
    attack("clone3", "SJ", "call(435, 435, buffer(88), 0)", "EINVAL"),
    attack(
        "fork and execve: a program",
        "SJ",
        "import subprocess; subprocess.run([sys.executable, '-I', '-S', '-c', ''], check=True)",
        "died",
    ),
    attack(
        "posix_spawn: a program", "SJ", "os.waitpid(os.posix_spawn(sys.executable, ['x', '-I', '-S', '-c', ''], {}), 0)"
    ),
    attack("system", "SJM", "need(os.system('true') == 0)"),
    attack("execve: no such file", "S", "os.execv('/homing-attack', ['x'])", "ENOENT", pooled="-"),
    attack("execveat", "SJ", "call(322, 281, -1, b'', 0, 0, 0x1000)", "EBADF", "EFAULT", "EINVAL"),
    attack("kill: a process of the host", "SJP", "os.kill(T['pid'], 0)"),
    attack("kill: the parent", "SJ", "os.kill(os.getppid() or 1, 0)"),
    attack("kill: everybody", "SJP", "os.kill(-1, 0)"),
    attack("kill: itself", "SJ", "os.kill(os.getpid(), 0)"),
    attack("killpg", "SJ", "os.kill(0, 0)"),
    attack("tgkill: a process of the host", "SJP", "call(234, 131, T['pid'], T['pid'], 0)"),
    attack("tkill: itself", "SJ", "call(200, 130, os.getpid(), 0)"),
    attack(
        "rt_sigqueueinfo: a process of the host",
        "SJP",
        "call(129, 138, T['pid'], 0, buffer(128, b'\\0' * 8 + b'\\xff\\xff\\xff\\xff'))",
    ),
    attack("pidfd_open: a process of the host", "SJP", "os.close(os.pidfd_open(T['pid']))"),
    attack("pidfd_open: itself", "SJ", "os.close(os.pidfd_open(os.getpid()))"),
    attack("pidfd_getfd", "SJ", "call(438, 438, 0, 0, 0)", "EBADF"),
    attack("pidfd_send_signal", "SJ", "call(424, 424, 0, 0, 0, 0)", "EBADF"),
    attack(
        "fcntl: signals of a descriptor to the host",
        "SP",
        "import fcntl, socket; a, b = socket.socketpair(); fcntl.fcntl(a, 8, T['pid'])",
    ),
    attack("getpgid: a process of the host", "SJP", "os.getpgid(T['pid'])"),
    attack("getsid: a process of the host", "SJP", "os.getsid(T['pid'])"),
    attack("sched_setaffinity: a process of the host", "SJP", "os.sched_setaffinity(T['pid'], {0})"),
    attack("sched_setaffinity: itself", "SJ", "os.sched_setaffinity(0, os.sched_getaffinity(0))"),
    attack("sched_setscheduler: itself", "SJ", "os.sched_setscheduler(0, 3, os.sched_param(0))"),
    attack("setpriority: a process of the host", "SJP", "os.setpriority(0, T['pid'], 5)"),
    attack("nice: itself, higher", "SJI", "os.setpriority(0, 0, -5)"),
    attack("ioprio_set: a process of the host", "SJP", "call(251, 30, 1, T['pid'], 0x4004)"),
    attack(
        "prlimit: a process of the host", "SJP", "import resource; resource.prlimit(T['pid'], resource.RLIMIT_NOFILE)"
    ),
    attack(
        "setrlimit: itself",
        "S",
        "import resource; resource.setrlimit(resource.RLIMIT_NPROC, resource.getrlimit(resource.RLIMIT_NPROC))",
        pooled="J",
        strict="S",
    ),
    attack("wait: a child", "S", "os.waitpid(-1, os.WNOHANG)", "ECHILD", pooled="J"),
    attack("timer_create", "SJ", "call(222, 107, 1, 0, buffer(8))"),
    attack("setitimer", "SJ", "import signal; signal.setitimer(signal.ITIMER_REAL, 0)"),
    attack("signalfd", "SJ", "call(289, 74, -1, buffer(8), 8, 0)"),
    attack("timerfd_create", "SJ", "call(283, 85, 1, 0)"),
    attack("ptrace: seize a process of the host", "SJP", "call(101, 117, 0x4206, T['pid'], 0, 0)"),
    attack("ptrace: be traced", "SJ", "call(101, 117, 0, 0, 0, 0)"),
    attack(
        "process_vm_readv: a process of the host",
        "SJP",
        "b = buffer(8); v = (c['c_size_t'] * 2)(c['addressof'](b), 8); call(310, 270, T['pid'], v, 1, v, 1, 0)",
        "EFAULT",
    ),
    attack(
        "process_vm_writev: a process of the host",
        "SJP",
        "b = buffer(8); v = (c['c_size_t'] * 2)(c['addressof'](b), 8); w = (c['c_size_t'] * 2)(4096, 8)\n"
        "call(311, 271, T['pid'], v, 1, w, 1, 0)",
        "EFAULT",
    ),
    attack("process_madvise", "SJ", "call(440, 440, -1, 0, 0, 0, 0)", "EBADF"),
    attack("kcmp: a process of the host", "SJP", "call(312, 272, T['pid'], T['pid'], 1, 0, 0)"),
    attack(
        "perf_event_open",
        "SJ",
        "call(298, 241, buffer(112), 0, -1, -1, 0)",
        "EINVAL",
        "ENOENT",
        "EACCES",
        "E2BIG",
        "EFAULT",
    ),
    attack("userfaultfd", "SJ", "call(323, 282, 1)"),
)

MEMORY = (
    attack("mmap: executable memory", "S", "import mmap; mmap.mmap(-1, 4096, prot=7)", pooled="-"),
    attack(
        "mprotect: executable memory",
        "S",
        "import mmap; m = mmap.mmap(-1, 8192)\ncall(10, 226, c['addressof'](c['c_char'].from_buffer(m)), 4096, 5)",
        pooled="-",
    ),
    attack("mmap: a file", "S", "import mmap; call(9, 222, 0, 4096, 1, 2, 3, 0)", "ENODEV", "EACCES", pooled="-"),
    attack(
        "machine code that calls the kernel by int 0x80",
        "SJ",
        "import mmap; m = mmap.mmap(-1, 4096, prot=7); m.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n"
        "f = c['CFUNCTYPE'](c['c_long'])(c['addressof'](c['c_char'].from_buffer(m))); need(f() > 0)",
        pooled="J",
        machine="x86_64",
    ),
    attack("a call of the x32 ABI", "SJ", "call(0x40000000 + 39, 172)", "ENOSYS", machine="x86_64"),
    attack("pkey_alloc", "SJ", "call(330, 289, 0, 0)", "ENOSPC", "EINVAL", "ENOSYS"),
    attack("mlock", "SJR", "call(149, 228, c['addressof'](buffer(4096)), 4096)"),
    attack("modify_ldt", "SJ", "call(154, 0, 0, buffer(16), 16)", machine="x86_64"),
    attack("personality", "SJ", "call(135, 92, 0xFFFFFFFF)"),
    attack("membarrier", "SJ", "call(324, 283, 0, 0, 0)"),
    attack("set_mempolicy", "SJ", "call(238, 237, 0, 0, 0)", "ENOSYS"),
    attack("move_pages: a process of the host", "SJP", "call(279, 239, T['pid'], 0, 0, 0, 0, 0)"),
    attack(
        "futex: requeue",
        "S",
        "call(202, 98, c['addressof'](buffer(8)), 3, 0, 0, c['addressof'](buffer(8)), 0)",
        pooled="-",
    ),
    attack(
        "futex: priority inheritance",
        "S",
        "call(202, 98, c['addressof'](buffer(8)), 134, 0, 0, 0, 0)",
        "ESRCH",
        "EINVAL",
        pooled="-",
    ),
)

_UNSHARED = tuple(
    attack(f"unshare: {name}", "SJ" + more, f"call(272, 97, {flag})", "EINVAL")
    for name, flag, more in (
        ("user", 0x10000000, ""),
        ("network", 0x40000000, "I"),
        ("mounts", 0x20000, "I"),
        ("pids", 0x20000000, "I"),
        ("IPC", 0x8000000, "I"),
        ("host name", 0x4000000, "I"),
        ("cgroups", 0x2000000, "I"),
        ("time", 0x80, "I"),
    )
)
NAMESPACES = (
    *_UNSHARED,
    attack("unshare: descriptors", "SJ", "call(272, 97, 0x400)"),
    attack(
        "clone: a user namespace",
        "SJ",
        "pid = call(56, 220, 0x10000000 | 17, 0, 0, 0, 0)\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)",
        "died",
    ),
    attack(
        "clone: a thread in a new user namespace", "SJ", "call(56, 220, 0x10000000 | 0x10f00, 0, 0, 0, 0)", "EINVAL"
    ),
    attack("setns: a descriptor", "SJ", "call(308, 268, 0, 0x20000000)", "EINVAL", "EBADF"),
    attack(
        "mount: tmpfs",
        "SJI",
        "at = T['folder'].encode() if os.path.exists(T['folder']) else b'/usr'\n"
        "call(165, 40, b'x', at, b'tmpfs', 0, 0); call(166, 39, at, 2)",
    ),
    attack(
        "mount: bind the root",
        "SJI",
        "at = T['folder'].encode() if os.path.exists(T['folder']) else b'/usr'\n"
        "call(165, 40, b'/', at, 0, 4096, 0); call(166, 39, at, 2)",
    ),
    attack(
        "umount2", "SJI", "call(166, 39, T['folder'].encode() if os.path.exists(T['folder']) else b'/usr', 0)", "EINVAL"
    ),
    attack("pivot_root", "SJI", "call(155, 41, b'/', b'/')", "EBUSY", "EINVAL"),
    attack("chroot", "SJI", "os.chroot('/')"),
    attack("fsopen: tmpfs", "SJI", "call(430, 430, b'tmpfs', 0)"),
    attack("open_tree: the root", "SJ", "call(428, 428, -100, b'/', 0)"),
    attack("open_tree: a copy of the root", "SJI", "call(428, 428, -100, b'/', 1)"),
    attack("fspick: the root", "SJI", "call(433, 433, -100, b'/', 0)"),
    attack("fsmount", "SJI", "call(432, 432, -1, 0, 0)", "EBADF"),
    attack("move_mount", "SJI", "call(429, 429, -1, b'', -1, b'', 0)", "EBADF", "ENOENT"),
    attack("mount_setattr", "SJI", "call(442, 442, -1, b'', 0x1000, buffer(32), 32)", "EBADF", "EINVAL"),
)

KERNEL = (
    attack("bpf: load a program", "SJI", "call(321, 280, 5, buffer(128), 128)", "EINVAL", "E2BIG"),
    attack(
        "bpf: make a map",
        "SJI",
        "call(321, 280, 0, buffer(128, b'\\x02\\0\\0\\0\\x04\\0\\0\\0\\x04\\0\\0\\0\\x01'), 72)",
    ),
    attack("keyctl: the session's keys", "SJ", "call(250, 219, 0, -3, 1)"),
    attack("keyctl: read a key", "SJ", "call(250, 219, 11, -4, 0, 0)", "ENOKEY"),
    attack("add_key", "SJ", "call(248, 217, b'user', b'homing-attack', b'x', 1, -2)"),
    attack("request_key", "SJ", "call(249, 218, b'user', b'homing-nothing', 0, 0)", "ENOKEY"),
    attack("init_module", "SJI", "call(175, 105, 0, 0, b'')", "ENOEXEC", "EFAULT", "EINVAL", "ENOSYS"),
    attack("finit_module", "SJI", "call(313, 273, -1, b'', 0)", "EBADF", "ENOSYS"),
    attack("delete_module", "SJI", "call(176, 106, b'homing-nothing', 0x800)", "ENOENT", "ENOSYS"),
    attack("kexec_load", "SJI", "call(246, 104, 0, 99, 0, 0)", "EINVAL", "ENOSYS"),
    attack("reboot", "SJI", "call(169, 142, 0, 0, 0, 0)", "EINVAL"),
    attack("syslog: the kernel's messages", "SJI", "call(103, 116, 10, 0, 0)"),
    attack("swapon", "SJI", "call(167, 224, b'/homing-attack', 0)", "ENOENT"),
    attack("sethostname", "SJI", "n = __import__('socket').gethostname().encode(); call(170, 161, n, len(n))"),
    attack("setdomainname", "SJI", "b = buffer(65); libc.getdomainname(b, 64); call(171, 162, b, len(b.value))"),
    attack("quotactl", "SJ", "call(179, 60, 0x80000100, 0, 0, 0)", "ENOSYS", "EINVAL"),
    attack("iopl", "SJI", "call(172, 0, 3)", machine="x86_64"),
    attack("ioperm", "SJI", "call(173, 0, 0x80, 1, 1)", machine="x86_64"),
    attack("io_setup", "SJ", "call(206, 0, 1, buffer(8))"),
    attack("landlock_create_ruleset", "SJ", "call(444, 444, 0, 0, 1)", "EOPNOTSUPP", "ENOSYS"),
    attack("seccomp: ask what there is", "SJ", "call(317, 277, 2, 0, buffer(4, b'\\0\\0\\xff\\x7f'))"),
    attack("seccomp: a filter of its own", "SJ", "call(317, 277, 1, 0, 0)", "EFAULT", "EINVAL"),
    attack(
        "prctl: a filter of its own", "S", "call(157, 167, 22, 2, 0, 0, 0)", "EFAULT", "EINVAL", pooled="J", strict="S"
    ),
    attack("prctl: its name", "SJ", "call(157, 167, 15, buffer(16, b'x'), 0, 0, 0)"),
    attack("prctl: be dumpable", "SJ", "call(157, 167, 4, 1, 0, 0, 0)"),
    attack("adjtimex", "SJ", "call(159, 171, buffer(256))"),
    attack("acct", "SJI", "call(163, 89, b'/homing-attack')", "ENOENT", "ENOSYS"),
    attack("lsm_list_modules", "SJ", "call(461, 461, 0, 0, 0)", "EINVAL", "EFAULT", "ENOSYS"),
    attack("cachestat", "SJ", "call(451, 451, -1, 0, 0, 0)", "EBADF", "ENOSYS"),
    attack("map_shadow_stack", "SJ", "call(453, 453, 0, 4096, 0)", "EINVAL", "EOPNOTSUPP", "ENOSYS"),
    attack("futex_waitv", "SJ", "call(449, 449, 0, 0, 0, 0, 0)", "EINVAL", "ENOSYS"),
)

SHARED = (
    attack(
        "shmat: the memory of others", "SJP", "a = call(30, 196, T['shm'], 0, 0o10000); libc.shmdt(c['c_void_p'](a))"
    ),
    attack("shmget", "SJ", "i = call(29, 194, 0, 4096, 0o1600); call(31, 195, i, 0, 0)"),
    attack("msgget", "SJ", "i = call(68, 186, 0, 0o1600); call(71, 187, i, 0, 0)"),
    attack("semget", "SJ", "i = call(64, 190, 0, 1, 0o1600); call(66, 191, i, 0, 0)"),
    attack("mq_open", "SJ", "call(240, 180, b'homing-nothing', 0, 0, 0)", "ENOENT", "ENOSYS"),
)

IDENTITY = (
    # To 0, unless that is what the only id is called in this namespace, as it is for ordinary users: then to any other.
    attack("setuid: another", "SJI", "os.setuid(0 if os.getuid() else 1)"),
    attack("setgid: another", "SJI", "os.setgid(0 if os.getgid() else 1)"),
    attack("setresuid: another", "SJI", "n = 0 if os.getuid() else 1; os.setresuid(n, n, n)"),
    attack("setgroups", "SJI", "os.setgroups([])"),
    attack(
        "capset: everything",
        "SJI",
        "call(126, 91, (c['c_uint32'] * 2)(0x20080522, 0), (c['c_uint32'] * 6)(1, 1, 0, 0, 0, 0))",
    ),
    attack("setfsuid", "SJ", "call(122, 151, os.getuid())"),
    attack("getgroups", "SJ", "os.getgroups()"),
)

DESCRIPTORS = (
    attack(
        "sendmsg: pass a descriptor",
        "S",
        "import array, socket; a, b = socket.socketpair(); a.sendmsg([b'x'], [(1, 1, array.array('i', [0]))])",
        pooled="-",
        strict="SJ",
    ),
    attack(
        "recvmsg: take a descriptor",
        "S",
        "import socket; a, b = socket.socketpair(); a.send(b'x'); b.recvmsg(1, 64)",
        pooled="-",
        strict="SJ",
    ),
    attack("sendmmsg", "SJ", "import socket; a, b = socket.socketpair(); call(307, 269, a.fileno(), 0, 0, 0)"),
    attack("recvmmsg", "SJ", "import socket; a, b = socket.socketpair(); call(299, 243, a.fileno(), 0, 0, 0x40, 0)"),
    attack(
        "getsockopt: a pidfd of the other end",
        "SJ",
        "import socket; a, b = socket.socketpair(); a.getsockopt(1, 77, 4)",
        "ENODATA",
        "ESRCH",
        pooled="J",
    ),
    attack(
        "getsockopt: credentials of the other end",
        "SJ",
        "import socket; a, b = socket.socketpair(); a.getsockopt(1, 17, 12)",
        pooled="J",
    ),
    attack(
        "setsockopt: credentials with messages",
        "SJ",
        "import socket; a, b = socket.socketpair(); a.setsockopt(1, 16, 1)",
    ),
    attack(
        "setsockopt: a filter on a socket",
        "SJ",
        "import socket; a, b = socket.socketpair(); a.setsockopt(1, 27, 0)",
        "ENOENT",
    ),
    attack("setsockopt: a large buffer", "SJ", "import socket; a, b = socket.socketpair(); a.setsockopt(1, 7, 4096)"),
    attack("ioctl: type into the terminal", "SJ", "import fcntl; fcntl.ioctl(0, 0x5412, b'x')", "ENOTTY"),
    attack(
        "ioctl: signals of a descriptor",
        "SJ",
        "import fcntl, socket; a, b = socket.socketpair(); fcntl.ioctl(a, 0x8901, (1).to_bytes(4, 'little'))",
        "EINVAL",
        "ESRCH",
    ),
    attack("fcntl: a lease", "S", "import fcntl; fcntl.fcntl(0, 1024, 2)", "EINVAL", "EACCES", "EAGAIN", pooled="-"),
    attack(
        "fcntl: the size of a pipe", "S", "import fcntl; r, w = os.pipe(); fcntl.fcntl(w, 1031, 1 << 20)", pooled="-"
    ),
    attack("dup2: over a descriptor", "S", "os.dup2(0, 20)", pooled="-"),
    attack("close_range", "S", "call(436, 436, 500, 501, 0)", pooled="-"),
)

RESOURCES = (
    attack("memory: 3 GiB at once", "R", "need(bytearray(3 << 30) is not None)"),
    attack("memory: 3 GiB of address space", "R", "import mmap; mmap.mmap(-1, 3 << 30).close()"),
    attack(
        "threads: a hundred",
        "R",
        "import threading, time\n"
        "for _ in range(100): threading.Thread(target=time.sleep, args=(0.2,), daemon=True).start()",
    ),
    attack("descriptors: three hundred", "R", "for _ in range(150): os.pipe()"),
)

ATTACKS: dict[str, Attack] = {
    each.name: each
    for family in (
        FILES,
        WRITES,
        ENVIRONMENT,
        NETWORK,
        PROCESSES,
        MEMORY,
        NAMESPACES,
        KERNEL,
        SHARED,
        IDENTITY,
        DESCRIPTORS,
        RESOURCES,
    )
    for each in family
}
