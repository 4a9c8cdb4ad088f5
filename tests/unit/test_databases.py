"""A database that is queried or brought in: read as of one moment, looked at by a worker, written as a whole.

The worker is played by the test; what a real one says is in `test_inside_looks.py`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backup_world import BackupWorld, contents, page
from homing.errors import BadRequest, DeadlineExceeded, HomingError, NotFound, NotOwner, TooLarge, Unavailable
from homing.ids import ObjectId
from homing.wire.v1 import call_pb2 as wire
from homing_node import databases as module
from homing_node import limits
from homing_node.databases import Databases
from homing_node.objects.turn_record import decode_meta
from homing_node.workers import limits as worker_limits
from homing_node.workers.inside.channel import LOOK, PAGES
from homing_node.workers.looks import Looks

A = ObjectId.from_name("Counter", "a").raw


class World(BackupWorld):
    """With databases, and a worker that is asked about them."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = Looks(self.pick)
        self.databases = Databases(self.backups, self.outside, self.looks, self.classes)

    async def asked(self, count: int = 1) -> tuple[int, str | None, bytes]:
        """The number of the newest question, the query, and the pages that came with it."""
        await self.until(lambda: len(self.worker.frames(LOOK)) >= count)
        _, number, page_count, query = self.worker.frames(LOOK)[-1]
        pages = b"".join(frame[2] for frame in self.worker.frames(PAGES) if frame[1] == number)
        assert len(pages) == page_count * 1_024
        return number, query, pages

    async def bring_in(self, file: bytes, answer: Any = 0, well: Any = True, **target: Any) -> wire.ImportReply:
        """Bring a file in; the worker answers what it is asked."""
        asked = len(self.worker.frames(LOOK))
        running = asyncio.ensure_future(self.databases.bring_in(parts(file, **target)))
        while not running.done():
            self.closed()
            if len(self.worker.frames(LOOK)) > asked:
                self.looks.seen(self.worker, self.worker.frames(LOOK)[-1][1], well, answer)
            await asyncio.sleep(0.002)
        return running.result()


async def parts(file: bytes, *, end: bool = True, **target: Any) -> AsyncIterator[wire.ImportPart]:
    named = {"slot": 0, "object": A, "class_name": "Counter", "name": "a", **target}
    yield wire.ImportPart(target=wire.ImportTarget(**named))
    for at in range(0, len(file), 100_000):
        yield wire.ImportPart(data=file[at : at + 100_000])
    if end:
        yield wire.ImportPart(end=True)


@pytest.fixture
def file(tmp_path: Path) -> bytes:
    path = tmp_path / "file"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size=1024")
    connection.execute("CREATE TABLE t(a)")
    connection.execute("BEGIN")  # else each row is a commit of its own, with a wait for the disk
    connection.executemany("INSERT INTO t VALUES (?)", [(b"x" * 900,) for _ in range(2_500)])
    connection.execute("COMMIT")
    connection.close()
    return path.read_bytes()


async def test_a_query_is_put_to_what_was_acknowledged() -> None:
    world = await World().start()
    await world.write("a", 1, count=700)
    running = asyncio.ensure_future(world.databases.query(wire.QueryRequest(slot=0, object=A, query="SELECT 1")))
    number, query, pages = await world.asked()
    assert (query, pages) == ("SELECT 1", page(1) * 700)
    assert number < 0, "activations have the numbers above"
    assert len(world.worker.frames(1)) == 1, "no object was woken for it"
    world.looks.seen(world.worker, number, True, b'{"rows":[]}')
    assert (await running).body == b'{"rows":[]}'


async def test_a_query_that_goes_wrong_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await World().start()
    asked = wire.QueryRequest(slot=0, object=A, query="SELECT")
    with pytest.raises(NotFound):
        await world.databases.query(asked)
    with pytest.raises(BadRequest):
        await world.databases.query(wire.QueryRequest(slot=0, query="SELECT"))
    await world.write("a", 1)
    answers = [((False, "no such table"), BadRequest), ((True, 7), BadRequest)]
    for count, (answer, kind) in enumerate(answers, 1):
        running = asyncio.ensure_future(world.databases.query(asked))
        number, _, _ = await world.asked(count)
        world.looks.seen(world.worker, number, *answer)
        world.looks.seen(world.worker, number, *answer)
        with pytest.raises(kind):
            await running
    running = asyncio.ensure_future(world.databases.query(asked))
    await world.asked(3)
    world.looks.on_death(world.worker, "it was killed")
    with pytest.raises(Unavailable, match="killed"):
        await running
    monkeypatch.setattr(worker_limits, "look_answer_s_max", 0.02)
    with pytest.raises(DeadlineExceeded, match="in time"):
        await world.databases.query(asked)
    world.looks.seen(world.worker, [1], True, b"")
    world.looks.seen(world.worker, -99, True, b"")


async def test_a_file_becomes_an_object(file: bytes) -> None:
    world = await World().start()
    await world.bring_in(file, answer=1 << 40)
    found = await world.read("a")
    assert contents(found) == {A: file}
    meta = decode_meta(b"".join(each.data for part in found for each in part.objects))
    assert (meta.class_name, meta.name, meta.page_count, meta.wake_ms) == ("Counter", "a", len(file) // 1_024, 1 << 40)
    assert not meta.restoring
    assert not world.host.shut
    await world.bring_in(b"", object=ObjectId.from_name("Counter", "b").raw, name="b")
    assert contents(await world.read("b")) == {ObjectId.from_name("Counter", "b").raw: b""}


async def test_an_object_that_exists_is_replaced_only_when_that_is_asked_for(file: bytes) -> None:
    world = await World().start()
    await world.write("a", 1, count=5_000)
    with pytest.raises(BadRequest, match="exists"):
        await world.bring_in(file)
    assert (await world.write("a", 2, count=5_000)).body == b"2", "its activation was not disturbed"
    await world.bring_in(file, overwrite=True)
    assert contents(await world.read("a")) == {A: file}


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ({"class_name": "Other"}, NotFound),
        ({"object": ObjectId.from_name("Other", "a").raw}, BadRequest),
        ({"name": "b"}, BadRequest),
        ({"object": b"short"}, BadRequest),
        ({"slot": 1}, HomingError),
    ],
)
async def test_a_target_that_cannot_be_one_is_refused(file: bytes, target: dict[str, Any], kind: type) -> None:
    world = await World().start()
    with pytest.raises(kind):
        await world.bring_in(file, **target)
    assert world.core.replica(0).last_lsn == 1


async def test_a_file_that_cannot_be_one_is_refused_before_anything_is_written(
    file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await World().start()
    for answer, well in [("the database is damaged", False), ("text", True), (-1, True), (1 << 62, True)]:
        with pytest.raises(BadRequest):
            await world.bring_in(file, answer, well)
    with pytest.raises(BadRequest, match="no SQLite database"):
        await world.bring_in(b"x" * 2_048)
    with pytest.raises(BadRequest, match="too early"):
        await world.bring_in(file, end=False)
    monkeypatch.setattr(module, "database_bytes_max", 100_000)
    with pytest.raises(TooLarge):
        await world.bring_in(file)
    monkeypatch.undo()
    world.log.resign(0, "because")
    with pytest.raises(NotOwner):
        await world.bring_in(file)
    assert world.core.replica(0).last_lsn == 1
    assert len(world.worker.frames(LOOK)) == 4, "what its header gives away is not shown to a worker"


async def test_a_file_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "restore_patience_s", 0.05)
    world = await World().start()

    async def stalled() -> AsyncIterator[wire.ImportPart]:
        yield wire.ImportPart(target=wire.ImportTarget(slot=0, object=A, class_name="Counter", name="a"))
        await asyncio.Event().wait()

    with pytest.raises(Unavailable, match="did not come"):
        await world.databases.bring_in(stalled())
