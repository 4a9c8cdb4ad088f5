"""What a zygote does before it forks, so that sandboxes write to less memory: it leaves no traces."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest

from homing import http
from homing.errors import NotSupported
from homing_node.sandboxes.inside import pages, rehearsal, talk

ROW, MANY = 20, 2_000
STRAYS = 3  # something else of that size is made meanwhile


def test_a_worker_is_loaded_and_called_and_nothing_of_it_stays():
    finders, modules, streams = list(sys.meta_path), set(sys.modules), (sys.stdout, sys.stderr)
    assert [message[0] for message in rehearsal.rehearse()] == [talk.RETURN, talk.RESPOND]
    assert sys.meta_path == finders
    assert set(sys.modules) == modules
    assert (sys.stdout, sys.stderr) == streams


async def test_nobody_carries_out_requests_afterwards():
    http.let_fetch(None)
    with pytest.raises(NotSupported):
        await http.fetch("http://localhost/")


@pytest.mark.parametrize("size", [48, 112, 512])
def test_what_is_made_when_holes_are_filled_comes_in_a_row(size: int):
    fragments = _made(size, MANY)
    del fragments[::2]
    filling = pages.fill_holes()
    made = _made(size, ROW)
    in_row = sum(abs(id(after) - id(before)) == size for before, after in pairwise(made))
    assert in_row >= ROW - STRAYS
    assert filling


LARGE = """
import gc
from homing_node.sandboxes.inside import pages

objects = [[number] for number in range(500_000)]
moved = pages.make_large()
with open("/proc/self/smaps_rollup") as file:
    kib = next(int(line.split()[1]) for line in file if line.startswith("AnonHugePages"))
print(moved, kib, sum(number for number, in objects), sum(map(len, objects)))
"""


def test_objects_are_in_large_pages_and_what_they_were():
    told = subprocess.run([sys.executable, "-c", LARGE], check=True, capture_output=True, text=True).stdout
    moved, kib, total, count = map(int, told.split())
    assert moved >= 1  # where there is none, no fork becomes cheaper
    assert kib == moved * 2_048
    assert (total, count) == (499_999 * 250_000, 500_000)


def _made(size: int, count: int) -> list[bytes]:
    return [bytes(size - b"".__sizeof__()) for _ in range(count)]
