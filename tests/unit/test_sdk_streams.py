"""Streams as an application meets them: readers and writers, back-pressure, and how they end."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from homing import Request, Response
from homing.errors import BadRequest, TooLarge
from homing.streams import ReadableStream
from homing.transform import UNREAD_BYTES_MAX, TransformStream


async def _three() -> AsyncIterator[bytes]:
    for piece in (b"a", b"", b"bc"):
        yield piece


async def test_a_body_is_read_with_a_loop_or_a_reader_whether_it_is_whole_or_flows():
    for body in (lambda: b"abc", lambda: "abc", lambda: ReadableStream([b"abc"]), lambda: [b"abc"]):
        assert [piece async for piece in Request("http://h/", body=body()).body] == [b"abc"]
        reader = Request("http://h/", body=body()).body.getReader()
        found = await reader.read()
        assert (found.done, found.value, found["value"].to_py()) == (False, b"abc", b"abc")
        assert (await reader.read()).done
    whole = Request("http://h/", body=b"abc")
    assert whole.body == b"abc"
    assert await whole.bytes() == await whole.array_buffer() == b"abc"
    assert not whole.body_used


async def test_a_stream_is_read_once():
    """Broken by: a second reader, which would find nothing."""
    request = Request("http://h/", body=_three())
    assert await request.text() == "abc"
    assert request.body_used
    with pytest.raises(BadRequest, match="read already"):
        await request.json()
    response = Response(_three())
    assert repr(response) == "Response(200, a stream)"
    reader = response.body.get_reader()
    with pytest.raises(BadRequest, match="a reader already"):
        response.body.get_reader()
    assert (await reader.read()).value == b"a"
    reader.release_lock()
    assert [piece async for piece in response.body] == [b"bc"]
    with pytest.raises(BadRequest, match="released"):
        await reader.read()


async def test_what_is_read_as_a_whole_is_bounded():
    """Broken by: a collection without a limit."""
    closed: list[bool] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1_000)
        finally:
            closed.append(True)

    with pytest.raises(TooLarge, match="at most 5000 bytes"):
        await ReadableStream(endless()).collect(5_000)
    assert closed


@pytest.mark.parametrize("body", [5, {"a": 1}, 1.5])
def test_what_is_no_body_is_refused(body: object):
    with pytest.raises(TypeError, match="a body is bytes"):
        Response(body)  # pyright: ignore[reportArgumentType] - that is what is tested


async def test_a_piece_that_is_none_is_refused():
    with pytest.raises(TypeError, match="bytes or text, not int"):
        await Response([1]).bytes()


async def test_who_writes_waits_for_who_reads():
    """Broken by: a write that is done at once, whatever waits to be read."""
    stream = TransformStream()
    writer = stream.writable.getWriter()
    await writer.write(bytes(UNREAD_BYTES_MAX))
    assert writer.desiredSize == 0
    waits = asyncio.ensure_future(writer.write("x"))
    await asyncio.sleep(0)
    assert not waits.done()
    pieces = aiter(stream.readable)
    assert len(await anext(pieces)) == UNREAD_BYTES_MAX
    await waits
    assert await anext(pieces) == b"x"
    await writer.close()
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    with pytest.raises(BadRequest, match="closed"):
        await writer.write(b"more")


async def test_who_never_awaits_what_it_writes_is_told():
    """Broken by: a queue without a bound."""
    writer = TransformStream().writable.get_writer()
    written = [writer.write(bytes(300_000)) for _ in range(5)]
    with pytest.raises(TooLarge, match="await what write returns"):
        await written[-1]


async def test_an_aborted_stream_does_not_end_as_if_it_were_whole():
    """Broken by: an abort that only closes."""
    stream = TransformStream()
    writer = stream.writable.get_writer()
    await writer.write(b"half")
    await writer.abort("no more")
    pieces = aiter(stream.readable)
    assert await anext(pieces) == b"half"
    with pytest.raises(BadRequest, match="no more"):
        await anext(pieces)


async def test_who_writes_for_nobody_is_told():
    """Broken by: writers that wait for a reader that has gone."""
    stream = TransformStream()
    writer = stream.writable.get_writer()
    await writer.write(bytes(UNREAD_BYTES_MAX))
    waits = asyncio.ensure_future(writer.write(b"x"))
    assert (await stream.readable.get_reader().read()).value is not None
    await waits
    await stream.readable.cancel()
    with pytest.raises(BadRequest, match="nobody reads"):
        await writer.write(b"y")


async def test_streams_are_piped():
    stream = TransformStream()
    assert await ReadableStream(["a", "b"]).pipe_through(stream).collect() == b"ab"

    async def fails() -> AsyncIterator[bytes]:
        yield b"a"
        raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        await ReadableStream(fails()).pipeThrough(TransformStream()).collect()
