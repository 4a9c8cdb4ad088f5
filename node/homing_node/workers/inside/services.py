"""Service bindings within one application: a class of entrypoints that is called in this very process.

Each call has an instance of its own. It is a part of what the caller does: what it calls in turn, and what it leaves to
`wait_until`, belongs to the caller's event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from inspect import isawaitable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from homing.bindings.services import Service
from homing.compat.unsupported import Unsupported
from homing.errors import ApplicationError, HomingError, NotFound
from homing.http import Headers, Request, Response
from homing.objects import ExecutionContext
from homing.sent import Copier
from homing.stubs import Caller, RpcTarget
from homing_node.workers.inside import failures
from homing_node.workers.inside.answered import failure_of

if TYPE_CHECKING:
    from homing_node.workers.inside.application import Application
    from homing_node.workers.inside.object_class import ObjectClass


def services_of(
    given: Mapping[str, Any], caller: Caller, application: Application, kind_of: Callable[[str], ObjectClass]
) -> dict[str, Service | Unsupported]:
    """What is bound for `services`.

    Args:
        given: of `workers.app_bindings`.
        caller: as for `Application`.
        application: which they are of; it need not be complete yet.
        kind_of: gives a class of entrypoints by its name.
    """
    return {
        name: Unsupported(f"env.{name} (the service {service['of']}, another application)")
        if service["of"]
        else Service(LocalService(kind_of(service["entrypoint"]), caller, application, service["props"]))
        for name, service in given.items()
    }


class LocalService:
    """Implements `homing.bindings.services.Callee`.

    Args:
        kind: the class.
        caller: takes the calls of stubs.
        application: whose `env` it gets, and whose static assets answer before its default entrypoint.
        props: what its context has as `props`.
    """

    def __init__(self, kind: ObjectClass, caller: Caller, application: Application, props: dict[str, Any]) -> None:
        self._kind = kind
        self._caller = caller
        self._application = application
        self._props = props
        self._copier = Copier(caller, self._borrowed)

    def call(self, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> asyncio.Future[Any]:
        """See `Callee`."""
        function = self._kind.methods.get(method)
        if function is None:
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(NotFound(f"{self._kind.name} has no method {method}"))
            return failed
        return self._begin(lambda: MethodType(function, self._instance()), args, kwargs)

    def fetch(self, request: Request) -> asyncio.Future[Response]:
        """See `Callee`."""
        headers = Headers(request.headers.raw())
        return asyncio.ensure_future(
            self._fetched(Request(request.url, method=request.method, headers=headers, body=request.homing_body))
        )

    async def _fetched(self, request: Request) -> Response:
        site = self._application.site if self._kind is self._application.default else None
        found = site.before(request) if site is not None else None
        if found is not None:
            return found
        if self._kind.fetch is None:
            raise NotFound(f"{self._kind.name} has no fetch handler")
        try:
            response = self._kind.fetch(self._instance(), self._kind.adapt(request))
            response = await response if isawaitable(response) else response
        except Exception as error:
            raise _as_remote(error) from error
        if not isinstance(response, Response):
            what = type(response).__qualname__
            raise ApplicationError(f"fetch must return a Response, not {what}", error_type="TypeError")
        return response

    def _instance(self) -> Any:
        context = ExecutionContext(self._caller.runtime(), self._copier.copy(self._props))
        return self._kind.instance(context, self._application.env)

    def _begin(self, find: Callable[[], Callable[..., Any]], args: Any, kwargs: Any) -> asyncio.Future[Any]:
        """Call the function that is found, with copies; whoever awaits it gets a copy of what it returned."""
        given, named = self._copier.copy([args, kwargs])
        return asyncio.ensure_future(self._run(find, given, named))

    async def _run(self, find: Callable[[], Callable[..., Any]], args: list[Any], kwargs: dict[str, Any]) -> Any:
        try:
            function = find()
            result = function(*args, **kwargs)  # here, so that arguments that do not fit can be told from other errors
            return self._copier.copy(await result if isawaitable(result) else result)
        except Exception as error:
            raise _as_remote(error) from error

    def _borrowed(self, value: Any) -> Any:
        """What stands for a function, or for a target with its public methods, where it was passed to."""
        if not isinstance(value, RpcTarget):
            return self._lent(value)
        kind = type(value)
        names = [name for name in dir(kind) if not name.startswith("_")]
        methods = {
            name: self._lent(MethodType(function, value), skip=1)
            for name in names
            if isinstance(function := getattr(kind, name), FunctionType)
        }
        return type(kind.__name__, (RpcTarget,), methods)()

    def _lent(self, function: Callable[..., Any], skip: int = 0) -> Callable[..., asyncio.Future[Any]]:
        """A function that calls another with copies, without the first `skip` of its arguments."""

        def call(*args: Any, **kwargs: Any) -> asyncio.Future[Any]:
            return self._begin(lambda: function, args[skip:], kwargs)

        return call


def _as_remote(error: Exception) -> HomingError:
    """What the caller is told, as by an object."""
    code, *said = failures.of_error(0, error, 0, 0)[2]
    return failure_of(["bad-request" if failures.is_misfit(error) else code, *said])
