"""The digest that tells whether an idempotency key is used again for the same call (rule 22)."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, cast

import msgspec

from homing.errors import BadRequest
from homing_gateway.routes import Route

FINGERPRINT_BYTES = 16

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder[Any](Any)
_NO_ARGUMENTS = b"[[],{}]"


def of_rpc(route: Route, body: bytes) -> bytes:
    """The digest of a call: spelling, spaces and the order of keys make no difference; values do.

    Raises:
        BadRequest: the body is not a JSON object, or is nested too deep.

    Example:
        >>> of_rpc(route, b'{"args": [1]}') == of_rpc(route, b'{ "kwargs": {}, "args": [1] }')
        True
    """
    return _digest(b"rpc", route.object_id, route.method.encode(), _canonical(body))


def of_fetch(route: Route, verb: str, url: str, body: bytes) -> bytes:
    """The digest of a fetch: verb, address and the bytes of the body."""
    return _digest(verb.encode(), route.object_id, url.encode(), body)


def _canonical(body: bytes) -> bytes:
    if not body or body == b"{}":
        return _NO_ARGUMENTS
    try:
        parsed: object = _decoder.decode(body)
        if not isinstance(parsed, dict):
            raise BadRequest("the body must be a JSON object")
        call = cast("dict[str, object]", parsed)
        args, kwargs = call.pop("args", []), call.pop("kwargs", {})
        return _encoder.encode([args, kwargs, call] if call else [args, kwargs])
    except RecursionError as error:
        raise BadRequest("the body is nested too deep") from error
    except ValueError as error:  # msgspec's, of bad UTF-8, and of numbers with too many digits
        raise BadRequest(f"the body is not JSON: {error}") from error


def _digest(*parts: bytes) -> bytes:
    """Every part with its length before it, so that no two lists of parts read the same."""
    digest = blake2b(digest_size=FINGERPRINT_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()
