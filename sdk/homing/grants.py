"""What code in a sandbox may do besides computing: grants, each under a name in its `env` (docs/sandboxes.md).

    items = homing.grants.http("api.example.com", methods=["GET"], paths=["/items/**"])
    ran = await homing.run("await env.items.fetch('https://api.example.com/items/7')", grants={"items": items})

What is not granted is not there. A grant lasts as long as the run that it is given to, or until it is revoked, has
expired, or is used up; given to several runs, it counts for each by itself.
"""

from __future__ import annotations

import keyword
import secrets
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from homing import sandbox_runner
from homing.errors import BadRequest, GrantEnded, TooLarge
from homing.objects import DurableObject
from homing.stubs import DurableObjectStub
from homing.values import to_stored

HTTP, STUB, SQL, KV, FILES, NAMED, FETCH = "http", "stub", "sql", "kv", "files", "named", "fetch"
KEY_BYTES = 16
NAME_CHARS_MAX = 64
GRANTS_MAX = 32
FILES_MAX = 1_000
FILES_BYTES_MAX = 4 << 20
PATH_CHARS_MAX = 255

Target = DurableObjectStub | DurableObject
Limits = Mapping[str, float]


class Given(NamedTuple):
    """A grant on its way to the node that opens it.

    Attributes:
        name: in `env`.
        key: names the grant to whoever revokes it; it does not get into the sandbox.
        kind: HTTP, STUB, SQL, KV, FILES or NAMED.
        says: what is granted, a MessagePack map of plain values.
    """

    name: str
    key: bytes
    kind: str
    says: bytes


class Grant:
    """Something that code in a sandbox may do. Made by the functions of this module, given to `homing.run`.

    Attributes:
        kind: what it grants.
        revoked: `revoke` was called.
    """

    __slots__ = ("_key", "_says", "_target", "kind", "revoked")

    def __init__(self, kind: str, says: Mapping[str, Any], target: Any = None) -> None:
        if kind in (STUB, SQL, KV) and not isinstance(target, Target):
            raise TypeError(f"a grant is for a stub, or for the object itself, not for a {type(target).__qualname__}")
        self.kind = kind
        self.revoked = False
        self._key = secrets.token_bytes(KEY_BYTES)
        self._says = {name: value for name, value in says.items() if value is not None}
        self._target: Target | None = target

    def revoke(self) -> Awaitable[None]:
        """Take it back, from every run that holds it: what they do under it just then fails with `GrantEnded`.

        It happens when what the object has written is safe, as a call to another object does, awaited or not.

        Raises:
            NotSupported: this code does not run in a worker.
        """
        self.revoked = True
        return sandbox_runner.current().revoke_grant(self._key)

    def homing_given(self, name: str) -> Given:
        """As it is given to a run.

        Raises:
            GrantEnded: it was revoked.
            TypeError: it is for the caller's own object, and the caller is none.
        """
        if self.revoked:
            raise GrantEnded(f"the grant {name} was revoked")
        says = dict(self._says)
        if self._target is not None:
            class_key, object_id = _address(self._target)
            says.update(class_name=class_key, object_id=object_id.raw, object_name=object_id.name or "")
        return Given(name, self._key, self.kind, msgspec.msgpack.encode(says))

    def __repr__(self) -> str:
        return f"Grant({self.kind}{', revoked' if self.revoked else ''})"


def _address(target: Target) -> tuple[str, Any]:
    if isinstance(target, DurableObjectStub):
        return target.class_key, target.id
    return sandbox_runner.current().own_address()


def http(
    *hosts: str,
    methods: Iterable[str],
    paths: Iterable[str],
    credentials: Iterable[Mapping[str, str]] = (),
    schemes: Iterable[str] | None = None,
    ports: Iterable[int] | None = None,
    limits: Limits | None = None,
) -> Grant:
    """Requests to the outside: `await env.NAME.fetch(url, method=, headers=, body=)`.

    docs/reference/outbound.md says what each argument may be. A run is refused with `Forbidden` where the application
    itself may not send requests there (`homing.fetch_hosts`), and with `BadRequest` where that cannot be granted.

    Args:
        hosts: names; `*.` and a domain for every host below it.
        methods: in capitals.
        paths: patterns: `/v1/items`, `/v1/*/items`, `/v1/**`.
        credentials: what the node adds to each request, and the sandbox never sees: `name` of the header field,
            `secret`, `form`, `place`.
        schemes: `https` alone, unless it says otherwise.
        ports: those of the schemes, unless it says otherwise.
        limits: by name: `calls_max`, `calls_per_s_max`, `life_s_max`, …

    Example:
        >>> token = {"name": "authorization", "secret": "ISSUES_TOKEN", "form": "Bearer {secret}"}
        >>> http("api.example.com", methods=["GET"], paths=["/repos/**"], credentials=[token]).kind
        'http'
    """
    says = {
        "hosts": list(hosts), "methods": list(methods), "paths": list(paths),
        "credentials": [dict(each) for each in credentials],
        "schemes": None if schemes is None else list(schemes), "ports": None if ports is None else list(ports),
        "limits": _plain(limits),
    }  # fmt: skip
    return Grant(HTTP, says)


def stub(
    target: Target, methods: Iterable[str], *, props: Mapping[str, Any] | None = None, limits: Limits | None = None
) -> Grant:
    """Calls of an object's public methods: `await env.NAME.method(…)`.

    Arguments and results are values that objects can store: no stub, function or stream passes either way.

    Args:
        target: a stub, or the object that gives the grant: `self`.
        methods: those that may be called.
        props: what each of them is given besides, as its keyword argument `props`. The sandbox does not see it; that
            it cannot say it itself, name it behind a `*` in the method.
        limits: by name: `calls_max`, `calls_per_s_max`, `life_s_max`, …

    Raises:
        TypeError: a value in the props cannot be sent.

    Example:
        >>> grant = homing.grants.stub(self, ["search"], props={"user": 7})  # doctest: +SKIP
    """
    given = to_stored(dict(props)) if props is not None else None
    return Grant(STUB, {"methods": list(methods), "props": given, "limits": _plain(limits)}, target)


def sql(target: Target, *, read_only: bool = True, limits: Limits | None = None) -> Grant:
    """SQL over an object's database: `rows = await env.NAME.exec("SELECT …", …)`, a list of dicts.

    Args:
        target: a stub, or the object that gives the grant: `self`.
        read_only: nothing may be changed; SQLite itself refuses what would.
        limits: by name, as of `stub`.
    """
    return Grant(SQL, {"read_only": read_only, "limits": _plain(limits)}, target)


def kv(target: Target, *, read_only: bool = True, limits: Limits | None = None) -> Grant:
    """An object's key-value pairs: `await env.NAME.get(key)`, `.list(prefix=)`; and `.put(key, value)`, `.delete(key)`.

    Args:
        target: a stub, or the object that gives the grant: `self`.
        read_only: there is no `put` and no `delete`.
        limits: by name, as of `stub`.
    """
    return Grant(KV, {"read_only": read_only, "limits": _plain(limits)}, target)


def files(tree: Mapping[str, str | bytes], *, scratch: bool = False) -> Grant:
    """Files that are in the memory of the sandbox alone: `await env.NAME.read(path)`, `.text(path)`, `.list(prefix)`.

    Args:
        tree: contents by path, such as `data/a.csv`; text goes as UTF-8. At most 1,000 files, and 4 MiB together.
        scratch: there are also `.write(path, data)` and `.delete(path)`; what they do is gone with the run.

    Raises:
        BadRequest: a path that is none, as with `..` in it.
        TooLarge: there are too many files, or bytes in them.

    Example:
        >>> files({"data/a.csv": "n\n1\n"}).kind
        'files'
    """
    content = {path: data.encode() if isinstance(data, str) else bytes(data) for path, data in tree.items()}
    check_files(content)
    return Grant(FILES, {"files": content, "scratch": scratch})


def gateway(target: Grant | Target) -> Grant:
    """What every request of a dynamic worker goes through.

    Args:
        target: a grant of requests; or an object, by a stub or as `self`, whose `fetch` gets them.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(target, Grant) and target.kind in (HTTP, NAMED):
        return target
    if isinstance(target, (DurableObjectStub, DurableObject)):
        return Grant(FETCH, {}, target)
    raise TypeError(f"requests go through a grant of requests, or an object, not {type(target).__qualname__}")


def named(name: str) -> Grant:
    """The grant that the application's configuration has under a name (`homing.grants`).

    Example:
        >>> named("issues").kind
        'named'
    """
    return Grant(NAMED, {"grant": name})


def given(grants: Mapping[str, Any]) -> tuple[Given, ...]:
    """Grants on their way, by their names in `env`.

    Raises:
        BadRequest: a name that is none; or there are too many.
        TypeError: one of them is no grant.
        GrantEnded: one was revoked.
    """
    if len(grants) > GRANTS_MAX:
        raise BadRequest(f"{len(grants)} grants; at most {GRANTS_MAX}")
    for name, grant in grants.items():
        check_name(name)
        if not isinstance(grant, Grant):
            raise TypeError(f"{name} is a {type(grant).__qualname__}, and no grant of homing.grants")
    return tuple(grant.homing_given(name) for name, grant in grants.items())


def check_name(name: object) -> None:
    """Raises `BadRequest` unless it can be an attribute of `env`."""
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise BadRequest(f"{name!r} is no name for a grant: letters, digits and _, none of these two in front")
    if len(name) > NAME_CHARS_MAX:
        raise BadRequest(f"the name of a grant has at most {NAME_CHARS_MAX} characters")


def check_files(tree: Mapping[str, bytes]) -> None:
    """See that a tree of files is one, and not too large.

    Raises:
        BadRequest, TooLarge: as `files`.

    Example:
        >>> check_files({"a/../b": b""})
        Traceback (most recent call last):
        ...
        homing.errors.BadRequest: 'a/../b' is no path of a file
    """
    for path in tree:
        parts = path.split("/")
        if len(path) > PATH_CHARS_MAX or not path.isprintable() or any(part in ("", ".", "..") for part in parts):
            raise BadRequest(f"{path[:PATH_CHARS_MAX]!r} is no path of a file")
    if len(tree) > FILES_MAX or sum(map(len, tree.values())) > FILES_BYTES_MAX:
        raise TooLarge(f"at most {FILES_MAX:,} files, and {FILES_BYTES_MAX:,} bytes in all of them")


def _plain(limits: Limits | None) -> dict[str, float] | None:
    return None if limits is None else dict(limits)
