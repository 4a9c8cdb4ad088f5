"""One sandbox, as its node sees it: a process that ends, and a channel of which nothing is believed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from homing_node.sandboxes import limits
from homing_node.workers.inside.framing import BadFrame, Inbox, Outbox
from homing_node.workers.inside.limits import receive_bytes
from homing_node.workers.jail_system import signal_by_pidfd


class Sandbox:
    """A process that was forked, or is about to be.

    Args:
        number: of the order.
        uid: its place among the zygote's.
        channel: the node's end, non-blocking.

    Attributes:
        pidfd: of its process; -1: not known yet, or over.
        cpu_before_s: CPU that its process had used when it came here.
        memory_before_bytes: memory that it had when it came here, most of it its zygote's.
        on_end: called once, when it is dead and reaped, or was never forked, with the wait status.
        run: what goes on in it.
        is_leaving: whether its zygote is about to go, and it with that.
    """

    __slots__ = (
        "_killed", "channel", "cpu_before_s", "cpu_us", "ended", "is_leaving", "memory_before_bytes", "memory_kib",
        "number", "on_end", "pidfd", "run", "uid",
    )  # fmt: skip

    def __init__(self, number: int, uid: int, channel: socket.socket) -> None:
        self.number = number
        self.uid = uid
        self.channel = channel
        self.pidfd = -1
        self.ended = False
        self.cpu_us = self.memory_kib = 0
        self.cpu_before_s = 0.0
        self.memory_before_bytes = 0
        self.on_end: Callable[[int], None] | None = None
        self.run: Conversation | None = None
        self.is_leaving: Callable[[], bool] = lambda: False
        self._killed = False

    def forked(self, pidfd: int) -> None:
        """Its process is there."""
        self.pidfd = pidfd
        if self._killed:
            signal_by_pidfd(pidfd, signal.SIGKILL)

    def kill(self) -> None:
        """End the process, as soon as there is one. Idempotent."""
        if not self._killed:
            self._killed = True
            if self.pidfd >= 0:
                signal_by_pidfd(self.pidfd, signal.SIGKILL)

    def end(self, status: int) -> None:
        """It is dead and reaped: give everything back."""
        if self.ended:
            return
        self.ended = True
        if self.run is not None:
            self.run.hear_out()
        self.channel.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self.on_end is not None:
            self.on_end(status)

    @property
    def pid(self) -> int:
        """Its pid on the host; 0 when it is not known, or dead."""
        if self.pidfd < 0:
            return 0
        try:
            with open(f"/proc/self/fdinfo/{self.pidfd}", encoding="ascii") as file:
                found = next((line for line in file if line.startswith("Pid:")), "Pid: 0")
        except OSError:
            return 0
        return max(0, int(found.split()[1]))


class Conversation:
    """What is said on a sandbox's channel while code runs in it. Every bound is checked before anything is kept.

    Args:
        sandbox: the channel is its.
        bytes_max: what may come in all.
        frames_max: in so many frames.
        on_message: gets each; it may raise `BadFrame`.
        on_close: called once, when the other side has closed, or broke a bound; with why.
        partial_bytes_max: what may have come of messages that are not whole yet.
    """

    __slots__ = (
        "_bytes", "_closed", "_drained", "_frames", "_inbox", "_loop", "_on_close", "_on_message", "_outbox",
        "_sandbox", "_unsent", "_writing",
    )  # fmt: skip

    def __init__(
        self, sandbox: Sandbox, bytes_max: int, frames_max: int,
        on_message: Callable[[list[Any]], None], on_close: Callable[[str], None], partial_bytes_max: int,
    ) -> None:  # fmt: skip
        self._sandbox = sandbox
        self._bytes, self._frames = bytes_max, frames_max
        self._on_message, self._on_close = on_message, on_close
        self._inbox = Inbox(message_bytes_max=partial_bytes_max)
        self._outbox = Outbox()
        self._loop = asyncio.get_running_loop()
        self._unsent = memoryview(b"")
        self._closed = self._writing = False
        self._drained: list[asyncio.Future[None]] = []

    def begin(self, message: tuple[Any, ...]) -> None:
        """Send the first message, and listen."""
        if self._closed:
            return
        self._loop.add_reader(self._sandbox.channel.fileno(), self._readable)
        self.send(message)

    def send(self, message: tuple[Any, ...]) -> None:
        """Send a message, as soon as the sandbox takes it; nothing happens when nobody listens any more."""
        if self._closed:
            return
        self._outbox.put(message)
        if not self._writing:
            self._write()

    @property
    def queued_bytes(self) -> int:
        """What was sent and is still in this process."""
        return self._outbox.queued_bytes + len(self._unsent)

    def drained(self) -> asyncio.Future[None]:
        """Done when everything is written, or nothing will be any more."""
        done = self._loop.create_future()
        if self._closed or not self._writing:
            done.set_result(None)
        else:
            self._drained.append(done)
        return done

    def allow(self, bytes_max: int, frames_max: int) -> None:
        """From now on so much may come, whatever there was left before."""
        self._bytes, self._frames = bytes_max, frames_max

    def _write(self) -> None:
        """Write what the socket takes."""
        channel = self._sandbox.channel
        try:
            while self._unsent or self._outbox.queued_bytes:
                self._unsent = self._unsent or memoryview(self._outbox.take())
                self._unsent = self._unsent[channel.send(self._unsent) :]
        except (BlockingIOError, InterruptedError):
            if not self._writing:
                self._writing = True
                self._loop.add_writer(channel.fileno(), self._write)
            return
        except OSError:
            self._unsent = memoryview(b"")  # the reader hears of the end
            self._outbox = Outbox()
        self._write_no_more()

    def _write_no_more(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._sandbox.channel.fileno())
        drained, self._drained = self._drained, []
        for done in drained:
            if not done.done():
                done.set_result(None)

    def _readable(self) -> None:
        try:
            data = self._sandbox.channel.recv(receive_bytes)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"its channel was lost: {error}")
            return
        if not data:
            self.close("it closed its channel")
            return
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._bytes -= len(data)
        if self._bytes < 0:
            self.close("it said more than it may")
            return
        try:
            for message in self._inbox.feed(data):
                self._frames -= 1
                if self._frames < 0:
                    raise BadFrame("too many frames")
                self._on_message(message)
                if self._closed:
                    return
        except BadFrame as error:
            self.close(f"it broke the protocol of its channel: {error}")

    def hear_out(self) -> None:
        """The process is dead; what it said before is still in the socket, and counts."""
        while not self._closed:
            self._readable_once()

    def _readable_once(self) -> None:
        try:
            data = self._sandbox.channel.recv(receive_bytes)
        except OSError:
            data = b""
        if data:
            self._take(data)
        else:
            self.close("it closed its channel")

    def stop(self) -> None:
        """Listen no more; `on_close` is not called."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sandbox.channel.fileno())
            self._write_no_more()

    def close(self, reason: str) -> None:
        """Listen no more, and say why. Idempotent."""
        if not self._closed:
            self.stop()
            self._on_close(reason)


def frames_max_for(output_bytes: int) -> int:
    """How many frames may say so much."""
    return limits.frames_max + output_bytes // 1024
