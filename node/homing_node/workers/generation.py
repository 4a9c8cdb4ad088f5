"""The workers of one version of the application's code."""

from __future__ import annotations

import asyncio

from homing_node.workers.app_bundle import AppBundle
from homing_node.workers.process import WorkerProcess, WorkerSpec


class Generation:
    """See the module.

    Attributes:
        number: generations are counted.
        version: whose code it is, as deployments name it.
        workers: by place; None where one is being replaced.
        processes: every one that is not dead, ready or not.
        classes: object classes of the code; empty until `started`.
        has_default: whether the code answers paths of its own.
        started: every place was filled once.
        over: set when it shall end: none of its workers is replaced any more.
    """

    def __init__(self, number: int, version: str, bundle: AppBundle, spec: WorkerSpec, count: int) -> None:
        self.number = number
        self.version = version
        self.bundle = bundle
        self.spec = spec
        self.workers: list[WorkerProcess | None] = [None] * count
        self.processes: list[WorkerProcess] = []
        self.classes: set[str] = set()
        self.has_default = False
        self.started = False
        self.over = asyncio.Event()

    def end(self, reason: str) -> None:
        """Kill every process, and replace none."""
        self.over.set()
        for worker in list(self.processes):
            worker.kill(reason)

    def pick(self, key: bytes) -> WorkerProcess | None:
        """The worker for a new activation: the same one for the same id while it lives, else one beside it; or None.

        Args:
            key: the object's id; its last four bytes decide.
        """
        first = int.from_bytes(key[-4:], "big")
        for step in range(len(self.workers)):
            worker = self.workers[(first + step) % len(self.workers)]
            if worker is not None and worker.usable:
                return worker
        return None
