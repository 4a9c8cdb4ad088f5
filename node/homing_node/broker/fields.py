"""Header fields of requests that code without trust asks for, and of their answers. Pure.

What belongs to the connection is the broker's to say, and is left out whoever said it: a client library sets it out
of habit. What would make the server see another request than the one that the grant names is refused: no honest
program sends that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from homing_node import limits
from homing_node.broker.credentials import Credentials
from homing_node.broker.policy import OF_CONNECTION, TOKEN
from homing_node.broker.urls import Refusal, Target

Fields = list[tuple[str, str]]
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\u0100-\U0010ffff]*")  # RFC 9110: no line breaks, no control characters
_HARMLESS = frozenset(("keep-alive", "close", "te", "trailers", ""))  # what `Connection` may name
_OF_PROXIES = re.compile(
    r"x-forwarded(-.*)?|forwarded|via|(x-)?(real|client|cluster-client|true-client)-ip|cf-.*|proxy-.*"
)
_OTHER_REQUEST = re.compile(r"x-(http-)?method(-override)?|x-(original|rewrite|override)-(url|uri|method|host)|x-host")
_IDENTITY = re.compile(r"(proxy-)?authorization|cookie2?|x-(api|auth|access)-?(key|token)|api-?key|private-token")
_PARTS = frozenset(("range", "if-range"))  # an answer in parts could hold a secret in parts
_NOT_PASSED_ON = frozenset(
    ("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "transfer-encoding",
     "upgrade", "alt-svc", "content-encoding", "strict-transport-security", "public-key-pins")
)  # fmt: skip
_SESSIONS = frozenset(("set-cookie", "set-cookie2", "authentication-info", "refresh"))


def outgoing(target: Target, headers: Sequence[tuple[str, str]], credentials: Credentials) -> Fields:
    """The fields of a request as they are sent, without those of its body.

    Raises:
        Refusal: a field that cannot be sent, or that would make another request of it.
    """
    if len(headers) > limits.grant_fields_max:
        raise Refusal("headers", f"a request has at most {limits.grant_fields_max} header fields")
    if sum(len(name) + len(value) + 4 for name, value in headers) > limits.grant_head_bytes_max:
        raise Refusal("headers", f"header fields have at most {limits.grant_head_bytes_max:,} bytes")
    passed: Fields = []
    for name, value in headers:
        lowered = name.lower()
        _check(lowered, value, target, credentials)
        if lowered in OF_CONNECTION:
            continue
        if credentials.secretive and lowered in _PARTS:
            continue
        passed.append((lowered, value.strip(" \t")))
    # gzip and deflate are undone here, with a bound; whoever asked gets what was inside.
    return [("host", target.authority), *passed, ("accept-encoding", "gzip, deflate"), *credentials.fields]


def with_credentials(target: Target, credentials: Credentials) -> str:
    """Path and query as they are sent.

    Raises:
        Refusal: the query gives a parameter that is the broker's to give.
    """
    if not credentials.query:
        return target.resource
    if credentials.gives_parameter(target.query or ""):
        raise Refusal("credentials", "the query gives a parameter that the grant gives")
    joint = "?" if target.query is None else "&" if target.query else ""
    return f"{target.resource}{joint}{credentials.query}"


def _check(name: str, value: str, target: Target, credentials: Credentials) -> None:
    if not TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise Refusal("headers", "a header field with a line break, or another such character, cannot be sent")
    dashed = name.replace("_", "-")  # many servers see no difference
    if name == "host" and value.strip().lower() not in (target.authority, f"{target.host}:{target.port}"):
        raise Refusal("host", "the field Host names another host than the URL")
    if name == "connection" and not {part.strip().lower() for part in value.split(",")} <= _HARMLESS:
        raise Refusal("headers", "the field Connection may say keep-alive or close")
    if name in ("upgrade", "http2-settings"):
        raise Refusal("upgrade", "a grant is for requests: no other protocol, and no WebSocket")
    if _OF_PROXIES.fullmatch(dashed) and dashed not in OF_CONNECTION:
        raise Refusal("headers", "a field that proxies set cannot be sent")
    if _OTHER_REQUEST.fullmatch(dashed):
        raise Refusal("headers", "a field that names another method or path cannot be sent")
    if credentials.gives_field(dashed) or (credentials.secretive and _IDENTITY.fullmatch(dashed)):
        raise Refusal("credentials", "who asks is the grant's to say: the request may not carry credentials of its own")


def incoming(headers: Sequence[tuple[bytes, bytes]], *, secretive: bool, decoded: bool) -> Fields:
    """The fields of an answer as they are passed on.

    Args:
        headers: as they came.
        secretive: the request carried credentials: whatever stands for them stays here, too.
        decoded: the body was decompressed, so that it has another length.

    Raises:
        Refusal: there are too many bytes of them.
    """
    most = limits.grant_answer_head_bytes_max
    if sum(len(name) + len(value) + 4 for name, value in headers) > most:
        raise Refusal("answer", f"the header fields of the answer have over {most:,} bytes")
    left_out: set[str] = {*_NOT_PASSED_ON, *(_SESSIONS if secretive else ()), *(("content-length",) if decoded else ())}
    read = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    for name, value in read:
        if name == "connection":
            left_out |= {part.strip().lower() for part in value.split(",")}
    return [(name, value) for name, value in read if name not in left_out]
