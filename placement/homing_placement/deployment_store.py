"""Deployments in etcd: the record of what serves, and packages in pieces."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256

import msgspec

from homing.errors import TooLarge, Unavailable
from homing_placement.deployments import Deployment, Version
from homing_placement.etcd import EtcdClient
from homing_placement.etcd.errors import UnknownOutcome
from homing_placement.etcd.model import Changes, Compare, Delete, Listing, Put
from homing_placement.keys import ClusterKeys
from homing_placement.limits import DEPLOY_TRIES_MAX, PACKAGE_BYTES_MAX, PACKAGE_PIECE_BYTES

_VERSION_ID_CHARS = 12


class DeploymentStore:
    """The deployments of one cluster.

    Args:
        client: of its etcd.
        keys: where they are.
        since_ms: what was deployed before counts for nothing, in milliseconds since 1970.
    """

    def __init__(self, client: EtcdClient, keys: ClusterKeys, since_ms: int = 0) -> None:
        self._client, self._keys, self._since_ms = client, keys, since_ms

    async def read(self) -> Deployment:
        """What is deployed now; linearizable.

        Raises:
            EtcdUnavailable: no endpoint answered in time.
        """
        return (await self._read())[0]

    async def add(self, package: bytes, message: str) -> Version:
        """Keep a package; the version serves nothing yet. The same bytes are the same version.

        Raises:
            TooLarge: it is over `PACKAGE_BYTES_MAX`.
            EtcdError: it could not be kept.
        """
        if len(package) > PACKAGE_BYTES_MAX:
            raise TooLarge(
                f"a package is at most {PACKAGE_BYTES_MAX >> 20} MiB, packed; this has {len(package):,} bytes"
            )
        digest = sha256(package).hexdigest()
        pieces = [package[at : at + PACKAGE_PIECE_BYTES] for at in range(0, len(package), PACKAGE_PIECE_BYTES)]
        version = Version(digest[:_VERSION_ID_CHARS], digest, len(pieces), len(package), _now_ms(), message)
        for number, piece in enumerate(pieces):
            await self._client.txn([], [Put(self._keys.package(version.id, number), piece)])
        gone: tuple[Version, ...] = ()

        def with_it(deployment: Deployment) -> Deployment:
            nonlocal gone
            added, gone = deployment.adding(version)
            return added

        await self.change(with_it)
        for old in gone:
            await self._client.txn([], [Delete(self._keys.package(old.id), prefix=True)])
        return version

    async def package(self, version: Version) -> bytes:
        """The package of a version, whole and unchanged.

        Raises:
            Unavailable: it is not there any more, or is damaged.
            EtcdUnavailable: no endpoint answered in time.
        """
        parts: list[bytes] = []
        for number in range(version.pieces):
            entry = await self._client.get(self._keys.package(version.id, number))
            parts.append(entry.value if entry is not None else b"")
        package = b"".join(parts)
        if sha256(package).hexdigest() != version.digest:
            raise Unavailable(f"the package of version {version.id} is not whole in etcd; deploy it again")
        return package

    async def change(self, how: Callable[[Deployment], Deployment]) -> Deployment:
        """Change what is deployed, in one step.

        Args:
            how: gives the new from the old; called again if somebody else was faster.

        Raises:
            Unavailable: others were faster again and again.
            EtcdError: it could not be changed, or nobody knows whether it was.
            HomingError: what `how` raises.
        """
        for _ in range(DEPLOY_TRIES_MAX):
            old, revision = await self._read()
            new = how(old)
            compare = [Compare.mod(self._keys.deployment, revision)]
            try:
                done = (await self._client.txn(compare, [Put(self._keys.deployment, msgspec.json.encode(new))])).ok
            except UnknownOutcome:
                done = (await self.read()) == new
            if done:
                return new
        raise Unavailable("others change what is deployed at the same time; try again")

    async def watch(self, tell: Callable[[Deployment], None]) -> None:
        """Tell what is deployed, now and after each change; until cancelled."""

        def sink(seen: Listing | Changes) -> None:
            entries = seen.entries if isinstance(seen, Listing) else [change.entry for change in seen.changes]
            found = [entry for entry in entries if entry is not None and entry.key == self._keys.deployment]
            if found:
                tell(self._decode(found[-1].value))

        await self._client.watch_prefix(self._keys.deployment, sink)

    async def _read(self) -> tuple[Deployment, int]:
        entry = await self._client.get(self._keys.deployment)
        return (Deployment(), 0) if entry is None else (self._decode(entry.value), entry.mod_revision)

    def _decode(self, data: bytes) -> Deployment:
        try:
            found = msgspec.json.decode(data, type=Deployment)
        except msgspec.MsgspecError as error:
            raise Unavailable(f"what etcd holds of the deployment cannot be read: {error}") from error
        return found if found.changed_ms >= self._since_ms else Deployment(found.versions)


def _now_ms() -> int:
    return int(time.time() * 1_000)
