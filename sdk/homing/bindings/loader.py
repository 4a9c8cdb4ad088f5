"""`worker_loaders`: dynamic workers, code that came a moment ago and answers calls. See docs/dynamic-workers.md.

Names and shapes are those of https://developers.cloudflare.com/dynamic-workers/api-reference/.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from inspect import isawaitable
from typing import Any

from homing import grants as granting
from homing.errors import BadRequest, HomingError, SandboxNoValue, Unavailable, from_wire, sandbox_error
from homing.facets import DynamicClass
from homing.http import Headers, Request, Response, as_request
from homing.loading import ID_CHARS_MAX, CallLimits, WorkerCode, limits_of, worker_code
from homing.loading_frames import (
    FAILED,
    NEEDED,
    RESPONSE,
    Answer,
    Call,
    Event,
    FailureParts,
    Part,
    decode_answer,
    encode,
    encode_code,
    pieces_of,
)
from homing.stubs import Caller
from homing.untrusted import from_untrusted
from homing.values import to_stored

CODE_PART_BYTES = 8 * 1024 * 1024
_TRIES = 3  # of a call whose worker goes before it gets there
_SANDBOX = "sandbox-"
_NO_ARGUMENTS = to_stored([[], {}])

Code = WorkerCode | Mapping[str, Any]
CodeCallback = Callable[[], Any]


class WorkerLoader:
    """Loads dynamic workers, `env.NAME`.

    A worker belongs to the object whose code loaded it, or to the process whose entrypoint did, and ends with that.

    Example:
        >>> code = {"main_module": "main.py", "modules": {"main.py": source}}  # doctest: +SKIP
        >>> worker = self.env.LOADER.get("prices-7", lambda: code)  # doctest: +SKIP
        >>> await worker.get_entrypoint().quote("apple")  # doctest: +SKIP
    """

    def __init__(self, caller: Caller, name: str) -> None:
        self._caller, self._name = caller, name
        self._numbers = itertools.count(1)

    def load(self, code: Code) -> WorkerStub:
        """A worker of its own, each time.

        Args:
            code: a `WorkerCode`, or a dict with its fields.

        Raises:
            BadRequest, TooLarge, NotSupported, TypeError: it cannot be code of a worker: see `WorkerCode`.
        """
        checked = worker_code(code)
        return WorkerStub(self._caller, f"#{self._name}/{next(self._numbers)}", lambda: checked, fresh=True)

    def get(self, worker_id: str | None, callback: CodeCallback) -> WorkerStub:
        """The worker of an id, there already or not; nothing is loaded before its first call.

        Args:
            worker_id: names the worker to this object; its code must not change, or either may answer. None: as `load`.
            callback: gives the code, as `load` takes it; it may be asynchronous. It is called when the code is needed,
                also when the worker was there and has gone. What it raises, whoever made the call gets.

        Raises:
            BadRequest: the id is empty, or has more than 512 characters.
        """
        if worker_id is None:
            return WorkerStub(self._caller, f"#{self._name}/{next(self._numbers)}", callback, fresh=True)
        if not isinstance(worker_id, str) or not 0 < len(worker_id) <= ID_CHARS_MAX:  # pyright: ignore[reportUnnecessaryIsInstance] - an application gives it
            raise BadRequest(f"the id of a dynamic worker is a text of 1 to {ID_CHARS_MAX} characters")
        return WorkerStub(self._caller, f"={self._name}/{worker_id}", callback)


class WorkerStub:
    """A dynamic worker that may be there, or be loaded at its next call."""

    def __init__(self, caller: Caller, key: str, callback: CodeCallback, *, fresh: bool = False) -> None:
        self._caller, self._key, self._callback = caller, key, callback
        self._code: WorkerCode | None = None  # what the callback gave last
        self._fresh = fresh  # nobody has loaded it

    def get_entrypoint(
        self,
        name: str | None = None,
        *,
        props: Mapping[str, Any] | None = None,
        limits: CallLimits | Mapping[str, Any] | None = None,
    ) -> LoadedEntrypoint:
        """A class of entrypoints of its main module.

        Args:
            name: of the class; None: `Default`.
            props: what its code has as `self.ctx.props`: values that objects can store.
            limits: of each call; those of the code count, too, and the lower ones hold.

        Raises:
            BadRequest: a limit that cannot be.
            TypeError: a value in the props cannot be sent.
        """
        return LoadedEntrypoint(self, name or "", to_stored(dict(props or {})), limits_of(limits))

    def get_durable_object_class(
        self,
        name: str | None = None,
        *,
        props: Mapping[str, Any] | None = None,
        limits: CallLimits | Mapping[str, Any] | None = None,
    ) -> DynamicClass:
        """A class of objects of its main module, for `ctx.facets.get`.

        Args:
            name: of the class; None: `Default`.
            props: what its code has as `self.ctx.props`: values that objects can store.
            limits: of each call; those of the code count, too, and the lower ones hold.

        Raises:
            BadRequest: a limit that cannot be.
            TypeError: a value in the props cannot be sent.
        """
        return DynamicClass(self, name or "Default", to_stored(dict(props or {})), limits_of(limits))

    async def homing_call(self, call: Call) -> Answer:
        """Make a call, and load the worker where it is not there; for the runtime."""
        answer = await self.homing_send("call", [encode(call)])
        if answer.event is not None:
            self._caller.runtime().wait_until(self.homing_tell(answer.event))
        return answer

    async def homing_send(self, what: str, parts: Sequence[bytes]) -> Answer:
        """Send something in parts, and load the worker where it is not there; for the runtime.

        Returns:
            The answer to the last part.

        Raises:
            Unavailable: it goes each time.
            HomingError: it cannot be loaded, or takes none of it.
        """
        for _ in range(_TRIES):
            if self._fresh:
                self._fresh = False
                await self._load()
            answer = Answer(NEEDED)
            for part in parts:
                answer = decode_answer(await self._caller.call_loader(what, part))
                if answer.kind == NEEDED:
                    break
            if answer.kind != NEEDED:
                return answer
            self._fresh = True
        raise Unavailable("the dynamic worker went each time that it was loaded")

    async def _load(self) -> None:
        try:
            code = await self._ask()
            data, grants = encode_code(code), granting.given(code.grants)
        except BaseException:
            await self._caller.call_loader("drop", self._key.encode())  # whoever waits for it may try
            raise
        limits, tailed = code.limits, bool(code.tails)
        for at, piece in pieces_of(data, CODE_PART_BYTES):
            part = Part(
                self._key, code.tenant, limits.cpu_ms, limits.sub_requests, tailed, grants, len(data), at, piece
            )  # fmt: skip
            await self._caller.call_loader("part", encode(part))
            grants = ()

    async def _ask(self) -> WorkerCode:
        """The code, as its callback gives it."""
        given = self._callback()
        code = self._code = worker_code(await given if isawaitable(given) else given)
        return code

    def homing_key(self) -> str:
        """What names it to the node; for the runtime."""
        return self._key

    async def homing_tell(self, event: Event) -> None:
        """Tell the tails what became of a call; whether they take it changes nothing. For the runtime."""
        code, told = self._code or await self._ask(), _told(self._key, event)
        await asyncio.gather(*(tail.tail([told]) for tail in code.tails), return_exceptions=True)


def _told(key: str, event: Event) -> dict[str, Any]:
    error = event.exception
    return {
        "worker": key.partition("/")[2],
        "outcome": event.outcome,
        "logs": [{"timestamp": at_ms, "level": level, "message": text} for at_ms, level, text in event.logs],
        "exceptions": [{"name": error[0], "message": error[1], "stack": error[2]}] if error else [],
        "cpu_time": event.cpu_ms,
        "wall_time": event.wall_ms,
    }


class LoadedEntrypoint:
    """An entrypoint of a dynamic worker: its public methods, and `fetch`.

    Values go and come by value, as objects store them. What its code raises arrives as `SandboxError` with `remote`
    set, what kept it from being run as another of the errors of `homing.errors`.

    Example:
        >>> await worker.get_entrypoint("Prices", props={"user": 7}).of("apple")  # doctest: +SKIP
        3
    """

    __slots__ = ("_limits", "_name", "_props", "_worker")

    def __init__(self, worker: WorkerStub, name: str, props: bytes, limits: CallLimits) -> None:
        self._worker, self._name, self._props, self._limits = worker, name, props, limits

    def fetch(self, request: Request | str, **options: Any) -> asyncio.Future[Response]:
        """Send the entrypoint an HTTP request.

        Args:
            request: a request, or its URL. A body that is a stream is read to its end first.
            options: with a URL, what `Request` takes: `method`, `headers`, `body`.
        """
        return _begun(self._fetch(as_request(request, options)))

    async def _fetch(self, request: Request) -> Response:
        body = encode((request.method, request.url, request.headers.raw(), await request.bytes()))
        return response_of(await self._worker.homing_call(self._call("", body)))

    def __getattr__(self, method: str) -> Callable[..., asyncio.Future[Any]]:
        if method.startswith("_"):
            raise AttributeError(method)

        def call(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
            return _begun(self._invoke(method, to_stored([args, kwargs]) if args or kwargs else _NO_ARGUMENTS))

        return call

    async def _invoke(self, method: str, body: bytes) -> Any:
        answer = await self._worker.homing_call(self._call(method, body))
        _check(answer)
        try:
            return from_untrusted(answer.value)
        except ValueError as broken:  # whoever runs in a sandbox may write what it likes there
            raise SandboxNoValue(f"the result cannot be read: {broken}") from broken

    def _call(self, method: str, body: bytes) -> Call:
        own = self._limits
        return Call(self._worker.homing_key(), self._name, self._props, own.cpu_ms, own.sub_requests, method, body)


def _begun(call: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(call)


def response_of(answer: Answer) -> Response:
    """The answer of a `fetch`.

    Raises:
        HomingError: it is a failure.
        ValueError: it is something else.
    """
    _check(answer)
    if answer.kind != RESPONSE or answer.response is None:
        raise ValueError("an answer that is none")
    status, headers, body = answer.response
    return Response(body, status=status, headers=Headers(headers))


def _check(answer: Answer) -> None:
    """Raises what a call came to, if it failed."""
    if answer.kind == FAILED:
        raise error_of(answer.failure)


def error_of(failure: FailureParts | None) -> HomingError:
    """What the code that awaits a call of a dynamic worker is told of its failure."""
    code, message, error_type, trace = failure or ("internal", "", "", "")
    if code.startswith(_SANDBOX):
        error = sandbox_error(code, message, error_type, trace)
    else:
        error = from_wire(code, message, error_type=error_type)
    error.remote = True
    return error
