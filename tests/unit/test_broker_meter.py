"""The count of a grant: whatever happens in whatever order, no limit is passed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing_node.broker.meter import Meter
from homing_node.broker.policy import OutboundLimits
from homing_node.broker.urls import Refusal

STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "sent", "received", "revoke"]), st.floats(0, 3), st.integers(0, 50)),
    max_size=60,
)


@given(STEPS, st.floats(0, 5), st.integers(0, 6), st.integers(0, 3))
def test_no_limit_is_passed(steps: list[tuple[str, float, int]], per_s: float, calls: int, at_once: int) -> None:
    limits = OutboundLimits(
        calls_max=calls,
        calls_at_once_max=at_once,
        calls_per_s_max=per_s,
        sent_bytes_max=100,
        received_bytes_max=100,
        life_s_max=20,
    )
    meter, now, begun, over, rules = Meter(limits, 0.0), 0.0, list[float](), False, set[str]()
    for what, elapsed, count in steps:
        now += elapsed
        try:
            if what == "begin":
                meter.begin(now)
                assert not over
                assert now < 20
                begun.append(now)
            elif what == "end" and meter.at_once:
                meter.end()
            elif what == "sent":
                meter.sent(count)
            elif what == "received":
                meter.received(count)
            elif what == "revoke":
                meter.ended, over = meter.ended or "revoked", True
        except Refusal as refusal:
            rules.add(refusal.rule)
        meter.check()
    assert rules <= {"revoked", *OutboundLimits.__struct_fields__}
    most = max(1.0, per_s)
    for begin in range(len(begun)):
        for end in range(begin, len(begun)):
            assert end - begin + 1 <= most + (begun[end] - begun[begin]) * per_s + 1e-6


def test_a_second_begins_with_a_rest() -> None:
    meter = Meter(OutboundLimits(calls_per_s_max=2.0), 0.0)
    meter.begin(0.0)
    meter.begin(0.0)
    with pytest.raises(Refusal) as refused:
        meter.begin(0.1)
    assert refused.value.rule == "calls_per_s_max"
    assert meter.wait_s() == pytest.approx(0.4)
    meter.begin(0.5)
