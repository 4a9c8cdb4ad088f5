"""Live reload: when a file of the application changes, say so once the changes have settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import watchfiles
from watchfiles import Change, DefaultFilter

from homing.cli.limits import RELOAD_DEBOUNCE_MS

# The library's own annotation names a type of an optional dependency.
_awatch = cast("Callable[..., AsyncGenerator[set[tuple[Change, str]]]]", cast("Any", watchfiles).awatch)


class Watch(DefaultFilter):
    """Which files matter: the application's own, without caches, editors' drafts and the cluster's state.

    A single file is watched through its folder, since editors replace files instead of writing into them.

    Args:
        app: the application's folder, or its one file.
        data_dir: the state, which may lie inside the application's folder.
    """

    def __init__(self, app: Path, data_dir: Path) -> None:
        self._only = str(app) if app.is_file() else None
        self.folder = app.parent if self._only else app
        super().__init__(ignore_paths=[data_dir])

    def __call__(self, change: Change, path: str) -> bool:
        """Whether this change matters."""
        return (self._only is None or path == self._only) and super().__call__(change, path)


async def changes(watch: Watch, finished: asyncio.Event) -> AsyncIterator[list[str]]:
    """The names of what changed, relative to the application, once for each burst of changes.

    Args:
        watch: what matters.
        finished: ends the watch.

    Raises:
        RuntimeError: the kernel refuses to watch, for instance because its limit of watches is reached.
    """
    async for batch in _awatch(watch.folder, watch_filter=watch, debounce=RELOAD_DEBOUNCE_MS, stop_event=finished):
        yield sorted({str(Path(path).relative_to(watch.folder)) for _, path in batch})
