"""What is deployed: the record's rules, and which version serves an object."""

from __future__ import annotations

from pathlib import Path
from zlib import compress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from homing.errors import BadRequest, ConfigurationError, NotFound
from homing_node.workers import limits
from homing_node.workers.app_package import pack, unpack
from homing_placement.deployments import VERSIONS_KEPT_MAX, Deployment, Share, Version, chosen


def version(name: str) -> Version:
    return Version(name, name * 4, 1, 10, 0)


def with_versions(*names: str) -> Deployment:
    deployment = Deployment()
    for name in names:
        deployment, _ = deployment.adding(version(name))
    return deployment


def served(deployment: Deployment) -> list[tuple[str, int]]:
    return [(share.version, share.percent) for share in deployment.serving]


def test_a_version_serves_a_share_and_then_all() -> None:
    deployment = with_versions("a", "b")
    assert served(deployment) == [("", 100)]
    deployment = deployment.letting_serve("a", 10, 1)
    assert served(deployment) == [("a", 10), ("", 90)]
    deployment = deployment.letting_serve("a", 60, 2)
    assert served(deployment) == [("a", 60), ("", 40)]
    deployment = deployment.letting_serve("a", 100, 3)
    assert (served(deployment), deployment.before, deployment.changed_ms) == ([("a", 100)], "", 3)
    deployment = deployment.letting_serve("b", 50, 4)
    assert served(deployment) == [("b", 50), ("a", 50)]


def test_rolling_back() -> None:
    deployment = with_versions("a", "b").letting_serve("a", 100, 1)
    part = deployment.letting_serve("b", 20, 2)
    assert served(part.rolled_back(3)) == [("a", 100)]
    whole = part.letting_serve("b", 100, 3)
    back = whole.rolled_back(4)
    assert served(back) == [("a", 100)]
    assert served(back.rolled_back(5)) == [("b", 100)], "and forth"
    assert served(deployment.rolled_back(2)) == [("", 100)], "what nodes were started with"


def test_a_third_version_takes_the_place_of_the_one_that_served_a_share() -> None:
    deployment = with_versions("a", "b", "c").letting_serve("a", 100, 1).letting_serve("b", 20, 2)
    assert served(deployment.letting_serve("c", 30, 3)) == [("c", 30), ("a", 70)]
    assert served(deployment.letting_serve("a", 100, 3)) == [("a", 100)]


def test_what_cannot_serve_is_refused() -> None:
    deployment = with_versions("abc", "abd")
    for percent in (0, 101, -1):
        with pytest.raises(BadRequest):
            deployment.letting_serve("abc", percent, 1)
    for name in ("x", "ab"):
        with pytest.raises(NotFound):
            deployment.letting_serve(name, 100, 1)
    assert served(deployment.letting_serve("abd", 100, 1)) == [("abd", 100)]


def test_old_versions_are_forgotten_but_for_those_that_serve() -> None:
    deployment = with_versions("first").letting_serve("first", 100, 1)
    gone: list[str] = []
    for number in range(2 * VERSIONS_KEPT_MAX):
        deployment, lost = deployment.adding(version(f"v{number}"))
        gone += [each.id for each in lost]
    assert len(deployment.versions) == VERSIONS_KEPT_MAX
    assert deployment.versions[0].id == "first"
    assert gone == [f"v{number}" for number in range(VERSIONS_KEPT_MAX + 1)]
    again, lost = deployment.adding(version("first"))
    assert (len(again.versions), lost) == (VERSIONS_KEPT_MAX, ())


@given(st.binary(min_size=32, max_size=32), st.integers(1, 99), st.integers(1, 99))
def test_an_object_keeps_its_version_while_the_share_grows(key: bytes, one: int, other: int) -> None:
    """Seen to fail when the share is a part of what is hashed."""
    small, large = sorted((one, other))
    if chosen([(small, "new"), (100 - small, "old")], key) == "new":
        assert chosen([(large, "new"), (100 - large, "old")], key) == "new"
    assert chosen([(100, "only")], key) == "only"


def test_shares_are_what_they_say() -> None:
    keys = [number.to_bytes(32, "big") for number in range(10_000)]
    new = sum(chosen([(30, 1), (70, 0)], key) for key in keys)
    assert 2_800 < new < 3_200


def test_the_record_survives_its_own_encoding() -> None:
    deployment = with_versions("a").letting_serve("a", 5, 7)
    assert msgspec.json.decode(msgspec.json.encode(deployment), type=Deployment) == deployment
    assert deployment.serving == (Share("a", 5), Share("", 95))


def test_an_application_is_packed_and_unpacked(tmp_path: Path) -> None:
    app = tmp_path / "app"
    (app / "src").mkdir(parents=True)
    (app / "src" / "main.py").write_text("x = 1\n")
    (app / "data.bin").write_bytes(bytes(range(256)))
    (app / "__pycache__").mkdir()
    (app / "__pycache__" / "no").write_text("")
    package = pack(app)
    assert package == pack(app)
    target = tmp_path / "target"
    target.mkdir()
    unpack(package, target)
    assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()) == [
        "data.bin", "src/main.py",
    ]  # fmt: skip
    assert (target / "data.bin").read_bytes() == bytes(range(256))


@pytest.mark.parametrize(
    "files",
    [{"../x": b""}, {"/x": b""}, {"a/../../x": b""}, {"": b""}, {"a//b": b""}, {".": b""}, {"a\0": b""}, {"a": 1}, [],
     {"a": b"", "a/b": b""}, {"x" * 256: b""}, {"a/" * 1_100 + "b": b""}, None,
     {str(number): b"" for number in range(limits.app_files_max + 1)}],
)  # fmt: skip
def test_a_package_that_reaches_beyond_its_folder_is_refused(files: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        unpack(compress(msgspec.msgpack.encode(files)), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_none_is_refused(tmp_path: Path) -> None:
    good = compress(msgspec.msgpack.encode({"main.py": b"x"}))
    no_text = compress(b"\x81\xa1\xff\xc4\x00")  # seen to raise an error that is none of ours
    for bad in (b"", b"x" * 100, good[:-3], good + b"more", no_text):
        with pytest.raises(ConfigurationError):
            unpack(bad, tmp_path)


def test_a_package_that_grows_without_end_is_cut_off(tmp_path: Path) -> None:
    bomb = compress(msgspec.msgpack.encode({"main.py": b"\0" * (limits.app_bytes_max + (16 << 20))}))
    assert len(bomb) < 1 << 20
    with pytest.raises(ConfigurationError, match="more than an application may"):
        unpack(bomb, tmp_path)
