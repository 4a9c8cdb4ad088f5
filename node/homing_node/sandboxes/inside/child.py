"""A sandbox, from its fork to its end: it gives up all that a process may do, and only then reads what it shall run."""

from __future__ import annotations

import contextlib
import io
import os
import random
import resource
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside import dynamic, limits
from homing_node.sandboxes.inside.asking import Asker
from homing_node.sandboxes.inside.env import env_of
from homing_node.sandboxes.inside.evaluation import evaluate
from homing_node.sandboxes.inside.kernel import Seal
from homing_node.sandboxes.inside.orders import Order
from homing_node.sandboxes.inside.talk import CHANNEL_FD, CODE, FAILURE, MEMORY, OUTPUT, RUN, STDERR, STDOUT
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


class LiveText(io.TextIOWrapper):
    """A text stream whose lines are sent as they are printed; when there are many, some at a time."""

    _lines_left = limits.live_lines
    _due_s = 0.0

    def write(self, text: str, /) -> int:
        """Write text, and send what there is if it is time."""
        count = super().write(text)
        if "\n" in text:
            now_s = time.monotonic()
            self._lines_left -= 1
            if self._lines_left >= 0 or now_s >= self._due_s:
                self._due_s = now_s + limits.live_pause_s
                self.flush()
        return count


def text_output(send: Callable[[Message], None], stream: int, *, live: bool = False) -> io.TextIOWrapper:
    """A text stream that gathers what is printed into pieces; with `live`, into small ones."""
    buffered = io.BufferedWriter(Output(send, stream), limits.output_piece_bytes)
    kind = LiveText if live else io.TextIOWrapper
    return kind(buffered, encoding="utf-8", errors="backslashreplace")


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
    os.dup2(channel, CHANNEL_FD, inheritable=False)
    os.closerange(CHANNEL_FD + 1, limits.files_max + 32)
    os.dup2(0, 1)  # /dev/null, opened for reading: what is written there fails
    os.dup2(0, 2)
    random.seed()
    if order.uid:  # who gives up uid 0 has no capability any more: `kernel.keep_no_inheritable`
        os.setresgid(order.uid, order.uid, order.uid)
        os.setresuid(order.uid, order.uid, order.uid)
    else:
        seal.drop_capabilities()
    for what, most in (
        (resource.RLIMIT_AS, order.address_space_bytes),
        (resource.RLIMIT_CPU, order.cpu_s),
        (resource.RLIMIT_NPROC, limits.processes_max),
        (resource.RLIMIT_NOFILE, limits.files_max),
    ):
        resource.setrlimit(what, (most, most))
    seal.close()


def _waits() -> bool:
    """Whether there is something to do already."""
    poll = select.poll()
    poll.register(CHANNEL_FD, select.POLLIN)
    return bool(poll.poll(0))


def rehearse() -> None:
    """Do all that a run does: the pages of memory that it writes to are the sandbox's own before it has work."""
    outbox = Outbox()
    nothing = to_stored({})
    for code in ("import json\nprint(json.dumps({'n': [1, 'x']}))\ndef f(n):\n    return n + 1\nf(1)", "1 / 0", "2"):
        perform(code, nothing, b"", 1_000, outbox.put)
        Inbox().feed(outbox.take())


def perform(
    code: str, arguments: bytes, given: bytes, result_bytes_max: int, send: Callable[[Message], None],
    *, live: bool = False, granted: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Run code, and send what it prints, with `live` as it prints it, and what becomes of it.

    `granted` are names that it finds defined, beside its arguments.
    """
    sys.stdin = io.TextIOWrapper(io.BytesIO(given), encoding="utf-8", errors="replace")
    out, err = (text_output(send, each, live=live) for each in (STDOUT, STDERR))
    sys.stdout, sys.stderr = out, err
    answer = evaluate(code, from_stored(arguments) | (granted or {}), result_bytes_max)
    _flush(out, err)
    try:
        send(answer)
    except MemoryError:
        send((FAILURE, MEMORY, "MemoryError", "", ""))


class _Channel:
    """The sandbox's end: it waits for whatever it does."""

    def __init__(self) -> None:
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._lock = threading.Lock()  # threads of the code print, too
        self._came: deque[list[Any]] = deque()

    def receive(self) -> list[Any]:
        """The next message; the process ends where the node has gone."""
        while not self._came:
            self._read()
        return self._came.popleft()

    def come(self) -> Sequence[list[Any]]:
        """What has come, without waiting for more."""
        poll = select.poll()
        poll.register(CHANNEL_FD, select.POLLIN)
        if poll.poll(0):
            self._read()
        messages, self._came = self._came, deque()
        return messages

    def _read(self) -> None:
        data = os.read(CHANNEL_FD, limits.read_bytes)
        if not data:
            os._exit(0)
        self._came.extend(self._inbox.feed(data))

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
    first = channel.receive()
    if first[0] == CODE:
        dynamic.serve(first, channel.come, channel.send)
    elif first[0] == RUN:
        _, code, arguments, given, result_bytes_max, live, offers = first
        granted = {"env": env_of(offers, Asker(channel.send, channel.come))} if offers else None
        perform(code, arguments, given, result_bytes_max, channel.send, live=live, granted=granted)
        os._exit(0)


def _flush(*streams: io.TextIOWrapper) -> None:
    for stream in streams:
        with contextlib.suppress(Exception):  # the code closed it, or left it with what cannot be sent
            stream.flush()
