"""What operators do to objects, on three nodes: take them out, query, delete, bring in, clone, evict, follow."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import DevCluster
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from homing.ids import ObjectId
from patience import until

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "state"
SLOTS = 64
OBJECTS = "/_homing/v1/objects/Ledger"


@pytest.fixture(scope="module")
def cluster() -> Iterator[DevCluster]:
    with DevCluster(APP, nodes=3, environment={"HOMING_SLOTS": str(SLOTS)}) as made:
        yield made


@pytest.fixture
async def http(cluster: DevCluster) -> AsyncIterator[httpx.AsyncClient]:
    await cluster.wait_settled(90)
    async with httpx.AsyncClient(base_url=f"{cluster.url}{OBJECTS}", timeout=60) as client:
        yield client


async def call(http: httpx.AsyncClient, name: str, method: str, *args: object) -> Any:
    answer = await http.post(f"/{name}/rpc/{method}", json={"args": args})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def exported(http: httpx.AsyncClient, name: str, file: Path) -> sqlite3.Connection:
    """The database of an object, opened and sound."""
    answer = await http.get(f"/{name}/export")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/vnd.sqlite3"), answer.text
    assert len(answer.content) == int(answer.headers["content-length"])
    await asyncio.to_thread(file.write_bytes, answer.content)
    opened = sqlite3.connect(file)
    assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return opened


async def run(cluster: DevCluster, *words: str) -> str:
    """What a command prints; it succeeds."""
    done = await asyncio.to_thread(cluster.homing, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def refused(cluster: DevCluster, *words: str) -> str:
    done = await asyncio.to_thread(cluster.homing, *words)
    assert done.returncode == 1, done.stdout
    return done.stderr


async def names(http: httpx.AsyncClient) -> list[str]:
    page = (await http.get("")).json()
    assert page["cursor"] is None
    return sorted(each["name"] for each in page["objects"])


async def test_an_export_is_of_one_moment_while_calls_run(http: httpx.AsyncClient, tmp_path: Path) -> None:
    """Every call writes to two tables: a file that holds half of one would show it."""
    done = 0
    stop = asyncio.Event()

    async def add() -> None:
        nonlocal done
        while not stop.is_set():
            done = await call(http, "busy", "add", done + 1, 3_000)

    async def has_done(count: int) -> bool:
        return done >= count

    adding = asyncio.ensure_future(add())
    try:
        for number in range(6):
            await until(lambda at=10 * (number + 1): has_done(at), "calls", by=adding, pause_s=0.01)
            before = done
            opened = await exported(http, "busy", tmp_path / f"{number}.sqlite")
            count, last = opened.execute("SELECT count(*), max(n) FROM entries").fetchone()
            assert count == last, "entries are there up to some number, without a gap"
            assert before <= count <= done + 1, "it is not older than the request"
            assert opened.execute("SELECT count(*) FROM _homing_kv").fetchone() == (1,)
            opened.close()
    finally:
        stop.set()
        await adding
    state = await call(http, "busy", "state")
    opened = await exported(http, "busy", tmp_path / "end.sqlite")
    assert opened.execute("SELECT count(*), sum(n) FROM entries").fetchone() == (state[0], state[1])
    opened.close()


async def test_it_wakes_nobody_and_what_is_not_there_is_said(
    cluster: DevCluster, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    for path in ("/nobody/export", "/nobody"):
        assert (await http.get(path)).status_code == 404
    assert (await http.post("/nobody/sql", json={"query": "SELECT 1"})).status_code == 404
    assert (await http.delete("/nobody")).status_code == 404
    other = http.base_url.copy_with(path="/_homing/v1/objects/Nothing/a/export")
    assert (await http.get(other)).status_code == 404
    assert "nobody" not in await names(http)
    await call(http, "one", "add", 5)
    file = tmp_path / "one.sqlite"
    assert "exported Ledger/one" in await run(cluster, "objects", "export", "Ledger", "one", str(file))
    opened = sqlite3.connect(file)
    assert opened.execute("SELECT n FROM entries").fetchall() == [(5,)]
    opened.close()
    assert "exists" in await refused(cluster, "objects", "export", "Ledger", "one", str(file))
    assert "never existed" in await refused(cluster, "objects", "export", "Ledger", "nobody", str(tmp_path / "no"))
    assert not (tmp_path / "no").exists()
    assert os.listdir(tmp_path) == ["one.sqlite"], "nothing else is left"


async def test_a_query_reads_and_only_reads(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    await call(http, "asked", "add", 7)
    printed = await run(cluster, "objects", "sql", "Ledger", "asked", "SELECT n, NULL x, 'a' y FROM entries")
    assert printed == "n  x     y\n7  NULL  a\n"
    found = await run(cluster, "objects", "sql", "Ledger", "asked", "SELECT filler FROM entries", "--json")
    assert json.loads(found)["columns"] == ["filler"]
    for query in ("DELETE FROM entries", "SELEC"):
        answer = await http.post("/asked/sql", json={"query": query})
        assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (400, "bad-request")
    assert (await http.post("/asked/sql", json={"other": 1})).status_code == 400
    assert await call(http, "asked", "state") == [1, 7, 7, 0]


async def test_what_is_deleted_is_gone_and_begins_anew(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """Its sockets are closed, its alarm does not ring, and it stays gone when its owner is killed."""
    for name in ("gone", "stays"):
        assert await call(http, name, "add", 1) == 1
        await call(http, name, "remind", 4)
    rings_at = time.monotonic() + 4
    async with connect(f"ws{cluster.url[4:]}{OBJECTS}/gone/fetch/") as socket:
        await socket.send("hello")
        assert await asyncio.wait_for(socket.recv(), 10) == "hello"
        assert (await http.delete("/gone")).status_code == 204
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(socket.recv(), 10)
        assert (closed.value.rcvd and closed.value.rcvd.code) == 1001
    assert (await http.delete("/gone")).status_code == 404
    for path in ("/gone", "/gone/export"):
        assert (await http.get(path)).status_code == 404
    assert "gone" not in await names(http)
    _, owner = await cluster.owner_of("Ledger", "gone")
    pid = next(node.pid for node in (await cluster.view()).nodes if node.id == owner)
    cluster.process(pid).send(signal.SIGKILL)
    await cluster.wait_settled(60)
    assert (await http.get("/gone")).status_code == 404
    assert "gone" not in await names(http)
    while (await call(http, "stays", "state"))[3] == 0:
        assert time.monotonic() < rings_at + 30, "the alarm of the other did not ring"
        await asyncio.sleep(0.1)
    assert (await http.get("/gone")).status_code == 404, "an alarm would have made it anew"
    assert await call(http, "gone", "add", 9) == 1
    assert await call(http, "gone", "state") == [1, 9, 9, 0]
    assert "gone" in await names(http)
    done = await asyncio.to_thread(cluster.homing, "objects", "delete", "Ledger", "gone")
    assert done.returncode == 1, "it asks, and nobody says yes"
    assert await call(http, "gone", "state") == [1, 9, 9, 0]
    assert await run(cluster, "objects", "delete", "Ledger", "gone", "--yes") == "deleted Ledger/gone\n"
    assert (await http.get("/gone")).status_code == 404


async def test_calls_that_run_while_it_is_deleted_come_before_or_after(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    """What a call answers, counts on from what another was answered or from nothing; nothing is mixed."""
    answers: list[int] = []
    stop = asyncio.Event()

    async def add() -> None:
        while not stop.is_set():
            answer = await http.post("/contested/rpc/add", json={"args": [1]})
            if answer.status_code == 200:
                answers.append(answer.json()["result"])

    adding = [asyncio.ensure_future(add()) for _ in range(4)]
    try:
        for _ in range(5):
            await asyncio.sleep(0.1)
            assert (await http.delete("/contested")).status_code == 204
    finally:
        stop.set()
        await asyncio.gather(*adding)
    count, total, kept, _ = await call(http, "contested", "state")
    assert count == total == kept
    assert count < len(answers), "it began anew"
    assert answers.count(1) >= 5
    assert f"{SLOTS} of {SLOTS} slots hold the same" in await run(cluster, "verify")


async def test_a_file_is_brought_in_and_an_object_is_cloned(
    cluster: DevCluster, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    for n in range(1, 101):
        await call(http, "source", "add", n, 12_000)
    file, back = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    await run(cluster, "objects", "export", "Ledger", "source", str(file))
    await run(cluster, "objects", "import", "Ledger", "copy", str(file))
    assert await call(http, "copy", "state") == await call(http, "source", "state") == [100, 5_050, 5_050, 0]
    assert "--overwrite" in await refused(cluster, "objects", "import", "Ledger", "copy", str(file))
    await call(http, "source", "remind", 600)
    await run(cluster, "objects", "clone", "Ledger", "source", "copy", "--overwrite")
    assert (await http.get("/copy")).json()["alarm"] == (await http.get("/source")).json()["alarm"] > 0
    await call(http, "copy", "add", 1)
    assert (await call(http, "source", "state"))[0] == 100
    await run(cluster, "objects", "export", "Ledger", "copy", str(back))
    for path, count in ((file, 100), (back, 101)):
        opened = sqlite3.connect(path)
        assert opened.execute("SELECT count(*) FROM entries").fetchone() == (count,)
        opened.close()


async def test_a_database_of_another_shape_is_made_to_fit(
    cluster: DevCluster, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "other.sqlite"
    opened = sqlite3.connect(file, isolation_level=None)
    opened.execute("PRAGMA page_size=8192")
    opened.execute("PRAGMA journal_mode=wal")
    opened.execute("CREATE TABLE entries(n INTEGER, filler BLOB)")
    opened.execute("INSERT INTO entries VALUES (40, NULL), (2, NULL)")
    await run(cluster, "objects", "import", "Ledger", "fitted", str(file))
    opened.close()
    assert await call(http, "fitted", "state") == [2, 42, 0, 0]
    assert (await http.get("/fitted")).json()["database_bytes"] % 1_024 == 0


async def test_a_file_that_is_none_is_refused_and_nothing_is_written(
    cluster: DevCluster, http: httpx.AsyncClient, tmp_path: Path
) -> None:
    await call(http, "model", "add", 1)
    file = (await http.get("/model/export")).content
    torn = file[:1_024] + bytes(1_024) + file[2_048:]
    for wrong in (b"hello", file[:-5], b"x" * 4_096, torn, file[:100] + b"\xff" * (len(file) - 100)):
        answer = await http.put("/wrong/import", content=wrong)
        assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (400, "bad-request"), answer.text
    assert (await http.put("/wrong/import", content=bytes((64 << 20) + 1))).status_code == 413
    assert (await http.get("/wrong")).status_code == 404
    other = http.base_url.copy_with(path="/_homing/v1/objects/Nothing/a/import")
    assert (await http.put(other, content=file)).status_code == 404
    (tmp_path / "no.sqlite").write_bytes(b"hello, I am no database at all")
    said = await refused(cluster, "objects", "import", "Ledger", "wrong", str(tmp_path / "no.sqlite"))
    assert "cannot be read as a SQLite database" in said
    assert (await http.put("/wrong/import", content=file)).status_code == 204
    assert await call(http, "wrong", "state") == [1, 1, 1, 0]


async def test_objects_list_each_other(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """With what there is to know of each, from whichever node it lives on; the gateway says the same."""
    for number in range(12):
        await call(http, f"listed {number}", "add", number)
    await call(http, "listed 3", "remind", 600)
    found = await call(http, "listed 0", "others", 5)
    page = (await http.get("?limit=1000")).json()["objects"]
    assert [each[0] for each in found] == [each["id"] for each in page] == sorted(each["id"] for each in page)
    by_name = {each[1]: each for each in found}
    assert {f"listed {number}" for number in range(12)} <= set(by_name)
    assert {each[7] for each in found} == {"n1", "n2", "n3"}
    _, name, active, size, alarm, sockets, used, owner = by_name["listed 3"]
    facts = (await http.get("/listed 3")).json()
    assert (name, active, sockets, owner) == ("listed 3", True, 0, facts["owner"])
    assert (size, alarm) == (facts["database_bytes"], facts["alarm"])
    assert abs(used / 1_000 - time.time()) < 60
    printed = await run(cluster, "objects", "ls", "Ledger", "--limit", "5")
    assert printed.splitlines()[0].split("  ")[0] == "NAME"
    assert len(printed.splitlines()) == 6


async def test_an_object_is_taken_out_of_memory(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    await call(http, "awake", "add", 4)
    assert (await http.get("/awake")).json()["active"]
    assert await run(cluster, "objects", "evict", "Ledger", "awake") == "evicted Ledger/awake\n"
    assert not (await http.get("/awake")).json()["active"]
    assert await run(cluster, "objects", "evict", "Ledger", "awake") == "Ledger/awake is not in memory\n"
    assert await call(http, "awake", "state") == [1, 4, 4, 0]
    sleeping = asyncio.ensure_future(http.post("/awake/rpc/sleep", json={"args": [60]}))

    async def is_active() -> bool:
        return (await http.get("/awake")).json()["active"] is True

    await until(is_active, "a call in it", by=sleeping, pause_s=0.01)
    assert "--now ends that" in await refused(cluster, "objects", "evict", "Ledger", "awake")
    assert json.loads(await run(cluster, "objects", "evict", "Ledger", "awake", "--now", "--json"))["evicted"] is True
    answer = await sleeping
    assert (answer.status_code, answer.json()["type"].split("/")[-1]) == (503, "object-reset")
    assert await call(http, "awake", "state") == [1, 4, 4, 0]


class Tail:
    """`homing tail` as it runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        assert process.stdout is not None
        self._lines = process.stdout

    async def until(self, **wanted: Any) -> dict[str, Any]:
        """The next event that is so."""
        async with asyncio.timeout(30):
            while True:
                found = json.loads(await self._lines.readline())
                if all(found.get(name) == value for name, value in wanted.items()):
                    return found


@contextlib.asynccontextmanager
async def tailing(cluster: DevCluster, *words: str) -> AsyncIterator[Tail]:
    process = await asyncio.create_subprocess_exec(
        cluster.program, "tail", *words, "--json", "--url", cluster.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield Tail(process)
        process.send_signal(signal.SIGINT)
        _, errors = await asyncio.wait_for(process.communicate(), 30)
        assert (process.returncode, errors) == (0, b""), "Ctrl-C ends it without a word"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_tail_follows_an_object_over_every_node_and_through_a_kill(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    async def say(name: str, text: str) -> None:
        assert (await http.post(f"/{name}/rpc/say", json={"args": [text]})).status_code == 500

    async with tailing(cluster, "Ledger/told") as tail:
        begun = {(await tail.until(message="followed from here on"))["node"] for _ in range(3)}
        assert begun == {"n1", "n2", "n3"}
        await say("other", "not this")
        await say("told", "hello")
        _, owner = await cluster.owner_of("Ledger", "told")
        raw = ObjectId.from_name("Ledger", "told").raw.hex()
        whose = {"node": owner, "class": "Ledger", "name": "told", "id": raw}
        first = await tail.until(kind="log")
        assert (first["level"], first["message"]) == ("info", "hello"), "nothing of the other"
        assert {name: first[name] for name in whose} == whose
        await tail.until(**whose, level="warning", message="careful: hello")
        await tail.until(**whose, level="error", message='bad: {"text":"hello"}')
        raised = await tail.until(**whose, kind="exception", level="error", request_id=first["request_id"])
        assert raised["message"].startswith("Traceback")
        assert raised["message"].endswith("ValueError: hello\n")
        ended = await tail.until(**whose, kind="outcome", event="rpc say", outcome="application-error")
        assert 0 < ended["duration_ms"] < 10_000
        pid = next(node.pid for node in (await cluster.view()).nodes if node.id == owner)
        cluster.process(pid).send(signal.SIGKILL)
        await tail.until(kind="tail", node=owner, level="warning")
        await tail.until(kind="tail", node=owner, message="followed from here on")
        await cluster.wait_settled(60)
        await say("told", "again")
        await tail.until(kind="log", name="told", message="again")
    assert "there is no class Nobody" in await refused(cluster, "tail", "Nobody")
