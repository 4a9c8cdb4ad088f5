"""What an object does for code in a sandbox that holds a grant to it: calls of its methods, its SQL, its pairs.

The node has seen that the grant has the operation. Here arguments and results pass as values alone: a stub, a function
or a stream in them is an error, so that nothing is granted by being passed. Of whoever may only read, SQLite judges
every statement while it prepares it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any, cast

import msgspec

from homing.errors import StorageError
from homing.http import Headers, Request, Response
from homing.storage import Kv
from homing.untrusted import from_untrusted
from homing.values import from_stored, to_stored
from homing_node.workers.inside import limits
from homing_node.workers.inside.database import Database

Function = Callable[..., Any]
Arguments = tuple[list[Any], dict[str, Any]]
Open = Callable[[], Database]

_CALL = "call "  # and the name of a method
_FETCH = "fetch"
_PROPS = "props"
_BODY = msgspec.msgpack.Decoder(tuple[bytes, bytes])  # arguments and props, both of `homing.values`


def prepare(
    methods: Mapping[str, Function],
    fetch: tuple[Function, Function] | None,
    operation: str,
    body: bytes,
    database: Open,
) -> tuple[Function, Arguments]:
    """The function that an operation calls, the object's instance before its arguments, and these.

    Args:
        methods: the public ones of the object's class.
        fetch: its handler of requests, and what gives a request the face that it knows; None: it has none.
        operation: `call` and the name of one, or one of those below.
        body: arguments, and the props of the grant.
        database: gives the object's own.

    Raises:
        LookupError: there is no such method.
        ValueError: the arguments cannot be read, or say what is not theirs to say.
    """
    given, props = _BODY.decode(body)
    args, kwargs = _arguments(given)
    if operation == _FETCH:
        if fetch is None:
            raise LookupError("no fetch handler")
        return partial(_fetched, *fetch), (args, kwargs)
    if not operation.startswith(_CALL):
        return _on(database, _OPERATIONS[operation]), (args, kwargs)
    if _PROPS in kwargs:
        raise ValueError("props are what the grant gives, and no argument")
    if props:
        kwargs[_PROPS] = from_stored(props)
    return methods[operation.removeprefix(_CALL)], (args, kwargs)


def _on(database: Open, function: Function) -> Function:
    """An operation that needs the object's database, and nothing of its code."""

    def call(_: Any, *args: Any, **kwargs: Any) -> Any:
        return function(database(), *args, **kwargs)

    return call


async def _fetched(
    fetch: Function, adapt: Function, instance: Any, method: str, url: str, headers: Any, body: bytes
) -> list[Any]:
    """What the object answers a request with: status, header fields, body."""
    request = Request(url, method=method, headers=Headers((name, value) for name, value in headers), body=body)
    response = fetch(instance, adapt(request))
    response = await response if isawaitable(response) else response
    if not isinstance(response, Response):
        raise TypeError(f"fetch must return a Response, not {type(response).__qualname__}")
    return [response.status, [list(field) for field in response.headers.raw()], await response.bytes()]


def result(value: Any) -> bytes:
    """What is answered.

    Raises:
        TypeError, ValueError: it is no value.
    """
    return to_stored(value)


def _arguments(given: bytes) -> Arguments:
    both: Any = from_untrusted(given)
    match both:
        case [list(), dict()]:
            args, kwargs = cast("tuple[list[Any], dict[object, Any]]", both)
        case _:
            raise ValueError("the arguments of a call are a list and a dict")
    if not all(isinstance(name, str) for name in kwargs):
        raise ValueError("the name of an argument is text")
    return args, cast("dict[str, Any]", kwargs)


def _read(database: Database, query: Any, *bindings: Any) -> list[Any]:
    return list(database.of_stranger(_checked(query), bindings, read_only=True))


def _write(database: Database, query: Any, *bindings: Any) -> list[Any]:
    return database.transaction_sync(lambda: list(database.of_stranger(_checked(query), bindings, read_only=False)))


def _checked(query: Any) -> str:
    if not isinstance(query, str):
        raise StorageError("a query is text")
    return query


def _get(database: Database, key: str) -> Any:
    return Kv(database).get(key)


def _put(database: Database, key: str, value: Any) -> None:
    Kv(database).put(key, value)


def _delete(database: Database, key: str) -> bool:
    return Kv(database).delete(key)


def _list(database: Database, *, limit: Any = None, **options: Any) -> list[list[Any]]:
    most = limits.granted_keys_max
    if limit is not None and (type(limit) is not int or not 0 < limit <= most):
        raise StorageError(f"limit is a number from 1 to {most}")
    return [[key, value] for key, value in Kv(database).list(limit=limit or most, **options)]


_OPERATIONS: dict[str, Function] = {
    "sql.read": _read,
    "sql.write": _write,
    "kv.get": _get,
    "kv.list": _list,
    "kv.put": _put,
    "kv.delete": _delete,
}
"""By the names that `homing_node.broker.object_grant` gives them."""
