"""Live logs through the gateway: the nodes' streams in one, whatever happens to them, and bounded."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from gateway_process import Running, check_problem, running, until
from homing.ids import ObjectId
from homing.levels import DEBUG, ERROR, INFO
from homing.wire.v1 import call_pb2 as wire
from homing_gateway.limits import TAILS_MAX
from stub_node import StubNode

PATH = "/_homing/v1/tail"


class Lines:
    """What a client of a tail reads."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def next(self) -> dict[str, Any]:
        """The next line that is not empty."""
        async with asyncio.timeout(10):
            while not (line := await anext(self._lines)):
                pass
        return json.loads(line)

    async def until(self, message: str) -> dict[str, Any]:
        while not (found := await self.next())["message"].startswith(message):
            pass
        return found


@contextlib.asynccontextmanager
async def tailing(gate: Running, **query: str) -> AsyncIterator[Lines]:
    async with gate.http.stream("GET", PATH, params=query) as answer:
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
        yield Lines(answer)


def said(message: str, **fields: Any) -> wire.TailBatch:
    event = wire.TailEvent(kind=wire.TAIL_KIND_LOG, time_ms=1_700_000_000_123, level=INFO, message=message, **fields)
    return wire.TailBatch(events=[event])


async def test_events_as_json() -> None:
    raw = ObjectId.from_name("Counter", "a").raw
    async with running(lane=True) as gate, tailing(gate) as lines:
        begun = await lines.next()
        assert (begun["kind"], begun["node"], begun["message"]) == ("tail", "n1", "followed from here on")
        where: dict[str, Any] = {"class_name": "Counter", "object": raw, "name": "a", "version": "v", "request_id": "r"}
        gate.node.tell(said("hi\nthere", **where))
        assert await lines.next() == {
            "time": "2023-11-14T22:13:20.123Z", "node": "n1", "kind": "log", "level": "info", "class": "Counter",
            "id": raw.hex(), "name": "a", "version": "v", "request_id": "r", "message": "hi\nthere",
        }  # fmt: skip
        ended = wire.TailEvent(
            kind=wire.TAIL_KIND_OUTCOME, level=ERROR, event="rpc m", outcome="overloaded", duration_us=1_500,
            message="no",
        )  # fmt: skip
        gate.node.tell(wire.TailBatch(events=[ended], dropped=3))
        told, dropped = await lines.next(), await lines.next()
        assert (told["event"], told["outcome"], told["duration_ms"], told["class"], told["id"]) == (
            "rpc m", "overloaded", 1.5, None, None,
        )  # fmt: skip
        assert (dropped["kind"], dropped["dropped"], dropped["level"]) == ("dropped", 3, "warning")


async def test_what_is_asked_goes_to_every_node_and_the_answers_come_together() -> None:
    async with running(lane=True) as gate, StubNode("n2") as second:
        gate.table.add(second, slots=())
        await until(lambda: "n2" in gate.gateway.forwarder.links and gate.gateway.forwarder.links["n2"].up)
        async with tailing(gate, **{"class": "Counter", "name": "ü/b", "level": "error"}) as lines:
            assert {(await lines.next())["node"] for _ in range(2)} == {"n1", "n2"}
            for node in (gate.node, second):
                ((request, _),) = node.tails
                assert request == wire.TailRequest(
                    class_name="Counter", object=ObjectId.from_name("Counter", "ü/b").raw, level=ERROR
                )
            gate.node.tell(said("from the first"))
            second.tell(said("from the second"))
            assert {(await lines.next())["message"] for _ in range(2)} == {"from the first", "from the second"}
        await until(lambda: not gate.node.tails and not second.tails)


async def test_a_node_that_comes_later_or_again_is_followed() -> None:
    """Seen to fail when `_Following.look` is called once only."""
    async with running(lane=True) as gate, StubNode("n2") as second, tailing(gate) as lines:
        assert (await lines.next())["node"] == "n1"
        gate.table.add(second, slots=())
        while (found := await lines.next())["message"] != "followed from here on":
            assert found["node"] == "n2"
        await second.stop()
        lost = await lines.until("not followed")
        assert (lost["node"], lost["level"]) == ("n2", "warning")
        again = StubNode("n2", incarnation="i2")
        async with again:
            gate.table.remove("n2")
            gate.table.add(again, slots=())
            assert (await lines.until("followed"))["node"] == "n2"
            again.tell(said("I am back"))
            assert (await lines.next())["message"] == "I am back"


async def test_a_stream_that_ends_begins_again() -> None:
    async with running(lane=True) as gate, tailing(gate) as lines:
        await lines.until("followed")
        gate.node.tell(None)
        assert (await lines.next())["message"] == "not followed: its stream ended"
        await lines.until("followed")
        gate.node.tell(wire.TailBatch(failure=wire.Failure(code="overloaded", message="too many")))
        assert (await lines.next())["message"] == "not followed: too many"


async def test_while_a_client_does_not_read_the_gateway_holds_little() -> None:
    """Seen to fail without the bound of `_batches`: then the node's stream never waits."""
    async with running(lane=True) as gate, tailing(gate) as lines:
        await lines.until("followed")
        sent = 0
        ((_, queue),) = gate.node.tails
        for _ in range(400):
            gate.node.tell(said("x" * 100_000))
            sent += 1
        await asyncio.sleep(0.5)
        assert queue.qsize() > 100, "the node's stream waits for the client"
        for _ in range(sent):
            assert len((await lines.next())["message"]) == 100_000


async def test_it_ends_when_the_gateway_does() -> None:
    async with running(lane=True) as gate, tailing(gate) as lines:
        await lines.until("followed")
        gate.gateway.draining = True
        assert (await lines.next())["message"] == "this gateway stops"
        with pytest.raises(StopAsyncIteration):
            await lines.next()
        await until(lambda: not gate.node.tails)


async def test_an_empty_line_says_that_it_is_there() -> None:
    async with running(lane=True) as gate, tailing(gate) as lines:
        await lines.until("followed")
        async with asyncio.timeout(10):
            assert await anext(lines._lines) == ""


async def test_who_may_not_and_what_cannot_be() -> None:
    async with running(lane=True, token="t0ken") as gate:
        check_problem(await gate.http.get(PATH), 401, "unauthenticated")
        gate.http.headers["authorization"] = "Bearer t0ken"
        check_problem(await gate.http.post(PATH), 405, "method-not-allowed")
        check_problem(await gate.http.get(PATH, params={"class": "Nope"}), 404, "not-found")
        for query in ({"level": "loud"}, {"name": "a"}, {"class": "Counter", "name": "id:12"}):
            check_problem(await gate.http.get(PATH, params=query), 400, "bad-request")
        assert not gate.node.tails
        async with tailing(gate, **{"class": "Default", "level": "debug"}) as lines:
            await lines.until("followed")
            assert gate.node.tails[0][0].level == DEBUG


async def test_there_are_only_so_many() -> None:
    async with running(lane=True) as gate, contextlib.AsyncExitStack() as stack:
        for _ in range(TAILS_MAX):
            await (await stack.enter_async_context(tailing(gate))).until("followed")
        check_problem(await gate.http.get(PATH), 429, "overloaded", retryable=True)
