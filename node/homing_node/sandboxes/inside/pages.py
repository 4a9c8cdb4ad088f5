"""Where in memory a zygote's sandboxes will write: what they make is to lie close together.

A page that a sandbox writes to becomes a copy of its own at that moment, which is most of what its start costs.
"""

from __future__ import annotations

# Of the interpreter's allocator: objects of one size, in steps of so much up to so much, come from pools of their own.
_STEP_BYTES, _SMALL_BYTES = 16, 512
_POOL_BYTES = 16 * 1024
_OVERHEAD_BYTES = b"".__sizeof__()


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
