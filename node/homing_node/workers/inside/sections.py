"""What an object's context offers beyond storage: sections that hold the gate, transactions, work after the answer."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from homing.facets import Facets
from homing.ids import ObjectId
from homing.storage import Storage, Transaction
from homing_node.workers.inside import failures, limits
from homing_node.workers.inside.alarms import Alarms
from homing_node.workers.inside.calls import seen
from homing_node.workers.inside.database import Database
from homing_node.workers.inside.facets import FacetKeeper
from homing_node.workers.inside.gates import Section, current_section
from homing_node.workers.inside.object_class import ObjectClass
from homing_node.workers.inside.turn_keeper import Aborted, Host, TurnKeeper


class Sections(TurnKeeper):
    """Implements `homing.objects.Runtime` and `homing.storage_engine.Coordinator`.

    Args:
        host: the worker.
        number: the activation's id, given by the node.
        kind: the object's class.
    """

    __slots__ = ("_alarms", "_content", "_context", "_kind")

    depth = 1  # of the tree of facets that it is in

    @property
    def within(self) -> FacetKeeper | None:
        """See `facets.Parent`."""
        return None

    def __init__(self, host: Host, number: int, kind: ObjectClass) -> None:
        super().__init__(host, number)
        self._kind = kind
        self._context: Any = None
        self._alarms: Alarms | None = None
        self._content: list[bytes] = []  # pages of a database that is not open yet

    def open_storage(self) -> Storage:
        """See `homing.objects.Runtime`."""
        if self.ended:
            raise Aborted
        self._database = Database(self._content, self._on_begin)
        return Storage(self._database, self)

    def open_database(self) -> Database:
        """The object's database, opened at its first use, whoever uses it first."""
        if self._database is None:
            _ = self._context.storage  # which the object's code then finds open
        if self._database is None:
            raise Aborted
        return self._database

    def facets(self) -> Facets:
        """See `homing.objects.Runtime`."""
        if self.ended:
            raise Aborted
        if self._facets is None:
            self._facets = self._host.keep_facets(self)
        return Facets(self._facets)

    def facet_id(self) -> ObjectId:
        """See `facets.Parent`."""
        return self._context.id

    @property
    def alarms(self) -> Alarms:
        """See `homing.storage_engine.Coordinator`."""
        if self._alarms is None:
            if self._database is None:
                raise Aborted
            self._alarms = Alarms(self._database, handled=self._kind.alarm is not None)
        return self._alarms

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """See `homing.objects.Runtime`."""

        async def watch() -> None:
            try:
                await awaitable
            except Exception as error:
                self._log_error(error)

        task = self.spawn(watch())
        late = self._host.later(limits.wait_until_s_max, task.cancel)
        task.add_done_callback(lambda _: late.cancel())

    def abort(self, reason: str) -> NoReturn:
        """See `homing.objects.Runtime`."""
        self.reset("object-reset", failures.cut(reason, limits.message_text_bytes_max) or "the object was aborted")
        raise Aborted

    def _limit(self, what: str) -> asyncio.TimerHandle:
        return self._host.later(limits.block_concurrency_s_max, self.reset, "object-reset", f"{what} took too long")

    def _begin(self) -> tuple[Section, asyncio.Future[None]]:
        started: asyncio.Future[None] = self._host.loop.create_future()

        def start() -> None:
            if not started.done():
                started.set_result(None)

        return self._gate.begin(start), started

    def block_concurrency_while(self, callback: Callable[[], Awaitable[Any]]) -> asyncio.Future[Any]:
        """See `homing.objects.Runtime`."""
        section, started = self._begin()
        late = self._limit("block_concurrency_while")

        async def run() -> Any:
            try:
                await started
                return await callback()
            except (Exception, asyncio.CancelledError) as error:
                self._log_error(error)
                said = failures.message_of(error)
                self.reset("object-reset", f"block_concurrency_while raised {type(error).__name__}: {said}")
                raise
            finally:
                late.cancel()
                self._end_section(section)

        context = contextvars.copy_context()
        context.run(current_section.set, section)
        task = self.spawn(run(), context=context)
        task.add_done_callback(seen)
        return task

    async def transaction(self, callback: Callable[[Transaction], Awaitable[Any]]) -> Any:
        """See `homing.storage.Coordinator`."""
        section, started = self._begin()
        late = self._limit("a transaction")
        token = current_section.set(section)
        try:
            await started
            self._held += 1
            try:
                result = await self._transact(callback)
            finally:
                self._held -= 1
            await self.sync()  # here, so that a commit that fails fails the transaction
            return result
        finally:
            late.cancel()
            current_section.reset(token)
            self._end_section(section)

    async def _transact(self, callback: Callable[[Transaction], Awaitable[Any]]) -> Any:
        database = self._database
        if database is None or self.ended:
            raise Aborted
        name = database.savepoint()
        try:
            result = await callback(Transaction(database, self, lambda: database.undo(name)))
        except BaseException:
            if not self.ended:
                database.undo_or_rollback(name)
            raise
        database.release(name)
        return result

    async def sync(self) -> None:
        """See `homing.storage.Coordinator`."""
        if self._held:
            return
        failed = self.leave()
        self._in_turn = True
        if failed is not None:
            raise failed
