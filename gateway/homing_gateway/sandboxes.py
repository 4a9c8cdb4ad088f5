"""The routes for code that runs in sandboxes: run some, see what runs, end it. Any node will do."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any, NamedTuple

import grpc
import msgspec

from homing import grants as granting
from homing.errors import BadRequest, HomingError, SandboxNoValue, Unavailable
from homing.sandboxes import PYTHON, Asked, Ran, decode_outcome, limits_of
from homing.values import from_json, to_json, to_stored
from homing.wire.v1 import call_pb2
from homing_gateway.admin import as_error
from homing_gateway.limits import RUN_S_MAX
from homing_gateway.streams import next_part
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.link import NodeLink
from homing_placement.routing.listing import every_link, link_of

RUN_CODE = "/homing.wire.v1.Calls/RunCode"
RUNS = "/homing.wire.v1.Calls/Runs"
_Reading = grpc.aio.UnaryStreamCall[call_pb2.RunCodeRequest, bytes]
_OUTPUTS = {1: "stdout", 2: "stderr"}


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """What is posted."""

    code: str
    args: msgspec.Raw = msgspec.Raw(b"{}")
    stdin: str = ""
    limits: dict[str, int | float] = {}
    tenant: str = ""
    language: str = PYTHON
    grants: list[str] | dict[str, str] = []


class Followed(NamedTuple):
    """A run that is followed.

    Attributes:
        lines: of JSON: one for each piece of what it prints, and one at its end.
        stop: nobody follows it any more.
    """

    lines: AsyncGenerator[bytes]
    stop: Callable[[], object]


class Sandboxes:
    """Asks nodes to run code.

    Args:
        forwarder: for its table and its links.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def run(self, body: bytes) -> bytes:
        """Run code on some node; returns the JSON of what became of it.

        Raises:
            BadRequest: the body is none, or names limits that cannot be.
            NotFound: the application's configuration has no grant of that name.
            TooLarge, Overloaded, Unavailable: as the node says.
        """
        reading = self._begin(_asked(body))
        async with contextlib.aclosing(_steps(reading)) as steps:
            ended = await anext(steps)
        return msgspec.json.encode(_told_of(decode_outcome(ended.outcome)))

    async def follow(self, body: bytes) -> Followed:
        """Begin to run code on some node, and follow it.

        Raises:
            BadRequest, TooLarge, Overloaded, Unavailable: as `run`, where it says so before anything is printed.
        """
        reading = self._begin(replace(_asked(body), streamed=True))
        steps = _steps(reading)
        try:
            return Followed(_lines(steps, await anext(steps)), reading.cancel)
        except BaseException:
            await steps.aclose()
            raise

    def _begin(self, asked: Asked) -> _Reading:
        link = self._forwarder.any_link()
        if link is None:
            raise Unavailable("no node can be reached")
        begin = link.channel.unary_stream(RUN_CODE, call_pb2.RunCodeRequest.SerializeToString, bytes)
        return begin(call_pb2.RunCodeRequest(asked=asked.encode()), timeout=RUN_S_MAX)

    async def runs(self) -> dict[str, object]:
        """What runs on every node.

        Raises:
            Unavailable: a node does not answer.
        """
        links = await every_link(self._forwarder)
        replies = await asyncio.gather(
            *(link.ask(RUNS, call_pb2.RunsRequest(), call_pb2.RunsReply) for link in links)
        )  # fmt: skip
        return {"runs": [_row(link, each) for link, reply in zip(links, replies, strict=True) for each in reply.runs]}

    async def end(self, node_id: str, number: int) -> None:
        """End a run.

        Raises:
            NotFound: there is no such node, or none of that number goes on there.
            Unavailable: it cannot be reached.
        """
        link = link_of(self._forwarder, node_id)
        reply = await link.ask(RUNS, call_pb2.RunsRequest(end=number), call_pb2.RunsReply)
        if reply.HasField("failure"):
            raise as_error(reply.failure)


def _asked(body: bytes) -> Asked:
    try:
        given = msgspec.json.decode(body, type=_Body)
        arguments: Any = from_json(bytes(given.args))
        if not isinstance(arguments, dict):
            raise BadRequest("args are names and values")
        stored = to_stored(arguments)
        stdin = given.stdin.encode()
        grants = given.grants if isinstance(given.grants, dict) else {name: name for name in given.grants}
        opened = granting.given({name: granting.named(of) for name, of in grants.items()})
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        words = 'a run is {"code": "…"}, with args, stdin, limits, tenant, grants, language'
        raise BadRequest(f"{words}: {error}") from error
    limits = limits_of(given.limits)
    return Asked(given.code, stored, stdin, limits, given.tenant, grants=opened, language=given.language)


async def _steps(reading: _Reading) -> AsyncGenerator[call_pb2.RunCodeReply]:
    """What a node says of a run: pieces of what it prints, and at last its outcome."""
    try:
        while data := await next_part(reading):
            step = call_pb2.RunCodeReply.FromString(data)
            if step.HasField("failure"):
                raise as_error(step.failure)
            yield step
            if step.outcome:
                return
    finally:
        reading.cancel()
    raise Unavailable("the node ended in the middle of the run")


async def _lines(
    steps: AsyncGenerator[call_pb2.RunCodeReply], step: call_pb2.RunCodeReply
) -> AsyncGenerator[bytes]:  # fmt: skip
    """A run as lines of JSON, from its first step on."""
    new = codecs.getincrementaldecoder("utf-8")
    texts = {number: (name, new("replace")) for number, name in _OUTPUTS.items()}
    async with contextlib.aclosing(steps):
        while not step.outcome:
            name, decoder = texts[step.output_stream]
            if text := decoder.decode(step.output):
                yield msgspec.json.encode({name: text}) + b"\n"
            try:
                step = await anext(steps)
            except HomingError as error:  # too late for a status
                yield msgspec.json.encode({"error": {"code": error.code, "message": error.message}}) + b"\n"
                return
        for name, decoder in texts.values():
            if text := decoder.decode(b"", final=True):
                yield msgspec.json.encode({name: text}) + b"\n"
    told = _told_of(decode_outcome(step.outcome))
    yield msgspec.json.encode({name: told[name] for name in ("result", "error", "duration_ms")}) + b"\n"


def _told_of(ran: Ran) -> dict[str, object]:
    error = ran.error
    try:
        result = to_json(ran.result)
    except (TypeError, ValueError) as broken:  # NaN, a key that is no text: what objects can have and JSON cannot
        result, error = b"null", SandboxNoValue(str(broken))
    told = None if error is None else {
        "code": error.code, "message": error.message, "type": error.error_type, "traceback": error.traceback,
    }  # fmt: skip
    return {
        "result": msgspec.Raw(result), "stdout": ran.stdout, "stderr": ran.stderr, "error": told,
        "duration_ms": round(ran.duration_ms, 3),
    }  # fmt: skip


def _row(link: NodeLink, facts: call_pb2.RunFacts) -> dict[str, object]:
    return {
        "node": link.node.id,
        "run": facts.number,
        "tenant": facts.tenant,
        "pid": facts.pid,
        "age_ms": facts.age_ms,
        "cpu_ms": facts.cpu_ms,
        "memory_bytes": facts.memory_bytes,
    }
