"""Work on many slots at once, as `backup`, `restore` and `verify` do it: tried again, counted, ended by an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TypeVar

import click

from homing.cli.limits import PROGRESS_S, SLOT_PATIENCE_S, SLOT_PAUSE_S, SLOTS_AT_ONCE
from homing.errors import NotOwner, Unavailable

_Slot = TypeVar("_Slot")
_Done = TypeVar("_Done")


class Stopped(Exception):
    """Another slot failed, or the command was interrupted."""


class Stop:
    """Tells work in other threads to end."""

    def __init__(self) -> None:
        self._asked = threading.Event()

    def ask(self) -> None:
        """End soon."""
        self._asked.set()

    def check(self) -> None:
        """Called between two steps.

        Raises:
            Stopped: it was asked for.
        """
        if self._asked.is_set():
            raise Stopped

    def pause(self) -> None:
        """Wait before another try."""
        self._asked.wait(SLOT_PAUSE_S)


def patiently(work: Callable[[], _Done], stop: Stop) -> _Done:
    """Do it again while the slot moves or its node is away, for `SLOT_PATIENCE_S`.

    Raises:
        HomingError: what it raised last, or what trying again does not help.
        Stopped: see `Stop`.
    """
    end = time.monotonic() + SLOT_PATIENCE_S
    while True:
        stop.check()
        try:
            return work()
        except (Unavailable, NotOwner):
            if time.monotonic() > end:
                raise
        stop.pause()


def all_slots(
    slots: Sequence[_Slot], work: Callable[[_Slot, Stop], _Done], told: Callable[[Iterable[_Done]], str]
) -> list[_Done]:
    """Do some work for every slot, `SLOTS_AT_ONCE` at a time, and say on standard error how far it is.

    Args:
        slots: what is to be done.
        work: for one of them; in a thread.
        told: sums up what was done, for people.

    Raises:
        HomingError: the first that a slot raised; the others were stopped.
    """
    done: list[_Done] = []
    stop = Stop()
    said = time.monotonic()
    with ThreadPoolExecutor(SLOTS_AT_ONCE) as pool:
        left = {pool.submit(work, slot, stop) for slot in slots}
        try:
            while left:
                ended, left = wait(left, PROGRESS_S, FIRST_COMPLETED)
                done.extend(future.result() for future in ended)
                if left and time.monotonic() - said >= PROGRESS_S:
                    said = time.monotonic()
                    click.echo(f"{len(done)} of {len(slots)} slots: {told(done)}", err=True)
        except BaseException:
            stop.ask()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return done


def size_text(count: int) -> str:
    """A number of bytes for people.

    Example:
        >>> size_text(1_536)
        '1.5 KiB'
    """
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB"]
    while size >= 1_024 and len(units) > 1:
        size /= 1_024
        units.pop(0)
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def objects_text(count: int) -> str:
    """A number of objects for people.

    Example:
        >>> objects_text(1)
        '1 object'
    """
    return f"{count} object{'' if count == 1 else 's'}"
