"""The network between processes, at the seam where the code under test calls gRPC: channels, streams, servers.

A stream is a TCP connection: what is written arrives in order and once, or the stream breaks. While messages of one
direction do not pass, they wait; when the keepalive has not passed for some seconds, each side is told that it broke.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

if TYPE_CHECKING:
    from tests.simulation.node.loop import Loop
    from tests.simulation.node.world import World

KEEPALIVE_S = 4.0  # a ping after 2 s, and 2 s for its answer
CONNECT_S = 1.0  # a connection that is neither accepted nor refused


def broken(details: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> grpc.aio.AioRpcError:
    """What gRPC raises."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


async def answered(answer: asyncio.Future[Any], timeout_s: float | None, late: str) -> Any:
    """The result of a unary call, raised if it is an error; `late` says what did not come in time."""
    try:
        async with asyncio.timeout(timeout_s):
            result = await answer
    except TimeoutError as error:
        raise broken(late, grpc.StatusCode.DEADLINE_EXCEEDED) from error
    if isinstance(result, grpc.aio.AioRpcError):
        raise result
    return result


class End:
    """One end of a stream: a client's call, or a server's context."""

    def __init__(self, loop: Loop, *, server: bool) -> None:
        self.loop = loop
        self.server = server
        self.broken = False
        self.other: End | None = None  # None: not connected yet
        self.network: Network | None = None
        self.task: asyncio.Task[Any] | None = None  # a server's handler
        self.stalled: list[Any] = []  # written by this end, and not passing
        self.last_at = 0.0  # when the last message that this end wrote arrives
        self._inbox: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._connected: asyncio.Future[None] | None = None

    async def read(self) -> Any:
        await self._connection()
        while not self._inbox:
            if self.broken:
                if self.server:
                    return grpc.aio.EOF
                raise broken("the connection broke")
            self._waiter = self.loop.create_future()
            await self._waiter
        return self._inbox.popleft()

    async def write(self, message: Any) -> None:
        await self._connection()
        if self.broken:
            raise broken("the connection broke")
        assert self.network is not None
        self.network.push(self, message)

    async def _connection(self) -> None:
        while self.other is None and not self.broken:
            if self._connected is None:
                self._connected = self.loop.create_future()
            await asyncio.shield(self._connected)

    def cancel(self) -> bool:
        """Hang up; the other end hears of it."""
        if self.broken:
            return False
        self.broken = True
        self._wake()
        if self.network is not None and self.other is not None:
            self.network.hang_up(self)
        return True

    # -- what the network does, inside the process ------------------------------------------------------------

    def established(self) -> None:
        if self._connected is not None and not self._connected.done():
            self._connected.set_result(None)

    def take(self, message: Any) -> None:
        if not self.broken:
            self._inbox.append(message)
            self._wake()

    def lose(self) -> None:
        """The connection is gone, as this end sees it."""
        if self.broken:
            return
        self.broken = True
        self.established()
        self._wake()
        if self.task is not None:
            self.task.cancel()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Channel:
    """What `grpc.aio.insecure_channel` gives to a process.

    Args:
        network: of the world.
        address: "node:port".
    """

    def __init__(self, network: Network, address: str) -> None:
        self._network = network
        self._loop: Any = asyncio.get_running_loop()
        self._target = address.partition(":")[0]
        self._ends: list[End] = []

    def stream_stream(self, path: str, *_: Any, **__: Any) -> Callable[[], End]:
        def call() -> End:
            self._ends = [end for end in self._ends if not end.broken]
            end = self._network.connect(self._loop, self._target, path)
            self._ends.append(end)
            return end

        return call

    def unary_unary(self, path: str, *_: Any, **__: Any) -> Callable[..., Any]:
        def ask(request: Any, timeout: float) -> Coroutine[Any, Any, Any]:
            return self._network.ask(self._loop, self._target, path, request, timeout)

        return ask

    async def channel_ready(self) -> None:
        while not self._network.reachable(self._loop.name, self._target):
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        for end in self._ends:
            end.cancel()


class _Asked(grpc.HandlerCallDetails):
    """The call for which a handler is looked for."""

    def __init__(self, path: str) -> None:
        self.method, self.invocation_metadata = path, ()


class Server:
    """What `grpc.aio.server` gives to a process."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.loop: Any = asyncio.get_running_loop()
        self._handlers: list[grpc.GenericRpcHandler] = []
        self.ends: list[End] = []

    def add_generic_rpc_handlers(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> None:
        self._handlers.extend(handlers)

    def add_insecure_port(self, _: str) -> int:
        return 7000

    async def start(self) -> None:
        self._network.servers[self.loop.name] = self

    async def stop(self, _: float) -> None:
        if self._network.servers.get(self.loop.name) is self:
            del self._network.servers[self.loop.name]
        for end in self.ends:
            end.cancel()
            if end.task is not None:
                end.task.cancel()

    def handler(self, path: str) -> Any:
        for one in self._handlers:
            found = one.service(_Asked(path))
            if found is not None:
                return found
        raise AssertionError(f"nobody serves {path}")


class Network:
    """All connections.

    Args:
        world: time and chance.

    Attributes:
        cuts: (from, to) of the processes between which nothing passes in this direction.
        servers: by name of the process.
        slow_s: how long messages take more than usual.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = world.random
        self.cuts: set[tuple[str, str]] = set()
        self.servers: dict[str, Server] = {}
        self.slow_s = 0.0
        self._ends: dict[End, None] = {}  # every end that is connected

    def channel(self, address: str, options: Any = None) -> Channel:
        return Channel(self, address)

    def server(self, options: Any = None) -> Server:
        return Server(self)

    def _delay(self) -> float:
        return 0.0003 + self._random.random() * (0.001 + self.slow_s)

    def passes(self, source: str, target: str) -> bool:
        return (source, target) not in self.cuts

    def reachable(self, source: str, target: str) -> bool:
        server = self.servers.get(target)
        up = server is not None and server.loop.alive and not server.loop.paused
        return up and self.passes(source, target) and self.passes(target, source)

    # -- streams ----------------------------------------------------------------------------------------------

    def connect(self, loop: Loop, target: str, path: str) -> End:
        end = End(loop, server=False)
        end.network = self
        self._world.clock.after(self._delay(), self._connect, end, target, path, self._world.clock.now)
        return end

    def _connect(self, end: End, target: str, path: str, since: float) -> None:
        now = self._world.clock.now
        if end.broken or not end.loop.alive:
            return
        server = self.servers.get(target)
        if self.reachable(end.loop.name, target):
            assert server is not None
            self._accept(end, server, path)
        elif server is None and self.passes(end.loop.name, target):
            end.loop.spawn(end.lose)  # refused
        elif now - since > CONNECT_S:
            end.loop.spawn(end.lose)
        else:
            self._world.clock.after(0.1, self._connect, end, target, path, since)

    def _accept(self, end: End, server: Server, path: str) -> None:
        other = End(server.loop, server=True)
        other.network = self
        other.other, end.other = end, other
        self._ends[end] = self._ends[other] = None
        server.ends = [one for one in server.ends if not one.broken]
        server.ends.append(other)
        end.loop.spawn(end.established)
        handler = server.handler(path)

        def serve() -> None:
            if other.broken:
                return
            other.task = server.loop.create_task(handler.stream_stream(None, other))
            other.task.add_done_callback(lambda task: self._served(other, task))

        server.loop.spawn(serve)

    def _served(self, end: End, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._world.broke(f"a stream's handler failed: {task.exception()!r}")
        end.cancel()

    def push(self, end: End, message: Any) -> None:
        """An end wrote."""
        other = end.other
        assert other is not None
        if end.stalled or not self.passes(end.loop.name, other.loop.name):
            end.stalled.append(message)
            self._world.fired["message held up"] += 1
            return
        clock = self._world.clock
        end.last_at = max(end.last_at + 1e-6, clock.now + self._delay())
        clock.after(end.last_at - clock.now, self._arrive, end, other, message)

    def _arrive(self, end: End, other: End, message: Any) -> None:
        if end.stalled or not self.passes(end.loop.name, other.loop.name):
            end.stalled.append(message)
        elif other.loop.alive and not other.broken:
            other.loop.spawn(other.take, message)

    def hang_up(self, end: End) -> None:
        """An end left in order, or its process was ended: what it wrote arrives, then the other end knows."""
        self._ends.pop(end, None)
        other = end.other
        if other is None or other.broken:
            return
        clock = self._world.clock
        if self.passes(end.loop.name, other.loop.name):
            clock.after(max(0.0, end.last_at - clock.now) + self._delay(), self._lose, other)
        else:
            clock.after(KEEPALIVE_S, self._lose, other)

    def _lose(self, end: End) -> None:
        self._ends.pop(end, None)
        if end.loop.alive:
            end.loop.spawn(end.lose)

    # -- calls ------------------------------------------------------------------------------------------------

    async def ask(self, loop: Loop, target: str, path: str, request: Any, timeout_s: float) -> Any:
        """One question and its answer, as a unary call of gRPC."""
        answer = loop.create_future()
        clock = self._world.clock

        def settle(result: Any) -> None:
            if not answer.done():
                answer.set_result(result)

        def back(result: Any) -> None:
            if self.passes(target, loop.name) and loop.alive:
                loop.spawn(settle, result)

        asked: list[Server] = []

        def there() -> None:
            server = self.servers.get(target)
            if not self.passes(loop.name, target):
                return
            if server is None:
                clock.after(self._delay(), back, broken("refused"))
            else:
                asked.append(server)
                server.loop.spawn(lambda: server.loop.create_task(serve(server)).add_done_callback(self._asked))

        async def serve(server: Server) -> None:
            result = await server.handler(path).unary_unary(request, None)
            clock.after(self._delay(), back, result)

        def watch() -> None:
            if answer.done() or not loop.alive:
                return
            if asked and self.servers.get(target) is asked[0] and self.reachable(loop.name, target):
                clock.after(KEEPALIVE_S, watch)
            else:
                loop.spawn(settle, broken("the connection broke"))

        clock.after(self._delay(), there)
        if timeout_s > KEEPALIVE_S:
            clock.after(KEEPALIVE_S, watch)
        return await answered(answer, timeout_s, "no answer")

    def _asked(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._world.broke(f"a call's handler failed: {task.exception()!r}")

    # -- what befalls it --------------------------------------------------------------------------------------

    def cut(self, pairs: list[tuple[str, str]]) -> None:
        """Nothing passes between these any more, in this direction."""
        self.cuts.update(pairs)
        self._watch_keepalives()

    def mend(self, pairs: list[tuple[str, str]] | None = None) -> None:
        """These pass again, or all; what waited goes on its way."""
        if pairs is None:
            self.cuts.clear()
        else:
            self.cuts.difference_update(pairs)
        for end in list(self._ends):
            if end.stalled and end.other is not None and self.passes(end.loop.name, end.other.loop.name):
                stalled, end.stalled = end.stalled, []
                for message in stalled:
                    self.push(end, message)

    def paused(self, _: Loop) -> None:
        """A process was stopped: its peers' keepalives go unanswered."""
        self._watch_keepalives()

    def _watch_keepalives(self) -> None:
        for end in list(self._ends):
            if self._silent(end):
                after = KEEPALIVE_S * (0.5 + 0.5 * self._random.random())
                self._world.clock.after(after, self._give_up, end)

    def _silent(self, end: End) -> bool:
        """Whether a ping of this end would not be answered now."""
        other = end.other
        if other is None or end.broken:
            return False
        one, two = end.loop, other.loop
        return other.loop.paused or not self.passes(one.name, two.name) or not self.passes(two.name, one.name)

    def _give_up(self, end: End) -> None:
        if self._silent(end):
            self._world.fired["link timed out"] += 1
            self._lose(end)
            if end.other is not None:
                self._lose(end.other)

    def ended(self, loop: Loop) -> None:
        """A process was ended: its system closes its connections."""
        self.servers.pop(loop.name, None)
        for end in [end for end in self._ends if end.loop is loop]:
            end.broken = True
            self.hang_up(end)
        for end in [end for end in self._ends if end.other is not None and end.other.loop is loop]:
            end.stalled.clear()

    def flap(self, one: str, two: str) -> bool:
        """Every stream between two processes breaks; False if there is none."""
        ends = [e for e in self._ends if e.other is not None and {e.loop.name, e.other.loop.name} == {one, two}]
        for end in ends:
            self._world.clock.after(self._random.random() * 0.3, self._lose, end)
        return bool(ends)
