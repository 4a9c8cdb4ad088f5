"""The bounds on what a sandbox may say, each at its edge."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any

import pytest

from homing_node.sandboxes.sandbox import Conversation, Sandbox
from homing_node.workers.inside.framing import Outbox

FRAME_BYTES = 100


@dataclass
class Heard:
    """Attributes: messages, and why the conversation was closed; empty: it goes on."""

    messages: list[list[Any]] = field(default_factory=list[list[Any]])
    closed: str = ""

    def close(self, reason: str) -> None:
        assert not self.closed, "it is told once"
        self.closed = reason


def frame() -> bytes:
    """A message that as a frame has `FRAME_BYTES`."""
    for size in range(FRAME_BYTES):
        outbox = Outbox()
        outbox.put((1, b"x" * size))
        if len(data := outbox.take()) == FRAME_BYTES:
            return data
    raise AssertionError("no message has that size")


async def heard(says: bytes, *, bytes_max: int, frames_max: int) -> Heard:
    """What is heard of a sandbox that says this, and no more."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        found = Heard()
        sandbox = Sandbox(1, 0, ours)
        conversation = Conversation(sandbox, bytes_max, frames_max, found.messages.append, found.close)
        conversation.begin((1,))
        theirs.sendall(says)
        for _ in range(20):
            await asyncio.sleep(0)
        conversation.stop()
    return found


@pytest.mark.parametrize("over", [0, 1])
async def test_what_it_says_in_all_is_bounded(over: int):
    """No frame is too long, nor are there too many: it is the sum. Broken by: `_take` without its count of bytes."""
    says = frame() * 10 + b"x" * over
    found = await heard(says, bytes_max=10 * FRAME_BYTES, frames_max=1_000)
    assert found.closed == ("it said more than it may" if over else "")
    assert len(found.messages) == (0 if over else 10), "what breaks the bound is not looked at"


@pytest.mark.parametrize("over", [0, 1])
async def test_how_many_frames_it_says_is_bounded(over: int):
    """Broken by: `_take` without its count of frames."""
    found = await heard(frame() * (10 + over), bytes_max=1 << 20, frames_max=10)
    assert found.closed.startswith("it broke the protocol") == bool(over)
    assert len(found.messages) == 10


async def test_a_frame_that_is_announced_too_long_is_refused_before_it_comes():
    """Broken by: an inbox that believes a length. The four bytes are all that is sent."""
    found = await heard((1 << 30).to_bytes(4, "little"), bytes_max=1 << 20, frames_max=10)
    assert found.closed.startswith("it broke the protocol")
