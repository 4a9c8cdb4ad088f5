"""homing: Durable Objects on your own machines.

Example:
    >>> from homing import DurableObject
    >>> class Counter(DurableObject):
    ...     def increment(self):
    ...         kv = self.ctx.storage.kv
    ...         n = (kv.get("n") or 0) + 1
    ...         kv.put("n", n)
    ...         return n
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from homing import grants
from homing.alarms import Alarm
from homing.facets import FacetAborted, FacetClass, Facets
from homing.http import Headers, Request, Response, fetch
from homing.ids import ObjectId
from homing.loading import CallLimits, WorkerCode
from homing.objects import DurableObject, DurableObjectState, ExecutionContext, WorkerEntrypoint
from homing.sandboxes import Limits, Ran, run
from homing.sockets import WebSocket, WebSocketPair, WebSocketRequestResponsePair
from homing.storage import SqlCursor, Storage, Transaction
from homing.streams import ReadableStream
from homing.stubs import DurableObjectNamespace, RpcTarget
from homing.transform import TransformStream
from homing.workflows import NonRetryableError, WorkflowEntrypoint, WorkflowEvent

if TYPE_CHECKING:
    from homing import errors
    from homing import testing as testing
    from homing.client import Client as Client
    from homing.client import SyncClient as SyncClient
    from homing.errors import (
        ApplicationError,
        BadRequest,
        CommitTooLarge,
        DatabaseFull,
        Forbidden,
        GrantEnded,
        HomingError,
        JurisdictionUnavailable,
        NotFound,
        NotSupported,
        ObjectReset,
        OutcomeUnknown,
        Overloaded,
        SandboxDied,
        SandboxError,
        SandboxLimit,
        SandboxNoValue,
        SandboxSyntaxError,
        StorageError,
        Unavailable,
        UnknownLocation,
    )

__all__ = [
    "Alarm",
    "ApplicationError",
    "BadRequest",
    "CallLimits",
    "CommitTooLarge",
    "DatabaseFull",
    "DurableObject",
    "DurableObjectNamespace",
    "DurableObjectState",
    "ExecutionContext",
    "FacetAborted",
    "FacetClass",
    "Facets",
    "Forbidden",
    "GrantEnded",
    "Headers",
    "HomingError",
    "JurisdictionUnavailable",
    "Limits",
    "NonRetryableError",
    "NotFound",
    "NotSupported",
    "ObjectId",
    "ObjectReset",
    "OutcomeUnknown",
    "Overloaded",
    "Ran",
    "ReadableStream",
    "Request",
    "Response",
    "RpcTarget",
    "SandboxDied",
    "SandboxError",
    "SandboxLimit",
    "SandboxNoValue",
    "SandboxSyntaxError",
    "SqlCursor",
    "Storage",
    "StorageError",
    "Transaction",
    "TransformStream",
    "Unavailable",
    "UnknownLocation",
    "WebSocket",
    "WebSocketPair",
    "WebSocketRequestResponsePair",
    "WorkerCode",
    "WorkerEntrypoint",
    "WorkflowEntrypoint",
    "WorkflowEvent",
    "errors",
    "fetch",
    "grants",
    "run",
]

# Imported at its first use, and not in `__all__`: the jail of a worker has neither grpc nor httpx.
_CLIENT = frozenset(("Client", "SyncClient"))
_MODULES = frozenset(("errors", "testing", "client"))


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"homing.{name}")
    if name in _CLIENT:
        return getattr(importlib.import_module("homing.client"), name)
    if name in __all__:
        return getattr(importlib.import_module("homing.errors"), name)
    raise AttributeError(f"module 'homing' has no attribute {name!r}")
