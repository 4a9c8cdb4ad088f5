"""The semantics that Cloudflare documents for Durable Objects, one test each, on a real cluster of three nodes.

Numbers are those of the list in docs/acceptance.md; what is not here has its test elsewhere, named there.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.chaos.cluster import DevCluster
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from homing_gateway.limits import SOCKET_HOME_LOST_S_MAX
from patience import until

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "acceptance"
REST_S = 30.0
BREAK_S = 60.0  # in which a stream that is hurt breaks; if it is not, it goes on for ever


@pytest.fixture(scope="module")
def cluster() -> Generator[DevCluster]:
    zones = {"HOMING_ZONES": "berlin,paris,ohio", "HOMING_JURISDICTIONS": "eu=berlin,paris;us=ohio"}
    with DevCluster(APP, 3, environment=zones) as running:
        yield running


@pytest.fixture
async def http(cluster: DevCluster) -> AsyncGenerator[httpx.AsyncClient]:
    async with cluster.at_rest("/_homing/v1/objects") as client:
        yield client


async def ask(
    http: httpx.AsyncClient, name: str, method: str, *args: object, kind: str = "Thing", key: str = ""
) -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    return await http.post(f"/{kind}/{name}/rpc/{method}", json={"args": args}, headers=headers)


async def call(http: httpx.AsyncClient, name: str, method: str, *args: object, **options: str) -> Any:
    answer = await ask(http, name, method, *args, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


async def owner_pid(cluster: DevCluster, name: str) -> tuple[int, list[int]]:
    """The process that owns an object, and the others."""
    _, owner = await cluster.owner_of("Thing", name)
    pids = {node.id: node.pid for node in (await cluster.view()).nodes}
    return pids[owner], [pid for node, pid in pids.items() if node != owner]


async def test_1_concurrent_updates_are_never_lost(http: httpx.AsyncClient) -> None:
    """Seen to fail when the read and the write are in two turns without a gate between them."""
    answers = await asyncio.gather(*(call(http, "sum", "add_one") for _ in range(60)))
    assert sorted(answers) == list(range(1, 61))


async def test_2_nothing_is_answered_that_a_majority_does_not_have(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    """Two of three nodes stand still: the caller gets an error, and what it wrote is there once or not at all."""
    await call(http, "quorum", "both", 1)
    _, others = await owner_pid(cluster, "quorum")
    stopped = [cluster.process(pid) for pid in others]
    for process in stopped:
        process.send(signal.SIGSTOP)
    try:
        answer = await ask(http, "quorum", "both", 2)
    finally:
        for process in stopped:
            process.send(signal.SIGCONT)
    assert answer.status_code in (502, 503, 504), answer.text
    await cluster.wait_settled(REST_S)
    assert await call(http, "quorum", "left_and_right") in ([1, 1], [2, 2])


async def test_4_a_constructor_that_cannot_begin_resets_the_object(http: httpx.AsyncClient) -> None:
    """Calls that waited get an error that may be tried again."""
    await call(http, "x", "break_it", kind="Other")
    with contextlib.suppress(httpx.HTTPError):
        await ask(http, "x", "drop", kind="Other")
    answers = await asyncio.gather(*(ask(http, "x", "hello", kind="Other") for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {500, 503}, [answer.text for answer in answers]
    assert all(answer.json()["retryable"] for answer in answers), [answer.text for answer in answers]


async def test_5_two_writes_without_an_await_are_both_there_or_none(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    """Its owner is killed again and again in the middle of writing."""
    number = 0
    for kill in range(2):
        pid, _ = await owner_pid(cluster, "pair")
        writing = [asyncio.ensure_future(ask(http, "pair", "both", number + each)) for each in range(200)]
        number += 200
        await asyncio.sleep(0.05 + 0.05 * kill)
        cluster.process(pid).send(signal.SIGKILL)
        await asyncio.gather(*writing, return_exceptions=True)
        await cluster.wait_settled(REST_S)
        left, right = await call(http, "pair", "left_and_right")
        assert left == right


async def test_6_statements_of_one_query(http: httpx.AsyncClient) -> None:
    """Bindings and rows belong to the last statement; transactions are the runtime's own."""
    create = "CREATE TABLE s(a); INSERT INTO s VALUES (1); INSERT INTO s VALUES (2); SELECT a FROM s WHERE a > ?"
    assert await call(http, "sql", "sql", create, 1) == [{"a": 2}]
    for query in ("BEGIN", "SAVEPOINT x", "COMMIT", "ROLLBACK"):
        assert await call(http, "sql", "sql", query) == "StorageError"
    assert await call(http, "sql", "one", "SELECT a FROM s WHERE a = 1") == {"a": 1}
    assert await call(http, "sql", "one", "SELECT a FROM s") == "StorageError"
    assert await call(http, "sql", "one", "SELECT a FROM s WHERE a = 9") == "StorageError"


async def test_7_a_transaction_that_raises_undoes_sql_keys_and_alarm(http: httpx.AsyncClient) -> None:
    assert await call(http, "undo", "undone") == [[], None, None]


async def test_10_a_paused_owner_commits_nothing_when_it_goes_on(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """Paused beyond every lease: what it still holds is refused, and the next owner's history is the only one."""
    await call(http, "stale", "add_one")
    pid, _ = await owner_pid(cluster, "stale")
    paused = cluster.process(pid)
    paused.send(signal.SIGSTOP)
    try:
        late = asyncio.ensure_future(ask(http, "stale", "add_one", key="late"))
        deadline = asyncio.get_running_loop().time() + REST_S
        while (await owner_pid(cluster, "stale"))[0] == pid:
            assert asyncio.get_running_loop().time() < deadline, "nobody took the slot over"
            await asyncio.sleep(0.1)
        assert (await late).json() == {"result": 2}
        assert await call(http, "stale", "add_one", key="next") == 3
    finally:
        paused.send(signal.SIGCONT)
    await cluster.wait_settled(REST_S)
    assert await call(http, "stale", "value") == 3


async def test_12_an_id_of_another_class_is_refused(http: httpx.AsyncClient) -> None:
    assert await call(http, "ids", "foreign_id") == "BadRequest"


async def test_12_an_id_of_another_jurisdiction_is_refused(http: httpx.AsyncClient) -> None:
    said = ["BadRequest", "BadRequest", "UnknownLocation", "UnknownLocation", "taken"]
    assert await call(http, "ids", "foreign_jurisdictions") == said
    answer = await ask(http, "x", "value", kind="Thing@mars")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (400, "unknown-location")
    assert "there are eu, us" in answer.json()["detail"]


async def test_12_keys_and_a_database_are_bound_where_the_configuration_says_so(http: httpx.AsyncClient) -> None:
    """Seen to fail when the jurisdiction of an entry is read over: their objects were on any node."""
    assert await call(http, "x", "keep", "hello") == ["hello", "hello"]
    for kind, jurisdiction in (("homing.kv", "eu"), ("homing.d1", "us")):
        found = (await http.get(f"/{kind}")).json()["objects"]
        assert found
        assert {(each["jurisdiction"], each["owner"] in BOUND[jurisdiction]) for each in found} == {
            (jurisdiction, True)
        }


async def bound_nodes(cluster: DevCluster) -> dict[str, set[str]]:
    """The nodes that keep copies of any slot of each jurisdiction."""
    found: dict[str, set[str]] = {name: set() for name in cluster.layout.names}
    for each in (await cluster.view()).slots:
        jurisdiction = cluster.layout.jurisdiction_of(each.slot)
        if jurisdiction is not None:
            found[jurisdiction.name].update(each.replicas)
    return found


BOUND = {"eu": {"n1", "n2"}, "us": {"n3"}}


async def test_12_what_a_jurisdiction_binds_is_on_nodes_of_its_zones_and_stays_there(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    """Also when its owner is killed, and a node of the zones drains. Seen to fail when every node may keep them."""
    names = [f"bound {number}" for number in range(6)]
    for name in names:
        assert await call(http, name, "add_one", kind="Thing@eu") == 1
        assert await call(http, "x", "add_one_in", "eu", name) == [2, "eu", "eu"]
        assert await call(http, name, "add_one") == 1, "the same name in no jurisdiction is another object"
    assert sorted(await call(http, "x", "listed_in", "eu")) == names
    listed = (await http.get("/Thing@eu")).json()["objects"]
    assert sorted(each["name"] for each in listed) == names
    assert {each["owner"] for each in listed} <= BOUND["eu"]
    assert {each["jurisdiction"] for each in listed} == {"eu"}
    assert await bound_nodes(cluster) == BOUND

    facts = (await http.get(f"/Thing@eu/{names[0]}")).json()
    assert (facts["jurisdiction"], set(facts["replicas"])) == ("eu", BOUND["eu"])
    pids = {node.id: node.pid for node in (await cluster.view()).nodes}
    cluster.process(pids[facts["owner"]]).send(signal.SIGKILL)
    await cluster.wait_settled(REST_S)
    assert [await call(http, name, "add_one", kind="Thing@eu") for name in names] == [3] * 6
    assert await bound_nodes(cluster) == BOUND

    await cluster.wait_settled(REST_S, balanced=True)
    drained = await asyncio.to_thread(cluster.homing, "drain", "n1")
    assert drained.returncode == 0, drained.stderr
    view = await cluster.view()
    assert {each.owner for each in view.slots if each.slot in cluster.layout.parts[1].slots} == {"n2"}
    assert [await call(http, name, "add_one", kind="Thing@eu") for name in names] == [4] * 6
    assert await bound_nodes(cluster) == BOUND
    assert cluster.homing("drain", "n1", "--stay").returncode == 0


async def test_12_without_a_node_of_its_zones_an_object_is_unavailable_and_nowhere_else(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    """The only node of `us` stands still. Seen to fail, with a plain `unavailable`, without a look at the zones."""
    assert await call(http, "alone", "add_one", kind="Thing@us") == 1
    pids = {node.id: node.pid for node in (await cluster.view()).nodes}
    paused = cluster.process(pids["n3"])
    paused.send(signal.SIGSTOP)
    try:
        deadline = asyncio.get_running_loop().time() + REST_S
        while "jurisdiction-unavailable" not in (await http.get("/Thing@us/alone")).text:
            assert asyncio.get_running_loop().time() < deadline, "nobody noticed"
        answer = await ask(http, "alone", "add_one", kind="Thing@us")
        problem = answer.json()
        assert (answer.status_code, problem["type"].rpartition("/")[2]) == (503, "jurisdiction-unavailable"), problem
        assert "no node in ohio can be reached" in problem["detail"]
        assert problem["retryable"]
        assert "retry-after" in answer.headers
        assert await call(http, "x", "add_one") >= 1, "others are served"
    finally:
        paused.send(signal.SIGCONT)
    await cluster.wait_settled(REST_S)
    assert await bound_nodes(cluster) == BOUND
    assert await call(http, "alone", "add_one", kind="Thing@us") == 2


async def said_back(ws: ClientConnection) -> str | bytes | int:
    """What a message on a socket is answered with, or the code that the socket is closed with."""
    try:
        async with asyncio.timeout(REST_S):
            await ws.send("hi")
            return await ws.recv()
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd is not None else 1006


async def end_of(ws: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(REST_S):
            await ws.recv()
    return closed.value.rcvd.code if closed.value.rcvd is not None else 1006


async def test_live_sockets_end_with_1012_where_others_stay(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """A move, and the death of a node; what docs/sockets.md promises of both kinds.

    Seen to fail when a new owner does not know that a socket was live: its client was told of a fault, 1011.
    """
    await cluster.wait_settled(REST_S)
    url = cluster.url.replace("http", "ws")
    talker = f"{url}/_homing/v1/objects/Talker/a/fetch"
    async with connect(f"{talker}/kept") as kept:
        async with connect(f"{talker}/live") as live:
            assert [await said_back(live), await said_back(kept)] == ["hi", "hi"]
            slot, owner = await cluster.owner_of("Talker", "a")
            target = next(node for node in ("n1", "n2", "n3") if node != owner)
            assert (await asyncio.to_thread(cluster.homing, "move", str(slot), target)).returncode == 0
            assert await end_of(live) == 1012
            assert await said_back(kept) == "hi"
        async with contextlib.AsyncExitStack() as stack:
            live = await stack.enter_async_context(connect(f"{talker}/live"))
            others = [await stack.enter_async_context(connect(f"{url}/")) for _ in range(6)]
            assert [await said_back(ws) for ws in (live, *others)] == ["hi"] * 7
            _, owner = await cluster.owner_of("Talker", "a")
            pid = next(node.pid for node in (await cluster.view()).nodes if node.id == owner)
            cluster.process(pid).send(signal.SIGKILL)
            assert await end_of(live) == 1012
            assert await said_back(kept) == "hi"
            await asyncio.sleep(SOCKET_HOME_LOST_S_MAX + 1.0)
            assert sorted(map(str, [await said_back(ws) for ws in others])) == ["1012"] * 2 + ["hi"] * 4


# -- bodies that flow (docs/bodies.md) ----------------------------------------------------------------------------

MIB = 1 << 20
MEMORY_BYTES_MAX = 24 * MIB  # of which a process may hold more than before; of 200 that pass


async def rss(cluster: DevCluster) -> dict[int, int]:
    """The memory of every gateway, node and worker, in bytes."""
    view = await cluster.view()
    pids = [part.pid for part in (*view.gateways, *view.nodes, *view.workers)]
    return {pid: rss_of(pid) for pid in pids}


def rss_of(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024


async def state(http: httpx.AsyncClient, name: str) -> dict[str, int]:
    return await call(http, name, "state", kind="Feed")


@contextlib.asynccontextmanager
async def flowing(cluster: DevCluster, name: str, what: str) -> AsyncGenerator[AsyncIterator[bytes]]:
    """An answer that flows, from an object through the entrypoint."""
    async with (
        httpx.AsyncClient(base_url=cluster.url, timeout=30.0) as client,
        client.stream("GET", f"/{name}/{what}") as answer,
    ):
        assert answer.status_code == 200
        yield answer.aiter_raw()


async def test_an_answer_of_200_mib_flows_no_faster_than_it_is_read(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    """Its generator waits for a slow reader, and gateway, nodes and workers hold no more than their windows.

    Which rule each place keeps is tried in `test_gateway_flows`, `test_objects_flows` and `test_inside_flows`.
    """
    await state(http, "big")
    before = await rss(cluster)
    async with flowing(cluster, "big", "blocks-200") as pieces:
        read = len(await anext(pieces))
        await asyncio.sleep(1.0)
        made = (await state(http, "big"))["made"]
        assert made < 16 * MIB, "what sockets and windows hold"
        await asyncio.sleep(0.5)
        assert (await state(http, "big"))["made"] == made, "nothing more is made"
        while read < 40 * MIB:
            read += len(await anext(pieces))
        assert (await state(http, "big"))["made"] < read + 16 * MIB
        after = await rss(cluster)
        async for piece in pieces:
            read += len(piece)
    assert read == 200 * MIB
    grown = {pid: size - before.get(pid, size) for pid, size in after.items()}
    assert max(grown.values()) < MEMORY_BYTES_MAX, grown


async def test_an_upload_of_200_mib_is_read_as_it_comes(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """Code that reads slowly holds up its client, and nobody between them holds more than a window."""
    block, sent = bytes(MIB), 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(200):
            yield block
            sent += len(block)

    await state(http, "up")
    before = await rss(cluster)
    async with httpx.AsyncClient(base_url=cluster.url, timeout=60.0) as client:
        asks = asyncio.ensure_future(client.post("/up/count-100", content=body()))
        await asyncio.sleep(1.2)
        assert 0 < (await state(http, "up"))["made"] < 4 * MIB
        assert sent < 24 * MIB, "the client waits, too"
        while not asks.done():
            after = await rss(cluster)
            grown = {pid: size - before.get(pid, size) for pid, size in after.items()}
            assert max(grown.values()) < MEMORY_BYTES_MAX, grown
            await asyncio.sleep(0.3)
    assert (await asks).json()["bytes"] == 200 * MIB


async def test_a_client_that_goes_away_closes_the_generator(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    async with flowing(cluster, "left", "blocks-1000") as pieces:
        await anext(pieces)
        assert (await state(http, "left"))["closed"] == 0
    async with asyncio.timeout(10):
        while (await state(http, "left"))["closed"] == 0:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("what", ["worker", "owner", "move"])
async def test_an_answer_breaks_off_visibly(cluster: DevCluster, http: httpx.AsyncClient, what: str) -> None:
    """Its worker dies, its owner is killed, its slot goes to another node: the client is not told that it has all.

    Each event that it read was stored before it left.
    """
    name = f"events-{what}"
    seen: list[int] = []
    with pytest.raises(httpx.RemoteProtocolError):
        await read_until_it_breaks(cluster, name, seen, lambda: hurt(cluster, http, name, what))
    await cluster.wait_settled(REST_S)
    assert (await state(http, name))["n"] >= seen[-1] >= 40


async def read_until_it_breaks(
    cluster: DevCluster, name: str, seen: list[int], do: Callable[[], Awaitable[None]]
) -> None:
    """Read events; at the fortieth something is done."""
    async with asyncio.timeout(BREAK_S), flowing(cluster, name, "events-5") as pieces:
        async for piece in pieces:
            before = len(seen)
            seen += map(int, re.findall(rb"data: (\d+)\n\n", piece))
            if before < 40 <= len(seen):
                await do()


async def hurt(cluster: DevCluster, http: httpx.AsyncClient, name: str, what: str) -> None:
    slot, owner = await cluster.owner_of("Feed", name)
    view = await cluster.view()
    if what == "worker":
        workers = [worker.pid for worker in view.workers if worker.node == owner]
        assert workers, "no worker of the owner is known, and nothing would break"
        for pid in workers:
            cluster.process(pid).send(signal.SIGKILL)
    elif what == "owner":
        cluster.process(next(node.pid for node in view.nodes if node.id == owner)).send(signal.SIGKILL)
    else:
        other = next(each for each in view.slots[slot].replicas if each != owner)
        moved = await http.post(f"{cluster.url}/_homing/v1/slots/{slot}/move/{other}")
        assert moved.status_code == 200, moved.text


# -- streams of calls ---------------------------------------------------------------------------------------------


async def elsewhere(cluster: DevCluster, name: str) -> str:
    """The name of an object that another node owns."""
    _, owner = await cluster.owner_of("Feed", name)
    for number in range(100):
        other = f"{name}-{number}"
        if (await cluster.owner_of("Feed", other))[1] != owner:
            return other
    raise AssertionError("one node owns everything")


async def flowed(cluster: DevCluster) -> float:
    """How many bytes passed into calls on all nodes, as their metrics tell."""
    total = 0.0
    async with httpx.AsyncClient() as client:
        for node in (await cluster.view()).nodes:
            text = (await client.get(f"http://{node.metrics}/metrics")).text
            total += float(re.findall(r'homing_flow_bytes_total\{direction="in"\} (\S+)', text)[0])
    return total


async def test_a_stream_passes_from_object_to_object_no_faster_than_it_is_read(
    cluster: DevCluster, http: httpx.AsyncClient
) -> None:
    """A result of one call is an argument of the next, on three nodes: nobody between holds more than its windows."""
    source = await elsewhere(cluster, "sink")
    await state(http, source)
    before = await rss(cluster)
    relayed = asyncio.ensure_future(call(http, "relay", "relay", source, "sink", 64, 100, kind="Feed"))
    await asyncio.sleep(1.2)
    assert 0 < (await state(http, "sink"))["made"] < 4 * MIB
    assert (await state(http, source))["made"] < 4 * MIB, "its generator waits"
    after = await rss(cluster)
    assert await relayed == 64 * MIB
    assert (await state(http, source))["closed"] == 1
    assert await flowed(cluster) >= 64 * MIB
    grown = {pid: size - before.get(pid, size) for pid, size in after.items()}
    assert max(grown.values()) < MEMORY_BYTES_MAX, grown


@pytest.mark.parametrize("what", ["worker", "owner", "move"])
async def test_a_stream_of_a_call_breaks_off_visibly(cluster: DevCluster, http: httpx.AsyncClient, what: str) -> None:
    """Its maker's worker or owner dies, or its slot moves: who reads it gets an error, and has nothing that is lost."""
    source = f"told-{what}"
    reader = await elsewhere(cluster, source)
    following = asyncio.ensure_future(call(http, reader, "follow", source, 5, kind="Feed"))

    async def has_told_40() -> bool:
        return (await state(http, source))["n"] >= 40

    await until(has_told_40, "forty events", by=following)
    await hurt(cluster, http, source, what)
    last, error = await following
    await cluster.wait_settled(REST_S)
    assert error == "Unavailable"
    assert (await state(http, source))["n"] >= last >= 40


async def test_streams_go_with_values_that_travel_in_pieces(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """Their pieces pass between those of the value, both ways. Broken by: streams that begin with its last piece."""
    other = await elsewhere(cluster, "mirror")
    block = MIB // 16
    assert await call(http, "mirror", "mirrored", other, 4 * MIB, kind="Feed") == [4 * MIB, 2 * block, 3 * block]


async def test_a_client_that_calls_a_method_is_told_of_fetch(http: httpx.AsyncClient) -> None:
    answer = await ask(http, "told", "blocks", 1, kind="Feed")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (501, "not-supported")
    assert "use `fetch`" in answer.json()["detail"]


async def test_a_generator_is_closed_when_its_reader_dies(cluster: DevCluster, http: httpx.AsyncClient) -> None:
    """On another node; nothing was said by the one that read. Broken by: a stream that outlives its reader."""
    source = "widow"
    reader = await elsewhere(cluster, source)
    assert await call(http, reader, "hold", source, kind="Feed") > 0
    assert (await state(http, source))["closed"] == 0
    await hurt(cluster, http, reader, "worker")
    async with asyncio.timeout(10):
        while (await state(http, source))["closed"] == 0:
            await asyncio.sleep(0.05)
