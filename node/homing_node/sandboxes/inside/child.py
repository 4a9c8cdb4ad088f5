"""A sandbox, from its fork to its end: it gives up all that a process may do, and only then reads what it shall run."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from homing.values import from_stored
from homing_node.sandboxes.inside import limits, preloaded
from homing_node.sandboxes.inside.evaluation import evaluate
from homing_node.sandboxes.inside.kernel import Seal
from homing_node.sandboxes.inside.orders import Order
from homing_node.sandboxes.inside.talk import CHANNEL_FD, FAILURE, OUTPUT, RUN, STDERR, STDOUT
from homing_node.workers.inside.framing import Inbox, Outbox

EXIT_NOT_SEALED = 77
EXIT_BROKEN = 78

Message = tuple[Any, ...]


class Output(io.RawIOBase):
    """One of the streams that code prints to: what is written goes to the node.

    Args:
        send: sends a message.
        stream: STDOUT or STDERR.
    """

    def __init__(self, send: Callable[[Message], None], stream: int) -> None:
        self._send, self._stream = send, stream

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any, /) -> int:
        """Send bytes."""
        piece = bytes(data)
        self._send((OUTPUT, self._stream, piece))
        return len(piece)


def text_output(send: Callable[[Message], None], stream: int) -> io.TextIOWrapper:
    """A text stream that gathers what is printed into pieces."""
    buffered = io.BufferedWriter(Output(send, stream), limits.output_piece_bytes)
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace")


def live(order: Order, channel: int, seal: Seal) -> NoReturn:
    """Be a sandbox; called in the child of a fork.

    Args:
        order: what it may use.
        channel: its end of the channel.
        seal: the filter, made ready by the zygote.
    """
    try:
        _give_up(order, channel, seal)
    except BaseException:
        os._exit(EXIT_NOT_SEALED)
    try:
        if not _waits():
            rehearse()
        _serve()
    finally:
        os._exit(EXIT_BROKEN)


def _give_up(order: Order, channel: int, seal: Seal) -> None:
    """Keep /dev/null, the channel, and nothing else."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(channel, CHANNEL_FD, inheritable=False)
    os.closerange(CHANNEL_FD + 1, limits.files_max + 32)
    os.dup2(0, 1)  # /dev/null, opened for reading: what is written there fails
    os.dup2(0, 2)
    if order.uid:
        os.setresgid(order.uid, order.uid, order.uid)
        os.setresuid(order.uid, order.uid, order.uid)
    seal.drop_capabilities()
    for what, most in (
        (resource.RLIMIT_AS, order.address_space_bytes),
        (resource.RLIMIT_CPU, order.cpu_s),
        (resource.RLIMIT_NPROC, limits.processes_max),
        (resource.RLIMIT_NOFILE, limits.files_max),
    ):
        resource.setrlimit(what, (most, most))
    preloaded.hide()
    seal.close()


def _waits() -> bool:
    """Whether there is something to do already."""
    poll = select.poll()
    poll.register(CHANNEL_FD, select.POLLIN)
    return bool(poll.poll(0))


def rehearse() -> None:
    """Run a little of everything: the pages of memory that it writes to are the sandbox's own before it has work."""
    outbox = Outbox()
    printed = text_output(outbox.put, STDOUT)
    printed.write("touch")
    printed.flush()
    outbox.put(evaluate("import json\ndef f(n):\n    return {'n': [n, str(n)]}\nf(1)", {"n": 1}, 1_000))
    outbox.take()
    evaluate("1 / 0", {}, 1_000)


class _Channel:
    """The sandbox's end: it waits for whatever it does."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._lock = threading.Lock()  # threads of the code print, too

    def receive(self) -> list[Any]:
        """The next message; the process ends where the node has gone."""
        while True:
            data = os.read(CHANNEL_FD, limits.read_bytes)
            if not data:
                os._exit(0)
            messages = self._inbox.feed(data)
            if messages:
                return messages[0]

    def send(self, message: Message) -> None:
        """Write a message."""
        with self._lock:
            self._outbox.put(message)
            while data := self._outbox.take():
                rest = memoryview(data)
                while rest:
                    rest = rest[os.write(CHANNEL_FD, rest) :]


def _serve() -> None:
    channel = _Channel()
    kind, code, arguments, given, result_bytes_max = channel.receive()
    if kind != RUN:
        return
    threading.stack_size(limits.thread_stack_bytes)
    sys.stdin = io.TextIOWrapper(io.BytesIO(given), encoding="utf-8", errors="replace")
    sys.stdout, sys.stderr = text_output(channel.send, STDOUT), text_output(channel.send, STDERR)
    out, err = sys.stdout, sys.stderr
    answer = evaluate(code, from_stored(arguments), result_bytes_max)
    _flush(out, err)
    try:
        channel.send(answer)
    except MemoryError:
        channel.send((FAILURE, "memory", "MemoryError", "", ""))
    os._exit(0)


def _flush(*streams: io.TextIOWrapper) -> None:
    for stream in streams:
        with contextlib.suppress(Exception):  # the code closed it, or left it with what cannot be sent
            stream.flush()
