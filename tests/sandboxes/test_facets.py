"""Facets in a real cluster: of the application's classes, and of classes that came a moment ago, in real sandboxes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

import homing
from homing.testing import Cluster

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "facets"


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with Cluster(APP, nodes=1) as running:
        yield running


@pytest.fixture
def run(cluster: Cluster, request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Runs code in an object of the test's own."""
    return cluster.get("Parent", request.node.name).arun


TOLD = """
async def told(call):
    try:
        return await call
    except Exception as error:
        return [type(error).__name__, str(error), getattr(error, "error_type", "")]
"""


def test_a_class_that_came_a_moment_ago_has_a_database_inside_the_object(run: Callable[[str], Any]) -> None:
    assert run("return [await self.dynamic().add(), await self.dynamic().add(4), await self.dynamic().read()]") == [
        1, 5, [5, 5],
    ]  # fmt: skip
    code = """await self.dynamic().sql("CREATE TABLE notes(text)")
await self.dynamic().sql("INSERT INTO notes VALUES (?)", "a")
return await self.dynamic().sql("SELECT * FROM notes")"""
    assert run(code) == [{"text": "a"}]
    assert run("return self.ctx.facets.list()") == ["d"]


def test_it_goes_on_after_its_sandbox_and_after_its_node(cluster: Cluster) -> None:
    """What was answered is there, whatever is killed."""
    parent = cluster.get("Parent", "kills")
    pid = parent.arun("await self.dynamic().add(3)\nreturn await self.dynamic().run('result = os.getpid()')")
    assert pid
    killed = parent.arun(TOLD + "return await told(self.dynamic().run('os._exit(3)'))")
    assert killed[0] == "SandboxDied"
    assert parent.arun("return await self.dynamic().read()") == [3, 0]
    assert parent.add("child", 5) == 5
    (node,) = httpx.get(cluster.url + "/_homing/v1/cluster").json()["nodes"]
    os.kill(node["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while True:
        try:
            assert parent.arun("return self.ctx.storage.kv.get('all')") == 5
            break
        except homing.HomingError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert parent.arun("return [await self.dynamic().read(), await self.child('child').add(0)]") == [[3, 0], 5]


def test_an_abort_breaks_the_stubs_keeps_the_storage_and_lets_another_class_in(run: Callable[[str], Any]) -> None:
    code = (
        TOLD
        + """old = self.dynamic()
await old.add(3)
running = asyncio.ensure_future(told(old.slowly(5, 1)))
await asyncio.sleep(0.2)
self.ctx.facets.abort("d", LookupError("the reason"))
first = [(await running)[:2], (await told(old.add()))[:2]]
return [first, await self.dynamic(kind="Double").add(1), await self.dynamic().read()]"""
    )
    reason = ["LookupError", "the reason"]
    assert run(code) == [[reason, reason], 6, [6, 2]]
    assert run("self.ctx.facets.delete('d')\nreturn [await self.dynamic().read(), self.ctx.facets.list()]") == [
        [0, 0],
        [],
    ]


def test_a_tree_is_four_deep_in_a_sandbox_too(run: Callable[[str], Any]) -> None:
    inner = "return await self.ctx.facets.get('x', lambda: {'class': Counter}).arun(CODE)"
    code = "return await self.ctx.facets.get('x', lambda: {'class': Counter}).add()"
    assert run(f"return await self.dynamic().arun({code!r})") == 1
    deeper = inner.replace("CODE", repr(code))
    assert run(f"return [await self.dynamic().arun({deeper!r}), await self.dynamic().arun({deeper!r})]") == [1, 2]
    deepest = inner.replace("CODE", repr(deeper))
    failed = run(TOLD + f"return await told(self.dynamic().arun({deepest!r}))")
    assert "at most 4 deep" in failed[1]


def test_requests_and_props_and_env_come_to_it(run: Callable[[str], Any]) -> None:
    code = "r = await self.dynamic().fetch('http://f/x', method='PUT', body=b'text')\nreturn [r.status, await r.text()]"
    assert run(code) == [201, "PUT http://f/x text"]
    code = """facet = self.dynamic("p", props={"user": 7})
return await facet.run("result = [self.ctx.props['user'], self.env.NUMBER, str(self.ctx.id)]"), str(self.ctx.id)"""
    (user, number, own), parent = run(code)
    assert (user, number, own) == (7, 7, parent)


def test_what_it_asks_for_leaves_behind_what_it_wrote(run: Callable[[str], Any]) -> None:
    asks = "self.ctx.storage.kv.put('n', 11)\nreturn await self.env.SELF.heard('a', 1)"
    code = f"""told = await self.dynamic().arun({asks!r})
return [told, self.ctx.storage.kv.get("heard"), await self.dynamic().read()]"""
    assert run(code) == [[["a", 1]], [["a", 1]], [11, 0]]


def test_what_it_writes_when_nobody_waits_is_kept(run: Callable[[str], Any]) -> None:
    code = """async def after():
    await asyncio.sleep(0.1)
    self.add(1000)
self.ctx.wait_until(after())
return 1"""
    assert run(f"return await self.dynamic().arun({code!r})") == 1
    time.sleep(0.5)
    assert run(TOLD + "await told(self.dynamic().run('os._exit(1)'))\nreturn await self.dynamic().read()") == [1000, 0]


FETCHES = "from homing import fetch\nawait fetch('http://127.0.0.1/')"
FILLS = """sql = self.ctx.storage.sql
sql.exec("CREATE TABLE t(x)")
for _ in range(9): sql.exec("INSERT INTO t VALUES (zeroblob(2000000))")"""
REFUSED = {
    "no such class": ("self.dynamic('bad', kind='Nobody').add()", "NotFound"),
    "an entrypoint": ("self.dynamic('bad', kind='Default').add()", "NotFound"),
    "props that are too large": ("self.dynamic('bad', props={'x': 'x' * 70_000}).add()", "TooLarge"),
    "no such method": ("self.dynamic('bad').nothing()", "NotFound"),
    "arguments that do not fit": ("self.dynamic('bad').add(1, 2, 3)", "BadRequest"),
    "what it raises": ("self.dynamic('bad').raises()", "SandboxError"),
    "its constructor": ("self.dynamic('bad', kind='Broken').add()", "SandboxError"),
    "no value": ("self.dynamic('bad').run('result = object()')", "SandboxError"),
    "an argument that is called": ("self.dynamic('bad').add(lambda: 1)", "BadRequest"),
    "a loop": ("self.dynamic('bad', limits={'cpu_ms': 100}).run('while True: pass')", "SandboxLimit"),
    "memory": ("self.dynamic('bad').run('result = len(bytearray(1 << 32))')", "SandboxLimit"),
    "too long a result": ("self.dynamic('bad').run('result = bytes(9 << 20)')", "SandboxLimit"),
    "a reset": ("self.dynamic('bad').run('self.ctx.abort(\"enough\")')", "SandboxError"),
    "an alarm": ("self.dynamic('bad').run('self.ctx.storage.set_alarm(1)')", "SandboxError"),
    "the network": (f"self.dynamic('bad').arun({FETCHES!r})", "SandboxError"),
    "no Python": ("self.dynamic('bad', source='x = ').add()", "SandboxSyntaxError"),
    "SQL that may not be": ("self.dynamic('bad').sql('ATTACH \"/etc/passwd\" AS p')", "SandboxError"),
    "too large a database": (f"self.dynamic('bad').run({FILLS!r})", "SandboxError"),
    "forged frames": ("self.dynamic('bad').run('os.write(3, b\"\\\\xff\" * 8)')", "SandboxDied"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_bad_input_is_a_typed_error_and_object_and_sibling_are_unharmed(run: Callable[[str], Any], what: str) -> None:
    call, kind = REFUSED[what]
    run("self.ctx.storage.kv.put('own', 1)\nreturn [await self.dynamic('sibling').add(), await self.dynamic().add()]")
    failed = run(TOLD + f"return await told({call})")
    assert failed[0] == kind, failed
    own, sibling, after = run(
        "return [self.ctx.storage.kv.get('own'), await self.dynamic('sibling').read(), await self.dynamic().read()]"
    )
    assert own == 1
    assert sibling[0] == 1
    assert after[0] == 1


def test_a_deleted_object_leaves_no_facets(cluster: Cluster) -> None:
    parent = cluster.get("Parent", "to go")
    assert parent.arun("return [await self.dynamic().add(2), await self.child('c').add(1)]") == [2, 1]
    httpx.delete(f"{cluster.url}/_homing/v1/objects/Parent/to%20go", timeout=60).raise_for_status()
    assert parent.arun("return [await self.dynamic().read(), await self.child('c').add(0)]") == [[0, 0], 0]


def test_nothing_that_was_answered_is_lost_when_nodes_are_killed() -> None:
    """Three nodes, each killed once while facets of both kinds count: what was answered is there, whoever is next."""
    with Cluster(APP, nodes=3) as cluster:
        parent = cluster.get("Parent", "counts")
        code = "return [await self.dynamic().add(), await self.child('c').add()]"
        answered = parent.arun(code)
        nodes = httpx.get(cluster.url + "/_homing/v1/cluster").json()["nodes"]
        for node in nodes:
            os.kill(node["pid"], signal.SIGKILL)
            deadline = time.monotonic() + 60
            counted = 0
            while counted < 20:
                try:
                    found = parent.arun(code)
                except homing.HomingError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                    continue
                assert all(new > old for new, old in zip(found, answered, strict=True)), (found, answered)
                answered, counted = found, counted + 1
            while len(httpx.get(cluster.url + "/_homing/v1/cluster").json()["nodes"]) < 3:
                assert time.monotonic() < deadline
                time.sleep(0.2)


def test_a_class_of_javascript_is_refused(run: Callable[[str], Any]) -> None:
    code = """code = {"main_module": "m.js", "modules": {"m.js": "export class Counter {}"}}
facet = self.ctx.facets.get("js", lambda: {"class": self.env.LOADER.load(code).get_durable_object_class("Counter")})
return [await told(facet.add()), await self.dynamic().add()]"""
    assert run(TOLD + code) == [["NotSupported", "facets whose classes are of JavaScript", ""], 1]
