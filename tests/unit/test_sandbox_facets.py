"""Facets of dynamic classes inside their sandbox, without a jail: messages in, messages out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Generator
from typing import Any

import pytest

from homing import compat
from homing.facets import FACET_DEPTH_MAX
from homing.loading import worker_code
from homing.loading_frames import decode_code, encode, encode_code
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside import talk
from homing_node.sandboxes.inside.dynamic import Worker
from homing_node.sandboxes.inside.facets import FacetLoop
from homing_node.workers.inside import limits
from replica import Replica

MAIN = """
import asyncio
from homing import DurableObject, Response

class Counter(DurableObject):
    def add(self, n=1):
        kv = self.ctx.storage.kv
        kv.put("n", (kv.get("n") or 0) + n)
        return kv.get("n")

    def props(self):
        return [dict(self.ctx.props), str(self.ctx.id), self.ctx.id.name, self.env.K]

    async def asks(self):
        self.add()
        return await self.env.G.get("key")

    async def asks_first(self):
        return await self.env.G.get("key")

    def later(self):
        async def after():
            await asyncio.sleep(0.01)
            self.add(1000)
        self.ctx.wait_until(after())

    def large(self):
        self.ctx.storage.sql.exec("CREATE TABLE t(x)")
        self.ctx.storage.sql.exec("INSERT INTO t VALUES (randomblob(600000))")

    def inner(self):
        return self.ctx.facets.get("i", lambda: {"class": Counter}).add()

    async def forever(self):
        await asyncio.sleep(100)

    def stops(self):
        self.ctx.abort("enough")

    async def fetch(self, request):
        return Response(await request.text())
"""
OFFER = [["G", "kv", {"read_only": True}]]


@pytest.fixture(autouse=True)
def process(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """What a worker changes in its process."""
    monkeypatch.setattr("homing.http._state.fetcher", None)
    modules, finders, path, before = dict(sys.modules), list(sys.meta_path), list(sys.path), dict(vars(limits))
    sys.path.append(compat.MODULES)
    yield
    vars(limits).update(before)
    sys.path[:], sys.meta_path[:] = path, finders
    sys.modules.clear()
    sys.modules.update(modules)


class Sandbox:
    """A worker, the object whose facets run in it, and what came of that."""

    def __init__(self, loop: FacetLoop) -> None:
        self.loop = loop
        self.said: list[tuple[Any, ...]] = []
        self.worker = Worker(self.said.append, loop)
        self.replica = Replica()
        self._number = 0
        self._commit = bytearray()

    def load(self, offers: Any = ()) -> None:
        code = worker_code({"main_module": "main.py", "modules": {"main.py": MAIN}, "env": {"K": 5}})
        self.worker.load(decode_code(encode_code(code)), [*offers])

    def open(self, number: int = 1, pages: bytes = b"", depth: int = 2, kind: str = "Counter") -> None:
        self.worker.take([talk.FACET, number, kind, to_stored({"p": 1}), bytes(32), "name", depth, pages])

    def begin(self, method: str, *args: Any, facet: int = 1, body: bytes | None = None, most: int = 1_000) -> int:
        self._number += 1
        body = to_stored([args, {}]) if body is None else body
        self.worker.take([talk.CALL, self._number, "", b"", method, body, most, facet])
        return self._number

    def answer(self, number: int) -> tuple[Any, ...]:
        async def wait() -> tuple[Any, ...]:
            async with asyncio.timeout(5):
                while True:
                    for each in self.said:
                        if each[0] in (talk.RETURN, talk.RESPOND, talk.FAIL) and each[1] == number:
                            return each
                    await asyncio.sleep(0.001)

        return self.loop.run_until_complete(wait())

    def call(self, method: str, *args: Any, **given: Any) -> Any:
        answer = self.answer(self.begin(method, *args, **given))
        assert answer[0] == talk.RETURN, answer
        return from_stored(answer[2])

    def run(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def commits(self, facet: int = 1) -> list[bytes]:
        """Those that came, whole."""
        found: dict[int, bytes] = {}
        for kind, number, *said in self.said:
            if kind == talk.COMMIT and number == facet:
                found[said[0]] = found.get(said[0], b"") + said[1]
        assert list(found) == list(range(1, len(found) + 1)), "each follows the one before"
        return list(found.values())

    def pages(self) -> bytes:
        replica = Replica()
        for commit in self.commits():
            replica.apply(commit)
        return b"".join(replica.content())

    def kinds(self) -> list[int]:
        return [each[0] for each in self.said]


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    loop = FacetLoop()
    asyncio.set_event_loop(loop)
    found = Sandbox(loop)
    yield found
    for task in asyncio.all_tasks(loop):
        task.cancel()
    found.run(0)
    loop.close()
    asyncio.set_event_loop(None)


def test_a_commit_leaves_before_the_answer_that_depends_on_it(sandbox: Sandbox) -> None:
    """Seen to fail where effects are told before the commit of their turn."""
    sandbox.load()
    sandbox.open()
    assert sandbox.call("add", 3) == 3
    assert sandbox.kinds() == [talk.COMMIT, talk.RETURN]
    assert sandbox.call("add", 1) == 4
    assert len(sandbox.commits()) == 2


def test_another_sandbox_goes_on_from_the_pages(sandbox: Sandbox) -> None:
    sandbox.load()
    sandbox.open()
    sandbox.call("add", 3)
    pages = sandbox.pages()
    sandbox.open(2, pages[:1024])
    sandbox.open(2, pages[1024:])
    assert sandbox.call("add", 4, facet=2) == 7
    assert sandbox.call("props", facet=2) == [{"p": 1}, "00" * 32, "name", 5]


def test_an_ask_waits_until_what_was_written_is_durable(sandbox: Sandbox) -> None:
    """The output gate of a facet; seen to fail without `settled`: the ask was there before the word of the object."""
    sandbox.load(OFFER)
    sandbox.open()
    number = sandbox.begin("asks")
    sandbox.run(0.05)
    assert sandbox.kinds() == [talk.COMMIT]
    sandbox.worker.take([talk.KEPT, 1, 1])
    sandbox.run(0.01)
    assert sandbox.kinds() == [talk.COMMIT, talk.ASK]
    sandbox.worker.take([talk.ANSWER, 1, to_stored("value")])
    assert from_stored(sandbox.answer(number)[2]) == "value"
    number = sandbox.begin("asks_first")
    sandbox.run(0.01)
    assert sandbox.kinds()[-1] == talk.ASK, "nothing was written"
    sandbox.worker.take([talk.REFUSAL, 2, "forbidden", "no", "", 0.0])
    assert sandbox.answer(number)[3] == "Forbidden"


def test_a_long_commit_comes_in_pieces_that_nothing_overtakes(sandbox: Sandbox) -> None:
    sandbox.load()
    sandbox.open()
    assert sandbox.call("large") is None
    pieces = [each for each in sandbox.said if each[0] == talk.COMMIT]
    assert len(pieces) > 3
    assert all(len(each[3]) <= 192 * 1024 for each in pieces)
    assert [each[4] for each in pieces] == [False] * (len(pieces) - 1) + [True]


def test_what_is_written_later_leaves_by_itself(sandbox: Sandbox) -> None:
    sandbox.load()
    sandbox.open()
    sandbox.call("later")
    sandbox.run(0.1)
    assert len(sandbox.commits()) == 1
    assert sandbox.call("add", 0) == 1_000


def test_facets_of_a_facet_are_pages_of_its_own(sandbox: Sandbox) -> None:
    sandbox.load()
    sandbox.open()
    assert [sandbox.call("inner"), sandbox.call("inner")] == [1, 2]
    sandbox.open(2, sandbox.pages())
    assert sandbox.call("inner", facet=2) == 3
    sandbox.open(3, depth=FACET_DEPTH_MAX)
    assert "at most 4 deep" in sandbox.answer(sandbox.begin("inner", facet=3))[4]


@pytest.mark.parametrize(
    ("method", "given", "cause", "error_type"),
    [
        ("nothing", {}, talk.NOT_FOUND, ""),
        ("fetch", {}, talk.NOT_FOUND, ""),
        ("add", {"body": to_stored([[1, 2, 3], {}])}, talk.MISFIT, ""),
        ("add", {"body": to_stored(7)}, talk.MISFIT, ""),
        ("add", {"body": b"\xc1"}, talk.MISFIT, ""),
        ("add", {"facet": 9}, talk.CANCELLED, "ObjectReset"),
        ("add", {"most": 0}, talk.RESULT_BYTES, ""),
        ("stops", {}, talk.RAISED, "ObjectReset"),
    ],
)
def test_what_goes_wrong_has_its_cause(
    sandbox: Sandbox, method: str, given: dict[str, Any], cause: str, error_type: str
) -> None:
    sandbox.load()
    sandbox.open()
    kind, _, said, name, *_ = sandbox.answer(sandbox.begin(method, **given))
    assert (kind, said) == (talk.FAIL, cause)
    assert error_type in ("", name)


def test_a_class_that_is_none_is_not_found(sandbox: Sandbox) -> None:
    sandbox.load()
    for number, kind in enumerate(("Nobody", "DurableObject", "asyncio"), 1):
        sandbox.open(number, kind=kind)
        assert sandbox.answer(sandbox.begin("add", facet=number))[2] == talk.NOT_FOUND


def test_requests_come_and_go_whole(sandbox: Sandbox) -> None:
    sandbox.load()
    sandbox.open()
    body = encode(("PUT", "http://f/", [("a", "b")], b"text"))
    kind, _, status, _, data = sandbox.answer(sandbox.begin("", body=body))
    assert (kind, status, data) == (talk.RESPOND, 200, b"text")


def test_a_reset_says_so_and_a_close_ends_its_calls(sandbox: Sandbox) -> None:
    sandbox.load()
    sandbox.open()
    sandbox.answer(sandbox.begin("stops"))
    assert (talk.LOST, 1) in sandbox.said
    sandbox.open(2)
    number = sandbox.begin("forever", facet=2)
    sandbox.run(0.01)
    sandbox.worker.take([talk.CLOSE, 2])
    assert sandbox.answer(number)[0] == talk.FAIL
    assert sandbox.answer(sandbox.begin("add", facet=2))[2] == talk.CANCELLED


def test_a_call_that_nobody_waits_for_is_answered_and_goes_on(sandbox: Sandbox) -> None:
    sandbox.load()
    sandbox.open()
    number = sandbox.begin("forever")
    sandbox.run(0.01)
    sandbox.worker.take([talk.CANCEL, number])
    assert sandbox.answer(number)[2] == talk.CANCELLED
    assert sandbox.call("add", 1) == 1
