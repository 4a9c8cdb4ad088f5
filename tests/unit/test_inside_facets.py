"""Facets of an object, seen from its node: one record holds what both wrote, and nothing else of them leaves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from facet_app import ADD, APP, commits, run
from worker_harness import WorkerHarness


@pytest.fixture
def node(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    return start(APP)


def test_a_facet_answers_and_stores_and_its_object_has_it_all(node: WorkerHarness) -> None:
    act = node.open("Parent")
    assert run(node, act, ADD) == 1
    assert run(
        node, act, "self.child('b').add(10)\nreturn [await self.child().add(), await self.child('b').add(5)]"
    ) == [2, 15]
    again = node.reopen(act, "Parent")
    assert run(node, again, "return [await self.child(n).read() for n in ('a', 'b', 'c')]") == [[2, 0], [15, 0], [0, 0]]
    assert run(node, again, "return self.ctx.facets.list()") == ["a", "b"]


def test_one_record_holds_what_a_facet_and_its_object_wrote(node: WorkerHarness) -> None:
    """Seen to fail when a facet's turn commits by itself: the object's own write came in a record before."""
    act = node.open("Parent")
    run(node, act, "self.child().add()\nself.ctx.storage.kv.put('calls', 1)\nreturn await self.child().add()")
    before = commits(node, act)
    run(node, act, ADD)
    assert commits(node, act) == before + 1
    assert run(
        node, node.reopen(act, "Parent"), "return [self.ctx.storage.kv.get('calls'), await self.child().read()]"
    ) == [1, [3, 0]]


def test_nothing_is_told_of_a_facet_before_its_object_has_its_pages(node: WorkerHarness) -> None:
    """Seen to fail where answers are told in `take`: the object answered before the record of what its facet wrote."""
    act = node.open("Parent")
    call = node.event(act, "arun", "n = await self.child().add()\nself.ctx.storage.kv.get('x')\nreturn n")
    node.answer(call)
    frames = node.turns(act)
    committed = next(at for at, frame in enumerate(frames) if frame[3] is not None)
    answered = next(at for at, frame in enumerate(frames) if any(effect[0] == call for effect in frame[5]))
    assert committed <= answered


def test_values_are_copied_and_errors_are_those_of_the_facet(node: WorkerHarness) -> None:
    act = node.open("Parent")
    assert run(node, act, "return await self.child().echo(1, {'a': [None]}, b=2)") == [[1, {"a": [None]}], {"b": 2}]
    code = "given = []\nfuture = self.child().echo(given)\ngiven.append(1)\nreturn (await future)[0]"
    assert run(node, act, code) == [[]]
    told = """try:
    await {}
except Exception as error:
    return [type(error).__name__, str(error), getattr(error, 'error_type', ''), getattr(error, 'remote', None)]"""
    assert run(node, act, told.format("self.child().raises()")) == [
        "ApplicationError",
        "no such thing",
        "LookupError",
        True,
    ]
    assert run(node, act, "return await self.child().read()") == [100, 100], (
        "what it wrote before it raised counts, as in any object"
    )
    assert run(node, act, told.format("self.child().nothing()"))[0] == "NotFound"
    assert run(node, act, told.format("self.child().add(1, 2, 3)"))[0] == "BadRequest"
    assert run(node, act, told.format("self.child().give('object()')"))[0] == "ApplicationError"
    assert run(node, act, told.format("self.child().give('(n for n in ())')"))[0] == "ApplicationError"


def test_requests_go_to_its_fetch(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = """r = await self.child().fetch('http://f/x?y=1', method='PUT', body='text', headers={'X-A': 'b'})
return [r.status, await r.text()]"""
    assert run(node, act, code) == [201, "PUT http://f/x?y=1 text b"]
    code = """async def parts():
    yield b"te"
    yield b"xt"
r = await self.child().fetch(Request('http://f/', method='PUT', body=parts(), headers={'X-A': 'b'}))
return await r.text()"""
    assert run(node, act, code) == "PUT http://f/ text b"


def test_its_database_is_its_own(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = """child = self.child()
await child.sql("CREATE TABLE notes(text)")
await child.sql("INSERT INTO notes VALUES (?), (?)", "a", "b")
self.ctx.storage.sql.exec("CREATE TABLE own(n)")
return [await child.sql("SELECT count(*) AS n FROM notes"),
        [row["name"] for row in self.ctx.storage.sql.exec(OWN)]]"""
    assert run(node, act, code) == [[{"n": 2}], ["own"]]
    refused = "self.ctx.storage.sql.exec('SELECT * FROM _homing_facet_pages')"
    assert node.failure(act, "arun", refused).code == "storage-error"
