"""A dynamic worker that is loaded, called and taken away again: what is made at the first use of something is made.

In a zygote, before it forks; `child.rehearse` is the same for a run.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from homing.http import let_fetch
from homing.loading import worker_code
from homing.loading_frames import decode_code, encode, encode_code
from homing.values import to_stored
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.inside.dynamic import Worker
from homing_node.workers.inside.output import Output, logging_at_levels

CODE = """
import json
from homing import Response, WorkerEntrypoint

class Default(WorkerEntrypoint):
    async def run(self, *values):
        return json.loads(json.dumps(values))

    async def fetch(self, request):
        return Response(request.url)
"""
_RESULT_BYTES = 1_000


def rehearse() -> list[tuple[Any, ...]]:
    """Load a worker, call a method of it and its handler of requests.

    Returns:
        What it said: a RETURN and a RESPOND (`talk`).
    """
    finders, modules, streams = list(sys.meta_path), set(sys.modules), (sys.stdout, sys.stderr)
    said: list[tuple[Any, ...]] = []
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    def send(message: tuple[Any, ...]) -> None:
        said.append(message)
        loop.stop()

    worker = Worker(send, loop)
    sys.stdout, sys.stderr = Output("stdout", worker.line), Output("stderr", worker.line)
    code = decode_code(encode_code(worker_code({"main_module": "rehearsed.py", "modules": {"rehearsed.py": CODE}})))
    calls = (("run", to_stored(([1, "x"], {}))), ("", encode(("GET", "http://localhost/", [], b""))))
    with logging_at_levels():
        worker.load(code, [])
        for number, (method, body) in enumerate(calls, 1):
            worker.take([talk.CALL, number, "", to_stored({}), method, body, _RESULT_BYTES])
            loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))  # the last call's task ends
    loop.close()
    asyncio.set_event_loop(None)
    let_fetch(None)
    sys.stdout, sys.stderr = streams
    sys.meta_path[:] = finders
    for name in sys.modules.keys() - modules:
        del sys.modules[name]
    return said
