"""`kv_namespaces`: keys with values, for all of an application, as Cloudflare's Workers KV has them.

A namespace is a fixed number of objects, each with the keys that hash to it: what one object promises of its data, a
namespace promises of each key. Reads are never stale, where the reference allows a minute.

Names and limits are those of https://developers.cloudflare.com/kv/api/, but for the size of a value.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, cast

from homing.errors import BadRequest, TooLarge
from homing.ids import bound_by
from homing.objects import DurableObject
from homing.stubs import Caller, DurableObjectNamespace

KV_CLASS = "homing.kv"
SHARDS = 16
KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 8 << 20  # the reference has 25 MiB; here a value travels in one call, and is written in one turn
PIECE_BYTES = 1 << 20
METADATA_BYTES_MAX = 1_024
TTL_S_MIN = 60
LIST_MAX = 1_000
GET_MAX = 100
TYPES = ("text", "json", "arrayBuffer", "bytes")

Found = tuple[bytes, str | None]
"""A value and the JSON of its metadata."""


class KvShard(DurableObject):
    """The keys of a namespace that hash to one object."""

    def __init__(self, ctx: Any, env: Any) -> None:
        super().__init__(ctx, env)
        sql = ctx.storage.sql
        sql.exec(
            "CREATE TABLE IF NOT EXISTS entries(key TEXT PRIMARY KEY, expires INTEGER, metadata TEXT) WITHOUT ROWID;"
            "CREATE INDEX IF NOT EXISTS by_expiry ON entries(expires) WHERE expires IS NOT NULL;"
            "CREATE TABLE IF NOT EXISTS pieces(key TEXT, number INTEGER, data BLOB, PRIMARY KEY(key, number))"
            " WITHOUT ROWID"
        )

    def get(self, keys: list[str]) -> list[Found | None]:
        """The value of each key, and its metadata; None: there is none, or not any more."""
        return [self._get(key) for key in keys]

    def _get(self, key: str) -> Found | None:
        sql = self.ctx.storage.sql
        entry = sql.exec(
            "SELECT metadata FROM entries WHERE key = ? AND (expires IS NULL OR expires > ?)", key, _now_s()
        ).to_array()
        if not entry:
            return None
        pieces = sql.exec("SELECT data FROM pieces WHERE key = ? ORDER BY number", key).raw()
        return b"".join(cast("bytes", row[0]) for row in pieces), cast("str | None", entry[0]["metadata"])

    def put(self, key: str, value: bytes, expires: int | None, metadata: str | None) -> None:
        """Store a value, in the place of the one before."""
        sql = self.ctx.storage.sql
        sql.exec("DELETE FROM pieces WHERE key = ?", key)
        sql.exec("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", key, expires, metadata)
        for number, at in enumerate(range(0, len(value), PIECE_BYTES)):
            sql.exec("INSERT INTO pieces VALUES (?, ?, ?)", key, number, value[at : at + PIECE_BYTES])
        self._wake()

    def delete(self, keys: list[str]) -> None:
        """Remove keys, if they are there."""
        for key in keys:
            self.ctx.storage.sql.exec("DELETE FROM pieces WHERE key = ?", key)
            self.ctx.storage.sql.exec("DELETE FROM entries WHERE key = ?", key)

    def list(self, prefix: str, after: str, limit: int) -> list[tuple[Any, ...]]:
        """Keys with a prefix above another key, in order: name, expiry and metadata."""
        found = self.ctx.storage.sql.exec(
            "SELECT key, expires, metadata FROM entries WHERE key > ?1 AND key >= ?2 "
            "AND substr(key, 1, length(?2)) = ?2 AND (expires IS NULL OR expires > ?3) ORDER BY key LIMIT ?4",
            after, prefix, _now_s(), limit,
        )  # fmt: skip
        return list(found.raw())

    def alarm(self) -> None:
        """Remove what has expired."""
        gone = self.ctx.storage.sql.exec(
            "SELECT key FROM entries WHERE expires <= ? ORDER BY expires LIMIT ?", _now_s(), LIST_MAX
        ).raw()
        self.delete([cast("str", row[0]) for row in gone])
        self._wake()

    def _wake(self) -> None:
        first = self.ctx.storage.sql.exec("SELECT min(expires) AS first FROM entries").one()["first"]
        if first is not None:
            self.ctx.storage.set_alarm(cast("int", first) * 1_000)


class KvNamespace:
    """A namespace of keys, `env.NAME`. Every method is awaited.

    Args:
        caller: takes the calls.
        namespace_id: which one; applications that name the same share it.
        jurisdiction: the name of what binds it to zones; one id is another namespace in each, and in none.

    Raises:
        UnknownLocation: the cluster has no jurisdiction of that name.

    Example:
        >>> await self.env.CACHE.put("page", "<p>hello", expiration_ttl=3_600)  # doctest: +SKIP
        >>> await self.env.CACHE.get("page")  # doctest: +SKIP
        '<p>hello'
    """

    def __init__(self, caller: Caller, namespace_id: str, jurisdiction: str | None = None) -> None:
        self._shards = DurableObjectNamespace(caller, KV_CLASS, bound_by(jurisdiction) if jurisdiction else None)
        self._id = namespace_id

    async def get(self, key: str | Iterable[str], type: str = "text", *, cache_ttl: int = 0) -> Any:  # noqa: A002 - callers name it as the reference does: type="json"
        """The value of a key, or None; or those of up to 100 keys, by key.

        Args:
            key: one, or several.
            type: "text"; "json": what it says; "arrayBuffer" or "bytes": as it is.
            cache_ttl: there is no cache that could be stale.

        Raises:
            BadRequest: a key or a type that cannot be one, or too many keys.
            ValueError: the value is not of that type.
        """
        if isinstance(key, str):
            return (await self.get_with_metadata(key, type))["value"]
        found = await self.get_with_metadata(key, type)
        return {name: entry["value"] if entry is not None else None for name, entry in found.items()}

    async def get_with_metadata(self, key: str | Iterable[str], type: str = "text", *, cache_ttl: int = 0) -> Any:  # noqa: A002 - as above
        """As `get`, with the metadata: `{"value", "metadata", "cacheStatus"}`."""
        if type not in TYPES:
            raise BadRequest(f"a value is read as one of {', '.join(TYPES)}, not as {type!r}")
        keys = [key] if isinstance(key, str) else list(key)
        if len(keys) > GET_MAX:
            raise BadRequest(f"at most {GET_MAX} keys are read at once")
        entries = await self._read(keys)
        read = {name: _entry(found, type) for name, found in entries.items()}
        return (read[keys[0]] or dict(_NONE)) if isinstance(key, str) else read

    async def _read(self, keys: list[str]) -> dict[str, Found | None]:
        of_shard: dict[int, list[str]] = {}
        for key in dict.fromkeys(keys):
            of_shard.setdefault(_shard(_checked(key)), []).append(key)
        answers = await asyncio.gather(*(self._at(number).get(some) for number, some in of_shard.items()))
        return {
            key: found
            for some, answer in zip(of_shard.values(), answers, strict=True)
            for key, found in zip(some, answer, strict=True)
        }

    async def put(
        self,
        key: str,
        value: str | bytes | bytearray | memoryview,
        *,
        expiration: int | None = None,
        expiration_ttl: int | None = None,
        metadata: Any = None,
    ) -> None:
        """Store a value; it is there for every reader when this has returned.

        Args:
            key: at most 512 bytes.
            value: at most 8 MiB.
            expiration: when it is gone, in seconds since 1970.
            expiration_ttl: or after how many seconds; at least 60.
            metadata: any JSON of at most 1,024 bytes.

        Raises:
            BadRequest: a key, an expiry or metadata that cannot be one.
            TooLarge: the value.
        """
        data = value.encode() if isinstance(value, str) else bytes(value)
        if len(data) > VALUE_BYTES_MAX:
            raise TooLarge(f"a value of {len(data)} bytes; at most {VALUE_BYTES_MAX}")
        text = None if metadata is None else json.dumps(metadata)
        if text is not None and len(text.encode()) > METADATA_BYTES_MAX:
            raise BadRequest(f"metadata has at most {METADATA_BYTES_MAX} bytes as JSON")
        expires = _expiry(expiration, expiration_ttl)
        await self._at(_shard(_checked(key))).put(key, data, expires, text)

    async def delete(self, key: str) -> None:
        """Remove a key, if it is there."""
        await self._at(_shard(_checked(key))).delete([key])

    async def list(
        self, *, prefix: str | None = None, limit: int = LIST_MAX, cursor: str | None = None
    ) -> dict[str, Any]:
        """Names of keys, in order: `{"keys": [{"name", "expiration", "metadata"}], "list_complete", "cursor"}`.

        Args:
            prefix: what the names begin with.
            limit: from 1 to 1,000.
            cursor: of an earlier page.
        """
        if not 1 <= limit <= LIST_MAX:
            raise BadRequest(f"limit must be from 1 to {LIST_MAX}")
        after = _after(cursor) if cursor else ""
        pages = await asyncio.gather(*(self._at(n).list(prefix or "", after, limit + 1) for n in range(SHARDS)))
        entries = sorted((entry for page in pages for entry in page), key=lambda entry: entry[0])
        found: dict[str, Any] = {"keys": [_listed(*entry) for entry in entries[:limit]]}
        found["list_complete"] = len(entries) <= limit
        if len(entries) > limit:
            found["cursor"] = urlsafe_b64encode(entries[limit - 1][0].encode()).decode()
        found["cacheStatus"] = None
        return found

    def _at(self, shard: int) -> Any:
        return self._shards.get_by_name(f"{self._id}/{shard}")


_NONE = {"value": None, "metadata": None, "cacheStatus": None}


def _entry(found: Found | None, kind: str) -> dict[str, Any] | None:
    if found is None:
        return None
    data, metadata = found
    value: Any = data if kind in ("arrayBuffer", "bytes") else data.decode()
    value = json.loads(value) if kind == "json" else value
    return {"value": value, "metadata": None if metadata is None else json.loads(metadata), "cacheStatus": None}


def _listed(name: str, expires: int | None, metadata: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name}
    if expires is not None:
        entry["expiration"] = expires
    if metadata is not None:
        entry["metadata"] = json.loads(metadata)
    return entry


def _checked(key: object) -> str:
    if not isinstance(key, str) or key in ("", ".", ".."):
        raise BadRequest(f"{key!r} is no key: it is text, and neither empty nor a dot or two")
    if len(key.encode()) > KEY_BYTES_MAX:
        raise BadRequest(f"a key has at most {KEY_BYTES_MAX} bytes")
    return key


def _shard(key: str) -> int:
    return blake2b(key.encode(), digest_size=1).digest()[0] % SHARDS


def _expiry(expiration: int | None, ttl_s: int | None) -> int | None:
    if ttl_s is not None and ttl_s < TTL_S_MIN:
        raise BadRequest(f"expiration_ttl is at least {TTL_S_MIN} seconds, not {ttl_s}")
    if ttl_s is not None:
        return _now_s() + int(ttl_s)
    if expiration is not None and expiration < _now_s() + TTL_S_MIN:
        raise BadRequest(f"expiration is at least {TTL_S_MIN} seconds from now, in seconds since 1970")
    return None if expiration is None else int(expiration)


def _after(cursor: str) -> str:
    try:
        return b64decode(cursor, b"-_", validate=True).decode()
    except ValueError as error:
        raise BadRequest("cursor must be what an earlier page gave") from error


def _now_s() -> int:
    return int(time.time())
