"""Where object code may send requests: hosts that its application's configuration names, and no others. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

from homing.errors import BadRequest, Forbidden
from homing_node.broker.ranges import special

_PORTS = {"http": 80, "https": 443}
_BRACKETED = re.compile(r"\[[0-9a-f:.]+\](:\d+)?")  # an IPv6 address, and a port
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_])?")
_LOCAL = "localhost"


class Destination(NamedTuple):
    """Where one request goes.

    Attributes:
        url: without a fragment.
        host: in lower case; an IPv6 address without brackets.
        port: of the server.
        by_address: the configuration names the very address, so that it may be any.
    """

    url: str
    host: str
    port: int
    by_address: bool


def check_host(entry: object) -> str:
    """One entry of `fetch_hosts`: a host, a host and a port, or `*.` and a domain for every host below it.

    Raises:
        ValueError: it is none.

    Example:
        >>> check_host("api.example.com"), check_host("*.example.org"), check_host("127.0.0.1:9000")
        ('api.example.com', '*.example.org', '127.0.0.1:9000')
    """
    text = entry.lower() if isinstance(entry, str) else ""
    host, port = _split(text)
    whole = not text.startswith("[") or _BRACKETED.fullmatch(text) is not None
    if not (whole and _is_host(host.removeprefix("*.")) and (not port or (port.isdigit() and 0 < int(port) < 65_536))):
        raise ValueError(f"{entry!r} is no host: write api.example.com, *.example.com or 127.0.0.1:9000")
    return text


def destination(url: str, hosts: Iterable[str]) -> Destination:
    """Where a URL leads, if object code may send a request there.

    Raises:
        BadRequest: it is no URL of HTTP, or carries a user name.
        Forbidden: no entry of `hosts` names its host, with the port of its scheme or the one that it has.
    """
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise BadRequest(f"{url[:200]!r} is no URL: {error}") from error
    if parts.scheme not in _PORTS or "@" in parts.netloc or not _is_host(host) or not url.isascii():
        raise BadRequest(f"{url[:200]!r} is no URL that can be fetched: http or https, a host, no user name")
    named = [entry for entry in hosts if _names(entry, host, port, _PORTS[parts.scheme])]
    if not named:
        raise Forbidden(f"the application may not fetch from {host}: its configuration does not name it in fetch_hosts")
    literal = host == _LOCAL or _is_address(host)
    return Destination(url.partition("#")[0], host, port, literal)


def covers(hosts: Iterable[str], host: str, port: int, scheme: str) -> bool:
    """Whether entries of `fetch_hosts` name a host with a port, or all of what `*.` and a domain stands for.

    Example:
        >>> covers(["*.example.org"], "*.a.example.org", 443, "https")
        True
    """
    return any(_names(entry, host, port, _PORTS[scheme]) for entry in hosts)


def check_addresses(host: str, addresses: Sequence[str]) -> str:
    """The address to connect to, of those that a host's name stands for.

    Raises:
        Forbidden: one of them is not an address of the open internet.
    """
    for address in addresses:
        if special(address) is not None:
            raise Forbidden(f"{host} stands for {address}, which is no address of the open internet")
    return addresses[0]


def _names(entry: str, host: str, port: int, default_port: int) -> bool:
    named, named_port = _split(entry)
    if port != (int(named_port) if named_port else default_port):
        return False
    if named.startswith("*."):
        return host.endswith(named[1:]) and not _is_address(host)
    return host == named


def _split(entry: str) -> tuple[str, str]:
    """Host and port; an IPv6 address has its brackets taken off."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = entry.partition(":")
    return host, port


def _is_host(host: str) -> bool:
    return _is_address(host) or bool(_HOST.fullmatch(host))


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
