"""The cluster of a test, and what a test may do inside it that no caller may."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any, Literal

import httpx

from homing.client import SyncClient, SyncStub
from homing.client_http import authorization, read_answer
from homing.client_wire import make_call, object_path
from homing.errors import NotFound
from homing.ids import ObjectId
from homing.testing.process import ClusterProcess

_TESTS = "/_homing/v1/tests"
_TIMEOUT_S = 70.0
_PAGE = 1_000

_CLOSE_SOCKETS = """
def close(instance):
    for ws in instance.ctx.get_websockets():
        ws.close(1000, "evicted")
"""


class Clock:
    """What a cluster of tests takes for the time: the machine's clock, and as far ahead as a test has set it.

    Alarms go by it, and `time.time()` and `datetime.now()` in the code of objects; monotonic clocks, timers that are
    pending, and SQLite's own `now` do not.

    Attributes:
        ahead_s: so many seconds it has been set ahead.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self.ahead_s = 0.0

    def advance(self, seconds: float) -> None:
        """Let so much time pass at once; alarms that are due then ring.

        Raises:
            ValueError: time does not go back.
            Unavailable: a node cannot be reached.
        """
        if seconds < 0:
            raise ValueError("time does not go back")
        self._tell(int((self.ahead_s + seconds) * 1_000))
        self.ahead_s += seconds


class Cluster(ClusterProcess):
    """A cluster of an application, for as long as a test runs: the real thing, jails included.

    Args:
        app: folder of the application, or its one file.
        nodes: how many nodes.
        environment: further variables for every part, such as HOMING_IDLE_S.

    Attributes:
        client: calls objects.
        clock: what the cluster takes for the time.

    Raises:
        StartFailed: it did not come up.

    Example:
        >>> with Cluster("examples/hello") as cluster:  # doctest: +SKIP
        ...     assert cluster.get("Counter", "a").increment() == 1
    """

    def __init__(self, app: Path | str, nodes: int = 1, *, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(app, nodes, environment={**(environment or {}), "HOMING_TESTING": "1"})
        token = self.environment.get("HOMING_API_TOKEN")
        self.client = SyncClient(self.url, token=token)
        self._http = httpx.Client(base_url=self.url, headers=authorization(token), timeout=_TIMEOUT_S, trust_env=False)
        self.clock = Clock(self._set_clock)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._http.close()
        super().__exit__(kind, error, trace)

    def get(self, class_name: str, name: str | ObjectId, *, jurisdiction: str | None = None) -> SyncStub:
        """A stub of an object: its public methods."""
        return self.client.get(class_name, name, jurisdiction=jurisdiction)

    def run_in_object(
        self, class_name: str, name: str | ObjectId, function: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Run a function in an object, as a turn of its own: it gets the instance first, then what is given here.

        Its source travels, so it must stand alone: no names from around it, imports inside it. What it is given, and
        what it returns, are values that a call could pass. It may be asynchronous. The object's jail holds it, too.

        Raises:
            TypeError: it is no function that was written in a file, or something cannot travel.
            ApplicationError: it raised.

        Example:
            >>> def look(counter):
            ...     return counter.ctx.storage.kv.get("n")
            >>> cluster.run_in_object("Counter", "a", look)  # doctest: +SKIP
            2
        """
        if not isinstance(function, FunctionType) or function.__name__ == "<lambda>" or function.__closure__:
            raise TypeError("a function with a name of its own, that uses nothing from around it, can run in an object")
        return self._run(
            class_name, name, textwrap.dedent(inspect.getsource(function)), function.__name__, args, kwargs
        )

    def run_alarm(self, class_name: str, name: str | ObjectId) -> bool:
        """Ring the earliest alarm of an object now, whenever it is due; returns whether there was one.

        Raises:
            ApplicationError: the handler raised; the alarm is tried again later, as always.
        """
        try:
            facts = self._get(object_path(class_name, name))
        except NotFound:
            return False
        if facts["alarm"] is None:
            return False
        self._ask(self._path(class_name, name, "ring"), b"")
        return True

    def list_ids(self, class_name: str) -> list[ObjectId]:
        """The ids of every object of a class, in order."""
        found: list[ObjectId] = []
        cursor: str | None = ""
        while cursor is not None:
            page = self._get(f"/_homing/v1/objects/{class_name}?limit={_PAGE}&cursor={cursor}")
            found += [ObjectId(bytes.fromhex(each["id"]), each["name"]) for each in page["objects"]]
            cursor = page["cursor"]
        return found

    def evict(
        self, class_name: str, name: str | ObjectId, *, web_sockets: Literal["hibernate", "close"] = "hibernate"
    ) -> None:
        """Take an object out of memory; its next event makes it anew, from what it has stored.

        Args:
            class_name, name: which.
            web_sockets: whether its WebSockets outlive it, as when it sleeps, or are closed before.

        Raises:
            Unavailable: it does not go to sleep: a call, a timer, `wait_until` or a live socket is in it.
        """
        if web_sockets == "close":
            self._run(class_name, name, _CLOSE_SOCKETS, "close", (), {})
        self._ask(self._path(class_name, name, "evict"), b"")

    def _run(
        self, class_name: str, name: str | ObjectId, source: str, function: str, args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:  # fmt: skip
        call = make_call(class_name, name, function, (source, function, *args), kwargs)
        return self._ask(self._path(class_name, name, "run"), call.body)

    def _set_clock(self, ahead_ms: int) -> None:
        self._ask(f"{_TESTS}/clock", b'{"ahead_ms":%d}' % ahead_ms)

    def _path(self, class_name: str, name: str | ObjectId, verb: str) -> str:
        return f"{_TESTS}{object_path(class_name, name).removeprefix('/_homing/v1/objects')}/{verb}"

    def _ask(self, path: str, body: bytes) -> Any:
        return read_answer(self._http.post(path, content=body, headers={"content-type": "application/json"}))

    def _get(self, path: str) -> Any:
        answer = self._http.get(path)
        if not answer.is_success:
            read_answer(answer)
        return answer.json()
