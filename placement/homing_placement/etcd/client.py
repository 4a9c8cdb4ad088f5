"""A small etcd client: ranges, transactions and leases, over one of several endpoints.

A call goes to the endpoint that answered last; when that one fails, the next is tried. A request that may change
something is sent at most once: it waits for a connection first, so that a refused connection is known to have changed
nothing, and silence after sending is `UnknownOutcome`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from homing.errors import ConfigurationError
from homing_placement.etcd import api_pb2 as api
from homing_placement.etcd.endpoint import Endpoint, TlsFiles
from homing_placement.etcd.errors import EtcdUnavailable, LeaseGone, from_grpc
from homing_placement.etcd.model import (
    Compare,
    Entry,
    Lease,
    Listing,
    Operation,
    TxnResult,
    WatchSink,
    entry_of,
    prefix_end,
    txn_request,
    txn_result,
)
from homing_placement.etcd.watch import PrefixWatch
from homing_placement.limits import ETCD_CALL_TIMEOUT_S, ETCD_CONNECT_TIMEOUT_S, READS_PER_TXN_MAX

_Reply = TypeVar("_Reply", bound=Message)


class EtcdClient:
    """A client of one etcd cluster. Make it inside a running event loop, and close it there.

    Args:
        endpoints: URLs, `http://host:port` or `https://host:port`; at least one.
        tls: files for the https endpoints; None takes the system's certificates.
        call_timeout_s: for one attempt on one endpoint.
        clock: monotonic seconds; leases are counted on it.

    Raises:
        ConfigurationError: no endpoint, a wrong URL, or a TLS file that cannot be read.

    Example:
        >>> async with EtcdClient(["http://127.0.0.1:2379"]) as client:
        ...     entry = await client.get(b"/homing/dev/config")
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        tls: TlsFiles | None = None,
        *,
        call_timeout_s: float = ETCD_CALL_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not endpoints:
            raise ConfigurationError("at least one etcd endpoint is needed")
        self._endpoints = [Endpoint(url, tls) for url in endpoints]
        self._current = 0
        self._call_timeout_s = call_timeout_s
        self._clock = clock

    async def __aenter__(self) -> EtcdClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End every call, watch and connection."""
        for endpoint in self._endpoints:
            await endpoint.close()

    # Reads: linearizable, always.

    async def get(self, key: bytes) -> Entry | None:
        """The entry at `key`, or None; linearizable.

        Raises:
            EtcdUnavailable: no endpoint answered in time.
        """
        reply = await self._read("/etcdserverpb.KV/Range", api.RangeRequest(key=key), api.RangeResponse)
        return entry_of(reply.kvs[0]) if reply.kvs else None

    async def get_many(self, keys: Sequence[bytes]) -> list[Entry | None]:
        """The entries at `keys`, in their order; linearizable, 64 in one transaction.

        Raises:
            EtcdUnavailable: no endpoint answered in time.
        """
        found: list[Entry | None] = []
        for start in range(0, len(keys), READS_PER_TXN_MAX):
            request = txn_request([], [], [], keys[start : start + READS_PER_TXN_MAX])
            reply = await self._read("/etcdserverpb.KV/Txn", request, api.TxnResponse)
            found.extend(txn_result(reply).reads)
        return found

    async def list_prefix(self, prefix: bytes) -> Listing:
        """Every entry whose key begins with `prefix`, ascending, and the revision at which that was so; linearizable.

        Raises:
            EtcdUnavailable: no endpoint answered in time.
        """
        request = api.RangeRequest(key=prefix, range_end=prefix_end(prefix))
        reply = await self._read("/etcdserverpb.KV/Range", request, api.RangeResponse)
        return Listing(reply.header.revision, tuple(map(entry_of, reply.kvs)))

    async def watch_prefix(self, prefix: bytes, sink: WatchSink) -> None:
        """List the prefix, then tell every change; runs until it is cancelled.

        Args:
            prefix: of the keys.
            sink: called in order with a `Listing` (which replaces everything told before) and then with `Changes`.
        """
        await PrefixWatch(self, prefix, sink).run()

    # Changes: sent at most once.

    async def txn(
        self,
        compares: Sequence[Compare],
        then: Sequence[Operation],
        otherwise: Sequence[Operation] = (),
        *,
        read_otherwise: Sequence[bytes] = (),
    ) -> TxnResult:
        """Do `then` if every comparison holds, else `otherwise`; one step either way.

        Args:
            compares: what must hold.
            then: at most 128 operations.
            otherwise: what to do when a comparison fails.
            read_otherwise: keys to read when a comparison fails; they come back in `TxnResult.reads`.

        Raises:
            EtcdUnavailable: nothing was sent.
            UnknownOutcome: it was sent, and no answer came.
            EtcdRejected: etcd refused it; nothing was changed.
            LeaseGone: a lease that it names is gone; nothing was changed.

        Example:
            >>> result = await client.txn([Compare.mod(key, 7)], [Put(key, b"new")], read_otherwise=[key])
            >>> result.ok, result.revision
            (True, 8)
        """
        request = txn_request(compares, then, otherwise, read_otherwise)
        return txn_result(await self._change("/etcdserverpb.KV/Txn", request, api.TxnResponse))

    async def compact(self, revision: int) -> None:
        """Make etcd forget every state before `revision`."""
        await self._change("/etcdserverpb.KV/Compact", api.CompactionRequest(revision=revision), api.CompactionResponse)

    async def lease_grant(self, ttl_s: int) -> Lease:
        """A new lease. Its end is counted from before the request was sent, so it is never later than etcd's.

        Raises:
            EtcdUnavailable: nothing was sent.
            UnknownOutcome: a lease may exist that nobody knows; it runs out by itself.
        """
        sent_at = self._clock()
        reply = await self._change(
            "/etcdserverpb.Lease/LeaseGrant", api.LeaseGrantRequest(TTL=ttl_s), api.LeaseGrantResponse
        )
        return Lease(reply.ID, reply.TTL, sent_at + reply.TTL)

    async def lease_keep_alive(self, lease: Lease) -> Lease:
        """The same lease with a later end.

        Raises:
            LeaseGone: it ran out or was revoked.
            EtcdUnavailable: no endpoint answered in time; it may have been prolonged all the same.
        """
        sent_at = self._clock()
        reply = await self._reading(lambda endpoint: self._keep_alive(endpoint, lease.id))
        if reply.TTL <= 0:
            raise LeaseGone(f"lease {lease.id:x} is gone")
        return Lease(lease.id, reply.TTL, sent_at + reply.TTL)

    async def lease_revoke(self, lease: Lease) -> None:
        """End a lease and remove every key under it; one that is gone already is no error.

        Raises:
            EtcdUnavailable: nothing was sent.
            UnknownOutcome: it was sent, and no answer came.
        """
        try:
            await self._change(
                "/etcdserverpb.Lease/LeaseRevoke", api.LeaseRevokeRequest(ID=lease.id), api.LeaseRevokeResponse
            )
        except LeaseGone:
            return

    # Endpoints

    async def connected_endpoint(self) -> Endpoint:
        """An endpoint with a connection: the one in use if it is up, else the next that connects.

        Raises:
            EtcdUnavailable: none connects.
        """
        for offset in range(len(self._endpoints)):
            index = (self._current + offset) % len(self._endpoints)
            if await self._endpoints[index].connected(ETCD_CONNECT_TIMEOUT_S):
                self._current = index
                return self._endpoints[index]
        urls = ", ".join(endpoint.url for endpoint in self._endpoints)
        raise EtcdUnavailable(f"no etcd endpoint accepts a connection: {urls}")

    def failed(self, endpoint: Endpoint) -> None:
        """The endpoint did not do its work: the next call begins with another."""
        if self._endpoints[self._current] is endpoint:
            self._current = (self._current + 1) % len(self._endpoints)

    async def _read(self, path: str, request: Message, reply: type[_Reply]) -> _Reply:
        return await self._reading(lambda endpoint: endpoint.call(path, request, reply, self._call_timeout_s))

    async def _reading(self, ask: Callable[[Endpoint], Awaitable[_Reply]]) -> _Reply:
        # Asking twice does no harm: each endpoint gets a turn, and a single one a second (it may have restarted).
        attempts = max(2, len(self._endpoints))
        while True:
            endpoint = await self.connected_endpoint()
            attempts -= 1
            try:
                return await ask(endpoint)
            except grpc.aio.AioRpcError as error:
                self.failed(endpoint)
                mapped = from_grpc(error, changes=False)
                if attempts == 0 or not isinstance(mapped, EtcdUnavailable):
                    raise mapped from error

    async def _change(self, path: str, request: Message, reply: type[_Reply]) -> _Reply:
        endpoint = await self.connected_endpoint()
        try:
            return await endpoint.call(path, request, reply, self._call_timeout_s)
        except grpc.aio.AioRpcError as error:
            self.failed(endpoint)
            raise from_grpc(error, changes=True) from error

    async def _keep_alive(self, endpoint: Endpoint, lease_id: int) -> api.LeaseKeepAliveResponse:
        call = endpoint.stream(
            "/etcdserverpb.Lease/LeaseKeepAlive", api.LeaseKeepAliveResponse, timeout_s=self._call_timeout_s
        )
        try:
            await call.write(api.LeaseKeepAliveRequest(ID=lease_id))
            reply = await call.read()
        except asyncio.InvalidStateError as error:  # gRPC: the stream ended before the write
            raise EtcdUnavailable("the keep-alive stream ended") from error
        finally:
            call.cancel()
        if not isinstance(reply, api.LeaseKeepAliveResponse):
            raise EtcdUnavailable("the keep-alive stream ended without an answer")
        return reply
