"""The zygote: it has imported everything, and forks a sandbox whenever its node says so.

It never reads a tenant's bytes. It is the first process of its jail, so that all of its sandboxes die with it.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys
import threading
from typing import NoReturn

from homing_node.sandboxes.inside import allowed, child, javascript, kernel, limits, pages, preloaded, rehearsal
from homing_node.sandboxes.inside.orders import (
    CONTROL_FD,
    ENDED,
    FAILED,
    FORKED,
    ORDER_BYTES,
    READY,
    Notice,
    Order,
)
from homing_node.workers.inside import vfs


class Zygote:
    """Forks sandboxes.

    Args:
        control: the socket that orders come from.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._seal = kernel.Seal(allowed.sealed())
        self._engine = javascript.Engine()
        self._forking = kernel.Forking()
        self._children: dict[int, int] = {}  # pid in this jail to the number of its order
        self._filling: list[bytes] = []
        self._untold: list[tuple[int, int]] = []  # number and pidfd of those of which the node has not heard

    def serve(self) -> NoReturn:
        """Take orders until the node has gone."""
        woken, wake = socket.socketpair()
        for end in (woken, wake):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, _noted)  # else there is nothing to wake up for
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(woken, select.POLLIN)
        gc.collect()
        pages.make_large()
        gc.freeze()
        self._filling = pages.fill_holes()
        self._tell(Notice(READY))
        while True:
            ready = {fd for fd, _ in poll.poll(limits.untold_ms if self._untold else None)}
            self._tell_of_forks()
            if woken.fileno() in ready:
                woken.recv(4_096)
                self._reap()
            if self._control.fileno() in ready:
                self._take()

    def _take(self) -> None:
        packet, descriptors, _, _ = socket.recv_fds(self._control, ORDER_BYTES, 1)
        if not packet:
            os._exit(0)
        order, channel = Order.unpack(packet), descriptors[0]
        try:
            self._fork(order, channel)
        except OSError as error:
            self._tell(Notice(FAILED, order.number, error.errno or 0))
        finally:
            os.close(channel)

    def _fork(self, order: Order, channel: int) -> None:
        """Fork, and go back to sleep: what a core does for this process before the child has run, it waits for."""
        pid, pidfd = self._forking.fork()
        if pid == 0:
            child.live(order, channel, self._seal, self._engine)
        self._children[pid] = order.number
        self._untold.append((order.number, pidfd))

    def _tell_of_forks(self) -> None:
        while self._untold:
            number, pidfd = self._untold.pop(0)
            try:
                self._tell(Notice(FORKED, number), pidfd)
            finally:
                os.close(pidfd)

    def _reap(self) -> None:
        while self._children:
            pid, status, used = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            cpu_us = int((used.ru_utime + used.ru_stime) * 1e6)
            self._tell(Notice(ENDED, self._children.pop(pid), status, cpu_us, used.ru_maxrss))

    def _tell(self, notice: Notice, *descriptors: int) -> None:
        socket.send_fds(self._control, [notice.pack()], descriptors)


def _noted(_number: int, _frame: object) -> None:
    """A child has ended, of which `poll` is told."""


def main() -> NoReturn:
    """The entry point of the process; its arguments are modules that it is to import, besides the standard library."""
    preloaded.load(sys.argv[1:])
    threading.stack_size(limits.thread_stack_bytes)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kernel.drop_bounding_set()
    kernel.clear_ambient()
    kernel.keep_no_inheritable()
    kernel.forbid_new_privileges()
    vfs.configure_process()
    child.rehearse_giving_up()  # what is made at the first use of something is made once
    child.rehearse(child.GOES_WELL, child.GOES_WRONG, child.GOES_WELL)
    javascript.rehearse()
    rehearsal.rehearse()
    child.keep_from_dying()
    preloaded.hide()
    Zygote(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, CONTROL_FD)).serve()


if __name__ == "__main__":
    main()
