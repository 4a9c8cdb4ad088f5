"""A small etcd, at the seam where the client calls gRPC: revisions, transactions, leases and watches on the fake clock.

What goes wrong is between it and its clients: it cannot be reached, an answer is lost after the work was done, a
request is done long after its sender gave up, a watch is late or breaks, and history that a watch needs is compacted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from tests.simulation.node.network import answered, broken

from homing_placement.etcd import api_pb2 as api

if TYPE_CHECKING:
    from tests.simulation.node.loop import Loop
    from tests.simulation.node.world import World

Changed = Callable[[bytes, "bytes | None", int], None]


@dataclass(slots=True)
class _Lease:
    ttl_s: float
    ends_at: float
    keys: dict[bytes, None] = field(default_factory=dict[bytes, None])


@dataclass(slots=True)
class _Watcher:
    stream: WatchStream
    key: bytes
    end: bytes


class Store:
    """What an etcd holds; every request is one step.

    Args:
        now: the fake clock.
        changed: told (key, value or None, revision) of every change.

    Invariants: `revision` grows by one for each request that changes something, and every key it changes gets it as
    mod_revision; `history` holds every change above `compacted`.
    """

    def __init__(self, now: Callable[[], float], changed: Changed) -> None:
        self._now = now
        self._changed = changed
        self.revision = 1
        self.compacted = 0
        self.keys: dict[bytes, api.KeyValue] = {}
        self.leases: dict[int, _Lease] = {}
        self.history: list[tuple[int, list[api.Event]]] = []
        self.watchers: list[_Watcher] = []
        self._lease_id = 0
        self._events: list[api.Event] = []

    # -- keys -------------------------------------------------------------------------------------------------

    def range(self, request: api.RangeRequest) -> api.RangeResponse:
        if request.range_end:
            found = sorted(key for key in self.keys if request.key <= key < request.range_end)
        else:
            found = [request.key] if request.key in self.keys else []
        return api.RangeResponse(header=self._header(), kvs=[self.keys[key] for key in found])

    def txn(self, request: api.TxnRequest) -> api.TxnResponse:
        succeeded = all(map(self._holds, request.compare))
        operations = request.success if succeeded else request.failure
        for operation in operations:
            lease = operation.request_put.lease if operation.HasField("request_put") else 0
            if lease and lease not in self.leases:
                raise broken("etcdserver: requested lease not found", grpc.StatusCode.NOT_FOUND)
        responses: list[api.ResponseOp] = []
        for operation in operations:
            if operation.HasField("request_range"):
                responses.append(api.ResponseOp(response_range=self.range(operation.request_range)))
            elif operation.HasField("request_put"):
                put = operation.request_put
                self._put(put.key, put.value, put.lease)
                responses.append(api.ResponseOp(response_put=api.PutResponse()))
            else:
                raise AssertionError("homing deletes by leases only")
        self._commit()
        return api.TxnResponse(header=self._header(), succeeded=succeeded, responses=responses)

    def _holds(self, compare: api.Compare) -> bool:
        found = self.keys.get(compare.key)
        assert compare.result == api.Compare.EQUAL
        if compare.target == api.Compare.MOD:
            return (found.mod_revision if found is not None else 0) == compare.mod_revision
        assert compare.target == api.Compare.CREATE
        return (found.create_revision if found is not None else 0) == compare.create_revision

    def _put(self, key: bytes, value: bytes, lease: int) -> None:
        old = self.keys.get(key)
        at = self.revision + 1
        created, version = (old.create_revision, old.version + 1) if old is not None else (at, 1)
        if old is not None and old.lease and old.lease in self.leases:
            self.leases[old.lease].keys.pop(key, None)
        if lease:
            self.leases[lease].keys[key] = None
        kv = api.KeyValue(
            key=key, value=value, create_revision=created, mod_revision=at, version=version, lease=lease
        )  # fmt: skip
        self.keys[key] = kv
        self._events.append(api.Event(type=api.Event.PUT, kv=kv))

    def _delete(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            del self.keys[key]
            gone = api.KeyValue(key=key, mod_revision=self.revision + 1)
            self._events.append(api.Event(type=api.Event.DELETE, kv=gone))
        self._commit()

    def _commit(self) -> None:
        events, self._events = self._events, []
        if not events:
            return
        self.revision += 1
        self.history.append((self.revision, events))
        for event in events:
            self._changed(event.kv.key, event.kv.value if event.type == api.Event.PUT else None, self.revision)
        for watcher in list(self.watchers):
            self._notify(watcher, events)

    def _header(self) -> api.ResponseHeader:
        return api.ResponseHeader(revision=self.revision)

    def compact(self) -> None:
        """Forget every change so far."""
        self.compacted = self.revision
        self.history.clear()

    # -- leases -----------------------------------------------------------------------------------------------

    def grant(self, request: api.LeaseGrantRequest) -> api.LeaseGrantResponse:
        self._lease_id += 1
        self.leases[self._lease_id] = _Lease(request.TTL, self._now() + request.TTL)
        return api.LeaseGrantResponse(header=self._header(), ID=self._lease_id, TTL=request.TTL)

    def keep_alive(self, request: api.LeaseKeepAliveRequest) -> api.LeaseKeepAliveResponse:
        lease = self.leases.get(request.ID)
        if lease is None:
            return api.LeaseKeepAliveResponse(header=self._header(), ID=request.ID, TTL=0)
        lease.ends_at = self._now() + lease.ttl_s
        return api.LeaseKeepAliveResponse(header=self._header(), ID=request.ID, TTL=int(lease.ttl_s))

    def revoke(self, request: api.LeaseRevokeRequest) -> api.LeaseRevokeResponse:
        if request.ID not in self.leases:
            raise broken("etcdserver: requested lease not found", grpc.StatusCode.NOT_FOUND)
        self.end_lease(request.ID)
        return api.LeaseRevokeResponse(header=self._header())

    def end_lease(self, lease_id: int) -> None:
        lease = self.leases.pop(lease_id)
        self._delete(list(lease.keys))

    def expire(self) -> None:
        """End every lease whose time is over."""
        for lease_id in [one for one, lease in self.leases.items() if lease.ends_at <= self._now()]:
            self.end_lease(lease_id)

    # -- watches ----------------------------------------------------------------------------------------------

    def watch(self, stream: WatchStream, request: api.WatchCreateRequest) -> None:
        if request.start_revision <= self.compacted:
            stream.told(
                api.WatchResponse(header=self._header(), canceled=True, compact_revision=self.compacted + 1)
            )  # fmt: skip
            return
        watcher = _Watcher(stream, request.key, request.range_end)
        self.watchers.append(watcher)
        stream.told(api.WatchResponse(header=self._header(), created=True))
        for revision, events in self.history:
            if revision >= request.start_revision:
                self._notify(watcher, events)

    def _notify(self, watcher: _Watcher, events: list[api.Event]) -> None:
        mine = [event for event in events if watcher.key <= event.kv.key < watcher.end]
        if mine:
            watcher.stream.told(api.WatchResponse(header=self._header(), events=mine))

    def unwatch(self, stream: WatchStream) -> None:
        self.watchers = [watcher for watcher in self.watchers if watcher.stream is not stream]


class Etcd:
    """The etcd of a world, and the ways to it.

    Args:
        world: time, chance and what is judged.

    Attributes:
        away: names of the processes that cannot reach it.
    """

    def __init__(self, world: World, changed: Changed) -> None:
        self.world = world
        self.away: set[str] = set()
        self.store = Store(lambda: world.clock.now, changed)
        self.streams: dict[WatchStream, None] = {}
        world.clock.after(0.1, self._expire)

    def _expire(self) -> None:
        self.store.expire()
        self.world.clock.after(0.1, self._expire)

    def delay(self) -> float:
        return 0.0008 + self.world.random.random() * 0.002

    def endpoint(self, url: str, _: object) -> Endpoint:
        return Endpoint(self, url)

    def do(self, request: Any) -> Any:
        """One request, at the server."""
        store = self.store
        match request:
            case api.RangeRequest():
                return store.range(request)
            case api.TxnRequest():
                return store.txn(request)
            case api.LeaseGrantRequest():
                return store.grant(request)
            case api.LeaseRevokeRequest():
                return store.revoke(request)
            case api.LeaseKeepAliveRequest():
                return store.keep_alive(request)
            case _:
                raise AssertionError(f"etcd is asked {request!r}")

    def lose_away(self) -> None:
        """Whoever cannot reach it loses its watches after a moment."""
        for stream in list(self.streams):
            if stream.loop.name in self.away:
                self.world.clock.after(0.2 + self.world.random.random() * 2.0, self._lose_if_away, stream)

    def _lose_if_away(self, stream: WatchStream) -> None:
        if stream.loop.name in self.away:
            stream.lose()

    def ended(self, loop: Loop) -> None:
        """A process was ended."""
        for stream in [one for one in self.streams if one.loop is loop]:
            stream.forget()


class Endpoint:
    """What the client takes for an endpoint; see `homing_placement.etcd.endpoint`."""

    def __init__(self, etcd: Etcd, url: str) -> None:
        self.url = url
        self._etcd = etcd
        self._loop: Any = asyncio.get_running_loop()

    def _is_away(self) -> bool:
        return self._loop.name in self._etcd.away

    async def connected(self, timeout_s: float) -> bool:
        if self._is_away():
            await asyncio.sleep(timeout_s)
        return not self._is_away()

    async def call(self, path: str, request: Any, reply: Any, timeout_s: float) -> Any:
        etcd, world, loop = self._etcd, self._etcd.world, self._loop
        answer = loop.create_future()
        lost = later = False
        reads = isinstance(request, api.RangeRequest) or (isinstance(request, api.TxnRequest) and not request.compare)
        if world.rough and not reads and world.random.random() < world.plan.unknown:
            world.fired["etcd outcome unknown"] += 1
            lost = True
            later = world.random.random() < 0.4
        done = not lost or later or world.random.random() < 0.5

        def settle(result: Any) -> None:
            if not answer.done():
                answer.set_result(result)

        def there() -> None:
            if self._is_away() and not later:
                return
            try:
                result = etcd.do(request)
            except grpc.aio.AioRpcError as error:
                result = error
            if not lost and not self._is_away() and loop.alive:
                world.clock.after(etcd.delay(), loop.spawn, settle, result)

        if done:
            delay = etcd.delay() if not later else world.random.random() * 1.5
            world.clock.after(delay, there)
        patience_s = world.random.random() * timeout_s if lost else timeout_s
        return await answered(answer, patience_s, "etcd does not answer")

    def stream(self, path: str, reply: Any, metadata: Any = (), timeout_s: float | None = None) -> Any:
        if path.endswith("/LeaseKeepAlive"):
            return KeepAliveStream(self, timeout_s or 2.0)
        return WatchStream(self._etcd, self._loop)

    async def close(self) -> None:
        for stream in [one for one in self._etcd.streams if one.loop is self._loop]:
            stream.cancel()


class KeepAliveStream:
    """A stream for one question."""

    def __init__(self, endpoint: Endpoint, timeout_s: float) -> None:
        self._endpoint, self._timeout_s = endpoint, timeout_s
        self._request: Any = None

    async def write(self, request: Any) -> None:
        self._request = request

    async def read(self) -> Any:
        return await self._endpoint.call("", self._request, None, self._timeout_s)

    def cancel(self) -> bool:
        return True


class WatchStream:
    """The stream of a watch, from the client's side. What it tells is late at times, and always in order."""

    def __init__(self, etcd: Etcd, loop: Loop) -> None:
        self._etcd = etcd
        self.loop = loop
        self.broken = False
        self.late_s = 0.0  # what is told comes so much later
        self._last_at = 0.0
        self._inbox: list[Any] = []
        self._waiter: asyncio.Future[None] | None = None
        etcd.streams[self] = None

    async def write(self, request: api.WatchRequest) -> None:
        if self.broken:
            raise asyncio.InvalidStateError("the stream ended")
        self._etcd.world.clock.after(self._etcd.delay(), self._there, request)

    def _there(self, request: api.WatchRequest) -> None:
        if self.broken or self.loop.name in self._etcd.away:
            return
        store = self._etcd.store
        if request.HasField("create_request"):
            store.watch(self, request.create_request)
        else:
            header = api.ResponseHeader(revision=store.revision)
            # Some versions send them ahead of changes that they seem to cover.
            self._etcd.world.clock.after(self._etcd.delay(), self._arrive, api.WatchResponse(header=header))

    def told(self, reply: api.WatchResponse) -> None:
        """Etcd says something on this stream."""
        world = self._etcd.world
        late_s = self.late_s
        if world.rough and world.random.random() < 0.1:
            late_s += world.random.random() * world.plan.watch_s
        if late_s > 0.5:
            world.fired["watch late"] += 1
        self._last_at = max(self._last_at + 1e-6, world.clock.now + self._etcd.delay() + late_s)
        world.clock.after(self._last_at - world.clock.now, self._arrive, reply)

    def _arrive(self, reply: api.WatchResponse) -> None:
        if self.broken or not self.loop.alive:
            return
        if self.loop.name in self._etcd.away:
            self.lose()  # what does not arrive is asked for again on another stream
            return
        self.loop.spawn(self._take, reply)

    def _take(self, reply: api.WatchResponse) -> None:
        self._inbox.append(reply)
        self._wake()

    async def read(self) -> Any:
        while not self._inbox:
            if self.broken:
                raise broken("the stream of a watch broke")
            self._waiter = self.loop.create_future()
            await self._waiter
        return self._inbox.pop(0)

    def lose(self) -> None:
        """The stream breaks."""
        self.forget()
        if self.loop.alive:
            self.loop.spawn(self._wake)

    def forget(self) -> None:
        self.broken = True
        self._etcd.store.unwatch(self)
        self._etcd.streams.pop(self, None)

    def cancel(self) -> bool:
        self.forget()
        self._wake()
        return True

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
