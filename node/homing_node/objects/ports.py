"""What the object host needs of others: the log, the workers, and a way to read without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from homing.wire.v1 import call_pb2 as wire
from homing_node.objects.images import Image
from homing_placement.routing.pending import Pending

if TYPE_CHECKING:
    from homing_node.objects.socket_state import GatewayPort
    from homing_node.objects.sockets import Sockets


class WorkerPort(Protocol):
    """A worker, as the host sees it."""

    id: int

    @property
    def classes(self) -> Collection[str]:
        """The object classes of its code."""
        ...

    @property
    def version(self) -> str:
        """The version of its code; empty: the one that the node was started with."""
        ...

    @property
    def fetch_hosts(self) -> Sequence[str]:
        """Where its code may send requests."""
        ...

    @property
    def secrets(self) -> Sequence[str]:
        """The names of secrets that its grants may use."""
        ...

    @property
    def grants(self) -> Mapping[str, Mapping[str, Any]]:
        """The grants that its configuration has, by name."""
        ...

    def send(self, message: tuple[Any, ...]) -> None:
        """Queue one frame."""
        ...

    def kill(self, reason: str) -> None:
        """End the process; its death is reported through the pool."""
        ...


class PoolPort(Protocol):
    """The workers of the application."""

    def pick(self, object_id: bytes) -> WorkerPort | None:
        """The worker for a new activation of this object, or None while none is ready."""
        ...

    def classes(self) -> set[str]:
        """The names of the application's object classes."""
        ...


class FlowPort(Protocol):
    """Whoever makes calls whose bodies flow.

    Attributes:
        gone: it is not there any more.
    """

    gone: bool

    def flow(self, m: wire.Flow, /) -> None:
        """Queue a frame, behind the replies."""
        ...


class FlowTarget(Protocol):
    """Whoever takes what such a one says; see `CallFlows`."""

    def from_gateway(self, port: FlowPort, m: wire.Flow) -> None:
        """A frame for a call that it made."""
        ...

    def port_gone(self, port: FlowPort) -> None:
        """It has gone."""
        ...


class CallTarget(Protocol):
    """Who runs calls: the object host."""

    def call(self, m: wire.Call, reply: Callable[[wire.Reply], None], port: FlowPort | None = None) -> None:
        """Run one call; `reply` is called once. Without a port its answer's body cannot flow."""
        ...

    def give_up(self, m: wire.Call) -> None:
        """Nobody waits for a call any more that was passed to `call`. If it has not begun it does not begin."""
        ...

    @property
    def flows(self) -> FlowTarget:
        """The bodies that flow."""
        ...

    @property
    def sockets(self) -> Sockets:
        """The sockets of its objects."""
        ...

    def attach_socket(self, gateway: GatewayPort, m: wire.FromSocket) -> None:
        """A gateway holds a socket."""
        ...


class CallPort(Protocol):
    """Who takes calls to the owners of other objects."""

    def submit(self, pending: Pending, /) -> None:
        """Take a call; its `on_done` is called once, possibly before this returns."""
        ...

    def cancel(self, pending: Pending, /) -> None:
        """Nobody waits for a call any more; its `on_done` is not called."""
        ...

    def list(self, pending: Pending, /) -> None:
        """Take a question for a page of a class's objects, above the id that it names; as `submit`."""
        ...


class OutboundPort(Protocol):
    """Who carries out requests to the outside."""

    def submit(self, pending: Pending, hosts: Sequence[str], /) -> None:
        """Take a request, which may go to these hosts only; its `on_done` is called once."""
        ...


class DialerPort(Protocol):
    """Who opens WebSockets to the outside."""

    def submit(self, pending: Pending, hosts: Sequence[str], sockets: bytes, /) -> None:
        """Take a request for one, as `OutboundPort`; `sockets`: under which those of its caller are known."""
        ...


class SandboxPort(Protocol):
    """Who runs code in sandboxes."""

    def submit(self, pending: Pending, worker: WorkerPort, holder: str, classes: Collection[str], /) -> None:
        """Take what is asked for (`homing.sandboxes.Asked`); its `on_done` is called once.

        Args:
            pending: the run.
            worker: whose code asks: what it is granted is its application's to give.
            holder: who asks, for audits.
            classes: of the application's objects.
        """
        ...

    def revoke(self, pending: Pending, /) -> None:
        """Take back what was granted under a key; its `on_done` is called once."""
        ...

    def follow(self, pending: Pending, run: Pending | None, /) -> None:
        """Wait for what there is to be heard of a run, or for its end; `on_done` of the first is called once.

        Args:
            pending: whoever waits.
            run: what was submitted; None: it has its answer.
        """
        ...

    def give_up(self, pending: Pending, /) -> None:
        """End a run: nobody waits for it, and nobody could take back what it was granted."""
        ...


class Loading(NamedTuple):
    """Who loads and calls dynamic workers.

    Attributes:
        owner: the number of an activation; or of the entrypoint of a worker, which is not above 0.
        request: of an entrypoint: the number of the request that asks.
        worker, holder, classes: see `SandboxPort.submit`.
        on_line: gets what a dynamic worker prints: the id of a request, level, text.
    """

    owner: int
    request: int
    worker: WorkerPort
    holder: str
    classes: Collection[str]
    on_line: Callable[[str, int, str], None]


class LoaderPort(Protocol):
    """Who has dynamic workers."""

    def submit(self, pending: Pending, loading: Loading, /) -> None:
        """Take the code of one, or a call (`homing.loading_frames`); its `on_done` is called once."""
        ...

    def owner_gone(self, owner: int, /) -> None:
        """An activation, or the process of an entrypoint, has ended."""
        ...


class LogPort(Protocol):
    """The log."""

    def serving(self, slot: int) -> int:
        """The epoch under which this node serves the slot, or 0."""
        ...

    def propose(self, slot: int, kind: int, at_ms: int, object_id: bytes, body: bytes) -> int:
        """Append a record to a served slot; returns its lsn."""
        ...

    def ask(self, slot: int) -> int:
        """Put a question of rule 19; 0 if the own store is a majority, -1 if the slot is served here no more."""
        ...

    def resign(self, slot: int, reason: str) -> None:
        """Own the slot no more."""
        ...

    def records_above_pages(self, slot: int) -> Iterable[bytes]:
        """Records that the slot's pages do not hold yet, in order."""
        ...

    def last_lsn(self, slot: int) -> int:
        """The newest record appended, committed or not."""
        ...


ReadImage = Callable[[Callable[[], Image], Callable[[Image | ValueError], None]], None]


def in_thread(read: Callable[[], Image], done: Callable[[Image | ValueError], None]) -> None:
    """Run a read in a thread, so that a large database does not hold up the others."""

    def settle(future: asyncio.Future[Image]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            done(future.result())
        else:
            done(error if isinstance(error, ValueError) else ValueError(repr(error)))

    asyncio.get_running_loop().run_in_executor(None, read).add_done_callback(settle)
