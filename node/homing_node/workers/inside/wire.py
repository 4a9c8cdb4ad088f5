"""The worker's end of the channel. Its main loop reads and writes; a second thread may write too, while the loop is
busy with an object's code, so writing is under a lock and does not go through the loop's transport.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

from homing_node.workers.inside import limits
from homing_node.workers.inside.framing import BadFrame, Inbox, Outbox


class Wire:
    """Frames over a connected, non-blocking socket.

    Args:
        sock: the socket; the wire owns it from now on.
        loop: the main loop. Everything but `send_from_thread` is called in its thread.
        on_message: called with each message.
        on_close: called once, with the reason, when the other side is gone or broke the framing.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[list[Any]], None],
        on_close: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = loop
        self._on_message = on_message
        self._on_close = on_close
        self._inbox = Inbox()
        self._buffer = memoryview(bytearray(limits.receive_bytes))
        self._lock = threading.Lock()  # guards the outbox, _unsent, and writing
        self._outbox = Outbox()
        self._unsent = memoryview(b"")  # of the chunk that is being written
        self._flush_scheduled = False
        self._blocked = False  # the loop waits for the socket to take more
        self._reading = False
        self.closed = False

    def start(self) -> None:
        """Begin to read."""
        self._resume_reading()

    def send(self, message: tuple[Any, ...]) -> None:
        """Queue a message; it is written when the loop's turn ends.

        Raises:
            MessageTooLarge: it is above the bound.
        """
        with self._lock:
            self._outbox.put(message)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def send_from_thread(self, message: tuple[Any, ...]) -> None:
        """Write a message from another thread, at once if the socket takes it."""
        with self._lock:
            self._outbox.put(message)
            self._pump()
            waiting = bool(self._unsent) or self._outbox.queued_bytes > 0
        if waiting and not self.closed:
            self._loop.call_soon_threadsafe(self._flush)

    def _pump(self) -> None:
        """Write one chunk, or what is left of one. Called under the lock."""
        if not self._unsent:
            self._unsent = memoryview(self._outbox.take())
        try:
            while self._unsent:
                sent = self._socket.send(self._unsent)
                self._unsent = self._unsent[sent:]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._unsent = memoryview(b"")  # the reader notices that the other side is gone

    def _flush(self) -> None:
        self._flush_scheduled = False
        if self.closed:
            return
        with self._lock:
            self._pump()
            blocked = bool(self._unsent)
            queued_bytes = self._outbox.queued_bytes + len(self._unsent)
        if blocked != self._blocked:
            self._blocked = blocked
            if blocked:
                self._loop.add_writer(self._socket.fileno(), self._flush)
            else:
                self._loop.remove_writer(self._socket.fileno())
        if queued_bytes and not blocked and not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)  # pieces of a large message, one in each turn of the loop
        if queued_bytes > limits.unsent_bytes_max:
            self._pause_reading()
        elif not self._reading:
            self._resume_reading()

    def _pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def _resume_reading(self) -> None:
        self._reading = True
        self._loop.add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            received = self._socket.recv_into(self._buffer)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"lost: {error}")
            return
        if not received:
            self.close("the other side closed")
            return
        try:
            for message in self._inbox.feed(self._buffer[:received]):
                self._on_message(message)
        except BadFrame as error:
            self.close(f"protocol error: {error}")

    def close(self, reason: str) -> None:
        """End the channel. Idempotent."""
        if self.closed:
            return
        self.closed = True
        self._pause_reading()
        if self._blocked:
            self._loop.remove_writer(self._socket.fileno())
        with self._lock:
            self._socket.close()
        self._on_close(reason)
