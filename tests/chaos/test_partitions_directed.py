"""One cut at a time on a cluster whose members have networks of their own, with clients that note all they see."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from tests.chaos.faults import Planned, Target
from tests.chaos.net_cluster import NetCluster
from tests.chaos.network import NAMESPACES, PREFIX, why_not
from tests.chaos.report import judge
from tests.chaos.run import APP, chaos

REASON = why_not()
SECONDS = 2.0
OF_WHOLE_RUNS = "at least"  # what one short fault cannot show

pytestmark = pytest.mark.skipif(bool(REASON), reason=f"no networks of their own: {REASON}")


@pytest.fixture(scope="module")
def cluster() -> Generator[NetCluster]:
    with NetCluster(APP) as made:
        yield made
    assert made.leftovers == []
    assert not list(NAMESPACES.glob(f"{PREFIX}-{made.network.id}-*"))


@pytest.mark.parametrize("target", [Target.HALF_WITH_ETCD, Target.UNHEARD])
async def test_nothing_is_lost_or_done_twice_and_every_slot_answers_again(cluster: NetCluster, target: Target) -> None:
    run = await chaos(cluster, SECONDS, list(Target).index(target), [Planned(0.5, target)])
    failed = [f"{check.name}: {check.detail}" for check in judge(run) if not check.passed]
    assert [text for text in failed if not text.startswith(OF_WHOLE_RUNS)] == []
    assert run.fired[0].seen.startswith("0 of ")
