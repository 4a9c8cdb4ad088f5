"""The input gate: while a section holds it, nothing outside that section goes on.

Sections nest: one that is begun inside another runs at once, its siblings wait for it in the order they came.
The gate knows nothing of events or tasks; it says who may go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextvars import ContextVar

current_section: ContextVar[Section | None] = ContextVar("current_section", default=None)


class Section:
    """A stretch of an activation's work that others wait for; the root section is the gate itself."""

    __slots__ = ("active", "child", "parent", "waiting")

    def __init__(self, parent: Section | None) -> None:
        self.parent = parent
        self.child: Section | None = None  # Invariant: at most one at a time holds its parent
        self.waiting: deque[tuple[Section, Callable[[], None]]] | None = None
        self.active = parent is None


class InputGate:
    """The gate of one activation."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root = Section(None)

    @property
    def is_open(self) -> bool:
        """Whether no section holds the gate."""
        return self._root.child is None

    def admits(self) -> bool:
        """Whether the current context may go on: the gate is open, or the context belongs to the innermost section."""
        holder = self._root.child
        if holder is None:
            return True
        while holder.child is not None:
            holder = holder.child
        section = current_section.get()
        while section is not None:
            if section is holder:
                return True
            section = section.parent
        return False

    def begin(self, on_start: Callable[[], None]) -> Section:
        """Ask for a section inside the current one. From now on the gate is held, whether it has started or not.

        Args:
            on_start: called when it starts, which may be before this returns.
        """
        parent = self._innermost()
        section = Section(parent)
        if parent.child is None:
            self._start(section, on_start)
        else:
            if parent.waiting is None:
                parent.waiting = deque()
            parent.waiting.append((section, on_start))
        return section

    def _innermost(self) -> Section:
        """The current section if it is one of this gate's and has not ended, else the nearest around it."""
        section = current_section.get()
        while section is not None and not section.active:
            section = section.parent
        above = section
        while above is not None and above.parent is not None:
            above = above.parent
        return section if section is not None and above is self._root else self._root

    def _start(self, section: Section, on_start: Callable[[], None]) -> None:
        section.active = True
        if section.parent is not None:
            section.parent.child = section
        on_start()

    def end(self, section: Section) -> None:
        """A section has ended, or will never start: someone else may go on now."""
        parent = section.parent
        if parent is None:
            return
        if not section.active:
            if parent.waiting is not None:
                parent.waiting = deque(entry for entry in parent.waiting if entry[0] is not section)
            return
        section.active = False
        parent.child = None
        if parent.waiting:
            self._start(*parent.waiting.popleft())
