"""Schedules in the language of Cloudflare's cron triggers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing.cron import Schedule


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000)


@pytest.mark.parametrize(
    ("schedule", "after", "then"),
    [
        ("* * * * *", "2026-03-01 10:00:00", "2026-03-01 10:01"),
        ("* * * * *", "2026-03-01 10:00:59.999", "2026-03-01 10:01"),
        ("*/30 * * * *", "2026-03-01 10:31", "2026-03-01 11:00"),
        ("45 * * * *", "2026-03-01 10:45", "2026-03-01 11:45"),
        ("5/20 * * * *", "2026-03-01 10:26", "2026-03-01 10:45"),
        ("0 17 * * SUN", "2026-03-01 17:00", "2026-03-08 17:00"),
        ("0 17 * * 1", "2026-03-02 00:00", "2026-03-08 17:00"),  # 1 is Sunday
        ("10 7 * * MON-FRI", "2026-03-06 08:00", "2026-03-09 07:10"),
        ("10 7 * * 2-6", "2026-03-06 08:00", "2026-03-09 07:10"),
        ("0 15 1 * *", "2026-03-01 15:00", "2026-04-01 15:00"),
        ("0 18 * * 6L", "2026-03-01 00:00", "2026-03-27 18:00"),  # the last Friday
        ("0 18 * * FRIL", "2026-02-28 00:00", "2026-03-27 18:00"),
        ("59 23 LW * *", "2026-05-01 00:00", "2026-05-29 23:59"),  # the 31st is a Sunday
        ("0 0 L * *", "2028-02-10 00:00", "2028-02-29 00:00"),
        ("0 0 L-2 * *", "2026-04-01 00:00", "2026-04-28 00:00"),
        ("0 0 15W * *", "2026-08-01 00:00", "2026-08-14 00:00"),  # a Saturday
        ("0 0 1W * *", "2026-08-02 00:00", "2026-08-03 00:00"),  # a Saturday: never back into July
        ("0 0 31W * *", "2026-05-01 00:00", "2026-05-29 00:00"),  # a Sunday: never on into June
        ("0 10 * * MON#2", "2026-03-01 00:00", "2026-03-09 10:00"),
        ("0 0 * * L", "2026-03-01 00:00", "2026-03-07 00:00"),
        ("0 0 29 2 *", "2096-03-01 00:00", "2104-02-29 00:00"),
        ("0 0 13 * FRI", "2026-03-01 00:00", "2026-03-06 00:00"),  # either is enough
        ("0 0 1,15 JAN,jul *", "2026-01-16 00:00", "2026-07-01 00:00"),
    ],
)
def test_the_next_moment(schedule: str, after: str, then: str) -> None:
    assert Schedule(schedule).next_ms(ms(after)) == ms(then)


@pytest.mark.parametrize(
    "text",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 0", "* * * * 8",
     "*/0 * * * *", "5-1 * * * *", "a * * * *", "* * 30 2 *", "* * L-31 * *", "* * 0W * *", "* * * * MON#6",
     "* * * * XL", "1,,2 * * * *", "٣ * * * *", "* * * * *" + " " * 300],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="schedule"):
        Schedule(text)


@given(
    st.integers(0, 4_000_000_000_000),
    st.sampled_from(["*/7 3-5 * * *", "0 0 L * *", "15 */6 10W 1-6 2", "* * * * SAT,SUN", "59 23 31 * 3#5"]),
)
def test_moments_come_in_order_and_none_is_left_out(after_ms: int, text: str) -> None:
    """Seen to fail when the search begins at the next hour instead of the next minute."""
    schedule = Schedule(text)
    first = schedule.next_ms(after_ms)
    assert first > after_ms
    assert first % 60_000 == 0
    assert schedule.next_ms(first - 1) == first, "nothing lies between"
    assert schedule.next_ms(first) > first
