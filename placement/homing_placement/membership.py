"""Being seen: a node's or gateway's record in etcd, under a lease that this process keeps alive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from homing.errors import ConfigurationError
from homing_placement.etcd import Compare, Entry, EtcdClient, EtcdError, Lease, LeaseGone, Put
from homing_placement.limits import ETCD_RETRY_FIRST_S, ETCD_RETRY_LAST_S, LEASE_RENEWALS_PER_TTL, LEASE_TTL_S
from homing_placement.records import GatewayRecord, LoadRecord, NodeRecord, decode, encode

_log = structlog.stdlib.get_logger(__name__)


class NodeReplaced(ConfigurationError):
    """Another process registered under this node's id; two cannot run at once."""

    code = "node-replaced"
    hint = "Give every node of a cluster its own HOMING_NODE_ID and data directory."


class Registration:
    """Keeps one record in etcd for as long as this process lives.

    Args:
        client: of the cluster's etcd.
        key: where the record goes.
        record: what is written. A node's record replaces that of an older incarnation.
        ttl_s: how long the record outlives a process that dies.
        clock: monotonic seconds.

    Example:
        >>> registration = Registration(client, keys.node("a"), record)
        >>> group.create_task(registration.run())
        >>> await registration.registered.wait()
        >>> await registration.close()
    """

    def __init__(
        self,
        client: EtcdClient,
        key: bytes,
        record: NodeRecord | GatewayRecord,
        *,
        ttl_s: int = LEASE_TTL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registered = asyncio.Event()  # set while the record is there, as far as is known
        self.revision = 0  # of the last write; 0 before the first
        self._client = client
        self._key = key
        self._record = record
        self._ttl_s = ttl_s
        self._clock = clock
        self._lease: Lease | None = None
        self._beside: tuple[bytes, LoadRecord] | None = None
        self._changed = asyncio.Event()
        self._closed = False

    async def run(self) -> None:
        """Register, renew, and register again after a loss; runs until cancelled or closed.

        Raises:
            NodeReplaced: another process of this node id is registered.
        """
        retry_s = ETCD_RETRY_FIRST_S
        while not self._closed:
            try:
                await self._renew()
                retry_s = ETCD_RETRY_FIRST_S
                await self._pause(self._ttl_s / LEASE_RENEWALS_PER_TTL)
            except LeaseGone:
                _log.warning("lease_lost", key=self._key.decode())
                self._lease = None
                self.registered.clear()
            except EtcdError as error:
                _log.info("registration_waits_for_etcd", key=self._key.decode(), why=error.message)
                if self._lease is not None and self._clock() >= self._lease.ends_at:
                    self.registered.clear()
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, ETCD_RETRY_LAST_S)

    def update(self, record: NodeRecord | GatewayRecord) -> None:
        """Write another record at the next moment: the process goes on as the same, in another state."""
        self._record = record
        self._changed.set()

    def beside(self, key: bytes, record: LoadRecord) -> None:
        """Keep another record under the same lease, from the next moment on; a later one takes its place."""
        self._beside = key, record
        self._changed.set()

    async def close(self) -> None:
        """Remove the record; when etcd does not answer it goes with the lease."""
        self._closed = True
        self._changed.set()
        self.registered.clear()
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            await self._client.lease_revoke(lease)
        except EtcdError as error:
            _log.info("record_left_to_its_lease", key=self._key.decode(), why=error.message)

    async def _renew(self) -> None:
        if self._lease is None:
            lease = await self._client.lease_grant(self._ttl_s)
            await self._write(lease)
            self._lease = lease
        elif self._changed.is_set():
            await self._write(self._lease)
        else:
            self._lease = await self._client.lease_keep_alive(self._lease)
        self.registered.set()

    async def _write(self, lease: Lease) -> None:
        while True:
            # Read first: after a write without an answer nobody knows what is there.
            entry = await self._client.get(self._key)
            if entry is not None and self.revision and not self._is_mine(entry):
                raise NodeReplaced(f"another process is registered at {self._key.decode()}")
            self._changed.clear()
            compare = Compare.mod(self._key, entry.mod_revision if entry else 0)
            puts = [Put(self._key, encode(self._record), lease.id)]
            if self._beside is not None:
                puts.append(Put(self._beside[0], encode(self._beside[1]), lease.id))
            try:
                result = await self._client.txn([compare], puts)
            except EtcdError:
                self._changed.set()
                raise
            if result.ok:
                self.revision = result.revision
                return

    def _is_mine(self, entry: Entry) -> bool:
        if not isinstance(self._record, NodeRecord):
            return True
        return decode(entry.value, NodeRecord).incarnation == self._record.incarnation

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
