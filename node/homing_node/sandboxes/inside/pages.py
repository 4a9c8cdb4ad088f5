"""Where in memory a zygote's sandboxes will write, and how much there is to tell a fork: both are what a start costs.

A page that a sandbox writes to becomes a copy of its own at that moment: what it makes is to lie close together. And a
fork goes through every page that there is, or through large ones in a fraction of that time.
"""

from __future__ import annotations

import gc

from homing_node.sandboxes.inside import kernel

_LARGE_BYTES = 2 << 20  # where machines have large pages of another size, the kernel says no
# Of the interpreter's allocator: objects of one size, in steps of so much up to so much, come from pools of their own.
_STEP_BYTES, _SMALL_BYTES = 16, 512
_POOL_BYTES = 16 * 1024
_OVERHEAD_BYTES = b"".__sizeof__()


def make_large() -> int:
    """Have the memory of all objects in large pages, as far as it lies together; before `gc.freeze`, which hides them.

    A sandbox that writes there copies a small page, as ever: the kernel then takes the large one as so many small ones,
    and still goes through them at once in the next fork.

    Returns:
        How many large pages there are.
    """
    chunks = {id(each) // _LARGE_BYTES for each in gc.get_objects()}
    return sum(kernel.collapse(chunk * _LARGE_BYTES, _LARGE_BYTES) for chunk in chunks)


def fill_holes() -> list[bytes]:
    """Use up what is free between objects: from then on those of one size come one after the other from empty pools.

    Returns:
        What fills them, as long as it is there.
    """
    filling: list[bytes] = []
    for size in range(3 * _STEP_BYTES, _SMALL_BYTES + 1, _STEP_BYTES):
        in_row, before = 0, 0
        while in_row < _POOL_BYTES // size - 2:  # then these are a pool that was empty
            made = bytes(size - _OVERHEAD_BYTES)
            in_row = in_row + 1 if abs(id(made) - before) == size else 0
            before = id(made)
            filling.append(made)
        made = b""
        del filling[-in_row:]
    return filling
