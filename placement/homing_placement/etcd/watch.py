"""Watching a prefix without losing an event.

It lists at a revision and watches from the next. A stream that breaks is opened again (on another endpoint) right after
the last change that was delivered, so nothing is skipped; when that revision is compacted, it lists again. A second
list, soon after a stream began and then every 30 s, audits the watch: what the list shows and the stream has still not
told after a moment is lost, and everything is listed anew. The audit also finds an etcd whose history was replaced.

Progress answers are a sign of life only: some versions of etcd send them ahead of changes that they seem to cover.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import structlog
from google.protobuf.message import Message

from homing_placement.etcd import api_pb2 as api
from homing_placement.etcd.errors import Compacted, EtcdError, EtcdUnavailable, WatchBroken, from_grpc
from homing_placement.etcd.model import Changes, Listing, WatchSink, change_of, prefix_end
from homing_placement.limits import (
    ETCD_RETRY_FIRST_S,
    ETCD_RETRY_LAST_S,
    WATCH_AUDIT_FIRST_S,
    WATCH_AUDIT_GRACE_S,
    WATCH_AUDIT_INTERVAL_S,
    WATCH_PROGRESS_INTERVAL_S,
    WATCH_SILENCE_MAX_S,
)

if TYPE_CHECKING:
    from homing_placement.etcd.client import EtcdClient

_log = structlog.stdlib.get_logger(__name__)
_WatchCall = grpc.aio.StreamStreamCall[Message, api.WatchResponse]


class PrefixWatch:
    """One watch of one prefix.

    Args:
        client: whose endpoints are used.
        prefix: of the keys.
        sink: told in order: a `Listing`, which replaces everything told before, then `Changes`.
        audit_interval_s: how often the prefix is listed again.
    """

    def __init__(
        self, client: EtcdClient, prefix: bytes, sink: WatchSink, *, audit_interval_s: float = WATCH_AUDIT_INTERVAL_S
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._sink = sink
        self._audit_interval_s = audit_interval_s
        # Invariant: every change of the prefix up to this revision was told.
        self._revision = 0
        # Invariant: key -> mod_revision of every key that exists as of what was told.
        self._known: dict[bytes, int] = {}
        # Keys whose deletion was told since the last audit began, with the revision.
        self._deleted: dict[bytes, int] = {}

    async def run(self, *, resume: bool = False) -> None:
        """List and watch until cancelled; survives every failure of etcd.

        Args:
            resume: go on after what an earlier run of this watch told, instead of listing first.
        """
        retry_s = ETCD_RETRY_FIRST_S
        listed = resume
        while True:
            told = self._revision
            try:
                if not listed:
                    self._take_listing(await self._client.list_prefix(self._prefix))
                    listed = True
                await self._stream()
            except (Compacted, WatchBroken) as error:
                _log.warning("watch_lists_again", prefix=self._prefix.decode(), why=error.message)
                listed = False
            except EtcdError as error:
                _log.info("watch_resumes", prefix=self._prefix.decode(), revision=self._revision, why=error.message)
            retry_s = ETCD_RETRY_FIRST_S if self._revision > told else min(2 * retry_s, ETCD_RETRY_LAST_S)
            await asyncio.sleep(retry_s)

    async def _stream(self) -> None:
        """Watch from the next revision until something fails; always raises."""
        endpoint = await self._client.connected_endpoint()
        # Without a leader a member would keep the stream open and tell nothing.
        call = endpoint.stream("/etcdserverpb.Watch/Watch", api.WatchResponse, [("hasleader", "true")])
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(call), name="etcd-watch")
                group.create_task(self._ask_for_progress(call), name="etcd-watch-progress")
                group.create_task(self._audit(), name="etcd-watch-audit")
        except BaseExceptionGroup as group_error:
            etcd_errors, others = group_error.split(EtcdError)
            if etcd_errors is None or others is not None:
                raise
            error = _first(etcd_errors)
            if isinstance(error, EtcdUnavailable):
                self._client.failed(endpoint)
            raise error from group_error
        finally:
            call.cancel()

    async def _follow(self, call: _WatchCall) -> None:
        create = api.WatchCreateRequest(
            key=self._prefix,
            range_end=prefix_end(self._prefix),
            start_revision=self._revision + 1,
            progress_notify=True,
        )
        try:
            await call.write(api.WatchRequest(create_request=create))
            while True:
                async with asyncio.timeout(WATCH_SILENCE_MAX_S):
                    reply = await call.read()
                if not isinstance(reply, api.WatchResponse):
                    raise EtcdUnavailable("the watch stream ended")
                self._take(reply)
        except grpc.aio.AioRpcError as error:
            raise from_grpc(error, changes=False) from error
        except asyncio.InvalidStateError as error:  # gRPC: the stream ended before the write
            raise EtcdUnavailable("the watch stream ended") from error
        except TimeoutError as error:
            raise EtcdUnavailable(f"the watch was silent for {WATCH_SILENCE_MAX_S} s") from error

    async def _ask_for_progress(self, call: _WatchCall) -> None:
        while True:
            await asyncio.sleep(WATCH_PROGRESS_INTERVAL_S)
            try:
                await call.write(api.WatchRequest(progress_request=api.WatchProgressRequest()))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the reader says what happened

    async def _audit(self) -> None:
        wait_s = WATCH_AUDIT_FIRST_S
        while True:
            await asyncio.sleep(wait_s)
            wait_s = self._audit_interval_s
            told = self._revision
            self._deleted.clear()
            try:
                listing = await self._client.list_prefix(self._prefix)
            except EtcdUnavailable:
                continue  # the stream may live on; its silence is watched separately
            if listing.revision < told:
                raise WatchBroken(f"etcd is at revision {listing.revision} and was at {told}: its history was replaced")
            if self._missing(listing):
                await asyncio.sleep(WATCH_AUDIT_GRACE_S)
                if missing := self._missing(listing):
                    raise WatchBroken(f"{len(missing)} changes were not told, the first of {missing[0]!r}")
            del listing  # thousands of small objects; until the next audit they would hold the memory between them

    def _missing(self, listing: Listing) -> list[bytes]:
        """Keys for which the listing is ahead of what was told."""
        listed = {entry.key: entry.mod_revision for entry in listing.entries}
        written = [
            key
            for key, revision in listed.items()
            if revision > self._known.get(key, 0) and revision > self._deleted.get(key, 0)
        ]
        deleted = [key for key, revision in self._known.items() if revision <= listing.revision and key not in listed]
        return written + deleted

    def _take_listing(self, listing: Listing) -> None:
        self._known = {entry.key: entry.mod_revision for entry in listing.entries}
        self._deleted.clear()
        self._revision = listing.revision
        self._sink(listing)

    def _take(self, reply: api.WatchResponse) -> None:
        if reply.compact_revision > 0:
            raise Compacted(f"revision {self._revision + 1} is compacted", compact_revision=reply.compact_revision)
        if reply.canceled:
            raise EtcdUnavailable(f"etcd ended the watch: {reply.cancel_reason}")
        changes = tuple(change for change in map(change_of, reply.events) if change.mod_revision > self._revision)
        if not changes:
            return
        for change in changes:
            if change.entry is None:
                self._known.pop(change.key, None)
                self._deleted[change.key] = change.mod_revision
            else:
                self._known[change.key] = change.mod_revision
        self._revision = changes[-1].mod_revision
        self._sink(Changes(self._revision, changes))


def _first(errors: BaseExceptionGroup[EtcdError]) -> EtcdError:
    """The error that decides what to do: one that asks for a new list before any other."""
    flat = [error for error in errors.exceptions if isinstance(error, EtcdError)]
    return next((error for error in flat if not isinstance(error, EtcdUnavailable)), flat[0])
