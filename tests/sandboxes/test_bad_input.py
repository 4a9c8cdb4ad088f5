"""Each row of docs/sandboxes.md's list of bad input, through a real sandbox beside siblings that go on unharmed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from egress_world import HOSTS, World, answering
from homing import grants as granting
from homing.errors import HomingError
from homing.grants import Grant
from homing.sandboxes import Asked, Limits, Ran, decode_outcome, encode_outcome
from homing.values import to_stored
from homing_node.broker.grants import Giver, Grants
from loaded import Workers, workers
from sandboxed import sleeping

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sandboxes.md"
METADATA = "169.254.169.254"
SIBLING = """
from homing import WorkerEntrypoint
class Default(WorkerEntrypoint):
    seen = 0
    def run(self):
        Default.seen += 1
        return Default.seen
"""


def documented() -> dict[str, str]:
    """The list: what goes in, and which error comes of it."""
    table = PAGE.read_text().partition("<!-- bad input: ")[2].split("\n\n")[1]
    rows = [line.strip("|").split("|") for line in table.splitlines()]
    return {row[0].strip(): row[1].strip() for row in rows[2:]}


ROWS = documented()


@dataclass
class Node:
    """A node's sandboxes, whose network is the test's."""

    world: World
    grants: Grants
    workers: Workers

    async def run(self, code: str, grant: Grant | None = None, **limits: Any) -> Ran:
        given = () if grant is None else (grant.homing_given("api"),)
        giver = Giver("a test", [*HOSTS, "meta.example.org"])
        asked = Asked(code, to_stored({}), b"", Limits(**limits), grants=given)
        async with asyncio.timeout(60):
            return decode_outcome(encode_outcome(await self.workers.node.run(asked, giver)))


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    world = World(tmp_path)
    await world.start()
    grants = Grants(network=world.network)
    try:
        async with workers(grants=grants) as found:
            yield Node(world, grants, found)
    finally:
        await world.stop()
    world.check()


def running(code: str, **limits: Any) -> Callable[[Node], Awaitable[Any]]:
    async def case(node: Node) -> Any:
        return (await node.run(code, **limits)).check()

    return case


def loading(modules: dict[str, Any], main: str = "main.py") -> Callable[[Node], Awaitable[Any]]:
    async def case(node: Node) -> Any:
        return await node.workers.call(await node.workers.load({"main_module": main, "modules": modules}))

    return case


def requests() -> Grant:
    return granting.http("api.example.com", "meta.example.org", methods=["GET"], paths=["/**"])


async def forged_grant(node: Node) -> Any:
    """The place of a grant of another run, which holds it just now."""
    code = "import sys, time\nsys.stdout.buffer.raw._send((4, 1, 1, 'fetch', b''))\ntime.sleep(5)"
    return (await node.run(code, requests())).check()


async def zip_bomb(node: Node) -> Any:
    """256 MiB in a quarter of one."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    body = b"".join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(body)
    node.world.serve = answering(head + body)
    try:
        return (await node.run("await env.api.fetch('https://api.example.com/bomb')", requests())).check()
    finally:
        (record,) = node.grants.records
        assert (record.rule, record.outcome) == ("decoded_bytes_max", "cut")
        assert record.received_bytes < 2 << 20


async def metadata(node: Node) -> Any:
    node.world.network.answers["meta.example.org"] = [["93.184.215.14", METADATA], [METADATA]]
    code = """
seen = []
for scheme in ("https", "http"):
    for _ in range(2):
        try:
            await env.api.fetch(f"{scheme}://meta.example.org/latest/meta-data/")
        except Exception as error:
            seen.append(type(error).__name__)
assert seen == ["Forbidden"] * 4, seen
await env.api.fetch("https://meta.example.org/latest/meta-data/")
"""
    grant = granting.http("meta.example.org", methods=["GET"], paths=["/**"], schemes=["https", "http"])
    try:
        return (await node.run(code, grant)).check()
    finally:
        assert node.world.network.connected == []
        assert {record.rule for record in node.grants.records} == {"address"}


async def revocation(node: Node) -> Any:
    grant = requests()

    async def never(heard: Any, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    node.world.serve = never
    asked = asyncio.ensure_future(node.run("await env.api.fetch('https://api.example.com/')", grant))
    while not node.world.heard:
        await asyncio.sleep(0.01)
    node.grants.revoke_all(grant.homing_given("api").key)
    return (await asked).check()


CASES: dict[str, Callable[[Node], Awaitable[Any]]] = {
    "a syntax error": running("x = "),
    "no main module": loading({"other.py": SIBLING}),
    "an import of what is not there": running("import nobody"),
    "an endless loop": running("while True: pass", cpu_s=0.3),
    "recursion": running("def f(): f()\nf()"),
    "an allocation of 4 GiB": running("bytes(4 << 30)"),
    "100 MiB of output": running("for _ in range(100): print('x' * (1 << 20))"),
    "a result that is no value": running("object()"),
    "a module name with `../`": loading({"main.py": SIBLING, "../main.py": SIBLING}),
    "ten thousand modules": loading({"main.py": SIBLING} | {f"m{n}.py": "" for n in range(10_000)}),
    "code of 65 MiB": loading({"main.py": SIBLING, "big.bin": {"data": bytes(65 << 20)}}),
    "a grant that is not its own": forged_grant,
    "frames forged on the channel": running("import os, time\nos.write(3, b'\\xff' * 64)\ntime.sleep(5)"),
    "a process that kills itself": running("import os\nos._exit(1)"),
    "a zip bomb as a response": zip_bomb,
    "a host that resolves to 169.254.169.254": metadata,
    "revocation in the middle of a call": revocation,
}


def test_the_list_has_each_of_these_and_no_other():
    assert list(ROWS) == list(CASES)


@pytest.mark.parametrize("what", ROWS)
async def test_each_is_the_error_that_is_documented_and_siblings_are_unharmed(node: Node, what: str) -> None:
    """The siblings: a run in the same zygote, and a dynamic worker, which is the same one afterwards."""
    sibling, _ = await sleeping(node.workers.node)
    worker = await node.workers.load(SIBLING, "=L/sibling")
    assert await node.workers.call(worker) == 1
    with pytest.raises(HomingError) as raised:
        await CASES[what](node)
    error = raised.value
    told = f"`{type(error).__name__}`"
    if error_type := getattr(error, "error_type", ""):
        told += f", `{error_type}`"
    assert told == ROWS[what]
    assert await node.workers.call(worker) == 2
    assert (await node.run("6 * 7")).check() == 42
    assert not sibling.done()
    sibling.cancel()
    await asyncio.gather(sibling, return_exceptions=True)
    assert node.grants.uses() == []
