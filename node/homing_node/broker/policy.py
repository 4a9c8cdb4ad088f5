"""What a grant of requests to the outside says, and whether a request is one of those that it grants. Pure.

Deny comes first: a request passes only if the grant names its method, its scheme, its host, its port and its path,
and what a grant does not name it does not grant. What passes is written anew by `homing_node.broker.urls` and
`fields`; how often and how much is counted by `meter`; what the network may do is in `egress`.
docs/reference/outbound.md is the reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Literal

import msgspec

from homing.errors import BadRequest
from homing_node import limits
from homing_node.broker.hosts import covers
from homing_node.broker.ranges import special
from homing_node.broker.urls import PORTS, Refusal, Target, read_host, read_url

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, of methods and field names
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_NEVER_METHODS = frozenset(("CONNECT", "TRACE", "TRACK"))  # a tunnel, and what answers with the request's own fields
_NAMES_OF_NETWORKS = ("localhost", "local", "internal", "localdomain", "home.arpa", "onion", "invalid", "lan")
_FORM = re.compile(r"[^{}\r\n\0]*\{(secret|base64)\}[^{}\r\n\0]*")
_VISIBLE = re.compile(r"[\x20-\x7e]*")
# What is the connection's, or the broker's own to say: no credential goes there, and `fields` lets none of it through.
OF_CONNECTION = frozenset(
    ("host", "connection", "keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate", "te",
     "trailer", "transfer-encoding", "content-length", "upgrade", "expect", "accept-encoding", "http2-settings")
)  # fmt: skip


class Credential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A secret that is added to every request on its way out; whoever asks neither sends nor sees it.

    Attributes:
        place: `header` or `query`.
        name: of the header field or of the parameter.
        secret: the name under which the application's configuration has it.
        form: what is sent, with `{secret}`, or `{base64}` for its base64, where it belongs.

    Example:
        >>> Credential(name="authorization", secret="GITHUB_TOKEN", form="Bearer {secret}").place
        'header'
    """

    name: str
    secret: str
    place: Literal["header", "query"] = "header"
    form: str = "{secret}"

    def __post_init__(self) -> None:
        if not TOKEN.fullmatch(self.name) or (self.place == "header" and self.name.lower() in OF_CONNECTION):
            raise ValueError(f"{self.name!r} is no name for a credential")
        if not self.secret or not _FORM.fullmatch(self.form) or not _VISIBLE.fullmatch(self.form):
            raise ValueError("a credential names a secret, and its form has {secret} or {base64} once")


class OutboundLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much a grant is good for.

    Attributes:
        calls_max: requests in all.
        calls_at_once_max: under way at the same time.
        calls_per_s_max: as many may follow at once after a rest, and this many in each second.
        sent_bytes_max, received_bytes_max: in all, heads included, as they travel.
        request_bytes_max: of one body.
        response_bytes_max: of one body, as it travels.
        decoded_bytes_max: of one body after decompression.
        call_s_max: from the request to the end of its answer.
        life_s_max: from the opening of the grant; then it ends, with whatever is under way.
    """

    calls_max: int = 1_000
    calls_at_once_max: int = 8
    calls_per_s_max: float = 50.0
    sent_bytes_max: int = 64 << 20
    received_bytes_max: int = 256 << 20
    request_bytes_max: int = 8 << 20
    response_bytes_max: int = 32 << 20
    decoded_bytes_max: int = 32 << 20
    call_s_max: float = 30.0
    life_s_max: float = 3_600.0

    def __post_init__(self) -> None:
        if any(not 0 <= value < float("inf") for value in msgspec.structs.astuple(self)):
            raise ValueError("a limit is a number, not negative")


class OutboundGrant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests that somebody without trust may have sent. Nothing is granted that is not named.

    Attributes:
        name: for audits and lists.
        hosts: names, `*.` and a domain for every host below it, or addresses that the configuration names itself.
        methods: in capitals.
        paths: patterns: `/v1/items` is that path, `*` is one part of any text, `**` at the end is whatever follows.
        schemes: `https` unless it says otherwise.
        ports: none: the scheme's own.
        credentials: what is added to each request.
        limits: how much of it.

    Raises:
        ValueError: it cannot be granted.

    Example:
        >>> OutboundGrant(name="issues", hosts=("api.example.com",), methods=("GET",), paths=("/repos/**",)).schemes
        ('https',)
    """

    name: str
    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    paths: tuple[str, ...]
    schemes: tuple[Literal["https", "http"], ...] = ("https",)
    ports: tuple[int, ...] = ()
    credentials: tuple[Credential, ...] = ()
    limits: OutboundLimits = OutboundLimits()

    def __post_init__(self) -> None:
        entries = (self.hosts, self.methods, self.paths, self.ports, self.credentials)
        if any(len(entry) > limits.grant_entries_max for entry in entries):
            raise ValueError(f"a grant has at most {limits.grant_entries_max} entries of a kind")
        for host in self.hosts:
            _check_host(host)
        for method in self.methods:
            if not _METHOD.fullmatch(method) or method in _NEVER_METHODS:
                raise ValueError(f"{method!r} cannot be granted")
        for path in self.paths:
            _check_pattern(path)
        if any(not 0 < port < 1 << 16 for port in self.ports):
            raise ValueError("a port is between 1 and 65535")
        names = [(credential.place, credential.name.lower()) for credential in self.credentials]
        if len(set(names)) < len(names):
            raise ValueError("two credentials go to the same place")
        if self.credentials and "http" in self.schemes and not all(map(_is_loopback, self.hosts)):
            raise ValueError("credentials are sent over https only")

    @property
    def literals(self) -> frozenset[tuple[str, int]]:
        """The addresses that it names, each with each port."""
        addresses = [host.strip("[]") for host in self.hosts if is_address(host)]
        return frozenset((address, port) for address in addresses for _, port in self.doors())

    def doors(self) -> Iterable[tuple[str, int]]:
        """Every scheme, with every port."""
        for scheme in self.schemes:
            for port in self.ports or (PORTS[scheme],):
                yield scheme, port


def read_grant(values: object) -> OutboundGrant:
    """A grant out of plain values, as JSON has them.

    Raises:
        BadRequest: it is none, or cannot be granted.

    Example:
        >>> read_grant({"name": "a", "hosts": ["api.example.com"], "methods": ["GET"], "paths": ["/**"]}).methods
        ('GET',)
    """
    try:
        return msgspec.convert(values, OutboundGrant)
    except msgspec.ValidationError as error:
        raise BadRequest(f"that cannot be granted: {error}") from error


def check_within(grant: OutboundGrant, fetch_hosts: Sequence[str]) -> None:
    """See that a grant gives no more than its giver has.

    Raises:
        Refusal: the application itself may not send requests to all of that.
    """
    for host in grant.hosts:
        for scheme, port in grant.doors():
            if not covers(fetch_hosts, host.strip("[]"), port, scheme):
                raise Refusal("fetch_hosts", f"the application's own fetch_hosts do not name {host} with port {port}")


def permit(grant: OutboundGrant, method: str, target: Target) -> None:
    """See that a request is one of those that are granted.

    Raises:
        Refusal: it is not; the first rule that says so is named.
    """
    if method not in grant.methods:
        raise Refusal("method", "the grant does not name this method")
    if target.scheme not in grant.schemes:
        raise Refusal("scheme", f"the grant does not name {target.scheme}")
    if not any(_names(entry, target.host) for entry in grant.hosts):
        raise Refusal("host", "the grant does not name this host")
    if target.port not in (grant.ports or (PORTS[target.scheme],)):
        raise Refusal("port", f"the grant does not name port {target.port}")
    if not any(_matches(pattern, target.path) for pattern in grant.paths):
        raise Refusal("path", "the grant does not name this path")


def is_address(host: str) -> bool:
    """Whether an entry is an address."""
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def _names(entry: str, host: str) -> bool:
    return host.endswith(entry[1:]) if entry.startswith("*.") else host == entry.strip("[]")


def _matches(pattern: str, path: str) -> bool:
    wanted, parts = pattern.split("/"), path.split("/")
    if wanted[-1] == "**":
        wanted.pop()
        parts, enough = parts[: len(wanted)], len(parts) >= len(wanted)
    else:
        enough = len(parts) == len(wanted)
    pairs = zip(wanted, parts, strict=False)
    return enough and all(part == want or (want == "*" and part != "") for want, part in pairs)


def _check_host(entry: str) -> None:
    try:
        host, literal = read_host(entry.removeprefix("*."))
    except Refusal as error:
        raise ValueError(f"{entry!r}: {error.sentence}") from error
    canonical = f"[{host}]" if ":" in host else host
    if entry.removeprefix("*.") != canonical:
        raise ValueError(f"{entry!r} is written {canonical}")
    if literal:
        use = special(host)
        if entry.startswith("*.") or (use is not None and use.never):
            raise ValueError(f"{entry!r} cannot be granted")
    elif "." not in host or any(f".{host}".endswith(f".{name}") for name in _NAMES_OF_NETWORKS):
        raise ValueError(f"{entry!r} is no name of the open internet; a server of yours is named by its address")


def _check_pattern(pattern: str) -> None:
    try:
        read = read_url(f"https://pattern.example{pattern}")
    except Refusal as error:
        raise ValueError(f"{pattern!r}: {error.sentence}") from error
    if read.path != pattern or any("*" in part and part != "*" for part in pattern.removesuffix("/**").split("/")):
        raise ValueError(f"{pattern!r} is no pattern of paths: write /v1/items, /v1/*/items or /v1/**")


def _is_loopback(host: str) -> bool:
    return is_address(host) and ip_address(host.strip("[]")).is_loopback
