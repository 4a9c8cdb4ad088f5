"""Evicts activations: those that have been idle for long, and the least recently used of a worker that has too many."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from homing.errors import Unavailable
from homing.tuning import allocator_trim, drop_caches
from homing_node.objects import limits
from homing_node.objects.activation import Activation, Life
from homing_node.objects.frames import CLOSE
from homing_node.objects.gate import OutputGate


class Evictions:
    """Asks activations to close; they may refuse while a timer or `wait_until` is pending.

    Args:
        objects: every activation of the node.
        gate: knows what is committed.
        host_limits: how long is idle, how many are too many.
        now_s: monotonic seconds.
        abort: ends an activation that does not close, for a reason.
        held: whether a client is connected to an object's running instance, which then may stay.
        break_off: ends what an activation still answers, piece by piece.
    """

    def __init__(
        self,
        objects: Mapping[bytes, Activation],
        gate: OutputGate,
        host_limits: limits.HostLimits,
        now_s: Callable[[], float],
        abort: Callable[[Activation, str], None],
        held: Callable[[bytes], bool],
        break_off: Callable[[Activation], None],
    ) -> None:
        self._objects, self._gate, self._limits = objects, gate, host_limits
        self._now_s, self._abort, self._held, self._break_off = now_s, abort, held, break_off
        self._trim = allocator_trim()
        self._most = 0  # activations at once, since memory was last given back
        self._leaving: dict[int, tuple[Activation, float]] = {}  # and until when they may
        self._retired = asyncio.Event()

    async def run(self) -> None:
        """Evict what has been idle, and let go what other workers take over; until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep_on())
            group.create_task(self._let_leave())

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(limits.sweep_s)
            self.sweep()
            self._give_back()

    def _give_back(self) -> None:
        """Let the memory of ended activations go when at most half are left: it costs as much as there are left."""
        left = len(self._objects)
        self._most = max(self._most, left)
        if left < self._most and left * 2 <= self._most:
            self._most = left
            drop_caches()
            self._trim()

    def sweep(self) -> None:
        """Ask every activation that has been idle to close."""
        now = self._now_s()
        for act in list(self._objects.values()):
            if now - act.used_at <= self._limits.idle_s or now <= act.ask_again_at:
                continue
            if act.flowing:
                act.used_at = now  # as long as somebody reads what it answers
                continue
            kept_s = now - max(act.kept_since, act.used_at) if act.kept_since else 0.0
            if kept_s > limits.kept_open_s_max and not self._held(act.object):
                self._abort(act, "timers, wait_until or sockets kept it from eviction for too long")
            self.close(act)

    def make_room(self, mine: Mapping[int, Activation]) -> None:
        """Close the least recently used activation of a worker that has as many as it may, before one is added."""
        if len(mine) < self._limits.activations_per_worker_max:
            return
        idle = (act for act in mine.values() if act.life is Life.OPEN and not (act.calls or act.flowing))
        if (oldest := min(idle, key=lambda act: act.used_at, default=None)) is not None:
            self.close(oldest)

    def retire(self, activations: Iterable[Activation]) -> None:
        """Close activations that other workers take over: what runs may end, new calls wait for the successor."""
        until = self._now_s() + limits.leave_s_max
        for act in activations:
            self._leaving.setdefault(act.id, (act, until))
        self.leave()
        self._retired.set()

    async def _let_leave(self) -> None:
        while True:
            await self._retired.wait()
            self._retired.clear()
            while self._leaving:
                await asyncio.sleep(limits.leave_poll_s)
                self.leave()

    def leave(self) -> None:
        """Go on with each activation that is to leave: end what has come to rest, and what has had its time."""
        now = self._now_s()
        for act, until in list(self._leaving.values()):
            if act.life >= Life.ABORTING:
                del self._leaving[act.id]
            elif now > until:
                self._abort(act, "another version of its code takes it over, and it did not come to rest")
            elif act.life is not Life.CLOSING and now >= act.ask_again_at:
                act.life = Life.LEAVING
                if act.flowing and not act.calls and now > until - limits.leave_s_max + limits.flow_grace_s:
                    self._break_off(act)
                if act.flowing:
                    continue
                self.close(act)

    def end(self, object_id: bytes, reason: str) -> None:
        """End an object's activation, if it has one, whatever runs in it; it is gone a little later."""
        act = self._objects.get(object_id)
        if act is not None:
            self._abort(act, reason)

    async def evict(self, object_id: bytes, *, at_once: bool = False) -> bool:
        """Take an object out of memory; returns, when it is gone, whether it was there.

        Args:
            object_id: which.
            at_once: end what runs in it, as a reset does.

        Raises:
            Unavailable: it does not go.
        """
        act = self._objects.get(object_id)
        if act is None:
            return False
        if at_once:
            self._abort(act, "an operator took it out of memory")
        until = self._now_s() + limits.evict_s
        while self._objects.get(object_id) is act:
            if self._now_s() > until:
                holds = "a call, a timer, wait_until or a live socket is in it"
                why = "its worker does not answer" if at_once else holds
                raise Unavailable(f"the object does not go to sleep: {why}")
            self.close(act)
            await asyncio.sleep(limits.evict_poll_s)
        return True

    def close(self, act: Activation) -> None:
        """Ask an idle activation to close. Nothing with unfinished commits is evicted (rule 25)."""
        served = self._gate.slots.get(act.slot)
        if act.life <= Life.LEAVING and not act.calls and served is not None and act.last_lsn <= served.committed:
            leaving = act.life is Life.LEAVING
            act.life = Life.CLOSING
            act.worker.send((CLOSE, act.id, leaving))
