"""A sandbox, from its fork to its end: it gives up all that a process may do, and only then reads what it shall run."""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import random
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

from homing.loading_frames import Packed, decode_code
from homing.sandboxes import PYTHON, TYPESCRIPT
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside import dynamic, javascript, javascript_worker, limits, rehearsal
from homing_node.sandboxes.inside.asking import Asker
from homing_node.sandboxes.inside.env import env_of
from homing_node.sandboxes.inside.evaluation import evaluate
from homing_node.sandboxes.inside.javascript_asks import Asks
from homing_node.sandboxes.inside.kernel import Seal
from homing_node.sandboxes.inside.orders import LOADS, NOW, Order
from homing_node.sandboxes.inside.talk import CHANNEL_FD, CODE, FAILURE, MEMORY, OUTPUT, RUN, STDERR, STDOUT
from homing_node.workers.inside.framing import Inbox, Outbox

EXIT_NOT_SEALED = 77
EXIT_BROKEN = 78

Message = tuple[Any, ...]
Streams = tuple[io.TextIOWrapper, io.TextIOWrapper]

GOES_WELL = "import json\nprint(json.dumps({'n': [1, 'x']}))\ndef f(n):\n    return n + 1\nf(1)"
GOES_WRONG = "1 / 0"

# What `random.seed()` comes to, without the way there: each function on it costs a sandbox the copies of some pages.
_reseed = super(random.Random, random.seed.__self__).seed
Come = Callable[[float | None], Sequence[list[Any]]]


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


def text_outputs(send: Callable[[Message], None], *, live: bool = False) -> Streams:
    """stdout and stderr."""
    return text_output(send, STDOUT, live=live), text_output(send, STDERR, live=live)


def text_input(given: bytes) -> io.TextIOWrapper:
    """A text stream of bytes."""
    return io.TextIOWrapper(io.BytesIO(given), encoding="utf-8", errors="replace")


class Work(NamedTuple):
    """What a sandbox is to do: the parts of a RUN (`talk`)."""

    code: str
    arguments: bytes
    given: bytes
    result_bytes_max: int
    live: bool
    offers: Sequence[Sequence[Any]]
    language: str
    memory_bytes: int


def live(order: Order, channel: int, seal: Seal, engine: javascript.Engine) -> NoReturn:
    """Be a sandbox; called in the child of a fork.

    Args:
        order: what it may use.
        channel: its end of the channel.
        seal: the filter, made ready by the zygote.
        engine: of JavaScript, in case that is what it runs.
    """
    try:
        _give_up(order, channel, seal)
    except BaseException:
        os._exit(EXIT_NOT_SEALED)
    try:
        if order.rehearsal == LOADS:
            rehearsal.rehearse()
        if order.rehearsal != NOW:
            rehearse(GOES_WELL)
        _serve(engine)
    finally:
        os._exit(EXIT_BROKEN)


def _give_up(order: Order, channel: int, seal: Seal) -> None:
    """Keep /dev/null, the channel, and nothing else."""
    signal.set_wakeup_fd(-1)
    os.dup2(channel, CHANNEL_FD, inheritable=False)
    os.closerange(CHANNEL_FD + 1, limits.files_max + 32)
    os.dup2(0, 1)  # /dev/null, opened for reading: what is written there fails
    os.dup2(0, 2)
    _reseed()
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


def rehearse_giving_up() -> None:
    """Call what `_give_up` calls, to no effect: the linker has found it then, and no sandbox has to wait for that."""
    os.dup2(0, limits.files_max, inheritable=False)
    os.dup2(0, limits.files_max)
    os.closerange(limits.files_max, limits.files_max + 1)
    os.setresgid(-1, -1, -1)
    os.setresuid(-1, -1, -1)
    resource.setrlimit(resource.RLIMIT_CPU, resource.getrlimit(resource.RLIMIT_CPU))


def rehearse(*codes: str) -> None:
    """Do all that a run does: the pages of memory that it writes to are the sandbox's own before it has work."""
    ours, theirs = socket.socketpair()
    channel = _Channel(theirs.fileno())
    outbox = Outbox()
    for code in codes:
        outbox.put((RUN, code, to_stored({}), b"", 1_000, False, (), PYTHON, 0))
        ours.sendall(outbox.take())
        perform(Work(*channel.receive()[1:]), None, channel.send, text_outputs(channel.send), channel.come)
        ours.recv(limits.read_bytes)
    ours.close()
    theirs.close()
    keep_from_dying()


def keep_from_dying() -> None:
    """What a rehearsal left is replaced by the run that follows: it is not to be taken apart then, too."""
    _kept.extend((sys.stdin, sys.stdout, sys.stderr, sys.modules["__main__"], *linecache.cache.values()))
    sys.stdin, (sys.stdout, sys.stderr) = _no_input, _printed


def perform(
    work: Work, engine: javascript.Engine | None, send: Callable[[Message], None], printed: Streams,
    come: Come | None = None,
) -> None:  # fmt: skip
    """Run code, and send what it prints and what becomes of it.

    Args:
        work: what to run.
        engine: of JavaScript; None: it is Python.
        send: sends a message.
        printed: where it prints.
        come: gives the messages that have come, after so many seconds at most; None: nothing is granted.
    """
    sys.stdin = text_input(work.given) if work.given else _no_input
    sys.stdout, sys.stderr = out, err = printed
    arguments = from_stored(work.arguments)
    offers = work.offers if come is not None else ()
    if engine is None or work.language == PYTHON:
        if come is not None and offers:
            arguments["env"] = env_of(offers, Asker(send, lambda: come(0)))
        answer = evaluate(work.code, arguments, work.result_bytes_max)
    else:
        granted = javascript.Granted(offers, Asks(send, come)) if come is not None else None
        answer = javascript.evaluate(
            engine, work.code, work.language == TYPESCRIPT, {"stdin": sys.stdin.read(), **arguments},
            work.result_bytes_max, work.memory_bytes, out, err, granted,
        )  # fmt: skip
    _flush(out, err)
    try:
        send(answer)
    except MemoryError:
        send((FAILURE, MEMORY, "MemoryError", "", ""))


class _Channel:
    """The sandbox's end: it waits for whatever it does.

    Args:
        fd: the descriptor.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._lock = threading.Lock()  # threads of the code print, too
        self._came: deque[list[Any]] = deque()
        self._read_bytes = limits.first_read_bytes

    def receive(self) -> list[Any]:
        """The next message; the process ends where the node has gone."""
        while not self._came:
            self._read()
        return self._came.popleft()

    def come(self, wait_s: float | None) -> Sequence[list[Any]]:
        """What has come, after so many seconds at most; None: something has."""
        if not self._came and select.select([self._fd], [], [], wait_s)[0]:
            self._read()
        messages, self._came = self._came, deque()
        return messages

    def _read(self) -> None:
        data = os.read(self._fd, self._read_bytes)
        self._read_bytes = limits.read_bytes if len(data) == self._read_bytes else limits.first_read_bytes
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
                    rest = rest[os.write(self._fd, rest) :]


# Made before the fork: what exists already needs no code to be run that makes it.
_no_input = text_input(b"")
_channel = _Channel(CHANNEL_FD)
_printed = text_outputs(_channel.send)
_kept: list[object] = []


def _serve(engine: javascript.Engine) -> None:
    first = _channel.receive()
    if first[0] == CODE:
        code, offers, size = _code_of(first)
        if javascript_worker.is_javascript(code):
            javascript_worker.serve(engine, code, offers, size, _channel.come, _channel.send)
        dynamic.serve(code, offers, _channel.come, _channel.send)
    elif first[0] == RUN:
        work = Work(*first[1:])
        printed = text_outputs(_channel.send, live=True) if work.live else _printed
        perform(work, engine, _channel.send, printed, _channel.come)
        os._exit(0)


def _code_of(message: list[Any]) -> tuple[Packed, list[list[Any]], int]:
    """The code of a dynamic worker, what it is granted, and how long that code is in bytes."""
    data = bytearray(message[1])
    while not message[2]:
        message = _channel.receive()
        data += message[1]
    return decode_code(data), message[3], len(data)


def _flush(*streams: io.TextIOWrapper) -> None:
    for stream in streams:
        with contextlib.suppress(Exception):  # the code closed it, or left it with what cannot be sent
            stream.flush()
