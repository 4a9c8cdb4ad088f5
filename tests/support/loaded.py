"""Dynamic workers of a node for tests, without any object: code goes in, and calls, as its objects would send them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace
from typing import Any

from homing.errors import sandbox_error
from homing.loading import worker_code
from homing.loading_frames import FAILED, Answer, Call, Part, decode_answer, encode, encode_code, pieces_of
from homing.values import from_stored, to_stored
from homing_node.objects.frames import LOADER
from homing_node.objects.ports import Loading
from homing_node.sandboxes.loader import Loader
from homing_node.sandboxes.service import Sandboxes
from homing_placement.routing.pending import Pending
from sandboxed import sandboxes

OBJECT = 7


class Workers:
    """What objects would ask of a node.

    Attributes:
        node: its sandboxes.
        lines: what was printed: the id of the request, level, text.
    """

    def __init__(self, node: Sandboxes, loader: Loader) -> None:
        self.node, self.loader = node, loader
        self.lines: list[tuple[str, int, str]] = []
        self._keys = itertools.count()

    async def ask(self, what: str, body: bytes, owner: int = OBJECT, request: int = 0, wait_s: float = 20.0) -> bytes:
        """What the node answers; raises its error."""
        done = asyncio.Event()
        deadline_s = time.monotonic() + wait_s
        pending = Pending(LOADER, "", "", b"", 0, what, body, "req", deadline_s, 0, lambda _: done.set())
        nobody: Any = SimpleNamespace(fetch_hosts=(), secrets=(), grants={})
        loading = Loading(owner, request, nobody, "an object", (), lambda *line: self.lines.append(line))
        self.loader.submit(pending, loading)
        async with asyncio.timeout(30):
            await done.wait()
        if pending.error is not None:
            raise pending.error
        return pending.answer

    async def load(self, code: Mapping[str, Any] | str, key: str = "", owner: int = OBJECT) -> str:
        """Load a worker; a text is its main module. Returns its key."""
        given = {"main_module": "main.py", "modules": {"main.py": code}} if isinstance(code, str) else code
        checked = worker_code(given)
        key = key or f"#L/{next(self._keys)}"
        data = encode_code(checked)
        for at, piece in pieces_of(data, 1 << 20):
            most = checked.limits
            part = Part(
                key, checked.tenant, most.cpu_ms, most.sub_requests, bool(checked.tails), (), len(data), at, piece
            )  # fmt: skip
            await self.ask("part", encode(part), owner)
        return key

    async def answer(
        self, key: str, method: str = "run", *args: Any, cpu_ms: int = 5_000, owner: int = OBJECT, request: int = 0,
        wait_s: float = 20.0, entrypoint: str = "",
    ) -> Answer:  # fmt: skip
        """What came of a call."""
        call = Call(key, entrypoint, to_stored({}), cpu_ms, 0, method, to_stored([args, {}]))
        return decode_answer(await self.ask("call", encode(call), owner, request, wait_s))

    async def call(self, key: str, method: str = "run", *args: Any, **given: Any) -> Any:
        """What a method returned; raises what it came to."""
        answer = await self.answer(key, method, *args, **given)
        if answer.kind == FAILED and answer.failure is not None:
            raise sandbox_error(*answer.failure)
        return from_stored(answer.value)


@contextlib.asynccontextmanager
async def workers(**options: Any) -> AsyncIterator[Workers]:
    """Of a node; ended at the end."""
    async with sandboxes(**options) as node:
        loader = Loader(node)
        try:
            yield Workers(node, loader)
        finally:
            await loader.close()
