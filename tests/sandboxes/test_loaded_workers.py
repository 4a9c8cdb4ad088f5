"""Dynamic workers as a node has them: forged frames, loops, deaths, quotas, ends; and a sibling that goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from homing.errors import BadRequest, HomingError, Overloaded, SandboxError, Unavailable
from homing.loading_frames import NEEDED, Part, encode
from homing_node.sandboxes import limits
from homing_node.sandboxes.admission import Quotas
from homing_node.workers.inside.framing import Outbox
from loaded import Workers, workers
from sandboxed import run


@pytest.fixture
async def node():
    async with workers() as found:
        yield found


def main(body: str, before: str = "") -> str:
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return (
        f"import asyncio, os, time\nfrom workers import WorkerEntrypoint, Response\n{before}\n"
        f"class Default(WorkerEntrypoint):\n    async def run(self, *args):\n{lines}\n"
        "    async def quick(self):\n        return 'quick'\n"
    )


async def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def frames(*messages: tuple[object, ...]) -> bytes:
    outbox = Outbox()
    for message in messages:
        outbox.put(message)
    return outbox.take()


def says(data: bytes) -> str:
    """Writes to the channel what only the runtime should, and waits for what comes of it."""
    return main(f"os.write(3, {data!r})\nawait asyncio.sleep(30)")


FORGED = {
    "no frame": b"\xff\xff\xff\x7fxxxx",
    "no message": b"\x01\x00\x00\x00\xc1",
    "an unknown kind": frames((99, 1)),
    "a message of runs": frames((2, b"x")),
    "a return of a call never made": frames((10, 77, b"\xc0")),
    "a return for a call of no number": frames((10, "1", b"\xc0")),
    "a return that is no bytes": frames((10, 1, "text")),
    "a response to a call of a method": frames((11, 1, 200, [], b"")),
    "a return that is too short": frames((10, 1)),
    "a failure of no cause": frames((12, 1, "who knows", "", "", "")),
    "a failure that is no text": frames((12, 1, "raised", 1, "", "")),
    "a start that failed of a call never made": frames((12, 77, "start:raised", "", "", "")),
    "a line of no level": frames((13, 1, "high", "text")),
    "a line that is no text": frames((13, 1, 20, b"text")),
    "a true number": frames((10, True, b"\xc0")),
    "an ask under a grant that is not its own": frames((4, 1, 0, "fetch", b"")),
    "an answer to an ask": frames((2, 1, b"")),
}


@pytest.mark.parametrize("what", FORGED)
async def test_who_breaks_the_protocol_is_ended_and_no_sibling_is(node: Workers, what: str) -> None:
    sibling = await node.load(main("return [os.getpid(), 'well']"))
    before = await node.call(sibling)
    bad = await node.load(says(FORGED[what]))
    with pytest.raises(SandboxError) as caught:
        await node.call(bad)
    assert caught.value.code == "sandbox-died"
    assert (await node.answer(bad)).kind == NEEDED  # the next call gets a new sandbox
    assert await node.call(sibling) == before


ENDS = {
    "it ends its process": ("os._exit(3)", "sandbox-died", ""),
    "it crashes": ("import ctypes\nctypes.string_at(0)", "sandbox-error", "ModuleNotFoundError"),
    "it closes its channel": ("os.close(3)\nawait asyncio.sleep(30)", "sandbox-died", ""),
    "it floods its channel": (
        "import struct\nwhile True: os.write(3, struct.pack('<I', 3) + b'\\x93\\x0d\\x00' * 1)",
        "sandbox-died",
        "",
    ),
    "a tight loop": ("while True: pass", "sandbox-limit", "cpu_ms"),
    "memory": ("return len(bytearray(1 << 32))", "sandbox-limit", "memory_bytes"),
    "too long a result": ("return 'x' * (9 << 20)", "sandbox-limit", "result_bytes"),
    "no value": ("return object()", "sandbox-no-value", ""),
    "an exception": ("raise KeyError('a')", "sandbox-error", "KeyError"),
    "an interrupt": ("raise KeyboardInterrupt", "sandbox-error", "KeyboardInterrupt"),
    "recursion": ("def f(): f()\nf()", "sandbox-error", "RecursionError"),
    "the network": (
        "from workers import fetch\nawait fetch('http://127.0.0.1/')",
        "sandbox-error",
        "Forbidden",
    ),
    "a file": ("open('/etc/passwd')", "sandbox-error", "PermissionError"),
}


@pytest.mark.parametrize("what", ENDS)
async def test_what_goes_wrong_is_a_typed_error_and_a_sibling_is_unharmed(node: Workers, what: str) -> None:
    body, code, error_type = ENDS[what]
    sibling = await node.load(main("return os.getpid()"))
    before = await node.call(sibling)
    bad = await node.load(main(body))
    with pytest.raises(SandboxError) as caught:
        await node.call(bad, cpu_ms=300)
    assert (caught.value.code, caught.value.error_type) == (code, error_type)
    assert await node.call(sibling) == before


async def test_calls_in_flight_when_it_dies_get_the_error(node: Workers) -> None:
    key = await node.load(main("await asyncio.sleep(20)\nreturn 1"))
    waiting = [asyncio.ensure_future(node.call(key)) for _ in range(3)]
    await asyncio.sleep(0.2)
    (facts,) = node.node.list()
    os.kill(facts.pid, signal.SIGKILL)
    for each in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(each, SandboxError)
        assert each.code == "sandbox-died"
    assert (await node.answer(key)).kind == NEEDED


async def test_a_code_that_does_not_load_tells_at_the_first_call(node: Workers) -> None:
    for code, error_type in (
        ("x = ", "sandbox-syntax"),
        ("import nothing_of_this_name", "sandbox-error"),
        ("raise ValueError('no')", "sandbox-error"),
        ("import sys\nsys.exit(2)", "sandbox-error"),
    ):
        key = await node.load(code)
        with pytest.raises(SandboxError) as caught:
            await node.call(key)
        assert caught.value.code == error_type
        assert 'File "main.py", line' in caught.value.traceback
        assert (await node.answer(key)).kind == NEEDED
    key = await node.load("")
    with pytest.raises(SandboxError):  # `sandbox_error` of the support module has no other
        await node.call(key)


async def test_calls_interleave_where_they_await(node: Workers) -> None:
    """Broken by: a call that begins when the one before it has ended."""
    before = "at_once = most = 0"
    body = "global at_once, most\nat_once += 1\nmost = max(most, at_once)\n"
    body += "await asyncio.sleep(0.2)\nat_once -= 1\nreturn most"
    key = await node.load(main(body, before))
    began = time.monotonic()
    found = await asyncio.gather(*(node.call(key) for _ in range(8)))
    assert max(found) == 8
    assert time.monotonic() - began < 2


async def test_cpu_is_counted_for_each_call(node: Workers) -> None:
    """Many calls that are cheap use more than one may. Broken by: a limit of the process's whole life."""
    key = await node.load(main("end = time.process_time() + 0.15\nwhile time.process_time() < end: pass\nreturn 1"))
    for _ in range(4):
        assert await node.call(key, cpu_ms=300) == 1
    with pytest.raises(SandboxError) as caught:
        await node.call(key, cpu_ms=50)
    assert caught.value.error_type == "cpu_ms"


async def test_the_lower_limit_of_code_and_call_counts(node: Workers) -> None:
    code = {"main_module": "main.py", "modules": {"main.py": main("while True: pass")}, "limits": {"cpu_ms": 100}}
    began = time.monotonic()
    with pytest.raises(SandboxError) as caught:
        await node.call(await node.load(code), cpu_ms=20_000)
    assert caught.value.message == "it used more than 100 ms of CPU"
    assert time.monotonic() - began < 15


async def test_a_call_that_nobody_waits_for_is_stopped_and_others_go_on(node: Workers) -> None:
    key = await node.load(main("await asyncio.sleep(30)"))
    other = asyncio.ensure_future(node.call(key, "run"))
    answer = await node.answer(key, wait_s=0.2)
    assert answer.failure is not None
    assert answer.failure[0] == "deadline-exceeded"
    await asyncio.sleep(limits.loaded_cancel_s + 0.3)
    assert await node.call(key, "quick") == "quick"
    assert not other.done()
    other.cancel()


async def test_a_worker_that_does_not_stop_is_ended(node: Workers) -> None:
    key = await node.load(main("while True:\n    try: await asyncio.sleep(30)\n    except BaseException: pass"))
    assert (await node.answer(key, wait_s=0.2)).failure is not None
    await until(lambda: not node.node.list(), limits.loaded_cancel_s + 3)


async def test_an_idle_worker_ends(node: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "loaded_idle_s", 0.3)
    key = await node.load(main("return os.getpid()"), "=L/a")
    for _ in range(3):  # each call gives it more time
        await node.call(key)
        await asyncio.sleep(0.2)
    assert len(node.node.list()) == 1
    await until(lambda: not node.node.list(), 5)
    assert (await node.answer(key)).kind == NEEDED


async def test_a_worker_ends_with_whoever_loaded_it(node: Workers) -> None:
    code = main("await asyncio.sleep(20)")
    mine, other = await node.load(code, "=L/a", 1), await node.load(code, "=L/a", 2)
    calls = [asyncio.ensure_future(node.call(mine, owner=1)), asyncio.ensure_future(node.call(other, owner=2))]
    await asyncio.sleep(0.1)
    node.loader.owner_gone(1)
    with pytest.raises(SandboxError):
        await calls[0]
    await until(lambda: len(node.node.list()) == 1)
    assert not calls[1].done()
    assert await node.call(other, "quick", owner=2) == "quick"
    calls[1].cancel()


async def test_so_many_workers_of_one_have_calls_at_once(node: Workers) -> None:
    for owner, most in ((5, limits.loaded_per_object_max), (-5, limits.loaded_per_request_max)):
        keys = [await node.load(main("await asyncio.sleep(20)"), owner=owner) for _ in range(most)]
        calls = [asyncio.ensure_future(node.call(key, owner=owner, request=1)) for key in keys]
        await asyncio.sleep(0.2)
        if owner > 0:
            with pytest.raises(Overloaded) as caught:
                await node.load(main("return 1"), owner=owner)
        else:
            key = await node.load(main("return 1"), owner=owner)
            with pytest.raises(Overloaded) as caught:
                await node.call(key, owner=owner, request=1)
            assert await node.call(key, owner=owner, request=2) == 1
        assert caught.value.cause == "workers"
        for call in calls:
            call.cancel()
        node.loader.owner_gone(owner)


async def test_an_idle_worker_makes_room_for_another_of_its_object(node: Workers) -> None:
    keys = [await node.load(main("return 1")) for _ in range(limits.loaded_per_object_max + 1)]
    assert (await node.answer(keys[0])).kind == NEEDED
    assert [await node.call(key) for key in keys[2:]] == [1] * (len(keys) - 2)


async def test_workers_count_against_the_quota_and_idle_ones_make_room() -> None:
    async with workers(quotas=Quotas(running=2)) as node:
        idle = await node.load(main("return 1"))
        await node.call(idle)
        busy = await node.load(main("await asyncio.sleep(20)"))
        call = asyncio.ensure_future(node.call(busy))
        await asyncio.sleep(0.1)
        assert (await run(node.node, "40 + 2")).check() == 42
        assert (await node.answer(idle)).kind == NEEDED
        assert not call.done()
        call.cancel()


async def test_a_full_node_takes_the_place_of_any_idle_worker() -> None:
    async with workers(quotas=Quotas(all_running=1)) as node:
        idle = await node.load({"main_module": "a.py", "modules": {"a.py": main("return 1")}, "tenant": "ada"})
        await node.call(idle)
        assert (await run(node.node, "40 + 2", tenant="bob")).check() == 42
        assert (await node.answer(idle)).kind == NEEDED


async def test_operators_see_and_end_them(node: Workers) -> None:
    key = await node.load(
        {"main_module": "a.py", "modules": {"a.py": main("await asyncio.sleep(20)")}, "tenant": "ada"}
    )
    call = asyncio.ensure_future(node.call(key))
    await asyncio.sleep(0.1)
    (facts,) = node.node.list()
    assert (facts.tenant, facts.pid > 0, facts.cpu_s > 0) == ("ada", True, True)
    node.node.kill(facts.number)
    with pytest.raises(SandboxError, match="an operator ended it"):
        await call


async def test_lines_have_their_call_and_a_flood_is_cut(node: Workers) -> None:
    key = await node.load(main("print('one')\nimport logging\nlogging.error('two')\nreturn 1"))
    await node.call(key)
    assert node.lines == [("req", 20, "one"), ("req", 40, "ERROR:root:two")]
    node.lines.clear()
    key = await node.load(main("for n in range(3000): print(n)\nreturn 1"))
    assert await node.call(key) == 1
    assert 0 < len(node.lines) <= 1_000


async def test_an_object_may_not_confuse_the_node(node: Workers) -> None:
    """Messages of a worker process that say what cannot be."""
    key = await node.load(main("return 1"))

    def part(**given: Any) -> bytes:
        whole: dict[str, Any] = {
            "key": "x",
            "tenant": "",
            "cpu_ms": 1,
            "sub_requests": 0,
            "tailed": False,
            "grants": (),
            "size": 1,
            "at": 0,
        }
        return encode(Part(**{**whole, "data": b"", **given}))

    for what, body in (
        ("part", part()),
        ("part", part(key="y", at=1, data=b"x")),
        ("part", part(key="z", data=b"too long")),
        ("part", part(key=key, data=b"x")),
        ("part", part(key="k" * 2_000)),
        ("part", part(tenant="t" * 300)),
        ("part", part(cpu_ms=-1)),
        ("part", part(size=1 << 30)),
        ("call", b""),
        ("what", b""),
    ):
        with pytest.raises(HomingError) as caught:
            await node.ask(what, body)
        assert type(caught.value) in (BadRequest, HomingError) or caught.value.code == "too-large"
        assert caught.value.code != "internal"
    assert await node.call(key) == 1
    await node.ask("drop", b"nothing of this name")
    await until(lambda: len(node.node.list()) == 1)


def zygotes(node: Workers) -> Iterator[int]:
    return (zygote.pid for zygote in node.node.fleet.zygotes)


async def test_a_zygote_that_dies_takes_its_workers_and_the_next_call_gets_another(node: Workers) -> None:
    key = await node.load(main("await asyncio.sleep(20)"))
    call = asyncio.ensure_future(node.answer(key))
    await asyncio.sleep(0.2)
    for pid in zygotes(node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    answer = await call
    assert answer.failure is not None
    assert answer.failure[0] in ("unavailable", "sandbox-died")
    assert await node.call(await node.load(main("return 5"))) == 5


async def test_a_worn_worker_ends_its_calls_and_takes_no_more(
    node: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    key = await node.load(main("await asyncio.sleep(0.5)\nreturn os.getpid()"), "=L/a")
    call = asyncio.ensure_future(node.call(key))
    await asyncio.sleep(0.1)
    monkeypatch.setattr(limits, "loaded_worn_cpu_s", 0.0)
    assert (await node.answer(key)).kind == NEEDED
    assert await call > 0
    await until(lambda: not node.node.list())


async def test_a_node_that_stops_answers_every_call() -> None:
    async with workers() as node:
        key = await node.load(main("await asyncio.sleep(20)"))
        call = asyncio.ensure_future(node.call(key))
        await asyncio.sleep(0.1)
        await node.loader.close()
        with pytest.raises((SandboxError, Unavailable)):
            await call
