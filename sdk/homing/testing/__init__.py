"""A cluster in a test: a real one, of this application, with hands inside it.

Example:
    >>> from homing.testing import Cluster
    >>> with Cluster("examples/hello") as cluster:  # doctest: +SKIP
    ...     counter = cluster.get("Counter", "a")
    ...     assert counter.increment() == 1
    ...     cluster.evict("Counter", "a")
    ...     assert counter.increment() == 2

`homing.testing.fixtures` has it as a fixture of pytest. See docs/how-to/test.md.
"""

from __future__ import annotations

from homing.testing.cluster import Clock, Cluster
from homing.testing.process import ClusterProcess, StartFailed, free_port

__all__ = ["Clock", "Cluster", "ClusterProcess", "StartFailed", "free_port"]
