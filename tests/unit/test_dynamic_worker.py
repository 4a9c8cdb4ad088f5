"""What runs inside the sandbox of a dynamic worker, without a jail: messages in, messages out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from typing import Any

import pytest

from homing import compat
from homing.loading import worker_code
from homing.loading_frames import decode_code, encode, encode_code
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.inside.dynamic import Worker

MAIN = """
import asyncio
from workers import Response, WorkerEntrypoint, env

class Default(WorkerEntrypoint):
    async def fetch(self, request):
        if request.method == "PUT":
            return "no response"
        return Response.json({"url": request.url, "env": self.env.K, "same": env.K, "props": self.ctx.props.to_py()})

    async def slow(self, n):
        await asyncio.sleep(0.01 * n)
        return n

    def later(self):
        async def after():
            await asyncio.sleep(0.01)
            seen.append(1)
        self.ctx.waitUntil(after())
        return len(seen)

    def misfit_inside(self):
        return len()

seen = []
"""


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """What a worker changes in its process."""
    monkeypatch.setattr("homing.http._state.fetcher", None)  # put back to what it was, whatever `let_fetch` says
    modules, finders, path = dict(sys.modules), list(sys.meta_path), list(sys.path)
    sys.path.append(compat.MODULES)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    sys.modules.clear()
    sys.modules.update(modules)


class Sandbox:
    """A worker, and what it has said."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []
        self.worker = Worker(self.said.append, asyncio.get_running_loop())
        self._number = 0

    def load(self, main: str, **more: Any) -> None:
        given = {"main_module": "main.py", "modules": {"main.py": main, **more}, "env": {"K": [1]}}
        self.worker.load(decode_code(encode_code(worker_code(given))), [])

    def call(self, method: str, *args: Any, body: bytes | None = None, most: int = 1_000, entrypoint: str = "") -> int:
        self._number += 1
        body = to_stored([args, {}]) if body is None else body
        props = to_stored({"p": 1})
        self.worker.take([talk.CALL, self._number, entrypoint, props, method, body, most])
        return self._number

    async def answer(self, number: int) -> tuple[Any, ...]:
        async with asyncio.timeout(5):
            while True:
                found = [each for each in self.said if each[1] == number and each[0] != talk.LINE]
                if found:
                    return found[0]
                await asyncio.sleep(0.005)


@pytest.fixture
async def sandbox() -> Sandbox:
    return Sandbox()


def request(method: str = "GET") -> bytes:
    return encode((method, "https://a.example/x", [("a", "b")], b""))


async def test_calls_answer_by_their_numbers_and_interleave(sandbox: Sandbox) -> None:
    sandbox.load(MAIN)
    slow, quick = sandbox.call("slow", 5), sandbox.call("slow", 0)
    assert from_stored((await sandbox.answer(quick))[2]) == 0
    assert not [each for each in sandbox.said if each[1] == slow]
    assert from_stored((await sandbox.answer(slow))[2]) == 5
    kind, _, status, headers, body = await sandbox.answer(sandbox.call("", body=request()))
    assert (kind, status, headers) == (talk.RESPOND, 200, [("content-type", "application/json")])
    assert body == b'{"url": "https://a.example/x", "env": [1], "same": [1], "props": {"p": 1}}'


@pytest.mark.parametrize(
    ("method", "given", "cause", "error_type"),
    [
        ("nothing", {}, talk.NOT_FOUND, ""),
        ("fetch", {}, talk.NOT_FOUND, ""),
        ("_call", {}, talk.NOT_FOUND, ""),
        ("slow", {"entrypoint": "Nobody"}, talk.NOT_FOUND, ""),
        ("slow", {"entrypoint": "WorkerEntrypoint"}, talk.NOT_FOUND, ""),
        ("slow", {"entrypoint": "seen"}, talk.NOT_FOUND, ""),
        ("slow", {}, talk.MISFIT, ""),
        ("misfit_inside", {}, talk.RAISED, "TypeError"),
        ("later", {"most": 0}, talk.RESULT_BYTES, ""),
        ("", {"body": request("PUT")}, talk.RAISED, "TypeError"),
    ],
)
async def test_what_goes_wrong_has_its_cause(
    sandbox: Sandbox, method: str, given: dict[str, Any], cause: str, error_type: str
) -> None:
    sandbox.load(MAIN)
    kind, _, said, name, _, _ = await sandbox.answer(sandbox.call(method, **given))
    assert (kind, said, name) == (talk.FAIL, cause, error_type)


@pytest.mark.parametrize(
    ("main", "cause"), [("x = ", talk.SYNTAX), ("1 / 0", talk.RAISED), ("raise MemoryError", talk.MEMORY)]
)
async def test_code_that_does_not_load_says_so(sandbox: Sandbox, main: str, cause: str) -> None:
    sandbox.load(main)
    assert (await sandbox.answer(sandbox.call("run")))[2] == talk.START + cause


async def test_a_call_is_cancelled(sandbox: Sandbox) -> None:
    sandbox.load(MAIN)
    number = sandbox.call("slow", 500)
    await asyncio.sleep(0.02)
    sandbox.worker.take([talk.CANCEL, number])
    sandbox.worker.take([talk.CANCEL, 77])
    assert (await sandbox.answer(number))[2] == talk.CANCELLED


async def test_work_goes_on_after_the_answer(sandbox: Sandbox) -> None:
    sandbox.load(MAIN)
    assert from_stored((await sandbox.answer(sandbox.call("later")))[2]) == 0
    await asyncio.sleep(0.05)
    assert from_stored((await sandbox.answer(sandbox.call("later")))[2]) == 1


async def test_an_older_application_with_on_fetch_is_called(sandbox: Sandbox) -> None:
    sandbox.load(
        "from workers import Response\nasync def on_fetch(request, env):\n    return Response(str(env.K[0]))\n"
    )
    assert (await sandbox.answer(sandbox.call("", body=request())))[4] == b"1"
