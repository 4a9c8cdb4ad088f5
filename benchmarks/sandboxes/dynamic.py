"""New code by `env.LOADER`: loaded, called once, and dropped, as an object asks its node for it."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

from homing.loading import worker_code
from homing.loading_frames import Call, Part, decode_answer, encode, encode_code
from homing.values import from_stored, to_stored
from homing_node.objects.frames import LOADER
from homing_node.objects.ports import Loading
from homing_node.sandboxes.loader import CALL, DROP, PART, Loader
from homing_node.sandboxes.service import Sandboxes
from homing_placement.routing.pending import Pending

MAIN = """
import json
from homing import WorkerEntrypoint

def f(n):
    return json.dumps({{"n": n}})

class Default(WorkerEntrypoint):
    async def run(self):
        return f({0})
"""
OBJECT = 1
DYNAMIC = "dynamic"  # its tenant
CPU_MS = 5_000
WAIT_S = 30.0


class Dynamic:
    """What one object loads.

    Args:
        sandboxes: of the node.
    """

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._loader = Loader(sandboxes)

    async def load(self, number: int) -> float:
        """Seconds from new code to its first result."""
        began = time.perf_counter()
        checked = worker_code({"main_module": "main.py", "modules": {"main.py": MAIN.format(number)}})
        data, key = encode_code(checked), f"#{number}"
        part = Part(key, DYNAMIC, CPU_MS, 0, False, (), len(data), 0, data)
        call = Call(key, "", to_stored({}), CPU_MS, 0, "run", to_stored(([], {})))
        await self._ask(PART, encode(part))
        answer = decode_answer(await self._ask(CALL, encode(call)))
        took = time.perf_counter() - began
        if from_stored(answer.value) != f'{{"n": {number}}}':
            raise RuntimeError(f"{answer}")
        await self._ask(DROP, key.encode())
        return took

    async def _ask(self, what: str, body: bytes) -> bytes:
        done = asyncio.Event()
        pending = Pending(LOADER, "", "", b"", 0, what, body, "", time.monotonic() + WAIT_S, 0, lambda _: done.set())
        nobody: Any = SimpleNamespace(fetch_hosts=(), secrets=(), grants={})  # of an application without any
        self._loader.submit(pending, Loading(OBJECT, 0, nobody, "a benchmark", (), lambda *_: None))
        await done.wait()
        if pending.error is not None:
            raise pending.error
        return pending.answer

    async def close(self) -> None:
        """End what is loaded."""
        await self._loader.close()
