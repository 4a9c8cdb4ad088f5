"""A worker of an ordinary cluster runs no code of tests, whoever asks; what it does for tests is in tests/e2e."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from homing.values import to_json
from homing_node.workers.inside import channel
from worker_harness import Failed, WorkerHarness

APP = """
from homing import DurableObject

class Thing(DurableObject):
    pass
"""


def test_an_ordinary_worker_runs_no_code_of_a_test(start: Callable[..., WorkerHarness]) -> None:
    """Seen to fail without the check in `testing.run`: a gateway that sends such an event could run what it likes."""
    worker = start(APP)
    act = worker.open("Thing")
    body = to_json({"args": ["def f(thing): return 1", "f"]})
    worker.send(channel.EVENT, act, 7, channel.RUN, "", body, 0, "", "", None, False, 0, 0)
    with pytest.raises(Failed, match="not started for tests"):
        worker.answer(7)
