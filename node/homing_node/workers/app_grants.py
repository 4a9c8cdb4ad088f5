"""What an application's configuration says of grants: those that it has under names, and the secrets they may use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from homing.errors import ConfigurationError, HomingError
from homing.grants import HTTP, KV, SQL, STUB, check_name
from homing.ids import ObjectId
from homing.values import to_stored
from homing_node.broker.hosts import covers
from homing_node.broker.object_grant import object_grant
from homing_node.broker.policy import read_grant
from homing_node.workers import limits

_SECRET = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


def read_secrets(settings: object, file: str) -> list[str]:
    """The names of secrets (`homing.secrets`); their values are in the environment of nodes.

    Raises:
        ConfigurationError: that is no list of names.

    Example:
        >>> read_secrets({"secrets": ["ISSUES_TOKEN"]}, "homing.toml")
        ['ISSUES_TOKEN']
    """
    found = _table(settings).get("secrets", [])
    names = cast("list[object]", found) if isinstance(found, list) else [None]
    if len(names) > limits.app_secrets_max or not all(
        isinstance(name, str) and _SECRET.fullmatch(name) for name in names
    ):
        raise ConfigurationError(
            f"homing.secrets in {file} is a list of at most {limits.app_secrets_max} names such as ISSUES_TOKEN"
        )
    return cast("list[str]", names)


def read_grants(settings: object, fetch_hosts: Sequence[str], secrets: Sequence[str], file: str) -> dict[str, Any]:
    """The grants that a run can be given by name (`homing.grants`), each as a node opens it.

    Raises:
        ConfigurationError: one cannot be granted, or is for more than the application has.

    Example:
        >>> own = {"grants": {"hits": {"kind": "kv", "class_name": "Counter", "name": "a"}}}
        >>> sorted(read_grants(own, (), (), "homing.toml")["hits"])
        ['class_name', 'kind', 'object_id', 'object_name']
    """
    found = _table(settings).get("grants", {})
    if not isinstance(found, dict) or len(cast("dict[str, object]", found)) > limits.app_grants_max:
        raise ConfigurationError(f"homing.grants in {file} is a table of at most {limits.app_grants_max} grants")
    grants = cast("dict[str, object]", found)
    try:
        return {name: _grant(name, _table(given), fetch_hosts, secrets) for name, given in grants.items()}
    except (HomingError, ValueError, TypeError) as error:
        raise ConfigurationError(f"homing.grants in {file}: {error}") from error


def _grant(name: str, given: Mapping[str, Any], fetch_hosts: Sequence[str], secrets: Sequence[str]) -> dict[str, Any]:
    check_name(name)
    kind, says = given.get("kind"), {key: value for key, value in given.items() if key != "kind"}
    if kind == HTTP:
        granted = read_grant({**says, "name": name})
        for host in granted.hosts:
            if not all(covers(fetch_hosts, host.strip("[]"), port, scheme) for scheme, port in granted.doors()):
                raise ValueError(f"{name} is for {host}, which homing.fetch_hosts does not name")
        for credential in granted.credentials:
            if credential.secret not in secrets:
                raise ValueError(f"{name} uses {credential.secret}, which homing.secrets does not name")
        return {**says, "kind": kind}
    if kind not in (STUB, SQL, KV):
        raise ValueError(f"the kind of {name} is {HTTP}, {STUB}, {SQL} or {KV}, not {kind!r}")
    class_name, of = says.pop("class_name", None), says.pop("name", None)
    if not isinstance(class_name, str) or not isinstance(of, str):
        raise ValueError(f"{name} needs a class_name and the name of an object")
    props = says.pop("props", None)
    if props is not None:
        says["props"] = to_stored(props)
    made = {**says, "class_name": class_name, "object_id": ObjectId.from_name(class_name, of).raw, "object_name": of}
    object_grant({**made, "name": name, "kind": kind})
    return {**made, "kind": kind}


def _table(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}
