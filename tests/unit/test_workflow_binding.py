"""`env.NAME` of a workflow, under both names of its methods: what it creates, finds and refuses."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from homing.bindings.workflows import Workflow
from homing.compat.membrane import Camel, JsArray, JsObject
from homing.errors import BadRequest, NotFound, TooLarge
from homing.ids import ObjectId
from homing.sent import Sender
from homing_node.workers.inside import channel
from worker_harness import WorkerHarness
from workflow_app import APP

_numbers = itertools.count(2_000_000)


class Cluster:
    """`homing.stubs.Caller`: every object lives in one worker."""

    def __init__(self, worker: WorkerHarness) -> None:
        self._worker = worker
        self._acts: dict[ObjectId, int] = {}
        self._sender = Sender(self, lambda _: pytest.fail("nothing goes by reference"))

    def call_method(self, class_key: str, object_id: ObjectId, method: str, args: Any, kwargs: Any) -> Any:
        if object_id not in self._acts:
            self._acts[object_id] = self._worker.open(class_key, name=object_id.name)
        number, body = next(_numbers), self._sender.encode([args, kwargs])
        event = (channel.METHOD, method, body, 5_000, "", "", None, False, 0, 0)
        self._worker.send(channel.EVENT, self._acts[object_id], number, *event)
        _, status, payload, *_ = self._worker.effect(number)
        assert status == channel.RESULT, payload
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(self._sender.decode(payload))
        return future


@pytest.fixture
def workflow(start: Callable[..., WorkerHarness]) -> Workflow:
    return Workflow(Cluster(start(APP)), "Demo")


async def test_an_instance_is_created_once_and_found(workflow: Workflow) -> None:
    made = await workflow.create(id="a-1", params={"do": "told"})
    assert (made.id, (await made.status())["status"]) == ("a-1", "queued")
    assert (await workflow.get("a-1")).id == "a-1"
    with pytest.raises(BadRequest, match=r"instance\.already_exists"):
        await workflow.create(id="a-1")
    for missing in ("a-2", "no id", ""):
        with pytest.raises(NotFound, match=r"^instance\.not_found$"):
            await workflow.get(missing)
    first, second = await workflow.create(), await workflow.create()
    assert first.id != second.id


async def test_a_batch_leaves_out_what_exists(workflow: Workflow) -> None:
    await workflow.create(id="b")
    made = await workflow.create_batch([{"id": "c"}, {"id": "b"}, {"id": "a", "params": [1]}, {"id": "c"}, {}])
    assert [each.id for each in made][:2] == ["c", "a"]
    assert len(made) == 3
    for batch, said in (
        ([], "at least 1"),
        ([{}] * 101, "only supports 100"),
        ([{"id": "x"}, {"id": "a b"}], "invalid id"),
    ):
        with pytest.raises(BadRequest, match=said):
            await workflow.create_batch(batch)
    with pytest.raises(NotFound):
        await workflow.get("x")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"id": "a/b"}, BadRequest), ({"id": 1}, BadRequest), ({"id": "a" * 101}, BadRequest),
        ({"params": "x" * (1 << 20)}, TooLarge), ({"params": object()}, TypeError),
        ({"retention": {"successRetention": "soon"}}, ValueError),
    ],
)  # fmt: skip
async def test_what_cannot_be_created(workflow: Workflow, options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await workflow.create(**options)


async def test_an_instance_is_handled(workflow: Workflow) -> None:
    instance = await workflow.create(id="a", params={"do": "waits"})
    await instance.send_event(type="go", payload={"n": 1})
    for wrong, kind in (({"type": "a b"}, BadRequest), ({"type": "go", "payload": "x" * (1 << 20)}, TooLarge)):
        with pytest.raises(kind):
            await instance.send_event(**wrong)
    with pytest.raises(BadRequest, match="cannot_resume"):
        await instance.resume()
    await instance.pause()
    assert (await instance.status())["status"] == "paused"
    await instance.resume()
    with pytest.raises(BadRequest, match="step_not_found"):
        await instance.restart(from_={"name": "never"})
    await instance.terminate(rollback=True)
    with pytest.raises(BadRequest, match="cannot_terminate"):
        await instance.terminate()
    with pytest.raises(BadRequest, match="not_running"):
        await instance.send_event(type="go")
    await instance.restart()
    await instance.delete()
    with pytest.raises(NotFound):
        await instance.status()


async def test_the_names_of_javascript(workflow: Workflow) -> None:
    flow = Camel(workflow)
    instance = await flow.create(JsObject(id="a", params=JsObject(do="waits"), retention={"errorRetention": "1 day"}))
    assert isinstance(instance, Camel)
    assert instance.id == "a"
    await instance.sendEvent({"type": "go", "payload": JsArray([1])})
    found = await instance.status()
    assert (found.status, found["output"], found.error) == ("queued", None, None)
    with pytest.raises(BadRequest, match="step_not_found"):
        await instance.restart(JsObject({"from": {"name": "wait 0", "type": "waitForEvent"}}))
    await instance.terminate({"rollback": False})
    made = await flow.createBatch([JsObject(id="a"), JsObject(id="b")])
    assert [each.id for each in made] == ["b"]
    assert (await flow.get("b")).id == "b"
