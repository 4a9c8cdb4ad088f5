"""What a request's headers ask for, read in one pass, and whether the request may come in at all. Pure."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable

from homing.errors import BadRequest, Forbidden, MethodNotAllowed, NotFound, Unauthenticated, UnsupportedMediaType
from homing.observability import trace
from homing_gateway.limits import (
    KEY_CHARS_MAX,
    LOOPBACK_HOSTS_MAX,
    REQUEST_ID_CHARS_MAX,
    TIMEOUT_MS_DEFAULT,
    TIMEOUT_MS_MAX,
)
from homing_gateway.routes import Kind, Route

_VISIBLE = re.compile(rb"[\x21-\x7e]+")
_LOOPBACK = re.compile(rb"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.I)
_SCHEMES = (b"http://", b"https://")
_JSON = b"application/json"

# Each process has a prefix of its own; a counter behind it is as good as random for telling requests apart.
_PREFIX = secrets.token_hex(6) + "-"
_count = 0


def new_request_id() -> str:
    """A request id that no other process makes."""
    global _count  # noqa: PLW0603  # one counter a process, and an object around it would cost an attribute a call
    _count += 1
    return f"{_PREFIX}{_count:x}"


class Asked:
    """The headers that the gateway itself reads; None where a header is missing."""

    __slots__ = (
        "authorization",
        "content_length",
        "content_type",
        "host",
        "key",
        "origin",
        "request_id",
        "timeout",
        "traceparent",
        "twice",
    )

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self.authorization: bytes | None = None
        self.content_length: bytes | None = None
        self.content_type: bytes | None = None
        self.host: bytes | None = None
        self.key: bytes | None = None
        self.origin: bytes | None = None
        self.request_id: bytes | None = None
        self.timeout: bytes | None = None
        self.traceparent: bytes | None = None
        self.twice = ""
        field_of = _FIELDS.get
        for name, value in headers:
            field = field_of(name)
            if field is not None:
                if getattr(self, field) is not None:
                    self.twice = field
                setattr(self, field, value)

    def take_request_id(self) -> str:
        """The caller's request id, if it is up to 128 visible ASCII characters; else a new one."""
        given = self.request_id
        if given is not None and len(given) <= REQUEST_ID_CHARS_MAX and _VISIBLE.fullmatch(given):
            return given.decode("ascii")
        return new_request_id()

    def timeout_ms(self) -> int:
        """The deadline asked for, or the default, in milliseconds.

        Raises:
            BadRequest: not a whole number from 1 to 600,000.
        """
        given = self.timeout
        if given is None:
            return TIMEOUT_MS_DEFAULT
        if not given.isdigit() or len(given) > 7 or not 1 <= int(given) <= TIMEOUT_MS_MAX:
            raise BadRequest(f"Homing-Timeout-Ms must be a whole number from 1 to {TIMEOUT_MS_MAX}")
        return int(given)

    def idempotency_key(self) -> str:
        """The key, or empty.

        Raises:
            BadRequest: empty, too long, or with characters that are not visible ASCII.
        """
        given = self.key
        if given is None:
            return ""
        if len(given) > KEY_CHARS_MAX or not _VISIBLE.fullmatch(given):
            raise BadRequest(f"Idempotency-Key must be 1 to {KEY_CHARS_MAX} visible ASCII characters")
        return given.decode("ascii")

    def trace(self) -> str:
        """The caller's `traceparent` when it is valid; else empty, as the standard asks."""
        if self.traceparent is None:
            return ""
        text = self.traceparent.decode("latin-1")
        return text if trace.parse(text) is not None else ""

    def trace_id(self) -> str:
        """The caller's trace, for log lines; or empty."""
        return trace.id_of(self.trace())

    def check_json(self) -> None:
        """RPC takes `application/json` only, with or without a body: a form of another site cannot send it.

        Raises:
            UnsupportedMediaType: another type, or none.
        """
        given = self.content_type
        if given != _JSON and (given is None or given.split(b";", 1)[0].strip().lower() != _JSON):
            raise UnsupportedMediaType("a call needs the content-type application/json")


_FIELDS = {
    b"authorization": "authorization",
    b"content-length": "content_length",
    b"content-type": "content_type",
    b"host": "host",
    b"idempotency-key": "key",
    b"origin": "origin",
    b"x-request-id": "request_id",
    b"homing-timeout-ms": "timeout",
    b"traceparent": "traceparent",
}


class Doorkeeper:
    """Decides who may come in.

    With a token, everything under `/_homing/v1/` needs it. Without one the gateway listens on loopback only, and
    refuses what a web page of another site, or a name of another site that resolves to this machine, could send.

    Args:
        token: the API token, or empty.
    """

    def __init__(self, token: str = "") -> None:
        self._expected = token.encode() if token else b""
        self._loopback_hosts: set[bytes | None] = set()  # those that were seen and are right; a few ports at most

    @property
    def has_token(self) -> bool:
        """A token is set."""
        return bool(self._expected)

    def admit(self, route: Route, verb: str, asked: Asked) -> None:
        """Let a request in, or say why not.

        Raises:
            BadRequest: a header that decides is there twice.
            Forbidden: a foreign Host or Origin.
            Unauthenticated: no token, or a wrong one.
            NotFound: there is no such route.
            MethodNotAllowed: not with this verb.
        """
        if asked.twice:
            raise BadRequest(f"the header for {asked.twice.replace('_', ' ')} is there twice")
        if not self._expected:
            self._check_loopback(asked)
        elif route.guarded and not self.holds(asked.authorization):
            raise Unauthenticated("the API token is missing or wrong")
        if route.kind is Kind.UNKNOWN:
            raise NotFound("there is no such route")
        verbs = route.verbs
        if verbs is not None and verb not in verbs:
            raise MethodNotAllowed(f"this route takes {' or '.join(verbs)}")

    def holds(self, authorization: bytes | None) -> bool:
        """Whether an `Authorization` value carries the token; in a time that says nothing about it."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return False
        return hmac.compare_digest(authorization[7:].strip(), self._expected)

    def _check_loopback(self, asked: Asked) -> None:
        host = asked.host
        if host not in self._loopback_hosts:
            if host is None or _LOOPBACK.fullmatch(host) is None:
                raise Forbidden("without a token this gateway answers only to the names of loopback")
            if len(self._loopback_hosts) < LOOPBACK_HOSTS_MAX:
                self._loopback_hosts.add(host)
        origin = asked.origin
        if origin is not None and not _same_origin(origin, host or b""):
            raise Forbidden("without a token this gateway refuses requests of other origins")


def _same_origin(origin: bytes, host: bytes) -> bool:
    """Whether a page of this gateway made the request: name and port are those of the Host header."""
    return any(origin.lower() == scheme + host.lower() for scheme in _SCHEMES)
