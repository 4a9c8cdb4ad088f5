"""Facets of an object, seen from its node: one record holds what both wrote, and nothing else of them leaves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from facet_app import ADD, APP, commits, run
from homing.errors import StorageError
from homing_node.workers.inside import pages
from homing_node.workers.inside.database import Database
from homing_node.workers.inside.facet_pages import FacetPages
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
    act = node.open("Parent")
    run(node, act, "self.child().add()\nself.ctx.storage.kv.put('calls', 1)\nreturn await self.child().add()")
    before = commits(node, act)
    run(node, act, ADD)
    assert commits(node, act) == before + 1
    assert run(
        node, node.reopen(act, "Parent"), "return [self.ctx.storage.kv.get('calls'), await self.child().read()]"
    ) == [1, [3, 0]]


def test_a_call_whose_commit_fails_in_its_object_fails(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail where answers are told in `take`, before the object's commit: the call had its result."""
    node = start(APP, limits={"commit_bytes_max": 64 * 1024})
    act = node.open("Parent")
    assert run(node, act, ADD) == 1
    large = "INSERT INTO t VALUES (randomblob(58000))"
    code = f"""await self.child().sql("CREATE TABLE t(x)")
try:
    return await self.child().sql({large!r})
except Exception as error:
    return type(error).__name__"""
    assert run(node, act, code) == "ObjectReset"
    assert run(node, act, "return await self.child().sql('SELECT count(*) AS n FROM t')") == [{"n": 0}]


def test_a_facet_runs_behind_the_turn_that_calls_it(node: WorkerHarness) -> None:
    """Seen to fail where it runs within it: half of what that turn writes was in a record of its own."""
    act = node.open("Parent")
    run(node, act, ADD)
    before = len(node.turns(act))
    code = "kv = self.ctx.storage.kv\nkv.put('a', 1)\ncall = self.child().add()\nkv.put('b', 2)\nreturn await call"
    assert run(node, act, code) == 2
    first = next(frame[3] for frame in node.turns(act)[before:] if frame[3] is not None)
    node.replicas[act].pages.clear()
    for frame in node.turns(act):
        if frame[3] is not None:
            node.replicas[act].apply(frame[3])
        if frame[3] is first:
            break
    again = node.reopen(act, "Parent")
    assert run(node, again, "kv = self.ctx.storage.kv\nreturn [kv.get('a'), kv.get('b')]") == [1, 2]


def test_pages_that_a_facet_gives_back_are_given_back(node: WorkerHarness) -> None:
    act = node.open("Parent")
    grow = """await self.child().sql("CREATE TABLE t(x)")
await self.child().sql("INSERT INTO t VALUES (randomblob(50000))")"""
    run(node, act, grow)
    run(node, act, "return await self.child().give('[self.ctx.storage.delete_all(), None][1]')")
    connection = sqlite3.connect(":memory:")
    connection.deserialize(b"".join(node.replicas[act].content()))
    (kept,) = connection.execute("SELECT count(*) FROM _homing_facet_pages").fetchone()
    assert kept == connection.execute("SELECT pages FROM _homing_facets").fetchone()[0] < 10
    connection.close()


def test_what_is_written_for_a_facet_that_was_deleted_is_refused() -> None:
    database = Database([], lambda: None)
    stored = FacetPages(database)
    page = pages.encode(1, [(1, None, bytes(1_023) + b"x")])
    number = stored.write("a", 0, page)
    stored.delete("a")
    with pytest.raises(StorageError, match="deleted"):
        stored.write("a", number, page)
    with pytest.raises(pages.PageMismatch):
        stored.write("a", 0, page[:-1] + b"y")
    database.close()


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


def test_code_of_cloudflare_has_facets_too(start: Callable[..., WorkerHarness]) -> None:
    node = start(APP + "\nForeign = foreign()\n")
    assert node.call(node.open("Foreign"), "run") == [2, 201, "PUT http://f/ text b", ["f"]]
