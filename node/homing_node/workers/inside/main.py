"""The worker process: the channel on descriptor 3, one loop, and a thread whose beats say that the process lives."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NoReturn

from homing.compat import outbound
from homing.levels import ERROR
from homing.tuning import allocator_trim
from homing_node.workers.inside import channel, limits, vfs
from homing_node.workers.inside.framing import MessageTooLarge
from homing_node.workers.inside.loops import WorkerLoop
from homing_node.workers.inside.output import Output, logging_at_levels
from homing_node.workers.inside.wire import Wire
from homing_node.workers.inside.worker import Worker

CHANNEL_FD = 3


def serve(sock: socket.socket, trim: Callable[[], None] = lambda: None, *, take_output: bool = True) -> None:
    """Be the worker at the other end of a socket until it closes.

    Args:
        sock: the socket.
        trim: asks the allocator to give unused memory back.
        take_output: whether what is printed goes to the node.
    """
    loop = WorkerLoop()
    worker = Worker(loop, trim)
    running = True

    def closed(_reason: str) -> None:
        nonlocal running
        running = False
        loop.stop()

    wire = worker.wire = Wire(sock, loop, worker.on_message, closed)
    wire.start()
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(wire, worker, stop), name="beat", daemon=True)
    beat.start()
    printing = ExitStack()
    if take_output:
        sys.stdout = Output("stdout", worker.emit)
        sys.stderr = Output("stderr", worker.emit)
        printing.enter_context(logging_at_levels())
    try:
        while running:
            _run(loop, worker)
    finally:
        printing.close()
        stop.set()
        beat.join()
        worker.end_all()
        loop.close()


def _run(loop: Any, worker: Worker) -> None:
    """Object code cannot stop the loop: what SystemExit unwound is entered again."""
    try:
        loop.run_forever()
    except (SystemExit, KeyboardInterrupt) as error:
        worker.emit(None, "error", f"object code raised {type(error).__name__} in a callback", ERROR)


def _beat(wire: Wire, worker: Worker, stop: threading.Event) -> None:
    while not stop.wait(limits.beat_interval_s):
        try:
            wire.send_from_thread((channel.BEAT, worker.turns))
        except (MessageTooLarge, OSError, RuntimeError):  # RuntimeError: the loop has closed meanwhile
            return


def main() -> NoReturn:
    """The entry point of the process."""
    threading.stack_size(limits.thread_stack_bytes)
    gc.set_threshold(limits.collector_threshold)
    vfs.configure_process()
    outbound.install()
    serve(socket.socket(fileno=CHANNEL_FD), allocator_trim())
    os._exit(0)  # threads of object code cannot keep the process


if __name__ == "__main__":
    main()
