"""What attacks aim at, on the machine that the tests run on; and the same attacks with every layer off."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attacks import PRELUDE, Attack

BARE = """
import json, os, signal, sys
for line in sys.stdin:
    source = json.loads(line)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        names = {}
        os.dup2(os.open(os.devnull, os.O_RDWR), 1)
        try:
            exec(source, names)
            outcome = names["outcome"]
        except BaseException as error:
            outcome = repr(error)
        os.write(write, outcome.encode())
        os._exit(0)
    os.close(write)
    answer = b""
    while piece := os.read(read, 1000):
        answer += piece
    os.close(read)
    status = os.waitpid(pid, 0)[1]
    print(json.dumps(answer.decode() or f"died {status}"), flush=True)
"""
SECRET_NAME = "HOMING_ATTACK_SECRET"
LEFT_OPEN_FD = 9


def source_of(attack: Attack, targets: dict[str, Any]) -> str:
    """Code that leaves the outcome of an attack in `outcome`: that it works, or the error that stopped it."""
    body = "\n".join(f"    {line}" for line in attack.code.splitlines())
    return (
        f"T = {targets!r}\nMACHINE = {platform.machine()!r}\n{PRELUDE}\n"
        f"def attack():\n{body}\n"
        "try:\n    attack()\n    outcome = 'works'\n"
        "except OSError as error:\n    outcome = errno.errorcode.get(error.errno, type(error).__name__)\n"
        "except BaseException as error:\n    outcome = type(error).__name__\n"
    )


@contextlib.contextmanager
def targets() -> Iterator[dict[str, Any]]:
    """Everything that attacks aim at; gone at the end."""
    with contextlib.ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="homing-attacks-", dir="/tmp"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o777)
        for name in ("secret", "old", "kept", "long"):
            (folder / name).write_text("secret")
            (folder / name).chmod(0o666)
        victim = stack.enter_context(subprocess.Popen(["sleep", "600"]))
        stack.callback(victim.kill)
        yield {
            "pid": victim.pid,
            "folder": str(folder),
            "secret": str(folder / "secret"),
            "socket": str(folder / "socket"),
            "shm": _shared_memory(stack),
            **_listeners(stack, folder),
        }


def _listeners(stack: contextlib.ExitStack, folder: Path) -> dict[str, Any]:
    tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    tcp6 = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
    udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("127.0.0.1", 0))
    names: dict[str, Any] = {"tcp": tcp.getsockname()[1], "tcp6": tcp6.getsockname()[1], "udp": udp.getsockname()[1]}
    for name, kind in (("abstract", socket.SOCK_STREAM), ("datagrams", socket.SOCK_DGRAM)):
        names[name] = f"homing-{name}-{os.getpid()}"
        unix = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
        unix.bind("\0" + names[name])
        if kind == socket.SOCK_STREAM:
            unix.listen(100)
    path = stack.enter_context(socket.socket(socket.AF_UNIX))
    path.bind(str(folder / "socket"))
    path.listen(100)
    (folder / "socket").chmod(0o777)
    return names


def _shared_memory(stack: contextlib.ExitStack) -> int:
    libc = ctypes.CDLL(None)
    number = libc.shmget(0, 4096, 0o1666)
    stack.callback(libc.shmctl, number, 0, None)
    return number


class Bare:
    """A process with no layer around it, which forks for each attack."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", f"import os; os.dup2(0, 0); {_left_open()}\n{BARE}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={SECRET_NAME: "secret", "PATH": os.environ["PATH"]},
        )

    def __call__(self, attack: Attack, given: dict[str, Any]) -> str:
        """The outcome of an attack."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(source_of(attack, given)) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def _left_open() -> str:
    return f"r, w = os.pipe(); os.write(w, b'secret' * 50); os.dup2(r, {LEFT_OPEN_FD})"
