"""Paths: what they name, and which cannot be names."""

from __future__ import annotations

import pytest

from homing.errors import BadRequest, UnknownLocation
from homing.ids import ObjectId
from homing_gateway.routes import Kind, Router

OBJECTS = b"/_homing/v1/objects/"
router = Router()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/", Kind.DEFAULT),
        (b"/anything/else", Kind.DEFAULT),
        (b"/_homingx", Kind.DEFAULT),
        (b"/_homing", Kind.UNKNOWN),
        (b"/_homing/", Kind.UNKNOWN),
        (b"/_homing/v1/nope", Kind.UNKNOWN),
        (b"/_homing/healthz", Kind.HEALTHZ),
        (b"/_homing/readyz", Kind.READYZ),
        (b"/_homing/v1/cluster", Kind.CLUSTER),
        (b"/_homing/v1/slots/7/move/n2", Kind.SLOT),
        (b"/_homing/v1/slots/7/backup", Kind.BACKUP),
        (b"/_homing/v1/slots/7/restore", Kind.RESTORE),
        (b"/_homing/v1/slots/7/backup/", Kind.UNKNOWN),
        (b"/_homing/v1/slots/x/backup", Kind.UNKNOWN),
        (b"/_homing/v1/objects", Kind.ANY_OBJECT),
        (b"/_homing/v1/slots/7/move/", Kind.UNKNOWN),
        (b"/_homing/v1/slots/7/move/n2/x", Kind.UNKNOWN),
        (b"/_homing/v1/slots/7/stop/n2", Kind.UNKNOWN),
        (b"/_homing/v1/slots/7/verify", Kind.SLOT),
        (b"/_homing/v1/slots/7/verify/n2", Kind.UNKNOWN),
        (b"/_homing/v1/slots/seven/verify", Kind.UNKNOWN),
        (b"/_homing/v1/slots/seven/move/n2", Kind.UNKNOWN),
        (b"/_homing/v1/slots/1234567/move/n2", Kind.UNKNOWN),
        (b"/_homing/v1/slots/-7/move/n2", Kind.UNKNOWN),
        (OBJECTS + b"Counter", Kind.LIST),
        (OBJECTS + b"Counter/a", Kind.OBJECT),
        (OBJECTS + b"Counter/a/rpc/increment", Kind.RPC),
        (OBJECTS + b"Counter/a/rpc", Kind.UNKNOWN),
        (OBJECTS + b"Counter/a/rpc/", Kind.UNKNOWN),
        (OBJECTS + b"Counter/a/rpc/x/y", Kind.UNKNOWN),
        (OBJECTS + b"Counter/a/fetch", Kind.FETCH),
        (OBJECTS + b"Counter/a/fetch/x/y", Kind.FETCH),
        (OBJECTS + b"Counter/a/export", Kind.EXPORT),
        (OBJECTS + b"Counter/a/export/x", Kind.UNKNOWN),
        (OBJECTS + b"Counter/a/import", Kind.IMPORT),
        (OBJECTS + b"Counter/a/sql", Kind.SQL),
        (OBJECTS + b"Counter/a/other", Kind.UNKNOWN),
        (OBJECTS, Kind.UNKNOWN),
    ],
)
def test_a_path_names_one_thing(path: bytes, kind: Kind) -> None:
    assert router.parse(path).kind is kind


def test_everything_under_v1_needs_the_token_and_nothing_else_does() -> None:
    for path in (
        OBJECTS + b"Counter",
        OBJECTS + b"Counter/a/rpc/x",
        b"/_homing/v1/cluster",
        b"/_homing/v1/nope",
        OBJECTS + b"C/a/fetch/",
        OBJECTS + b"C/a/export",
        OBJECTS + b"C/a/import",
        OBJECTS + b"C/a/sql",
    ):
        assert router.parse(path).guarded, path
    for path in (b"/", b"/_homing/healthz", b"/_homing/readyz"):
        assert not router.parse(path).guarded, path


def test_an_escaped_slash_stays_inside_the_name_and_is_decoded_once() -> None:
    route = router.parse(OBJECTS + b"Counter/a%2Fb%252F%C3%BC/rpc/increment")
    assert (route.class_name, route.name, route.method) == ("Counter", "a/b%2Fü", "increment")
    assert route.object_id == ObjectId.from_name("Counter", "a/b%2Fü").raw
    assert route.slot == ObjectId.from_name("Counter", "a/b%2Fü").slot()


def test_an_id_addresses_the_object_that_its_name_does() -> None:
    by_name = router.parse(OBJECTS + b"Counter/a/rpc/x")
    by_id = router.parse(OBJECTS + b"Counter/id:" + by_name.object_id.hex().encode() + b"/rpc/x")
    assert by_id.object_id == by_name.object_id
    assert by_id.slot == by_name.slot
    assert by_id.name == ""


@pytest.mark.parametrize(
    "name",
    [
        b"%FF",
        b"%zz",
        b"%4",
        b"",
        b"id:",
        b"id:abc",
        b"id:" + b"0" * 64,
        b"x" * 1_025,
        "ü".encode() * 513,
    ],
)
def test_what_cannot_be_a_name_is_refused(name: bytes) -> None:
    with pytest.raises(BadRequest):
        router.parse(OBJECTS + b"Counter/" + name + b"/rpc/increment")


def test_a_name_of_1024_bytes_is_taken() -> None:
    assert len(router.parse(OBJECTS + b"Counter/" + b"x" * 1_024 + b"/rpc/increment").name) == 1_024


def test_a_fetch_path_keeps_its_escapes() -> None:
    assert router.parse(OBJECTS + b"Counter/a/fetch/x%2Fy/z%20").rest == "/x%2Fy/z%20"
    assert router.parse(OBJECTS + b"Counter/a/fetch").rest == "/"


def test_slots_follow_the_size_of_the_cluster() -> None:
    assert Router(4).parse(OBJECTS + b"Counter/a/rpc/x").slot == router.parse(OBJECTS + b"Counter/a/rpc/x").slot >> 8


def test_a_jurisdiction_is_named_with_the_class() -> None:
    bound = Router(jurisdictions=["us", "eu"])
    route = bound.parse(OBJECTS + b"Counter%40eu/a/rpc/increment")
    same = bound.address("Counter@eu", "a", "increment")
    expected = ObjectId.from_name("Counter", "a", 1)
    for each in (route, same, bound.parse(OBJECTS + b"Counter@eu/a/rpc/increment")):
        assert (each.kind, each.class_name, each.name, each.bound) == (Kind.RPC, "Counter", "a", 1)
        assert (each.object_id, each.slot) == (expected.raw, expected.slot())
    assert bound.parse(OBJECTS + b"Counter@eu").bound == 1
    assert bound.parse(OBJECTS + b"Counter/a").object_id == router.parse(OBJECTS + b"Counter/a").object_id


def test_an_id_is_of_its_jurisdiction_whether_that_is_named_or_not() -> None:
    bound = Router(jurisdictions=["us", "eu"])
    mine = str(ObjectId.unique("Counter", 1)).encode()
    for path in (b"Counter/id:" + mine, b"Counter@eu/id:" + mine):
        assert bound.parse(OBJECTS + path).object_id.hex().encode() == mine
    with pytest.raises(BadRequest, match="that jurisdiction"):
        bound.parse(OBJECTS + b"Counter@us/id:" + mine)
    with pytest.raises(BadRequest, match="that jurisdiction"):
        bound.parse(OBJECTS + b"Counter@us/id:" + str(ObjectId.unique("Counter")).encode())


def test_a_jurisdiction_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    bound = Router(jurisdictions=["us", "eu"])
    for path in (b"Counter@mars/a/rpc/x", b"Counter@/a", b"Counter@EU", b"Counter@eu@us/a"):
        with pytest.raises(UnknownLocation, match="there are eu, us"):
            bound.parse(OBJECTS + path)
    with pytest.raises(UnknownLocation, match="the cluster has none"):
        router.parse(OBJECTS + b"Counter@eu/a")
    with pytest.raises(UnknownLocation, match="does not know"):
        bound.parse(OBJECTS + b"Counter/id:" + str(ObjectId.unique("Counter", 2)).encode())
