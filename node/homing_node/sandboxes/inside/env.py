"""`env` in a sandbox: for each grant an object whose methods ask for what it grants. Nothing of a grant is in it but
its name, its place and its operations.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from homing.grants import FETCH, FILES, HTTP, KV, SQL, STUB, check_files
from homing.http import Headers
from homing.values import from_stored, to_stored
from homing_node.sandboxes.inside.asking import Asker

HeadersLike = Mapping[str, str] | Sequence[tuple[str, str]]


class Env(SimpleNamespace):
    """What a run was granted, as attributes: `env.items`."""

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __getattr__(self, name: str) -> Any:
        granted = ", ".join(self) or "nothing"
        raise AttributeError(f"there is no grant {name}; there is {granted}")


class _Granted:
    """One grant."""

    def __init__(self, asker: Asker, place: int, name: str) -> None:
        self._asker, self._place, self._name = asker, place, name

    def __repr__(self) -> str:
        return f"<grant {self._name}>"

    async def _call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        return from_stored(await self._asker.ask(self._place, operation, to_stored([list(args), kwargs])))


class Answer:
    """An answer of the outside.

    Attributes:
        status: the status code.
        headers: its fields.
    """

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.headers, self._body = status, headers, body

    @property
    def ok(self) -> bool:
        """Whether the status is 200 to 299."""
        return 200 <= self.status < 300

    async def bytes(self) -> bytes:
        """The body."""
        return self._body

    async def text(self) -> str:
        """The body as UTF-8 text; what is not UTF-8 is replaced."""
        return self._body.decode(errors="replace")

    async def json(self) -> Any:
        """The value of the body's JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self._body)

    def __repr__(self) -> str:
        return f"Answer({self.status}, {len(self._body)} bytes)"


class Http(_Granted):
    """Requests to the outside."""

    async def fetch(
        self, url: str, *, method: str = "GET", headers: HeadersLike = (), body: str | bytes | None = b""
    ) -> Answer:
        """Send a request."""
        data = body.encode() if isinstance(body, str) else bytes(body or b"")
        said = [method.upper(), url, [list(field) for field in Headers(headers).raw()], data]
        status, answered, content = from_stored(await self._asker.ask(self._place, "fetch", to_stored(said)))
        return Answer(status, Headers((name, value) for name, value in answered), content)


class Gateway(_Granted):
    """Requests to an object's `fetch`."""

    async def fetch(
        self, url: str, *, method: str = "GET", headers: HeadersLike = (), body: str | bytes | None = b""
    ) -> Answer:
        """Send a request."""
        data = body.encode() if isinstance(body, str) else bytes(body or b"")
        said = [method.upper(), url, [list(field) for field in Headers(headers).raw()], data]
        status, answered, content = await self._call("fetch", *said)
        return Answer(status, Headers((name, value) for name, value in answered), content)


class Stub(_Granted):
    """Calls of an object's methods."""

    def __init__(self, asker: Asker, place: int, name: str, operations: Sequence[str]) -> None:
        super().__init__(asker, place, name)
        self._operations = operations

    def __dir__(self) -> list[str]:
        return list(self._operations)

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        if method.startswith("_") or method not in self._operations:
            raise AttributeError(f"{self._name} is not granted {method}; it is {', '.join(self._operations)}")

        def call(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            return self._call(method, *args, **kwargs)

        return call


class Sql(_Granted):
    """SQL over an object's database."""

    async def exec(self, query: str, *bindings: Any) -> list[dict[str, Any]]:
        """Run a query; its rows."""
        return await self._call("exec", query, *bindings)


class Kv(_Granted):
    """An object's key-value pairs."""

    async def get(self, key: str) -> Any:
        """The value under a key, or None."""
        return await self._call("get", key)

    async def list(self, **options: Any) -> dict[str, Any]:
        """Keys and their values, in order: `prefix`, `start`, `start_after`, `end`, `reverse`, `limit`."""
        return dict(await self._call("list", **options))

    async def put(self, key: str, value: Any) -> None:
        """Keep a value under a key."""
        await self._call("put", key, value)

    async def delete(self, key: str) -> bool:
        """Forget a key; returns whether it was there."""
        return await self._call("delete", key)


class Files:
    """A tree of files in memory.

    Args:
        tree: contents by path.
        scratch: it may be changed.
    """

    def __init__(self, tree: dict[str, bytes], *, scratch: bool) -> None:
        self._tree, self._scratch = tree, scratch

    async def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: there is none.
        """
        try:
            return self._tree[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    async def text(self, path: str) -> str:
        """The content of a file as UTF-8 text."""
        return (await self.read(path)).decode()

    async def list(self, prefix: str = "") -> list[str]:
        """The paths that begin so, in order."""
        return sorted(path for path in self._tree if path.startswith(prefix))

    async def write(self, path: str, data: str | bytes) -> None:
        """Keep a file, until the run ends.

        Raises:
            PermissionError: this tree may only be read.
            BadRequest, TooLarge: see `homing.grants.files`.
        """
        self._check_scratch()
        content = data.encode() if isinstance(data, str) else bytes(data)
        check_files({**self._tree, path: content})
        self._tree[path] = content

    async def delete(self, path: str) -> None:
        """Forget a file.

        Raises:
            PermissionError: this tree may only be read.
            FileNotFoundError: there is none.
        """
        self._check_scratch()
        await self.read(path)
        del self._tree[path]

    def _check_scratch(self) -> None:
        if not self._scratch:
            raise PermissionError("these files may only be read")


def env_of(offers: Sequence[Sequence[Any]], asker: Asker) -> Env:
    """What a run finds as `env`.

    Args:
        offers: of each grant its name, its kind and its operations (`homing_node.broker.grants.Offer`).
        asker: asks the node.
    """
    found: dict[str, Any] = {}
    for place, (name, kind, operations) in enumerate(offers):
        if kind == STUB:
            found[name] = Stub(asker, place, name, operations)
        elif kind == FILES:
            found[name] = Files(operations[0], scratch=operations[1])
        else:
            found[name] = _KINDS[kind](asker, place, name)
    return Env(**found)


_KINDS: dict[str, Callable[[Asker, int, str], _Granted]] = {HTTP: Http, FETCH: Gateway, SQL: Sql, KV: Kv}
