"""A sandbox that no zygote has forked: a program of its own in a jail of its own, which runs one code.

It says that it has come up, learns what it may use, and is from there on what a forked one is (`child.live`).
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from typing import NoReturn

from homing_node.sandboxes.inside import allowed, child, javascript, kernel, limits, preloaded
from homing_node.sandboxes.inside.orders import ORDER_BYTES, UP, Order
from homing_node.sandboxes.inside.talk import CHANNEL_FD


def main() -> NoReturn:
    """The entry point of the process; its arguments are modules that it is to import, besides the standard library."""
    preloaded.load(sys.argv[1:])
    threading.stack_size(limits.thread_stack_bytes)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kernel.forbid_new_privileges()
    child.rehearse(child.GOES_WELL, child.GOES_WRONG, child.GOES_WELL)
    preloaded.hide()
    os.write(CHANNEL_FD, UP)
    order = os.read(CHANNEL_FD, ORDER_BYTES)  # the node sends it in one piece, and nothing before
    if not order:
        os._exit(0)  # it has gone
    child.live(Order.unpack(order), os.dup(CHANNEL_FD), kernel.Seal(allowed.sealed()), javascript.Engine())


if __name__ == "__main__":
    main()
