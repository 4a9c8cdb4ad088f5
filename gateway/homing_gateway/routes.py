"""From the bytes of a path to what is asked for. Pure, and cached: the same paths come again and again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from homing.errors import BadRequest, UnknownLocation
from homing.ids import SLOTS_DEFAULT, ObjectId, class_of
from homing_gateway.limits import ROUTE_CACHED_BYTES_MAX, ROUTES_CACHED_MAX, RUN_DIGITS_MAX, SLOT_DIGITS_MAX

HEALTHZ = b"/_homing/healthz"
OBJECTS = b"/_homing/v1/objects/"
NODES = b"/_homing/v1/nodes/"
NODE_VERBS = ("drain", "stay")
SLOTS = b"/_homing/v1/slots/"
RUNS = b"/_homing/v1/sandbox/"
GRANTS = b"/_homing/v1/grants/"
TESTS = b"/_homing/v1/tests/"
TEST_VERBS = ("run", "ring", "evict")
_GRANT_ID = re.compile(rb"[0-9a-f]{16}")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class Kind:
    """What a path names. No `Enum`: Python 3.11 takes 60 ns to look up a member."""

    RPC: Final = "rpc"
    FETCH: Final = "fetch"
    OBJECT: Final = "object"
    LIST: Final = "list"
    EXPORT: Final = "export"
    IMPORT: Final = "import"
    SQL: Final = "sql"
    EVICT: Final = "evict"
    CLUSTER: Final = "cluster"
    NODE: Final = "node"
    SLOT: Final = "slot"
    ANY_OBJECT: Final = "any object"
    BACKUP: Final = "backup"
    RESTORE: Final = "restore"
    HEALTHZ: Final = "healthz"
    READYZ: Final = "readyz"
    VERSIONS: Final = "versions"
    DEPLOYMENT: Final = "deployment"
    TAIL: Final = "tail"
    TEST: Final = "test"
    SANDBOX: Final = "sandbox"
    RUN: Final = "run"
    GRANTS: Final = "grants"
    GRANT: Final = "grant"
    AUDIT: Final = "audit"
    DEFAULT: Final = "default"
    UNKNOWN: Final = "unknown"


_VERBS: dict[str, tuple[str, ...] | None] = {
    Kind.RPC: ("POST",),
    Kind.FETCH: None,
    Kind.OBJECT: ("GET", "HEAD", "DELETE"),
    Kind.LIST: ("GET", "HEAD"),
    Kind.EXPORT: ("GET",),
    Kind.IMPORT: ("PUT",),
    Kind.SQL: ("POST",),
    Kind.EVICT: ("POST",),
    Kind.CLUSTER: ("GET", "HEAD"),
    Kind.NODE: ("POST",),
    Kind.SLOT: ("POST",),
    Kind.ANY_OBJECT: ("GET", "HEAD"),
    Kind.BACKUP: ("GET",),
    Kind.RESTORE: ("POST",),
    Kind.HEALTHZ: ("GET", "HEAD"),
    Kind.READYZ: ("GET", "HEAD"),
    Kind.VERSIONS: ("POST",),
    Kind.DEPLOYMENT: ("GET", "HEAD", "POST"),
    Kind.TAIL: ("GET",),
    Kind.TEST: ("POST",),
    Kind.SANDBOX: ("GET", "HEAD", "POST"),
    Kind.RUN: ("DELETE",),
    Kind.GRANTS: ("GET", "HEAD"),
    Kind.GRANT: ("DELETE",),
    Kind.AUDIT: ("GET", "HEAD"),
    Kind.DEFAULT: None,
    Kind.UNKNOWN: None,
}


class Route:
    """One parsed path.

    Attributes:
        kind: what it names.
        guarded: the path lies under `/_homing/v1/`, so it needs the token.
        class_name: the class, or empty.
        bound: the number of the jurisdiction that was named with the class, or None.
        name: the object's name, or the node's to drain, to move to, or where a run or a grant is; empty when an object
            was addressed by id, or nothing is named.
        object_id: 32 bytes, or empty.
        slot: the slot, or that of the object, or 0.
        method: the RPC method, or what a node shall do, or the number of a run, or the id of a grant.
        rest: for fetch, the path that the object sees, still percent-encoded, with its leading slash.
        verbs: what it takes; None: every verb.
    """

    __slots__ = ("bound", "class_name", "guarded", "kind", "method", "name", "object_id", "rest", "slot", "verbs")

    def __init__(self, kind: str, *, guarded: bool = True, class_name: str = "") -> None:
        self.kind = kind
        self.verbs = _VERBS[kind]
        self.guarded = guarded
        self.class_name = class_name
        self.bound: int | None = None
        self.name = ""
        self.object_id = b""
        self.slot = 0
        self.method = ""
        self.rest = ""


_FIXED = {
    HEALTHZ: Route(Kind.HEALTHZ, guarded=False),
    b"/_homing/readyz": Route(Kind.READYZ, guarded=False),
    b"/_homing/v1/cluster": Route(Kind.CLUSTER),
    b"/_homing/v1/objects": Route(Kind.ANY_OBJECT),
    b"/_homing/v1/versions": Route(Kind.VERSIONS),
    b"/_homing/v1/deployment": Route(Kind.DEPLOYMENT),
    b"/_homing/v1/tail": Route(Kind.TAIL),
    b"/_homing/v1/sandbox": Route(Kind.SANDBOX),
    b"/_homing/v1/grants": Route(Kind.GRANTS),
    b"/_homing/v1/grants/audit": Route(Kind.AUDIT),
}
_SLOT_STREAMS = {b"backup": Kind.BACKUP, b"restore": Kind.RESTORE}
_STATES = {b"export": Kind.EXPORT, b"import": Kind.IMPORT, b"sql": Kind.SQL, b"evict": Kind.EVICT}
_DEFAULT = Route(Kind.DEFAULT, guarded=False)
_UNKNOWN = Route(Kind.UNKNOWN, guarded=False)
_UNKNOWN_GUARDED = Route(Kind.UNKNOWN)


class Router:
    """Parses paths for a cluster of `slots` slots, and those of jurisdictions; `testing`: it was started for tests.

    Example:
        >>> route = Router().parse(b"/_homing/v1/objects/Counter/a%2Fb/rpc/increment")
        >>> route.kind, route.name, route.method
        ('rpc', 'a/b', 'increment')
    """

    def __init__(self, slots: int = SLOTS_DEFAULT, *, jurisdictions: Sequence[str] = (), testing: bool = False) -> None:
        self.slots = slots
        self._jurisdictions = tuple(jurisdictions)
        self._testing = testing
        self._cached = lru_cache(maxsize=ROUTES_CACHED_MAX)(self._parse)

    def parse(self, raw_path: bytes) -> Route:
        """The route of a path as it came, without its query.

        Raises:
            BadRequest: under an object's path: a bad escape, invalid UTF-8, or a name or id that cannot be one.
            UnknownLocation: a jurisdiction that there is not.
        """
        if len(raw_path) <= ROUTE_CACHED_BYTES_MAX:
            return self._cached(raw_path)
        return self._parse(raw_path)

    def address(self, class_name: str, name: str, method: str = "") -> Route:
        """The RPC route of an object that is addressed by decoded text, as gRPC does.

        Raises:
            BadRequest: a name or id that cannot be one.
            UnknownLocation: a jurisdiction that there is not.
        """
        route = self._route_of_class(Kind.RPC, class_name)
        self._locate(route, name)
        route.method = method
        return route

    def _parse(self, raw_path: bytes) -> Route:
        if raw_path.startswith(OBJECTS):
            return self._object_route(raw_path[len(OBJECTS) :])
        if raw_path in _FIXED:
            return _FIXED[raw_path]
        if raw_path.startswith(NODES):
            return self._node_route(raw_path[len(NODES) :])
        if raw_path.startswith(SLOTS):
            return self._slot_route(raw_path[len(SLOTS) :])
        if raw_path.startswith(RUNS):
            return self._run_route(raw_path[len(RUNS) :])
        if raw_path.startswith(GRANTS):
            return self._grant_route(raw_path[len(GRANTS) :])
        if raw_path.startswith(TESTS) and self._testing:
            return self._test_route(raw_path[len(TESTS) :])
        if raw_path.startswith(b"/_homing/v1/"):
            return _UNKNOWN_GUARDED
        if raw_path == b"/_homing" or raw_path.startswith(b"/_homing/"):
            return _UNKNOWN
        return _DEFAULT

    @staticmethod
    def _node_route(tail: bytes) -> Route:
        name, _, verb = tail.partition(b"/")
        if not name or verb.decode("ascii", "replace") not in NODE_VERBS:
            return _UNKNOWN_GUARDED
        route = Route(Kind.NODE)
        route.name, route.method = _decode(name), verb.decode()
        return route

    @staticmethod
    def _slot_route(tail: bytes) -> Route:
        slot, _, rest = tail.partition(b"/")
        verb, _, name = rest.partition(b"/")
        if not (slot.isdigit() and len(slot) <= SLOT_DIGITS_MAX):
            return _UNKNOWN_GUARDED
        if rest in _SLOT_STREAMS:
            route = Route(_SLOT_STREAMS[rest])
            route.slot = int(slot)
            return route
        if rest != b"verify" and (verb != b"move" or not name or b"/" in name):
            return _UNKNOWN_GUARDED
        route = Route(Kind.SLOT)
        route.slot, route.name, route.method = int(slot), _decode(name), verb.decode()
        return route

    @staticmethod
    def _run_route(tail: bytes) -> Route:
        """`{node}/{number}`."""
        node, _, number = tail.partition(b"/")
        if not node or not (number.isdigit() and len(number) <= RUN_DIGITS_MAX):
            return _UNKNOWN_GUARDED
        route = Route(Kind.RUN)
        route.name, route.method = _decode(node), number.decode()
        return route

    @staticmethod
    def _grant_route(tail: bytes) -> Route:
        """`{node}/{id}`."""
        node, _, grant_id = tail.partition(b"/")
        if not node or not _GRANT_ID.fullmatch(grant_id):
            return _UNKNOWN_GUARDED
        route = Route(Kind.GRANT)
        route.name, route.method = _decode(node), grant_id.decode()
        return route

    def _test_route(self, tail: bytes) -> Route:
        """`clock`, or `{class}/{name}/{verb}`."""
        class_raw, _, rest = tail.partition(b"/")
        name_raw, _, verb = rest.partition(b"/")
        route = self._route_of_class(Kind.TEST, _decode(class_raw))
        route.method = verb.decode("ascii", "replace")
        if tail == b"clock":
            route.method = "clock"
        elif route.method in TEST_VERBS:
            self._locate(route, _decode(name_raw))
        else:
            return _UNKNOWN_GUARDED
        return route

    def _object_route(self, tail: bytes) -> Route:
        class_raw, _, tail = tail.partition(b"/")
        name_raw, has_more, tail = tail.partition(b"/")
        class_name = _decode(class_raw)
        if not class_name:
            return _UNKNOWN_GUARDED
        if not name_raw and not has_more:
            return self._route_of_class(Kind.LIST, class_name)
        verb, _, rest = tail.partition(b"/")
        route = self._route_of_class(_object_kind(has_more, verb, rest), class_name)
        if route.kind is Kind.UNKNOWN:
            return route
        self._locate(route, _decode(name_raw))
        if route.kind is Kind.RPC:
            route.method = _decode(rest)
        elif route.kind is Kind.FETCH:
            route.rest = "/" + rest.decode("ascii", "replace")
        return route

    def _route_of_class(self, kind: str, named: str) -> Route:
        class_name, bound = class_of(named, self._jurisdictions)
        route = Route(kind, class_name=class_name)
        route.bound = bound
        return route

    def _locate(self, route: Route, name: str) -> None:
        found = ObjectId.from_address(route.class_name, name, route.bound)
        if found.bound is not None and found.bound >= len(self._jurisdictions):
            raise UnknownLocation("this id belongs to a jurisdiction that this gateway does not know")
        route.name = found.name or ""
        route.object_id = found.raw
        route.slot = found.slot(self.slots)


def _object_kind(has_more: bytes, verb: bytes, rest: bytes) -> str:
    """What follows the name: nothing, or one word of the interface and its own tail."""
    if not has_more:
        return Kind.OBJECT
    if verb == b"fetch":
        return Kind.FETCH
    if verb == b"rpc" and rest and b"/" not in rest:
        return Kind.RPC
    return Kind.UNKNOWN if rest else _STATES.get(verb, Kind.UNKNOWN)


def _decode(segment: bytes) -> str:
    """Percent-decode one segment, once."""
    if b"%" in segment:
        if _BAD_ESCAPE.search(segment):
            raise BadRequest("the path holds a percent sign that begins no escape")
        segment = unquote_to_bytes(segment)
    try:
        return segment.decode()
    except UnicodeDecodeError as error:
        raise BadRequest("the path is not valid UTF-8") from error
