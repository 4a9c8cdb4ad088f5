"""A sandbox that is a dynamic worker: it loads modules, and answers calls until it is killed.

Calls interleave where they await. What code here does to this process it does to itself: the node believes nothing.
See docs/dynamic-workers.md.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from inspect import isawaitable, isclass
from types import FunctionType, MethodType, ModuleType
from typing import Any, NoReturn

from homing.compat import ENV, waiting
from homing.errors import BadRequest, Forbidden
from homing.http import Headers, Redirect, Request, Response, let_fetch
from homing.levels import ERROR
from homing.loading import GLOBAL_OUTBOUND, import_name
from homing.loading_frames import Packed, decode_request
from homing.objects import DurableObject, Env, ExecutionContext, WorkerEntrypoint
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside import limits, talk
from homing_node.sandboxes.inside.asking import Asker
from homing_node.sandboxes.inside.env import Gateway, Http, env_of
from homing_node.sandboxes.inside.facets import FacetLoop, Facets
from homing_node.sandboxes.inside.modules import Finder
from homing_node.sandboxes.inside.telling import message_of, trace_of
from homing_node.workers.inside import failures
from homing_node.workers.inside.object_class import ObjectClass
from homing_node.workers.inside.output import Output, logging_at_levels
from homing_node.workers.inside.turns import current_event

Message = tuple[Any, ...]
Send = Callable[[Message], None]


class _Missing(Exception):
    """There is no such entrypoint, or it has no such method."""


class _Misfit(Exception):
    """The arguments do not fit the method."""


class _TooLong(Exception):
    """A result is longer than it may be."""


_REDIRECTS = frozenset((301, 302, 303, 307, 308))


class _NoValue(Exception):
    """A result is of a type that cannot be sent."""


_CAUSES: dict[type[BaseException], str] = {
    _Missing: talk.NOT_FOUND, _Misfit: talk.MISFIT, _TooLong: talk.RESULT_BYTES, _NoValue: talk.NO_VALUE,
}  # fmt: skip


class Worker:
    """A dynamic worker: what is sent to it becomes calls of its entrypoints, and what they do becomes messages.

    Args:
        send: sends a message to the node.
        loop: where calls run.
    """

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self._send, self._loop = send, loop
        self._asker = Asker(send, before=self._settled)
        self._finder = Finder(())
        self._main = ""
        self._env: Any = None
        self._module: ModuleType | None = None
        self._entrypoints: dict[str, ObjectClass] = {}
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._background: set[asyncio.Future[Any]] = set()
        self._facets: Facets | None = None  # of classes of this worker, when there are any

    def take(self, message: list[Any]) -> None:
        """Take a message of the node."""
        kind = message[0]
        if kind == talk.CALL:
            self._begin(*message[1:])
        elif kind == talk.CANCEL:
            self._cancel(message[1])
        elif kind in (talk.ANSWER, talk.REFUSAL):
            self._asker.hear(message)
        elif kind == talk.FACET:
            self.facets().open(*message[1:])
        elif kind == talk.KEPT:
            self.facets().keep(*message[1:])
        elif kind == talk.CLOSE:
            self.facets().close(message[1])

    def _cancel(self, number: int) -> None:
        if number in self._calls:
            self._calls[number].cancel()
        elif self._facets is not None:
            self._facets.cancel(number)

    def load(self, code: Packed, offers: Sequence[Sequence[Any]]) -> None:
        """Take its code, and what it is granted. It comes before any message."""
        self._main, modules, env = code
        self._finder = Finder(modules)
        given: dict[str, Any] = from_stored(env)
        given.update(vars(env_of(offers, self._asker)))
        outbound = given.pop(GLOBAL_OUTBOUND, None)
        self._env = Env(**given)
        self._finder.install()
        let_fetch(partial(_through, outbound) if isinstance(outbound, (Http, Gateway)) else _no_fetch)
        vars(ENV).update(given)

    # -- calls ----------------------------------------------------------------------------------------------------

    def _begin(
        self, number: int, entrypoint: str, props: bytes, method: str, body: bytes, most: int, facet: int = 0
    ) -> None:  # fmt: skip
        if facet:
            self._call_facet(number, facet, method, body, most)
            return
        current_event.set([talk.CALL, 0, number])
        going: Coroutine[Any, Any, None] = self._call(number, entrypoint, props, method, body, most)
        if waiting.gives_stacks():
            going = waiting.Stepped(going)
        task = self._calls[number] = self._loop.create_task(going)
        current_event.set(None)
        task.add_done_callback(lambda _: self._calls.pop(number, None))

    async def _call(self, number: int, entrypoint: str, props: bytes, method: str, body: bytes, most: int) -> None:
        try:
            module = self._loaded()
        except BaseException as error:
            self._flush()
            self._send((talk.FAIL, number, *self._told(error, talk.START)))
            return
        try:
            kind = self._entrypoints.get(entrypoint) or self._entrypoint(module, entrypoint)
            instance = kind.instance(ExecutionContext(self, from_stored(props)), self._env)
            answer = await (_called if method else _fetched)(kind, instance, method, body, most)
            message: Message = (talk.RETURN if method else talk.RESPOND, number, *answer)
        except BaseException as error:  # KeyboardInterrupt and whatever else code makes up
            message = (talk.FAIL, number, *self._told(error))
        self._flush()
        self._send(message)

    # -- facets ---------------------------------------------------------------------------------------------------

    def facets(self) -> Facets:
        """The facets of this worker's classes."""
        if self._facets is None:
            assert isinstance(self._loop, FacetLoop), "`serve` made it"
            self._facets = self._loop.owner = Facets(self, self._send, self._loop)
            self._loop.set_task_factory(self._make_task)
        return self._facets

    def _call_facet(self, number: int, facet: int, method: str, body: bytes, most: int) -> None:
        before = talk.START
        try:
            self._loaded()
            before = ""
            self.facets().call(facet, number, method, body, most)
        except BaseException as error:
            self._flush()
            self._send((talk.FAIL, number, *self._told(error, before)))

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        task = self.facets().task_of(coroutine, options)
        return task if task is not None else asyncio.Task(coroutine, loop=loop, **options)

    async def _settled(self) -> None:
        """What an ask waits for: what facets wrote before it is durable."""
        if self._facets is not None:
            await self._facets.settled()

    def class_of(self, name: str) -> ObjectClass:
        """See `facets.Home`."""
        found: Any = vars(self._loaded()).get(name)
        if not isclass(found) or not issubclass(found, DurableObject) or vars(found).get("homing_base"):
            raise _Missing(f"{self._main} has no class of objects {name}")
        return ObjectClass(found)

    def facet_env(self) -> Any:
        """See `facets.Home`."""
        return self._env

    def wait_until(self, awaitable: Awaitable[Any]) -> None:
        """See `ExecutionContext`: it goes on as long as the worker is there."""
        going = asyncio.ensure_future(awaitable)
        self._background.add(going)
        going.add_done_callback(self._background.discard)

    def _loaded(self) -> ModuleType:
        """The main module, which the first call imports."""
        if self._module is None:
            module = importlib.import_module(import_name(self._main))
            self._module = module
        return self._module

    def _entrypoint(self, module: ModuleType, name: str) -> ObjectClass:
        found: Any = vars(module).get(name or "Default")
        handler = vars(module).get("on_fetch")
        if found is None and name in ("", "default"):
            found = vars(module).get("Default")
            if found is None and isinstance(handler, FunctionType):
                found = importlib.import_module("workers").entrypoint_of(handler)
        if not isclass(found) or not issubclass(found, WorkerEntrypoint) or vars(found).get("homing_base"):
            raise _Missing(f"{self._main} has no entrypoint {name or 'Default'}")
        kind = self._entrypoints[name] = ObjectClass(found)
        return kind

    # -- what is told ---------------------------------------------------------------------------------------------

    def _told(self, error: BaseException, before: str = "") -> tuple[str, str, str, str]:
        """Cause, type, message, traceback."""
        cause, kind = _CAUSES.get(type(error), talk.RAISED), type(error)
        if kind in _CAUSES:
            return before + cause, "", message_of(error), ""
        if isinstance(error, MemoryError):
            cause = talk.MEMORY
        elif isinstance(error, asyncio.CancelledError):
            cause = talk.CANCELLED
        elif before and isinstance(error, (SyntaxError, UnicodeError)):
            cause = talk.SYNTAX
        return before + cause, kind.__name__[:200], message_of(error), trace_of(error, self._finder.paths)

    def line(self, event: list[Any] | None, stream: str, text: str, level: int) -> None:
        """A line that code printed."""
        self._send((talk.LINE, event[2] if event else 0, level, text))

    def lost(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something that nobody waited for failed."""
        error = context.get("exception")
        text = str(context.get("message", "")) if error is None else trace_of(error, self._finder.paths)
        self._send((talk.LINE, 0, ERROR, text[-limits.message_chars_max :]))

    @staticmethod
    def _flush() -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Output):  # else the code put something of its own there
                stream.flush()


async def _called(kind: ObjectClass, instance: Any, method: str, body: bytes, most: int) -> tuple[bytes]:
    function = kind.methods.get(method)
    if function is None:
        raise _Missing(f"{kind.name} has no method {method}")
    args, kwargs = from_stored(body)
    try:
        result = MethodType(function, instance)(*args, **kwargs)
    except TypeError as error:
        if failures.is_misfit(error):
            raise _Misfit(message_of(error)) from None
        raise
    result = await result if isawaitable(result) else result
    try:
        data = to_stored(result)
    except MemoryError:
        raise
    except BaseException as error:  # what a value of the code's own classes raises
        raise _NoValue(message_of(error)) from error
    if len(data) > most:
        raise _TooLong(f"a result of {len(data)} bytes; at most {most}")
    return (data,)


async def _fetched(kind: ObjectClass, instance: Any, _: str, body: bytes, most: int) -> tuple[int, Any, bytes]:
    if kind.fetch is None:
        raise _Missing(f"{kind.name} has no fetch handler")
    method, url, headers, content = decode_request(body)
    request = Request(url, method=method, headers=Headers(headers), body=content)
    response = MethodType(kind.fetch, instance)(kind.adapt(request))
    response = await response if isawaitable(response) else response
    if not isinstance(response, Response):
        raise TypeError(f"fetch must return a Response, not {type(response).__qualname__}")
    data = await response.bytes()
    if len(data) > most:
        raise _TooLong(f"a body of {len(data)} bytes; at most {most}")
    return response.status, response.headers.raw(), data


async def _no_fetch(request: Request, redirect: Redirect) -> Response:
    raise Forbidden(f"this worker may send no requests: it has no global_outbound ({request.url[:200]})")


async def _through(outbound: Http | Gateway, request: Request, redirect: Redirect) -> Response:
    """Send a request by what was granted for all of them. No redirect is followed: it is an answer."""
    body = await request.bytes()
    answer = await outbound.fetch(request.url, method=request.method, headers=request.headers.raw(), body=body)
    if redirect == "error" and answer.status in _REDIRECTS:
        raise BadRequest(f"{request.url[:200]} answers with a redirect")
    return Response(await answer.bytes(), status=answer.status, headers=answer.headers)


def serve(
    code: Packed, offers: Sequence[Sequence[Any]], come: Callable[[float | None], Sequence[list[Any]]], send: Send
) -> NoReturn:  # fmt: skip
    """Be a dynamic worker until the node has gone.

    Args:
        code: its modules.
        offers: what it is granted.
        come: gives those that have come, after waiting for so many seconds at most.
        send: writes a message.
    """
    loop = FacetLoop()
    asyncio.set_event_loop(loop)
    worker = Worker(send, loop)
    loop.set_exception_handler(worker.lost)
    sys.stdout, sys.stderr = Output("stdout", worker.line), Output("stderr", worker.line)

    def readable() -> None:
        for message in come(0):
            worker.take(message)

    worker.load(code, offers)
    readable()  # what came with it is in no socket any more
    loop.add_reader(talk.CHANNEL_FD, readable)
    with logging_at_levels():
        while True:
            try:
                loop.run_forever()
            except (SystemExit, KeyboardInterrupt) as error:  # code cannot stop the loop
                worker.line(None, "stderr", f"{type(error).__name__} in a callback", ERROR)
