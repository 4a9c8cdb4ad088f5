"""The judgement of a chaos run: the plan, the client's parser, and the verdict on servers that are right and wrong.

The servers here are counters of a few lines behind real sockets. One keeps its promises although it breaks off
connections; each of the others breaks one promise, and the checks must say so.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import pytest
from tests.chaos.client import Connection, parse, rpc_request
from tests.chaos.faults import Fired, Planned, Target, plan
from tests.chaos.load import Load
from tests.chaos.report import Run, judge, write
from tests.chaos.takeover import GIVE_UP_S, Probes, names_by_slot, percentile

Flaw = Literal["none", "forgets keys", "stale reads", "loses writes", "wrong status"]


class CounterServer:
    """Counters over HTTP. It loses some answers on the way, and has one flaw, or none."""

    def __init__(self, flaw: Flaw) -> None:
        self.flaw = flaw
        self.values: Counter[str] = Counter()
        self.old: Counter[str] = Counter()
        self.answers: dict[str, int] = {}
        self.rng = random.Random(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(2)
                text = head.decode()
                path = text.split(" ")[1].split("/")
                if self.rng.random() < 0.02:
                    break  # not done, not answered
                value = self.call(path[5], path[7], text)
                if self.rng.random() < 0.02:
                    break  # done, not answered
                body = b'{"result": %d}' % value
                status = b"404 Not Found" if self.flaw == "wrong status" and value == 7 else b"200 OK"
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def call(self, name: str, method: str, head: str) -> int:
        odd = self.rng.random() < 0.05
        if method == "read":
            return self.old[name] if odd and self.flaw == "stale reads" else self.values[name]
        found = re.search(r"Idempotency-Key: (\S+)", head)
        key = found[1] if found else ""
        if key in self.answers and self.flaw != "forgets keys":
            return self.answers[key]
        self.old[name] = max(0, self.values[name] - 20)
        self.values[name] += 1
        self.answers[key] = self.values[name]
        if odd and self.flaw == "loses writes":
            self.values[name] -= 1
        return self.answers[key]


async def run_against(flaw: Flaw, seconds: float = 0.5) -> Run:
    server = await asyncio.start_server(CounterServer(flaw).serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    async with server:
        load = Load(lambda: Connection("127.0.0.1", port), 8, 5, seed=3)
        started = time.monotonic()
        calling = asyncio.create_task(load.run())
        await asyncio.sleep(seconds)
        load.stop()
        history = await calling
    return Run(seconds, 3, started, time.monotonic(), history, [])


def failed(run: Run) -> set[str]:
    return {check.name for check in judge(run) if not check.passed}


ABOUT_FAULTS = {
    "at least 1 calls in flight at faults",
    "takeover after kill -9 of a node under 5 s",
}


async def test_a_server_that_keeps_its_promises_passes() -> None:
    run = await run_against("none")
    assert run.history.acknowledged > 100
    assert run.history.retries["connection lost or refused"] > 0
    assert failed(run) == ABOUT_FAULTS


@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [
        ("forgets keys", "replies per object are exactly {1 … n}"),
        ("stale reads", "histories are linearizable"),
        ("loses writes", "replies per object are exactly {1 … n}"),
        ("wrong status", "no call got an answer that it should not"),
    ],
)
async def test_a_server_that_breaks_one_is_found_out(flaw: Flaw, complaint: str) -> None:
    assert complaint in failed(await run_against(flaw))


async def test_a_key_that_is_never_answered_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, and the time for repeats ends."""
    monkeypatch.setattr("tests.chaos.load.DRAIN_S", 0.2)
    load = Load(lambda: Connection("127.0.0.1", 1), 2, 1, seed=3)
    calling = asyncio.create_task(load.run())
    await asyncio.sleep(0.3)
    load.stop()
    history = await calling
    assert history.unanswered > 0
    assert "every key was answered" in failed(Run(1, 3, 0.0, 1.0, history, []))


def good_faults(seconds: float) -> list[Fired]:
    return [
        Fired(
            planned,
            planned.at_s,
            victim="n1",
            in_flight=64,
            takeover_s={1: 0.8} if planned.target is Target.NODE else {},
        )
        for planned in plan(seconds, 5)
    ]


def test_a_plan_of_three_minutes_has_every_fault_three_times() -> None:
    for seed in range(50):
        kinds = Counter(planned.target for planned in plan(180, seed))
        assert kinds[Target.OWNER] == 1
        assert kinds[Target.NODE] == 2
        assert kinds[Target.PAUSE] == 1
        assert kinds[Target.GATEWAY] == kinds[Target.WORKER] == kinds[Target.ETCD] == 3
        times = [planned.at_s for planned in plan(180, seed)]
        assert times == sorted(times)
        assert times[0] >= 6
        assert times[-1] <= 170
    assert plan(180, 1) == plan(180, 1) != plan(180, 2)


def test_a_plan_of_one_minute_has_every_fault_once() -> None:
    kinds = Counter(planned.target for planned in plan(60, 9))
    assert kinds == Counter([Target.OWNER, Target.GATEWAY, Target.WORKER, Target.ETCD, Target.PAUSE])


async def test_a_slot_that_answers_late_is_found_out() -> None:
    run = await run_against("none", 0.1)
    run.fired = good_faults(180)
    assert "takeover after kill -9 of a node under 5 s" not in failed(run)
    next(fault for fault in run.fired if fault.planned.target is Target.NODE).takeover_s[2] = 5.1
    assert "takeover after kill -9 of a node under 5 s" in failed(run)
    run.planned = [Planned(1.0, Target.ETCD)]
    assert "takeover after kill -9 of a node under 5 s" not in failed(run)


async def test_a_fault_that_did_not_happen_is_found_out() -> None:
    run = await run_against("none", 0.1)
    run.fired = good_faults(180)
    run.planned = [fault.planned for fault in run.fired]
    assert "every planned fault happened" not in failed(run)
    run.fired.pop()
    assert "every planned fault happened" in failed(run)


async def test_a_slot_that_stays_silent_and_a_fault_that_silences_all_are_found_out() -> None:
    run = await run_against("none", 0.1)
    run.fired = [Fired(Planned(0.0, Target.NO_ETCD), ended_s=4.0, acknowledged=20, healed_s={7: 0.1})]
    about = {"every slot answered again after every fault", "calls were answered while faults lasted"}
    assert not about & failed(run)
    run.fired[0].acknowledged, run.fired[0].healed_s[8] = 19, GIVE_UP_S
    assert about <= failed(run)


async def test_objects_out_of_reach_do_not_silence_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen to fail when a client waits for its own call until it is answered."""
    monkeypatch.setattr("tests.chaos.load.PATIENCE_S", 0.05)
    monkeypatch.setattr("tests.chaos.load.DRAIN_S", 0.2)
    counters = CounterServer("none")
    out_of_reach = {"chaos-3-0", "chaos-3-1"}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := (await reader.readuntil(b"\r\n\r\n")).decode():
                _, _, _, _, _, name, _, method = head.split(" ")[1].split("/")
                await reader.readexactly(2)
                if name in out_of_reach:
                    writer.write(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
                else:
                    body = b'{"result": %d}' % counters.call(name, method, head)
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    async with server:
        load = Load(lambda: Connection("127.0.0.1", port), 8, 5, seed=3, calls_per_second_max=2_000)
        calling = asyncio.create_task(load.run())
        await asyncio.sleep(1.0)
        before = load.history.acknowledged
        await asyncio.sleep(0.5)
        assert load.history.acknowledged > before + 100
        load.stop()
        history = await calling
    assert history.unanswered >= 2
    assert all(op.answered_s is None for name in out_of_reach for op in history.operations.get(name, []))


async def test_the_report_shows_faults_and_a_plot_that_is_well_formed(tmp_path: Path) -> None:
    run = await run_against("none", 1.2)
    run.fired = [Fired(Planned(0.5, Target.NO_ETCD), 0.5, 0.9, "a | <b>", 12, 34, "0 of 6 arrived", healed_s={1: 0.25})]
    write(run, judge(run), tmp_path / "chaos.md")
    row = "| 0.5 | 0.9 | the owner cut off from etcd | a \\| <b> | 12 | 34 | 0 of 6 arrived |  | 1: p50 0.25 s, "
    assert row in (tmp_path / "chaos.md").read_text()
    picture = ElementTree.parse(tmp_path / "chaos.svg").getroot()
    assert any((element.text or "") == "no etcd" for element in picture.iter())
    shades = [element for element in picture.iter() if element.get("fill-opacity")]
    assert [round(float(shade.get("width", "0"))) for shade in shades] == [round(884 * 0.4 / 1)]


async def test_probes_measure_from_the_kill_to_the_first_answer_of_each_slot() -> None:
    """The server comes back 0.3 s after the kill; no figure is shorter, and none much longer."""
    silent = await asyncio.start_server(CounterServer("none").serve, "127.0.0.1", 0)
    port: int = silent.sockets[0].getsockname()[1]
    silent.close()
    await silent.wait_closed()
    probes = Probes(lambda: Connection("127.0.0.1", port), {1: "a", 2: "b"})
    killed = time.monotonic()
    probing = asyncio.create_task(probes.run(killed))
    await asyncio.sleep(0.3)
    async with await asyncio.start_server(CounterServer("none").serve, "127.0.0.1", port):
        times = await probing
    assert set(times) == {1, 2}
    assert all(0.3 <= seconds < 2 for seconds in times.values())


def test_every_slot_has_a_name() -> None:
    assert sorted(names_by_slot(64)) == list(range(64))


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRetry-After: 1\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 503 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"


@pytest.mark.parametrize(("data", "body"), [(ANSWER, b"hello"), (CHUNKED, b"abcde")])
def test_the_parser_takes_answers_in_any_pieces(data: bytes, body: bytes) -> None:
    for cut in range(len(data)):
        assert parse(data[:cut]) == (None, data[:cut])
    answer, rest = parse(data + b"HTTP/1.1 2")
    assert answer is not None
    assert answer.body == body
    assert rest == b"HTTP/1.1 2"


def test_headers_are_found_by_name() -> None:
    answer, _ = parse(ANSWER)
    assert answer is not None
    assert (answer.header("Retry-After"), answer.header("After")) == ("1", None)


def test_what_is_not_http_is_refused() -> None:
    with pytest.raises(ValueError, match="status line"):
        parse(b"SSH-2.0\r\n\r\n")


def test_a_request_has_the_length_of_its_body() -> None:
    request = rpc_request("h", 1, "C", "n", "m", "ä", key="k")
    head, body = request.split(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Idempotency-Key: k" in head


def test_percentiles() -> None:
    assert [percentile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 1.0)] == [1.0, 2.0, 3.0]
