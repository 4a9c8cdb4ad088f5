"""What is kept for whoever follows a run, and how it is told."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from homing.sandbox_news import Ear, Item, News, Use
from homing_node.broker.audit import OK, AuditRecord
from homing_node.sandboxes import limits
from homing_node.sandboxes.news import Unheard


def record(n: int = 0, **options: object) -> AuditRecord:
    made = AuditRecord(at_ms=n, holder="run 1 of x", grant_id="g", grant="table", kind="sql", outcome=OK, path="T/a")
    for name, value in options.items():
        setattr(made, name, value)
    return made


def numbers(items: Sequence[Item]) -> list[int]:
    return [item.use.at_ms for item in items if item.use is not None]


def test_who_waits_is_told_at_once_and_once() -> None:
    """Broken by: keeping `_answer` after it was called."""
    unheard, heard = Unheard(), list[News]()
    unheard.ask(heard.append)
    assert heard == []
    unheard.used(record(1))
    unheard.used(record(2))
    unheard.check()
    assert [(news.more, numbers(news.items)) for news in heard] == [(True, [1])]
    unheard.ask(heard.append)
    assert numbers(heard[1].items) == [2]


def test_both_kinds_come_in_the_order_in_which_they_were() -> None:
    """Broken by: taking all output first."""
    unheard, heard = Unheard(), list[News]()
    unheard.printed(1, b"a")
    unheard.used(record(1))
    unheard.printed(2, b"")
    unheard.printed(2, b"b")
    unheard.ask(heard.append)
    told = [item.data or item.use is not None for item in heard[0].items]
    assert told == [b"a", True, b"b"]


def test_the_oldest_uses_go_and_are_counted_and_output_stays() -> None:
    """Broken by: not counting, counting for each of what follows, and dropping the newest."""
    unheard, heard = Unheard(), list[News]()
    unheard.printed(1, b"first")
    for n in range(limits.uses_unheard_max + 7):
        unheard.used(record(n))
        unheard.check()
    while numbers(rest := _next(unheard, heard)) or rest:
        pass
    items = [item for news in heard for item in news.items]
    assert items[0] == Item(1, b"first")
    uses = [item.use for item in items[1:] if item.use is not None]
    assert [use.at_ms for use in uses] == list(range(7, limits.uses_unheard_max + 7))
    assert [use.missed for use in uses] == [7] + [0] * (limits.uses_unheard_max - 1)


def _next(unheard: Unheard, heard: list[News]) -> Sequence[Item]:
    before = len(heard)
    unheard.ask(heard.append)
    return heard[-1].items if len(heard) > before else ()


def test_one_answer_is_bounded_and_has_something() -> None:
    """Broken by: no bound, and one that a large piece never passes."""
    unheard, heard = Unheard(), list[News]()
    for _ in range(3):
        unheard.printed(1, b"x" * (limits.news_bytes_max + 1))
    for count in (1, 2, 3):
        unheard.ask(heard.append)
        assert [len(news.items) for news in heard] == [1] * count
    for n in range(limits.uses_unheard_max):
        unheard.used(record(n))
    unheard.ask(heard.append)
    assert len(heard[-1].items) == min(limits.uses_unheard_max, limits.news_bytes_max // limits.use_bytes)


def test_at_the_end_there_is_no_more_and_the_rest_is_given() -> None:
    """Broken by: whoever waits is not told (it would wait for ever)."""
    unheard, heard = Unheard(), list[News]()
    unheard.ask(heard.append)
    unheard.ask(heard.append)  # no worker of ours asks twice
    assert heard == [News(True, [])]
    assert unheard.end() == []
    assert heard[1:] == [News(False, [])]
    other = Unheard()
    other.used(record(3))
    assert numbers(other.end()) == [3]
    other.ask(heard.append)
    assert heard[2:] == [News(False, [])]


def test_a_use_says_where_and_no_more_than_the_record() -> None:
    unheard, heard = Unheard(), list[News]()
    unheard.used(
        record(5, kind="http", host="api.example.com", port=443, path="/items/1", detail="10.0.0.7", status=200)
    )
    unheard.used(record(6, kind="http", host="2001:db8::1", port=80, path="/"))
    unheard.ask(heard.append)
    first, second = (item.use for item in heard[0].items)
    assert first == Use("table", "http", 5, "", "api.example.com:443/items/1", "ok", "", 200, 0, 0, 0.0)
    assert second is not None
    assert second.target == "[2001:db8::1]:80/"
    assert News.decode(heard[0].encode()) == heard[0]
    assert b"10.0.0.7" not in heard[0].encode()


async def test_text_that_comes_in_pieces_is_whole_for_who_hears_it() -> None:
    """Broken by: decoding each piece by itself."""
    told: list[tuple[str, str]] = []
    ear = Ear(lambda stream, text: told.append((stream, text)), None)
    await ear.hear([Item(1, b"\xc3"), Item(2, b"e"), Item(1, b"\xa9"), Item(3, b"no stream")])
    await ear.hear([Item(1, b"\xc3")])
    await ear.end()
    assert told == [("stderr", "e"), ("stdout", "é"), ("stdout", "\ufffd")]


@pytest.mark.parametrize("wrong", [b"", b"\xc1", b"\x92\xc3\x91\x93\x01\x02\xc0"])
def test_what_no_node_says_is_an_error(wrong: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):  # which is a ValueError: see `Outgoing`
        News.decode(wrong)
