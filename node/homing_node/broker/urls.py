"""One reading of a URL that code without trust wrote. Pure.

Two programs that read a URL in two ways are how a request gets to where it may not. So a URL is read here once,
strictly, and everything that is sent (the name that is looked up, SNI, Host, the target) is written anew from what
was read. What can be read in more than one way is refused rather than mended. The grammar is RFC 3986's, the names
are those of UTS 46.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote

import idna

from homing_node import limits

PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL | re.IGNORECASE)
_BARE = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")  # cut off, dropped or turned over by one reader or another
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_TWICE = ("%2e", "%2f", "%5c", "%25", "%00")  # what a second reading of an escape would make of a path
_HOST_CHARS_MAX = 253
_PORT_MAX = 65_535
_PATH_SAFE = "/!$&'()*+,;=:@%-._~"
_QUERY_SAFE = _PATH_SAFE + "?[]"


class Refusal(Exception):
    """Something may not be done.

    Attributes:
        rule: the name of the rule that says so, for audits.
        sentence: for whoever asked; it says nothing of what they may not know.
        detail: for audits only.
    """

    def __init__(self, rule: str, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.rule, self.sentence, self.detail = rule, sentence, detail


class Target(NamedTuple):
    """Where a request goes.

    Attributes:
        scheme: `http` or `https`.
        host: a name in lower case and ASCII without a dot at its end, or an address in its canonical form, without
        brackets.
        port: of the server.
        path: with a slash in front; only what must be escaped is.
        query: what is behind the question mark, or None.
        literal: the host is an address.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str | None
    literal: bool

    @property
    def authority(self) -> str:
        """What `Host` says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def resource(self) -> str:
        """Path and query, as the first line of a request has them."""
        return self.path if self.query is None else f"{self.path}?{self.query}"


def read_url(url: str) -> Target:
    """Read a URL.

    Raises:
        Refusal: it is no URL of HTTP, or one that may be read in more than one way.

    Example:
        >>> read_url("HTTPS://Api.Example.com./a/%7Eb?c#d")
        Target(scheme='https', host='api.example.com', port=443, path='/a/~b', query='c', literal=False)
    """
    if len(url) > limits.grant_url_chars_max:
        raise Refusal("url", f"a URL has at most {limits.grant_url_chars_max:,} characters")
    if _BARE.search(url):
        raise Refusal("url", "a URL has no spaces, control characters or backslashes")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise Refusal("url", "it is no URL of http or https")
    scheme, authority, path, query = parts[1].lower(), parts[2], parts[3], parts[4]
    if "@" in authority:
        raise Refusal("userinfo", "a URL names no user")
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise Refusal("host", "the host or the port of the URL cannot be read")
    port = int(found[2] or PORTS[scheme])
    if port > _PORT_MAX:
        raise Refusal("port", f"a port is at most {_PORT_MAX}")
    host, literal = read_host(found[1])
    return Target(
        scheme, host, port, _read_path(path), None if query is None else _escaped(query, _QUERY_SAFE), literal
    )


def read_host(text: str) -> tuple[str, bool]:
    """The one form of a host, and whether it is an address.

    Full-width digits, other dots and capital letters become what they stand for (UTS 46); letters of other scripts
    become `xn--`, so that a name that only looks like another is another.

    Raises:
        Refusal: it is none, or an address in a form that only some programs read: 127.1, 0x7f000001, 2130706433.
    """
    if text.startswith("["):
        try:
            address = IPv6Address(text[1:-1])
        except AddressValueError as error:
            raise Refusal("host", "what is between brackets is no address of IPv6") from error
        if address.scope_id is not None:
            raise Refusal("host", "an address has no zone")
        return str(address), True
    name = text if text.isascii() else _to_ascii(text)
    name = name.lower().removesuffix(".")
    if not name or len(name) > _HOST_CHARS_MAX or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise Refusal("host", "it is no name of a host")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        try:
            return str(IPv4Address(name)), True
        except AddressValueError as error:
            raise Refusal("host", "an address of IPv4 is written as four decimal numbers") from error
    return name, False


def _to_ascii(text: str) -> str:
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise Refusal("host", "it is no name of a host") from error


def _read_path(path: str) -> str:
    """A path as every reader sees it.

    Raises:
        Refusal: it has `.` or `..` as a part, an escaped slash, or an escape of an escape.
    """
    if any(found[1] is None for found in _ESCAPE.finditer(path)):
        raise Refusal("path", "a percent sign in a path is followed by two hexadecimal digits")
    plain = _ESCAPE.sub(_escape, _escaped(path or "/", _PATH_SAFE))
    if any(unquote(part).partition(";")[0] in (".", "..") for part in plain.split("/")):
        raise Refusal("path", "a path has no `.` or `..` as a part")
    if any(twice in plain.lower() for twice in _TWICE):
        raise Refusal("path", "a path has no escaped slash, backslash, percent sign or zero")
    return plain


def _escape(found: re.Match[str]) -> str:
    char = chr(int(found[1], 16))
    return char if _UNRESERVED.fullmatch(char) else found[0].upper()


def _escaped(text: str, safe: str) -> str:
    return quote(text, safe=safe, encoding="utf-8", errors="strict")
