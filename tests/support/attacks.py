"""What hostile code tries: each attack a technique and a target, harmless where it works, and the layers that stop it.

`layers` names, in order, what stops it in a sandbox; switched off one after the other, the next still does:

    S  the sealed filter: the last list of system calls, set before the first byte of the code is read
    J  the jail's filter: the list that nsjail sets for the zygote or the worker
    M  mounts: the runtime is the only tree, read-only, and holds none of this
    N  the network namespace: it has no interface, and abstract sockets of its own
    P  pid and IPC namespaces: whom it means is not there
    I  identity: a uid of its own and no capability
    R  rlimits
    E  the environment and the arguments are empty
    D  no descriptor but its channel
    L  what a sandbox cannot import

A pooled worker has no S. Where what stops it there is otherwise different, or nothing has to (`-`: it is no attack
there, since workers may read their runtime), `pooled` says so. A strict sandbox has the walls of both, S before those
of a worker; `strict` says where that is different. The targets are real: `attack_targets.py` makes them.
"""

from __future__ import annotations

from dataclasses import dataclass

PRELUDE = """
import errno, os, sys, platform
try:
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    c = vars(ctypes)
except ImportError:
    import gc
    gc.unfreeze()
    libc = next(each for each in gc.get_objects() if type(each).__name__ == "CDLL")
    c = type(libc).__init__.__globals__
X86 = MACHINE == "x86_64"
def call(x86, arm, *args):
    answer = libc.syscall(c["c_long"](x86 if X86 else arm), *[c["c_long"](a) if type(a) is int else a for a in args])
    if answer == -1:
        raise OSError(c["get_errno"](), "a system call")
    return answer
def buffer(size, data=b""):
    return c["create_string_buffer"](data, size)
def need(condition):
    if not condition:
        raise LookupError("it is not there")
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """One of them.

    Attributes:
        name: technique and target.
        code: raises where it is stopped.
        layers: see above.
        pooled: the layers in a pooled worker.
        strict: those of a sandbox in a jail of its own.
        reaches: errors that say that the kernel's code was reached, which is no less than that it works.
        machine: on which it exists; empty: on all.
    """

    name: str
    code: str
    layers: str
    pooled: str
    strict: str
    reaches: tuple[str, ...] = ()
    machine: str = ""


def attack(
    name: str, layers: str, code: str, *reaches: str, pooled: str | None = None, strict: str | None = None,
    machine: str = "",
) -> Attack:  # fmt: skip
    """An attack; in a pooled worker its layers are the same but for S, unless `pooled` says otherwise."""
    pooled = layers.replace("S", "") if pooled is None else pooled
    if strict is None:
        strict = layers if pooled == "-" or "S" not in layers else "S" + pooled
    return Attack(name, code, layers, pooled, strict, reaches, machine)


FILES = (
    attack("open: /etc/passwd", "SM", "open('/etc/passwd').close()"),
    attack("open: /etc/shadow", "SM", "open('/etc/shadow').close()"),
    attack("open: a secret by its path", "SM", "open(T['secret']).close()"),
    attack("open: a secret by a relative path", "SM", "open('../' * 12 + T['secret'].lstrip('/')).close()"),
    attack("open: the environment of this process", "SM", "open('/proc/self/environ').close()"),
    attack("open: the environment of another", "SM", "open(f\"/proc/{T['pid']}/environ\").close()"),
    attack("open: the memory of another", "SM", "open(f\"/proc/{T['pid']}/mem\").close()"),
    attack("open: symbols of the kernel", "SM", "open('/proc/kallsyms').close()"),
    attack("open: settings of the kernel", "SM", "open('/proc/sys/kernel/core_pattern').close()"),
    attack("open: /sys", "SM", "open('/sys/kernel/uevent_seqnum').close()"),
    attack("open: /dev/null", "SM", "open('/dev/null', 'w').close()"),
    attack("open: /dev/urandom", "SM", "open('/dev/urandom', 'rb').close()"),
    attack("open: /dev/ptmx", "SM", "open('/dev/ptmx', 'rb').close()"),
    attack("openat2: a secret", "SJM", "call(437, 437, -100, T['secret'].encode(), buffer(24), 24)"),
    attack(
        "name_to_handle_at: a secret",
        "SJM",
        "call(303, 264, -100, T['secret'].encode(), buffer(136, b'\\x80'), buffer(8), 0)",
    ),
    attack("open_by_handle_at", "SJ", "call(304, 265, -1, buffer(136, b'\\x08'), 0)", "EBADF", "EINVAL", pooled="J"),
    attack("listdir: /etc", "SM", "os.listdir('/etc')"),
    attack("listdir: /proc", "SM", "os.listdir('/proc')"),
    attack("listdir: the root", "S", "os.listdir('/')", pooled="-"),
    attack("open: the runtime", "S", "open(os.__file__).close()", pooled="-"),
    attack("stat: a secret", "SM", "os.stat(T['secret'])"),
    attack("access: a secret", "SM", "need(os.access(T['secret'], os.F_OK))"),
    attack("readlink: the program of this process", "SM", "os.readlink('/proc/self/exe')"),
    attack("statx: a secret", "SM", "call(332, 291, -100, T['secret'].encode(), 0, 0x7ff, buffer(256))"),
    attack("statfs: the root", "SJ", "os.statvfs('/')"),
    attack("getxattr: a secret", "SJM", "os.listxattr(T['secret'])"),
    attack("setxattr: a folder", "SJM", "os.setxattr(T['folder'], 'user.x', b'1')", "ENOTSUP"),
    attack("inotify: /etc", "SJ", "call(294, 26, 0)"),
    attack("fanotify", "SJI", "call(300, 262, 0, 0)"),
    attack("chdir: /", "SJ", "os.chdir('/')"),
    attack("getcwd", "S", "os.getcwd()", pooled="-"),
    attack("umask", "SJ", "os.umask(0o22)"),
)

WRITES = (
    attack("create: in a folder of all", "SM", "open(T['folder'] + '/new', 'w').close()"),
    attack("create: in /tmp", "SM", "open('/tmp/homing-attack', 'w').close()"),
    attack("create: in the root", "SM", "open('/homing-attack', 'w').close(); os.unlink('/homing-attack')"),
    attack("O_TMPFILE: in a folder of all", "SM", "os.close(os.open(T['folder'], os.O_TMPFILE | os.O_RDWR))"),
    attack("mkdir: in a folder of all", "SJM", "os.mkdir(T['folder'] + '/d')"),
    attack("mkdir: in the root", "SJM", "os.mkdir('/homing-attack'); os.rmdir('/homing-attack')"),
    attack("symlink: to a secret", "SJM", "os.symlink(T['secret'], T['folder'] + '/link')"),
    attack("link: to a secret", "SJM", "os.link(T['secret'], T['folder'] + '/hard')"),
    attack("unlink: of another", "SJM", "os.unlink(T['folder'] + '/old')"),
    attack("rename: of another", "SJM", "os.rename(T['folder'] + '/kept', T['folder'] + '/kept2')"),
    attack("mkfifo: in a folder of all", "SJM", "os.mkfifo(T['folder'] + '/fifo')"),
    attack("mknod: a device", "SJM", "os.mknod(T['folder'] + '/dev', 0o20600, os.makedev(1, 3))"),
    attack("chmod: a secret", "SJM", "os.chmod(T['secret'], 0o644)"),
    attack("chown: a secret", "SJM", "os.chown(T['secret'], 0, 0)"),
    attack("truncate: of another", "SJM", "os.truncate(T['folder'] + '/long', 0)"),
    attack("utime: a secret", "SJM", "os.utime(T['secret'])"),
    attack("memfd_create", "SJ", "os.close(os.memfd_create('x'))"),
    attack("memfd_secret", "SJ", "call(447, 447, 0)", "ENOSYS"),
    attack("copy_file_range: between pipes", "SJ", "call(326, 285, 0, 0, 0, 0, 1, 0)", "EBADF", "EINVAL"),
    attack(
        "splice: pipes", "SJ", "r, w = os.pipe(); s, t = os.pipe(); os.write(w, b'x'); call(275, 76, r, 0, t, 0, 1, 0)"
    ),
    attack("tee: pipes", "SJ", "r, w = os.pipe(); s, t = os.pipe(); os.write(w, b'x'); call(276, 77, r, t, 1, 0)"),
    attack("vmsplice: memory into a pipe", "SJ", "r, w = os.pipe(); call(278, 75, w, 0, 0, 0)"),
    attack("sendfile: to a pipe", "SJ", "r, w = os.pipe(); os.sendfile(w, 0, 0, 1)", "EINVAL", "ESPIPE"),
    attack("fallocate", "SJ", "r, w = os.pipe(); os.posix_fallocate(w, 0, 1)", "ESPIPE", "EBADF"),
    attack("flock", "SJ", "import fcntl; r, w = os.pipe(); fcntl.flock(r, 6)"),
    attack("fchmod", "SJ", "r, w = os.pipe(); os.fchmod(r, 0o600)"),
    attack("fsync", "SJ", "os.fsync(0)", "EINVAL"),
)

ENVIRONMENT = (
    attack("environ: a secret", "E", "need('HOMING_ATTACK_SECRET' in os.environ)"),
    attack(
        "environ: by the C library", "E", "f = libc.getenv; f.restype = c['c_char_p']; need(f(b'HOMING_ATTACK_SECRET'))"
    ),
    attack("descriptors: one that was left open", "D", "need(os.read(9, 6) == b'secret')"),
    attack(
        "descriptors: any above the channel",
        "D",
        "import select; p = select.poll(); [p.register(fd) for fd in range(4, 200)]\n"
        "need(any(not state & select.POLLNVAL for _, state in p.poll(0)))",
        pooled="-",
    ),
    attack("descriptors: write to stdout", "D", "os.write(1, b'x')", pooled="-"),
    attack("uname: the kernel's version", "S", "os.uname()", pooled="-"),
    attack("sysinfo: memory of the machine", "S", "call(99, 179, buffer(200))", pooled="-"),
    attack("sysconf: processors, by /sys", "SM", "os.listdir('/sys/devices/system/cpu')"),
    attack("import: ctypes", "L", "import ctypes", pooled="-"),
)

NETWORK = (
    attack("TCP: 127.0.0.1", "SJN", "import socket; socket.create_connection(('127.0.0.1', T['tcp']), 1).close()"),
    attack("TCP: ::1", "SJN", "import socket; s = socket.socket(socket.AF_INET6); s.connect(('::1', T['tcp6']))"),
    attack(
        "TCP: the metadata service",
        "SJN",
        "import socket; s = socket.socket(); s.setblocking(False); s.connect(('169.254.169.254', 80))",
        "EINPROGRESS",
    ),
    attack("TCP: listen", "SJ", "import socket; s = socket.socket(); s.bind(('', 0)); s.listen()"),
    attack("UDP: 127.0.0.1", "SJN", "import socket; s = socket.socket(2, 2); s.sendto(b'x', ('127.0.0.1', T['udp']))"),
    attack("UDP: a name server", "SJN", "import socket; s = socket.socket(2, 2); s.sendto(b'x', ('8.8.8.8', 53))"),
    attack(
        "UDP: broadcast",
        "SJN",
        "import socket; s = socket.socket(2, 2); s.setsockopt(1, 6, 1); s.sendto(b'x', ('255.255.255.255', 9))",
    ),
    attack("raw: ICMP", "SJI", "import socket; socket.socket(2, 3, 1)"),
    attack("packet sockets", "SJI", "import socket; socket.socket(17, 3, 0)"),
    attack("netlink: routes", "SJ", "import socket; socket.socket(16, 3, 0)"),
    attack("netlink: audit", "SJ", "import socket; socket.socket(16, 3, 9)", "EPROTONOSUPPORT"),
    attack("vsock", "SJ", "import socket; socket.socket(40, 1, 0)", "EAFNOSUPPORT"),
    attack("the kernel's cryptography", "SJ", "import socket; socket.socket(38, 5, 0)", "EAFNOSUPPORT"),
    attack("unix: an abstract socket", "SJN", "import socket; s = socket.socket(1); s.connect('\\0' + T['abstract'])"),
    attack("unix: a socket in the file system", "SJM", "import socket; s = socket.socket(1); s.connect(T['socket'])"),
    attack(
        "unix: an address for a pair that is allowed",
        "SN",
        "import socket; a, b = socket.socketpair(1, 2); a.sendto(b'x', '\\0' + T['datagrams'])",
        pooled="N",
    ),
    attack("interfaces: by ioctl", "SJ", "import socket; socket.if_nameindex()"),
    attack("io_uring_setup", "SJR", "call(425, 425, 1, buffer(120))", "EINVAL", "ENOSYS"),
    attack("io_uring_register", "SJ", "call(427, 427, -1, 0, 0, 0)", "EBADF", "EINVAL", "ENOSYS"),
    attack("bind: a pair", "SJ", "import socket; a, b = socket.socketpair(); a.bind('\\0homing-attack')", "EINVAL"),
    attack("accept: a pair", "SJ", "import socket; a, b = socket.socketpair(); a.accept()", "EINVAL", "EOPNOTSUPP"),
    attack(
        "connect: a pair", "SJN", "import socket; a, b = socket.socketpair(1, 2); a.connect('\\0' + T['datagrams'])"
    ),
)
