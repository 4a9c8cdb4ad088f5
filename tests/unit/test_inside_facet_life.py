"""How facets start and end: aborts, deletions, clones, transactions that are undone, their object's own end."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from facet_app import ADD, APP, commits, run
from homing.errors import BadRequest
from homing.facets import FACET_NAME_CHARS_MAX, FacetAborted, facet_class
from homing_node.workers.inside import channel, limits
from worker_harness import Failed, WorkerHarness


@pytest.fixture
def node(start: Callable[..., WorkerHarness]) -> WorkerHarness:
    return start(APP)


def test_an_abort_keeps_the_storage_and_breaks_the_stubs(node: WorkerHarness) -> None:
    """Acceptance 14 of the reference: old stubs throw the reason, and the storage is kept."""
    act = node.open("Parent")
    code = """child = self.child()
await child.add(3)
running = child.slowly(5, 1)
await asyncio.sleep(0.01)
reason = LookupError("the reason")
self.ctx.facets.abort("a", reason)
told = []
for call in (running, child.add()):
    try:
        await call
    except LookupError as error:
        told.append(error is reason)
return [told, await self.child().read()]"""
    assert run(node, act, code) == [[True, True], [4, 0]], "what its first turn wrote counts; the instance is new"
    code = """child = self.child()
self.ctx.facets.abort("a", "that is all")
try:
    await child.read()
except Exception as error:
    return [type(error).__name__, str(error)]"""
    assert run(node, act, code) == ["FacetAborted", "that is all"]


def test_a_call_that_has_not_begun_does_not_begin_after_an_abort(node: WorkerHarness) -> None:
    """Seen to fail where what comes is not asked whether the facet has ended: its code ran all the same."""
    act = node.open("Parent")
    assert run(node, act, ADD) == 1
    code = """call = self.child().add(10)
self.ctx.facets.abort("a", "reason")
try:
    await call
except Exception as error:
    return [str(error), await self.child().read(), len(built)]"""
    assert run(node, act, code) == ["reason", [1, 0], 2]


def test_an_answer_that_cannot_be_read_is_an_error(node: WorkerHarness) -> None:
    """Seen to fail where nobody looks: whoever awaited the call would have waited for ever."""
    act = node.open("Parent")
    with pytest.raises(Failed, match="cannot be read"):
        run(node, act, "return await self.child().unreadable()")


def test_another_class_takes_over_the_same_data(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = """await self.child().add(3)
same = await self.child(kind=Other).add()
self.ctx.facets.abort("a")
return [same, await self.child(kind=Other).add(), built]"""
    assert run(node, act, code) == [4, -5, ["Child", "Other"]], "the callback runs only when the facet starts"


def test_a_deleted_facet_is_empty_and_the_deletion_is_the_objects(node: WorkerHarness) -> None:
    act = node.open("Parent")
    run(node, act, "await self.child().nested(2)\nreturn await self.child().add(3)")
    before = commits(node, act)
    code = "self.ctx.facets.delete('a')\nself.ctx.storage.kv.put('deleted', True)"
    run(node, act, code)
    assert commits(node, act) == before + 1
    assert run(node, node.reopen(act, "Parent"), "return [self.ctx.facets.list(), await self.child().read()]") == [
        [],
        [0, 0],
    ]
    rows = "return [row['n'] for row in self.ctx.storage.sql.exec('SELECT count(*) AS n FROM sqlite_schema')]"
    assert run(node, act, rows)


def test_what_is_undone_with_the_objects_transaction_is_undone_in_the_facet(node: WorkerHarness) -> None:
    """Seen to fail without `on_undone`: the facet went on from what nobody else had."""
    act = node.open("Parent")
    code = """await self.child().add(1)
async def change(txn):
    await self.child().add(10)
    raise LookupError
try:
    await self.ctx.storage.transaction(change)
except LookupError:
    pass
return await self.child().read()"""
    assert run(node, act, code) == [1, 0]
    code = """async def change(txn):
    await self.child().add(10)
    txn.rollback()
    return await self.child().add(2)
first = await self.ctx.storage.transaction(change)
return [first, await self.child().add(0)]"""
    assert run(node, act, code) == [3, 3]
    assert run(node, node.reopen(act, "Parent"), "return await self.child().read()") == [3, 0]


def test_a_deletion_that_is_undone_leaves_what_was_there(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = """await self.child().add(4)
def change():
    self.ctx.facets.delete("a")
    raise LookupError
try:
    self.ctx.storage.transaction_sync(change)
except LookupError:
    pass
return await self.child().read()"""
    assert run(node, act, code) == [4, 0]


def test_a_clone_begins_with_what_the_other_has(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = """await self.child().add(4)
await self.child("b").add(9)
old = self.child("b")
self.ctx.facets.clone("a", "b")
try:
    await old.read()
except Exception as error:
    told = type(error).__name__
await self.child().add(1)
return [told, await self.child("b").read(), await self.child().read()]"""
    assert run(node, act, code) == ["ObjectReset", [4, 0], [5, 5]]
    with pytest.raises(Failed, match="has stored nothing"):
        run(node, act, "self.ctx.facets.clone('x', 'y')")
    with pytest.raises(Failed, match="another name"):
        run(node, act, "self.ctx.facets.clone('a', 'a')")


def test_everything_of_an_object_takes_its_facets_along(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = "await self.child().add(4)\nawait self.ctx.storage.delete_all()\nreturn await self.child().read()"
    assert run(node, act, code) == [0, 0]


def test_trees_are_four_deep_and_the_fifth_is_refused(node: WorkerHarness) -> None:
    act = node.open("Parent")
    assert run(node, act, "return [await self.child().nested(2), await self.child().nested(1)]") == [1, 1]
    again = node.reopen(act, "Parent")
    assert run(
        node, again, "return [await self.child().nested(2), await self.child().nested(1), await self.child().nested(0)]"
    ) == [2, 2, 1]
    with pytest.raises(Failed, match="at most 4 deep"):
        run(node, act, "return await self.child().nested(3)")


@pytest.mark.parametrize("name", ["", "n" * (FACET_NAME_CHARS_MAX + 1), 7, None, "\ud800"])
def test_a_name_that_is_none_is_refused(node: WorkerHarness, name: object) -> None:
    act = node.open("Parent")
    with pytest.raises(Failed, match="the name of a facet"):
        run(node, act, f"self.child({name!r})")


def test_long_names_and_any_unicode_are_names(node: WorkerHarness) -> None:
    act = node.open("Parent")
    for name in ("ü/" * 128, "a'b\"c", "\0"):
        assert run(node, act, f"return await self.child({name!r}).add()") == 1


@pytest.mark.parametrize(
    ("callback", "told"),
    [
        ("lambda: {'class': int}", "extends DurableObject"),
        ("lambda: {'class': DurableObject}", "extends DurableObject"),
        ("lambda: None", "class of objects"),
        ("lambda: {'class': Child, 'x': 1}", "no x"),
        ("lambda: {'class': Child, 'id': 'a'}", "ObjectId"),
        ("lambda: 1 / 0", "division by zero"),
    ],
)
def test_a_callback_that_gives_no_class_fails_the_calls(node: WorkerHarness, callback: str, told: str) -> None:
    act = node.open("Parent")
    with pytest.raises(Failed, match=told):
        run(node, act, f"return await self.ctx.facets.get('a', {callback}).add()")
    assert run(node, act, ADD) == 1, "the next call asks the callback anew"


def test_the_callback_may_wait_and_calls_keep_their_order(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = """async def late():
    await asyncio.sleep(0.01)
    return {"class": Child, "id": self.ctx.id}
child = self.ctx.facets.get("a", late)
return await asyncio.gather(child.add(1), child.add(2), child.add(4))"""
    assert run(node, act, code) == [1, 3, 7]


def test_a_facet_has_the_id_of_its_object_unless_it_is_given_one(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = """from homing.ids import ObjectId
other = ObjectId(bytes(32), "other")
a = await self.child().give("str(self.ctx.id)")
b = await self.ctx.facets.get("b", lambda: {"class": Child, "id": other}).give("[str(self.ctx.id), self.ctx.id.name]")
return [a == str(self.ctx.id), b]"""
    assert run(node, act, code) == [True, ["00" * 32, "other"]]


def test_a_constructor_that_raises_fails_the_calls_and_leaves_nothing(node: WorkerHarness) -> None:
    act = node.open("Parent")
    with pytest.raises(Failed, match="cannot begin"):
        run(node, act, "return await self.child(kind=Broken).add()")
    assert run(node, act, "return await self.child().read()") == [0, 0]
    assert run(node, act, "self.ctx.storage.kv.put('x', 1)\nreturn self.ctx.storage.kv.get('x')") == 1


def test_a_facet_that_resets_itself_starts_anew(node: WorkerHarness) -> None:
    act = node.open("Parent")
    code = """await self.child().add(1)
try:
    await self.child().stop()
except Exception as error:
    told = [type(error).__name__, str(error)]
return [told, await self.child().read()]"""
    assert run(node, act, code) == [["ObjectReset", "enough"], [1, 0]]


def test_a_facet_calls_back_and_calls_others_in_its_objects_name(node: WorkerHarness) -> None:
    act = node.open("Parent")
    call = node.event(
        act,
        "arun",
        "heard = []\nreturn [await self.child().tell(lambda n: heard.append(n), 3), heard]",
    )
    made = node.wait(lambda frame: frame[0] == channel.CALL)
    assert made[1] == act
    assert commits(node, act) == 1, "the call leaves behind the commit of what came before it"
    target = made[3:]
    assert target[-1] > 0, "what was passed by reference is the object's"
    node.send(channel.REPLY, act, made[3], 0, b"\x04")
    assert node.answer(call) == [4, []]


def test_requests_to_the_outside_are_the_objects_and_of_the_call_that_began_them(node: WorkerHarness) -> None:
    """Seen to fail where a facet's turn is not one of its object's: they were said to be of the call that ran last."""
    act = node.open("Parent")
    run(node, act, "for _ in range(5):\n    await self.child().add()")  # so that numbers of calls are not alike
    call = node.event(act, "arun", "return await self.child().fetches_later(0.05)")
    assert run(node, act, "await asyncio.sleep(0.01)\nreturn 1") == 1
    made = node.wait(lambda frame: frame[0] == channel.CALL)
    assert made[1:3] == [act, call]
    assert made[4] == channel.OUTBOUND


def test_what_a_facet_prints_is_its_objects(node: WorkerHarness) -> None:
    act = node.open("Parent")
    run(node, act, "return await self.child().says('hello')")
    node.settle()
    assert [frame[1:5] for frame in node.logs("stdout")] in ([], [[act, "req-1", "stdout", "hello"]])


def test_facets_have_no_alarms_and_no_sockets(node: WorkerHarness) -> None:
    act = node.open("Parent")
    for what in (
        "self.ctx.storage.set_alarm(5)",
        "self.ctx.accept_websocket(WebSocketPair().server)",
        "self.ctx.get_websockets()",
    ):
        failed = node.failure(act, "arun", f"return await self.child().give({what!r})")
        assert "facet has no" in failed.message


def test_an_object_stays_while_a_facet_has_something_to_do(node: WorkerHarness) -> None:
    """Seen to fail without `facets.busy`: the object went, and what its facet was about to write with it."""
    act = node.open("Parent")
    run(node, act, "return await self.child().later(0.2)")
    assert not node.close(act)
    deadline = time.monotonic() + 5
    while commits(node, act) < 1 and time.monotonic() < deadline:
        node.receive(0.1)
    assert run(node, act, "return await self.child().read()") == [1_000, 1_000]
    assert node.close(act)


def test_an_object_that_ends_ends_its_facets(node: WorkerHarness) -> None:
    act = node.open("Parent")
    run(node, act, "return await self.child().later(0.05)")
    node.abort(act)
    time.sleep(0.1)
    node.settle()
    assert commits(node, act) == 0


def test_too_many_calls_are_refused(node: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "queued_events_max", 2)
    act = node.open("Parent")
    code = """calls = [self.child().slowly(0.01, 1) for _ in range(3)]
done = await asyncio.gather(*calls, return_exceptions=True)
return [type(each).__name__ for each in done]"""
    assert run(node, act, code) == ["int", "int", "Overloaded"]


def test_the_facet_that_was_idle_the_longest_makes_room(node: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "facets_max", 2)
    act = node.open("Parent")
    code = """for name in ("a", "b", "a", "c"):
    await self.child(name).add()
return [await self.child(name).read() for name in ("a", "c", "b")]"""
    assert run(node, act, code) == [[2, 2], [1, 1], [1, 0]]
    code = """busy = [self.child(n).slowly(0.05, 1) for n in 'ab']
await asyncio.sleep(0)
await asyncio.sleep(0)
try:
    await self.child('c').add()
except Exception as error:
    told = type(error).__name__
await asyncio.gather(*busy)
return told"""
    assert run(node, act, code) == "Overloaded"


def test_a_commit_that_does_not_fit_its_object_ends_the_facet_and_nothing_else(
    start: Callable[..., WorkerHarness],
) -> None:
    node = start(APP, limits={"database_bytes_max": 1 << 20})
    act = node.open("Parent")
    code = """await self.child().sql("CREATE TABLE t(x)")
await self.child().add(1)
try:
    for _ in range(40):
        await self.child().sql("INSERT INTO t VALUES (randomblob(100000))")
except Exception as error:
    return [type(error).__name__, str(error)]"""
    told = run(node, act, code)
    assert told[0] == "DatabaseFull"
    assert run(node, act, "return (await self.child().read())[0]") == 1
    assert run(
        node, act, "self.ctx.facets.delete('a')\nself.ctx.storage.kv.put('x', 1)\nreturn await self.child().read()"
    ) == [0, 0]


def test_a_facet_class_says_what_it_is() -> None:
    class Some:
        pass

    assert facet_class({"class": Some}).kind is Some
    assert facet_class(Some).id is None
    with pytest.raises(BadRequest):
        facet_class("Some")
    assert str(FacetAborted("x")) == "x"
