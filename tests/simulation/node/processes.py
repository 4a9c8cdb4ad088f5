"""The processes of a world: nodes, which are the production class `Node`, and gateways around the production `Forwarder`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.simulation.machine import Machine
from tests.simulation.node.lists import ACCEPT, DELETE
from tests.simulation.node.loop import Loop
from tests.simulation.node.workers import CLASS, Workforce

from homing.errors import HomingError
from homing_gateway.object_state import ObjectState
from homing_gateway.routes import Kind, Route
from homing_gateway.sockets import SocketHub
from homing_node.node import Node
from homing_node.settings import NodeSettings
from homing_placement.etcd import EtcdClient
from homing_placement.keys import ClusterKeys
from homing_placement.routing.forward import Forwarder
from homing_placement.routing.pending import KIND_FETCH, KIND_RPC, Pending
from homing_placement.table import SlotTable

if TYPE_CHECKING:
    from tests.simulation.node.clients import Call
    from tests.simulation.node.world import World

CLUSTER = "sim"
ETCD = ("http://etcd:2379",)


class NodeLoop(Loop):
    """The loop of a node, which knows its machine."""

    machine: NodeMachine
    workforce: Workforce


class NodeMachine(Machine):
    """A machine with a disk, and the node that runs on it or does not.

    Args:
        world: where it stands.
        name: of the node.
    """

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.sim = world
        self.loop: NodeLoop | None = None
        self.node: Node | None = None
        self.name = ""  # the incarnation that runs
        self.wanted = True  # it is started again when all is healed
        self.stopping = False
        self.sick = False  # the next fsync fails

    @property
    def runs(self) -> bool:
        return self.loop is not None and not self.loop.paused

    # -- what the seams ask for -------------------------------------------------------------------------------

    def incarnation(self) -> str:
        self.name = super().incarnation()
        return self.name

    def before_sync(self) -> None:
        """An fsync is about to return."""
        if self.sick:
            self.sick = False
            self.store.fail("EIO")

    # -- life -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        if self.loop is not None:
            return
        world = self.sim
        loop = self.loop = NodeLoop(world.clock, self.id)
        loop.machine = self
        self.stopping = False
        self.store.free_bytes = 1 << 40
        if world.tracing:
            world.trace(f"-- {self.id} starts, disk {self.store.disk_id} trusted={self.store.trusted}")
        loop.spawn(self._begin, loop)

    def _begin(self, loop: NodeLoop) -> None:
        self.node = Node(self._settings())
        task = loop.create_task(self.node.run())
        task.add_done_callback(lambda done: self._ended(loop, done))

    def _settings(self) -> NodeSettings:
        plan = self.sim.plan
        return NodeSettings(
            app=Path("/"), node_id=self.id, etcd=ETCD, data_dir=Path("/dev/shm"), cluster=CLUSTER,
            zone=self.id if plan.zoned else "", advertise=f"{self.id}:7000", replicas=plan.replicas, slots=plan.hashed,
            initial_nodes=plan.machines, idle_s=plan.idle_s, jurisdictions=plan.layout.jurisdictions,
        )  # fmt: skip

    def _ended(self, loop: NodeLoop, task: asyncio.Task[Any]) -> None:
        """`Node.run` returned, or raised."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.sim.alarm(f"{self.id} ended with {error!r}", {})
        if self.sim.tracing:
            self.sim.trace(f"-- {self.id} ends in order")
        self._gone(loop)
        self.store.crash()

    def crash(self) -> None:
        """As SIGKILL or a power failure."""
        loop = self.loop
        if loop is None:
            return
        unsynced = self.store.unsynced
        kept = self.sim.random.randint(0, unsynced)
        if unsynced > kept:
            self.sim.fired["crash that lost writes"] += 1
        if self.sim.tracing:
            self.sim.trace(f"-- {self.name} crashes")
        self._gone(loop)
        self.store.crash(kept)

    def _gone(self, loop: NodeLoop) -> None:
        if self.loop is not loop:
            return
        self.loop = self.node = None
        loop.end()
        self.sim.network.ended(loop)
        self.sim.etcd.ended(loop)


class SimPending(Pending):
    """A call in a gateway, and whose it is."""

    __slots__ = ("call",)


class Gateway:
    """A gateway process: the table, the links, the policy and the sockets are the production ones; HTTP is left out.

    Args:
        world: where it runs.
        number: which it is.
    """

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.number = number
        self.id = f"g{number + 1}"
        self.loop: Loop | None = None
        self.forwarder: Forwarder | None = None
        self.hub: SocketHub | None = None

    def start(self) -> None:
        if self.loop is None:
            loop = self.loop = Loop(self._world.clock, self.id)
            loop.spawn(lambda: loop.create_task(self._run(loop)).add_done_callback(self._failed))

    async def _run(self, loop: Loop) -> None:
        client = EtcdClient(ETCD)
        layout = self._world.plan.layout
        table = SlotTable(client, ClusterKeys(CLUSTER), layout.jurisdictions)
        self.forwarder = Forwarder(table, layout=layout)
        self.hub = SocketHub(self.forwarder)
        async with asyncio.TaskGroup() as group:
            group.create_task(table.run())
            group.create_task(self.forwarder.run())
            group.create_task(self.hub.run())

    def _failed(self, task: asyncio.Task[Any]) -> None:
        self._world.broke(f"gateway {self.id} ended: {task}")

    def submit(self, call: Call) -> bool:
        """A client's request arrives; False: nobody is there."""
        if self.loop is None or self.forwarder is None:
            return False
        self.loop.spawn(self._delete if call.what == DELETE else self._submit, call)
        return True

    def _submit(self, call: Call) -> None:
        assert self.forwarder is not None
        now = self._world.clock.now
        thing, opens = call.object, call.what == ACCEPT
        pending = SimPending(
            KIND_FETCH if opens else KIND_RPC, CLASS, thing.name, thing.raw, thing.slot, "GET" if opens else "m",
            call.body, f"r{call.number}", now + self._world.plan.deadline_s, int(now * 1e9), self._done,
        )  # fmt: skip
        pending.call = call
        if opens:
            pending.url = "ws://sim/"
        if call.key:
            pending.key, pending.fingerprint = call.key, call.fingerprint
        self.forwarder.submit(pending)

    def _done(self, pending: Any) -> None:
        clients, clock = self._world.clients, self._world.clock
        if pending.error is None:
            if pending.socket is not None:
                self._hold(pending)
            clock.after(0.0002, clients.answered, pending.call, pending.answer)
        else:
            clock.after(0.0002, clients.failed, pending.call, pending.error)

    def _hold(self, pending: Any) -> None:
        """The request becomes a socket."""
        assert self.hub is not None
        assert self.loop is not None
        connection = self._world.connections.opens(self, pending.socket.number, pending.call)
        connection.carry(self.hub.hold(pending.socket, pending.slot))

    def _delete(self, call: Call) -> None:
        assert self.loop is not None
        self.loop.create_task(self._deleted(call))

    async def _deleted(self, call: Call) -> None:
        assert self.forwarder is not None
        route = Route(Kind.OBJECT, class_name=CLASS)
        route.name, route.object_id, route.slot = call.object.name, call.object.raw, call.object.slot
        error: HomingError | None = None
        try:
            await ObjectState(self.forwarder).delete(route)
        except HomingError as failure:
            error = failure
        self._world.clock.after(0.0002, self._world.clients.deleted, call, error)

    def crash(self) -> None:
        """The process ends at once."""
        loop, self.loop, self.forwarder, self.hub = self.loop, None, None, None
        if loop is not None:
            loop.end()
            self._world.network.ended(loop)
            self._world.etcd.ended(loop)
            self._world.connections.lost(self)
            self._world.clients.lost(self.number)
