"""A worker's runtime in a thread of this process, driven over a real socketpair, as a node drives it."""

import itertools
import secrets
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from homing.compat import waiting
from homing.flow import GOES_ON, WHOLE, cost_of
from homing_node.workers.inside import channel
from homing_node.workers.inside import limits as runtime_limits
from homing_node.workers.inside.framing import Inbox, Outbox
from homing_node.workers.inside.main import serve
from replica import Replica
from worker_app import APP

_numbers = itertools.count(1)
COMPAT = ("asgi", "js", "pyodide", "workers", "wsgi")
TIMEOUT_S = 10.0


class Failed(Exception):
    """A call was answered with a failure."""

    def __init__(self, code: str, message: str, error_type: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.error_type = error_type


class WorkerHarness:
    """Frames in, frames out; every commit is applied to a replica of its object."""

    def __init__(
        self, folder: Path, source: str, limits: dict[str, Any] | None = None, *, output: bool = False,
        bindings: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        module = f"app_{next(_numbers)}_{secrets.token_hex(4)}"
        (folder / f"{module}.py").write_text(textwrap.dedent(source))
        self.socket, theirs = socket.socketpair()
        self._inbox, self._outbox = Inbox(), Outbox()
        self._calls = itertools.count(1)
        self._acts = itertools.count(1)
        self.frames: list[list[Any]] = []  # everything that came, in order
        self._seen = 0
        self.corked = False  # while set, messages are kept back; `flush` sends them in one piece
        self.replicas: dict[int, Replica] = {}
        self.commits: dict[int, int] = {}
        self._thread = threading.Thread(target=serve, args=(theirs,), kwargs={"take_output": output}, daemon=True)
        self._thread.start()
        self.send(channel.HELLO, {"app": str(folder), "main": module, "limits": limits or {}, "bindings": bindings})
        self.hello = self.wait(lambda frame: frame[0] in (channel.READY, channel.FAILED))

    def stop(self) -> None:
        self.socket.close()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()

    def send(self, *message: Any) -> None:
        self._outbox.put(message)
        if not self.corked:
            self.flush()

    def flush(self) -> None:
        self.corked = False
        while data := self._outbox.take():
            self.socket.sendall(data)

    def receive(self, timeout_s: float) -> bool:
        """Read once; returns whether something came."""
        self.socket.settimeout(timeout_s)
        try:
            data = self.socket.recv(1 << 20)
        except TimeoutError:
            return False
        assert data, "the worker closed the channel"
        for frame in self._inbox.feed(data):
            self._take(frame)
        return True

    def _take(self, frame: list[Any]) -> None:
        self.frames.append(frame)
        if frame[0] == channel.TURN:
            _, act, n, commit, _, effects = frame[:6]
            assert commit is not None or effects or frame[7:], "a frame that says nothing"
            assert (commit is None) == (n == 0)
            if commit is not None:
                self.commits[act] = self.commits.get(act, 0) + 1
                assert n == self.commits[act], "commits are numbered 1, 2, … per activation"
                self.replicas[act].apply(commit)

    def wait(self, wanted: Any, timeout_s: float = TIMEOUT_S) -> list[Any]:
        """The first frame, not returned before by `wait`, that is wanted; those before it are passed over."""
        deadline = time.monotonic() + timeout_s
        while True:
            while self._seen < len(self.frames):
                frame = self.frames[self._seen]
                self._seen += 1
                if wanted(frame):
                    return frame
            left = deadline - time.monotonic()
            assert left > 0, f"no such frame came; the last ones were {[f for f in self.frames if f[0] != 6][-5:]}"
            self.receive(left)

    # Objects and calls

    def open(self, class_name: str, pages: list[bytes] | None = None, name: str | None = "a") -> int:
        act = next(self._acts)
        content = pages or []
        self.replicas[act] = Replica()
        self.replicas[act].pages = dict(enumerate(content, 1))
        self.send(channel.OPEN, act, class_name, secrets.token_bytes(32), name, len(content), b"".join(content))
        return act

    def event(self, act: int, method: str, *args: Any, body: bytes | None = None, **kwargs: Any) -> int:
        """Send a call; returns its number."""
        timeout_ms = kwargs.pop("_timeout_ms", 5_000)
        awaited = kwargs.pop("_awaited", False)
        call = next(self._calls)
        if body is None:
            body = msgspec.json.encode({"args": args, "kwargs": kwargs}) if args or kwargs else b""
        event = (channel.RPC, method, body, timeout_ms, f"req-{call}", f"trace-{call}", None, awaited, 0, 0)
        self.send(channel.EVENT, act, call, *event)
        return call

    def request(
        self, act: int, verb: str, url: str, body: bytes = b"", headers: Any = (), *, flows: bool = False,
        keyed: bool = False,
    ) -> int:  # fmt: skip
        """Send a request; returns its number. `flows`: more of its body follows; `keyed`: its answer is kept."""
        call = next(self._calls)
        kind = channel.FETCH if act else channel.DEFAULT
        http = [url, [list(h) for h in headers], keyed]
        self.send(channel.EVENT, act, call, kind, verb, body, 5_000, f"req-{call}", "", http, False, 0, int(flows))
        return call

    def http(self, act: int, verb: str, url: str, body: bytes = b"", headers: Any = ()) -> Any:
        """The answer to a request: status, headers and body, which is read to its end where it flows."""
        call = self.request(act, verb, url, body, headers)
        answer = self.answer(call)
        if len(self.effect(call)) <= 5:
            return answer
        data, end = self.body(act, call)
        if end != WHOLE:
            raise Failed("broken", f"after {len(data)} bytes", "")
        return [*answer[:2], data]

    def body(self, act: int, call: int, side: int = channel.OF_EVENT, at: int = 0) -> tuple[bytes, int]:
        """A stream that flows, to its end, each piece taken as it comes; and how it ended."""
        data = b""
        seen = 0
        while True:
            for frame in self.frames[seen:]:
                if frame[:5] == [channel.FLOW, act, side, call, at]:
                    if frame[6] != GOES_ON:
                        return data, frame[6]
                    data += frame[5]
                    self.send(channel.TAKEN, act, side, call, at, cost_of(frame[5]))
            seen = len(self.frames)
            assert self.receive(TIMEOUT_S), "the body goes on and does not come"

    def effect(self, call: int) -> list[Any]:
        """The effect that answers a call, whenever it came."""
        deadline = time.monotonic() + TIMEOUT_S
        at = 0
        while True:
            for frame in self.frames[at:]:
                if frame[0] == channel.TURN:
                    for effect in frame[5]:
                        if effect[0] == call:
                            return effect
            at = len(self.frames)
            left = deadline - time.monotonic()
            assert left > 0, (
                f"call {call} was not answered; the last frames were {[f for f in self.frames if f[0] != 6][-5:]}"
            )
            self.receive(left)

    def answer(self, call: int) -> Any:
        _, status, payload, started_ns, ended_ns, *_ = self.effect(call)
        assert 0 < started_ns <= ended_ns
        if status in (channel.FAILURE, channel.REFUSED):
            raise Failed(*payload[:3])
        return msgspec.json.decode(payload)["result"] if status == channel.RESULT else payload

    def call(self, act: int, method: str, *args: Any, **kwargs: Any) -> Any:
        return self.answer(self.event(act, method, *args, **kwargs))

    def failure(self, act: int, method: str, *args: Any, **kwargs: Any) -> Failed:
        """The failure that a call is answered with."""
        try:
            result = self.call(act, method, *args, **kwargs)
        except Failed as error:
            return error
        raise AssertionError(f"{method} did not fail; it answered {result!r}")

    def turns(self, act: int) -> list[list[Any]]:
        """The TURN frames of an activation so far."""
        return [frame for frame in self.frames if frame[0] == channel.TURN and frame[1] == act]

    def settle(self) -> None:
        """Everything that was sent has been handled, and what came of it is here."""
        number = secrets.randbits(31)
        self.send(channel.PING, number)
        self.wait(lambda frame: frame == [channel.PONG, number])

    def close(self, act: int, *, leaving: bool = False) -> bool:
        self.send(channel.CLOSE, act, leaving)
        return self.wait(lambda frame: frame[:2] == [channel.CLOSED, act])[2]

    def abort(self, act: int) -> None:
        self.send(channel.ABORT, act, "test")
        self.wait(lambda frame: frame == [channel.CLOSED, act, True])

    def reopen(self, act: int, class_name: str) -> int:
        """A successor, from what a replica has."""
        return self.open(class_name, self.replicas[act].content())

    def logs(self, stream: str | None = None) -> list[list[Any]]:
        return [f for f in self.frames if f[0] == channel.LOG and (stream is None or f[3] == stream)]


@contextmanager
def workers(folder: Path) -> Iterator[Callable[..., WorkerHarness]]:
    """Starts workers, stops them at the end, and puts back what they changed in this process."""
    started: list[WorkerHarness] = []
    before, path = dict(vars(runtime_limits)), list(sys.path)

    def start(source: str = APP, **options: Any) -> WorkerHarness:
        harness = WorkerHarness(folder, source, **options)
        started.append(harness)
        return harness

    try:
        yield start
    finally:
        for harness in started:
            harness.stop()
        vars(runtime_limits).update(before)
        waiting.give_stacks(on=False)
        for name in [name for name in sys.modules if name.partition(".")[0] in COMPAT]:
            del sys.modules[name]  # whoever imports it next has it prepare the process again
        sys.path[:] = path
