"""Where a node's code comes from: the files that it was started with, or a version that was deployed to the cluster."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from homing_node.workers.app_bundle import AppBundle
from homing_node.workers.app_package import unpack
from homing_node.workers.pool import WorkerPool
from homing_placement.deployment_store import DeploymentStore
from homing_placement.deployments import STARTED_WITH, Deployment

Serving = Sequence[tuple[int, str]]
"""For how many of a hundred objects, and which version; the newest first."""


class Code:
    """The versions of one application.

    Args:
        app: the files that the node was started with.
        store: what is deployed.
    """

    def __init__(self, app: Path, store: DeploymentStore) -> None:
        self._app, self._store = app, store

    async def serving(self) -> Serving:
        """What is to serve now.

        Raises:
            EtcdUnavailable: etcd does not answer.
        """
        return _serving(await self._store.read())

    async def watch(self, tell: Callable[[Serving], None]) -> None:
        """Tell what is to serve, now and after each change; until cancelled."""
        await self._store.watch(lambda deployment: tell(_serving(deployment)))

    async def bundle(self, version_id: str, pool: WorkerPool) -> AppBundle:
        """The code of a version, ready for jails.

        Raises:
            NotFound: there is no such version.
            Unavailable: its package is not whole.
            ConfigurationError: it is no application.
        """
        if version_id == STARTED_WITH:
            return await pool.bundle(self._app)
        version = (await self._store.read()).version(version_id)
        package = await self._store.package(version)
        with tempfile.TemporaryDirectory(prefix="homing-version-") as folder:
            await asyncio.to_thread(unpack, package, Path(folder))
            return await pool.bundle(Path(folder))


def _serving(deployment: Deployment) -> Serving:
    return [(share.percent, share.version) for share in deployment.serving]
