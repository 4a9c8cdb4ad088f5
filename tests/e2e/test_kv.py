"""`kv_namespaces` on a real cluster: every method, expiry, limits, and pages of many keys."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from homing.testing import Cluster

APP = Path(__file__).resolve().parents[1] / "chaos" / "apps" / "kv"


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    with Cluster(APP) as running:
        yield running


@pytest.fixture
def keys(cluster: Cluster) -> Any:
    return cluster.get("Hand", "a").do


def until(done: Any) -> None:
    deadline = time.monotonic() + 10.0
    while not done():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


def test_what_is_put_is_there_for_every_reader(cluster: Cluster, keys: Any) -> None:
    assert keys("get", "a") is None
    assert keys("put", "a", "ä text") is None
    assert cluster.get("Hand", "another").do("get", "a") == "ä text"
    assert keys("put", "a", "second") is None
    assert keys("get", "a") == "second"
    assert keys("get", "a", space="OTHER") is None, "another namespace has keys of its own"
    assert keys("delete", "a") is None
    assert keys("delete", "a") is None
    assert keys("get", "a") is None


def test_a_value_is_read_as_what_it_is_asked_for(keys: Any) -> None:
    keys("put", "json", '{"n": [1, 2]}')
    assert keys("get", "json", "json") == {"n": [1, 2]}
    assert keys("get", "json", type="text") == '{"n": [1, 2]}'
    keys("put", "raw", b"\x00\xff")
    assert keys("get", "raw", "arrayBuffer") == b"\x00\xff"
    assert keys("get", "raw") == "UnicodeDecodeError"
    assert keys("get", "raw", "json") == "UnicodeDecodeError"
    assert keys("get", "json", "stream").startswith("BadRequest: a value is read as one of text")


def test_several_keys_at_once(keys: Any) -> None:
    for name in ("x", "y"):
        keys("put", name, name * 2)
    assert keys("get", ["x", "none", "y"]) == {"x": "xx", "none": None, "y": "yy"}
    found = keys("get_with_metadata", ["y", "none"])
    assert found == {"y": {"value": "yy", "metadata": None, "cacheStatus": None}, "none": None}
    assert keys("get", [f"k{n}" for n in range(101)]).startswith("BadRequest: at most 100 keys")


def test_metadata_goes_with_a_value(keys: Any) -> None:
    keys("put", "m", "v", metadata={"who": "ann"})
    assert keys("get_with_metadata", "m") == {"value": "v", "metadata": {"who": "ann"}, "cacheStatus": None}
    assert keys("get_with_metadata", "nothing") == {"value": None, "metadata": None, "cacheStatus": None}
    assert keys("put", "m", "v", metadata="x" * 1_100).startswith("BadRequest: metadata has at most 1024 bytes")


def test_a_key_expires(cluster: Cluster, keys: Any) -> None:
    """It is not read, not listed, and then removed; seen to fail when only one of the three looks at the time."""
    expiration = int(time.time() + cluster.clock.ahead_s) + 3_600
    keys("put", "e/1", "v", expiration_ttl=90)
    keys("put", "e/2", "v", expiration=expiration)
    keys("put", "e/3", "v")
    assert [key.get("expiration", 0) > 0 for key in keys("list", prefix="e/")["keys"]] == [True, True, False]
    assert keys("list", prefix="e/")["keys"][1]["expiration"] == expiration
    assert keys("get", "e/1") == "v"
    cluster.clock.advance(91)
    assert keys("get", "e/1") is None
    assert [key["name"] for key in keys("list", prefix="e/")["keys"]] == ["e/2", "e/3"]
    cluster.clock.advance(3_600)
    assert keys("get", ["e/2", "e/3"]) == {"e/2": None, "e/3": "v"}
    until(lambda: sum(stored(cluster, name) for name in ("e/1", "e/2")) == 0)
    assert keys("put", "e/4", "v", expiration_ttl=59).startswith("BadRequest: expiration_ttl is at least 60")
    assert keys("put", "e/4", "v", expiration=1).startswith("BadRequest: expiration is at least 60")


def rows(shard: Any, name: str) -> int:
    sql = shard.ctx.storage.sql
    return sum(
        len(sql.exec(f"SELECT 1 FROM {table} WHERE key = ?", name).to_array()) for table in ("entries", "pieces")
    )


def stored(cluster: Cluster, name: str) -> int:
    """What all shards have of a key."""
    shards = [each.name for each in cluster.list_ids("homing.kv")]
    return sum(cluster.run_in_object("homing.kv", shard, rows, name) for shard in shards)


def test_pages_hold_every_key_once_and_in_order(keys: Any) -> None:
    names = sorted(f"p/{number:03}" for number in range(45))
    for name in names:
        keys("put", name, "v")
    keys("put", "p", "v")
    keys("put", "q", "v")
    found: list[str] = []
    cursor, pages = None, 0
    while True:
        page = keys("list", prefix="p/", limit=10, cursor=cursor)
        found += [key["name"] for key in page["keys"]]
        pages += 1
        if page["list_complete"]:
            break
        cursor = page["cursor"]
    assert (found, pages) == (names, 5)
    assert "cursor" not in page
    assert keys("list", limit=0).startswith("BadRequest: limit must be")
    assert keys("list", cursor="%").startswith("BadRequest: cursor must be")


@pytest.mark.parametrize("key", ["", ".", "..", "k" * 513])
def test_what_is_no_key(keys: Any, key: str) -> None:
    for method, more in (("get", ()), ("put", ("v",)), ("delete", ())):
        assert keys(method, key, *more).startswith("BadRequest: ")


def test_the_largest_value_and_one_that_is_too_large(cluster: Cluster) -> None:
    hand = cluster.get("Hand", "a")
    assert hand.large(8 << 20) is True
    assert hand.large((8 << 20) + 256) == "TooLarge"
    assert hand.large(256) is True, "the pieces of the one before are gone"
