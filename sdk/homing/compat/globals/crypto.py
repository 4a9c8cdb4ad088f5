"""`crypto`: random values, digests and HMAC. Names and meanings are those of https://www.w3.org/TR/webcrypto/."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from homing.compat.globals.data import ArrayBuffer
from homing.compat.membrane import JsArray
from homing.compat.unsupported import Unsupported
from homing.errors import NotSupported

_DIGESTS = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512", "MD5": "md5"}


@dataclass(frozen=True, slots=True)
class CryptoKey:
    """A secret key of HMAC.

    Attributes:
        secret: its bytes, which are shown to nobody.
        digest: the name that hashlib has for its hash.
        extractable: whether it may be exported.
        usages: what it is for.
    """

    secret: bytes = field(repr=False)
    digest: str
    extractable: bool
    usages: JsArray
    type: str = "secret"


class Subtle:
    """Digests and HMAC; whatever else is asked for is named by an error."""

    async def digest(self, algorithm: Any, data: Any) -> ArrayBuffer:
        """The digest of bytes: SHA-1, SHA-256, SHA-384, SHA-512 or MD5."""
        return ArrayBuffer(hashlib.new(_digest_of(algorithm), bytes(data), usedforsecurity=False).digest())

    async def importKey(self, form: str, data: Any, algorithm: Any, extractable: bool, usages: Any) -> CryptoKey:
        """A key of HMAC from its bytes."""
        if form != "raw":
            raise NotSupported(f"js.crypto.subtle.importKey of the format {form} is not supported")
        return CryptoKey(bytes(data), _hmac_digest_of(algorithm), bool(extractable), JsArray(usages))

    async def generateKey(self, algorithm: Any, extractable: bool, usages: Any) -> CryptoKey:
        """A new key of HMAC."""
        digest = _hmac_digest_of(algorithm)
        size = hashlib.new(digest, usedforsecurity=False).block_size
        return CryptoKey(secrets.token_bytes(size), digest, bool(extractable), JsArray(usages))

    async def exportKey(self, form: str, key: CryptoKey) -> ArrayBuffer:
        """The bytes of a key that was made to be exported."""
        if form != "raw" or not key.extractable:
            raise ValueError("the key cannot be exported like this")
        return ArrayBuffer(key.secret)

    async def sign(self, algorithm: Any, key: CryptoKey, data: Any) -> ArrayBuffer:
        """The HMAC of bytes."""
        return ArrayBuffer(_mac(algorithm, key, "sign", data))

    async def verify(self, algorithm: Any, key: CryptoKey, signature: Any, data: Any) -> bool:
        """Whether it is the HMAC of the bytes; it takes the same time either way."""
        return hmac.compare_digest(_mac(algorithm, key, "verify", data), bytes(signature))

    def timingSafeEqual(self, one: Any, other: Any) -> bool:
        """Whether bytes are the same; it takes the same time either way."""
        if len(one) != len(other):
            raise ValueError("both must have the same length")
        return hmac.compare_digest(bytes(one), bytes(other))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return Unsupported(f"js.crypto.subtle.{name}")


def _name_of(algorithm: Any) -> str:
    named = cast("Mapping[str, Any]", algorithm).get("name") if isinstance(algorithm, Mapping) else algorithm
    return str(named).upper()


def _digest_of(algorithm: Any) -> str:
    found = _DIGESTS.get(_name_of(algorithm))
    if found is None:
        raise NotSupported(f"js.crypto.subtle with {_name_of(algorithm)} is not supported")
    return found


def _hmac_digest_of(algorithm: Any) -> str:
    if _name_of(algorithm) != "HMAC" or not isinstance(algorithm, Mapping):
        raise NotSupported(f"js.crypto.subtle with keys of {_name_of(algorithm)} is not supported")
    return _digest_of(cast("Mapping[str, Any]", algorithm).get("hash"))


def _mac(algorithm: Any, key: CryptoKey, use: str, data: Any) -> bytes:
    if _name_of(algorithm) != "HMAC":
        raise NotSupported(f"js.crypto.subtle.{use} with {_name_of(algorithm)} is not supported")
    if use not in key.usages:
        raise ValueError(f"the key is not for use as {use}")
    return hmac.digest(key.secret, bytes(data), key.digest)


class Crypto:
    """What is random, and `subtle`."""

    subtle = Subtle()

    @staticmethod
    def randomUUID() -> str:
        """A new identifier."""
        return str(uuid.uuid4())

    @staticmethod
    def getRandomValues(array: bytearray) -> bytearray:
        """Fill an array; returns it."""
        array[:] = secrets.token_bytes(len(array))
        return array


crypto = Crypto()
