"""`import workers`: the names of Cloudflare's Python Workers, over `homing`.

Names and meanings are those of https://developers.cloudflare.com/workers/languages/python/.
"""

from __future__ import annotations

import json
from datetime import datetime
from inspect import isawaitable
from types import FunctionType
from typing import Any, cast

import homing
from homing.compat import ENV, waiting
from homing.compat.forms import Blob, File, FormData, read_form
from homing.compat.membrane import FetchResponse, JsObject, faced, plain
from homing.http import Headers, HeadersLike
from homing.stubs import RpcTarget
from homing.workflows import WorkflowStepEvent

__all__ = [
    "Blob",
    "DurableObject",
    "FetchResponse",
    "File",
    "FormData",
    "Headers",
    "Request",
    "Response",
    "RpcTarget",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "env",
    "fetch",
    "python_from_rpc",
    "python_to_rpc",
]

env = faced(ENV)
waiting.give_stacks()  # there, a handler may wait with `run_sync` wherever it is


class Request(homing.Request):
    """A request; its JSON can be read as JavaScript's is."""

    async def json(self) -> Any:
        """The value of the body's JSON."""
        return faced(await super().json())

    async def form_data(self) -> FormData:
        """The fields of a form that was posted."""
        return read_form(self.headers.get("content-type", ""), await self.bytes())

    async def buffer(self) -> bytes:
        """The body."""
        return await self.bytes()

    @property
    def js_object(self) -> Request:
        """Itself: there is no other."""
        return self


class Response(homing.Response):
    """An answer.

    Args:
        body: text, bytes, a blob or file, a form, a stream, or None.
        status, status_text: as sent; the text is not sent over HTTP/2 and is not kept.
        headers: a dict, pairs, or None.
        web_socket: with status 101.
    """

    def __init__(
        self,
        body: Any = None,
        status: int = 200,
        status_text: str = "",
        headers: HeadersLike | None = None,
        web_socket: Any = None,
    ) -> None:
        fields = Headers(headers or ())
        if isinstance(body, (Blob, File, FormData)):
            body = _sent(body, fields)
        super().__init__(body, status=int(status), headers=fields, web_socket=plain(web_socket))
        self.status_text = status_text

    @property
    def js_object(self) -> Response:
        """Itself: there is no other."""
        return self

    @classmethod
    def json(cls, value: Any, *, status: int = 200, status_text: str = "", headers: HeadersLike = ()) -> Response:
        """An answer whose body is the JSON of a value."""
        fields = Headers(headers)
        if "content-type" not in fields:
            fields["content-type"] = "application/json"
        return cls(json.dumps(plain(value)), status, status_text, fields)

    from_json = json

    @classmethod
    def redirect(cls, url: str, status: int = 302) -> Response:
        """Send the client elsewhere."""
        if status not in (301, 302, 303, 307, 308):
            raise ValueError(f"a redirect is 301, 302, 303, 307 or 308, not {status}")
        return cls(None, status, headers={"location": str(url)})


def adapt(value: Any) -> Any:
    """What an application is given, as Cloudflare's applications know it."""
    if type(value) is homing.Request:
        return Request(value.url, method=value.method, headers=value.headers, body=value.homing_body)
    if isinstance(value, homing.WorkflowEvent):
        more = {"instanceId": value.instance_id, "workflowName": value.workflow_name}
        return JsObject(payload=value.payload, timestamp=_date(value.timestamp), **more)
    if isinstance(value, WorkflowStepEvent):
        return JsObject(payload=value.payload, timestamp=_date(value.timestamp), type=value.type)
    return faced(value)


def _date(value: datetime) -> datetime:
    """A moment as a Date of JavaScript arrives: without a zone, which is UTC in a worker."""
    return value.replace(tzinfo=None)


class DurableObject(homing.DurableObject):
    """An object, whose context and bindings have JavaScript's names."""

    homing_base = True
    homing_adapt = staticmethod(adapt)


class WorkerEntrypoint(homing.WorkerEntrypoint):
    """The application's entrypoint, whose context and bindings have JavaScript's names."""

    homing_base = True
    homing_adapt = staticmethod(adapt)


def entrypoint_of(on_fetch: FunctionType) -> type[WorkerEntrypoint]:
    """The entrypoint of an older application, whose module has `on_fetch(request, env, ctx)`, or takes less."""
    takes = on_fetch.__code__.co_argcount

    class Default(WorkerEntrypoint):
        """Answers with what the function returns."""

        async def fetch(self, request: Any) -> Any:
            """See `WorkerEntrypoint`."""
            result = on_fetch(*(request, self.env, self.ctx)[:takes])
            return await result if isawaitable(result) else result

    return Default


class WorkflowEntrypoint(homing.WorkflowEntrypoint):
    """A workflow, whose context, bindings and events have JavaScript's names."""

    homing_base = True
    homing_adapt = staticmethod(adapt)


async def fetch(resource: Any, **options: Any) -> FetchResponse:
    """Send a request to a host that the application's configuration names; see `homing.fetch`.

    Args:
        resource: a request, or a URL.
        options: `method`, `headers`, `body`, `redirect`; and `signal`, of an `AbortController`.
    """
    known = {name: plain(options[name]) for name in ("method", "headers", "body", "redirect") if name in options}
    if "body" in known:
        known["headers"] = Headers(known.get("headers") or ())
        known["body"] = _sent(known["body"], known["headers"])
    asked = homing.fetch(resource if isinstance(resource, homing.Request) else str(resource), **known)
    signal = options.get("signal")
    found = await (asked if signal is None else signal.guard(asked))
    return FetchResponse(found.homing_body, status=found.status, headers=found.headers, web_socket=found.web_socket)


def _sent(body: Any, headers: Headers) -> Any:
    """A body as it is sent; if it has a type, that is put into the headers."""
    kind = ""
    if isinstance(body, FormData):
        body, headers["content-type"] = body.encoded()
    elif isinstance(body, (Blob, File)):
        body, kind = body.content, body.content_type
    elif isinstance(body, (bytearray, memoryview)):
        body = bytes(cast("bytearray", body))
    elif body is not None and not (isinstance(body, (str, bytes)) or hasattr(body, "__aiter__")):
        body, kind = str(body), "application/x-www-form-urlencoded"  # URLSearchParams
    if kind and "content-type" not in headers:
        headers["content-type"] = kind
    return body


def python_from_rpc(value: Any) -> Any:
    """What came from another object, in plain types."""
    return plain(value)


def python_to_rpc(value: Any) -> Any:
    """What goes to another object, as it goes."""
    return plain(value)
