"""`js.ReadableStream.new`: a source fills its stream, or is asked for more, as the Streams standard has it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from homing.compat.globals.streams import ReadableStream
from homing.compat.membrane import JsObject
from homing.errors import BadRequest, TooLarge


async def test_start_fills_the_queue() -> None:
    def start(controller: Any) -> None:
        assert controller.desiredSize == 1
        controller.enqueue("a")
        assert controller.desiredSize == 0
        controller.enqueue(bytearray(b"b"))
        assert controller.desiredSize == -1
        controller.close()
        assert controller.desiredSize == 0

    assert await ReadableStream.new(JsObject(start=start)).collect() == b"ab"


async def test_a_start_that_awaits_is_read_as_it_goes_on() -> None:
    """Broken by: a stream that is read when its source is done."""
    go_on = asyncio.Event()

    async def start(controller: Any) -> None:
        controller.enqueue("a")
        await go_on.wait()
        controller.enqueue("b")
        controller.close()

    reader = ReadableStream.new(start=start).get_reader()
    assert (await reader.read()).value == b"a"
    go_on.set()
    assert [(await reader.read()).value, (await reader.read()).done] == [b"b", True]


@pytest.mark.parametrize("awaits", [False, True])
async def test_pull_is_called_for_what_is_read(*, awaits: bool) -> None:
    """Once for each that it puts in, and not while it runs. Broken by: a source that is asked without end."""
    asked = 0

    def pull(controller: Any) -> Any:
        nonlocal asked
        asked += 1
        if awaits:
            return later(controller, asked)
        controller.enqueue(str(asked))
        return None

    async def later(controller: Any, number: int) -> None:
        await asyncio.sleep(0)
        controller.enqueue(str(number))
        await asyncio.sleep(0)

    reader = ReadableStream.new(SimpleNamespace(pull=pull)).get_reader()
    assert asked == 0
    assert [(await reader.read()).value for _ in range(3)] == [b"1", b"2", b"3"]
    assert asked == 3


async def test_a_pull_that_gives_nothing_is_not_called_again_until_something_came() -> None:
    """Broken by: a loop that asks for ever, and lets nobody else run."""
    kept: list[Any] = []
    stream = ReadableStream.new(pull=kept.append)
    reading = asyncio.ensure_future(stream.get_reader().read())
    await asyncio.sleep(0.01)
    assert len(kept) == 1
    kept[0].enqueue("late")
    assert (await reading).value == b"late"
    kept[0].close()


@pytest.mark.parametrize("how", ["error", "start", "start later", "pull", "pull later"])
async def test_an_error_of_the_source_is_the_readers(how: str) -> None:
    async def fails(_: Any) -> None:
        raise LookupError("gone")

    def fails_at_once(_: Any) -> None:
        raise LookupError("gone")

    if how == "start":
        with pytest.raises(LookupError, match="gone"):
            ReadableStream.new(start=fails_at_once)
        return
    source = {
        "error": {"start": lambda controller: controller.error(LookupError("gone"))},
        "start later": {"start": fails},
        "pull": {"pull": fails_at_once},
        "pull later": {"pull": fails},
    }[how]
    with pytest.raises(LookupError, match="gone"):
        await ReadableStream.new(JsObject(source)).collect()


async def test_an_error_takes_the_place_of_what_is_in_the_queue() -> None:
    def start(controller: Any) -> None:
        controller.enqueue("a")
        controller.error("why")
        assert controller.desiredSize is None
        with pytest.raises(BadRequest, match="closed"):
            controller.enqueue("b")

    with pytest.raises(BadRequest, match="broke off: why"):
        await ReadableStream.new(start=start).collect()


@pytest.mark.parametrize("awaits", [False, True])
async def test_a_reader_that_gives_up_tells_the_source(*, awaits: bool) -> None:
    told: list[Any] = []

    async def cancel(reason: Any) -> None:
        await asyncio.sleep(0)
        told.append(reason)

    kept: list[Any] = []
    stream = ReadableStream.new(start=kept.append, cancel=cancel if awaits else told.append)
    await stream.cancel("enough")
    assert told == ["enough"]
    with pytest.raises(BadRequest, match="closed"):
        kept[0].enqueue("more")
    await stream.cancel("again")
    assert told == ["enough"]


async def test_who_gets_the_stream_passed_may_give_it_up() -> None:
    """As the runtime does when a client goes away. Broken by: a source that nobody tells."""
    told: list[Any] = []
    await ReadableStream.new(cancel=told.append).homing_pass_on().cancel()
    assert told == [None]


async def test_sizes_are_reckoned_as_the_strategy_says() -> None:
    kept: list[Any] = []
    ReadableStream.new(JsObject(start=kept.append), JsObject(highWaterMark=10, size=len))
    kept[0].enqueue("four")
    assert kept[0].desiredSize == 6
    ReadableStream.new(JsObject(start=kept.append, type="bytes"))
    assert (kept[1].desiredSize, kept[1].byobRequest) == (0, None)


async def test_what_is_not_read_is_bounded() -> None:
    """Broken by: a queue without an end."""
    kept: list[Any] = []
    ReadableStream.new(start=kept.append)
    for _ in range(32):
        kept[0].enqueue(bytes(1 << 20))
    with pytest.raises(TooLarge, match="desiredSize"):
        kept[0].enqueue("x")


async def test_only_bytes_and_text_are_chunks() -> None:
    kept: list[Any] = []
    ReadableStream.new(start=kept.append)
    with pytest.raises(TypeError, match="bytes or text"):
        kept[0].enqueue(5)
