"""Grants and secrets in an application's configuration: what is none is refused when it is read."""

from __future__ import annotations

from typing import Any

import pytest

from homing.errors import BadRequest, ConfigurationError, GrantEnded
from homing.grants import files, given, http, named, stub
from homing.ids import ObjectId
from homing_node.workers.app_grants import read_grants, read_secrets

HTTP: dict[str, Any] = {"kind": "http", "hosts": ["api.example.com"], "methods": ["GET"], "paths": ["/**"]}
STUB: dict[str, Any] = {"kind": "stub", "class_name": "Counter", "name": "a", "methods": ["add"]}
CREDENTIAL = {"name": "authorization", "secret": "TOKEN"}


def read(**grants: Any) -> dict[str, Any]:
    return read_grants({"grants": grants}, ["api.example.com"], ["TOKEN"], "homing.toml")


def test_what_can_be_granted_is_kept() -> None:
    found = read(api=HTTP | {"credentials": [CREDENTIAL]}, hits=STUB, rows={**STUB, "kind": "kv", "methods": []})
    assert found["hits"]["object_id"] == ObjectId.from_name("Counter", "a").raw
    assert read_grants({}, (), (), "homing.toml") == {}


@pytest.mark.parametrize(
    "grant",
    [
        HTTP | {"hosts": ["other.example.com"]},
        HTTP | {"hosts": ["localhost"]},
        HTTP | {"credentials": [CREDENTIAL | {"secret": "OTHER"}]},
        HTTP | {"other": 1},
        HTTP | {"limits": {"calls_max": -1}},
        STUB | {"class_name": None},
        STUB | {"name": 7},
        STUB | {"name": ""},
        STUB | {"methods": ["_private"]},
        STUB | {"methods": "add"},
        STUB | {"props": {1j: 1}},
        STUB | {"kind": "other"},
        {"kind": "kv"},
        {},
        7,
    ],
)
def test_what_cannot_is_refused(grant: Any) -> None:
    with pytest.raises(ConfigurationError):
        read(x=grant)


@pytest.mark.parametrize("name", ["_x", "a-b", "class", "", "x" * 65])
def test_a_grant_has_a_name_that_can_be_in_env(name: str) -> None:
    with pytest.raises(ConfigurationError):
        read(**{name: STUB})
    with pytest.raises(BadRequest):
        given({name: named("x")})


@pytest.mark.parametrize("secrets", ["TOKEN", ["token"], [7], ["A" * 65], ["A"] * 101])
def test_secrets_are_names(secrets: Any) -> None:
    with pytest.raises(ConfigurationError):
        read_secrets({"secrets": secrets}, "homing.toml")


def test_a_grant_that_was_revoked_is_given_to_no_run() -> None:
    grant = http("api.example.com", methods=["GET"], paths=["/**"])
    assert given({"x": grant})[0].key != given({"x": files({})})[0].key
    grant.revoked = True
    with pytest.raises(GrantEnded):
        given({"x": grant})
    with pytest.raises(TypeError):
        given({"x": object()})
    for target in ("Counter", None, object):
        with pytest.raises(TypeError):
            stub(target, ["add"])  # else it would be for the object that gives it
