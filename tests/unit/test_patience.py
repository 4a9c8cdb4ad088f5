"""A wait of a test ends when nothing will come of it."""

from __future__ import annotations

import asyncio

import pytest

from patience import until


async def never() -> bool:
    return False


async def test_it_waits_until_it_holds() -> None:
    answers = iter((False, False, True))

    async def holds() -> bool:
        return next(answers)

    await until(holds, "the third", pause_s=0.0)
    assert next(answers, None) is None


async def test_it_has_an_end() -> None:
    with pytest.raises(AssertionError, match=r"a miracle: not seen in 0\.05 s"):
        await until(never, "a miracle", patience_s=0.05, pause_s=0.01)


async def test_it_does_not_outwait_what_is_to_bring_it_about() -> None:
    """Seen to fail without a look at the task: sixty seconds went by, and its error was never told."""

    async def fails() -> object:
        raise KeyError("the reason")

    async def ends() -> object:
        return 7

    with pytest.raises(KeyError, match="the reason"):
        await until(never, "its effect", by=asyncio.ensure_future(fails()), pause_s=0.0)
    with pytest.raises(AssertionError, match="its effect: not seen, and what it comes about by has ended with 7"):
        await until(never, "its effect", by=asyncio.ensure_future(ends()), pause_s=0.0)
