"""What a configuration file binds, and the errors of one that does not say it well."""

from __future__ import annotations

from typing import Any

import pytest

from homing.errors import ConfigurationError
from homing_node.workers.app_bindings import read_bindings

ROOM = {"name": "ROOMS", "class_name": "Room"}


def test_classes_variables_and_what_is_not_built() -> None:
    values = {
        "name": "chat", "main": "a.py", "durable_objects": {"bindings": [ROOM]}, "vars": {"A": "x", "B": {"c": 1}},
        "kv_namespaces": [{"binding": "KV", "id": "1"}], "ai": {"binding": "AI"},
        "queues": {"producers": [{"binding": "Q", "queue": "q"}], "consumers": [{"queue": "q"}]},
        "send_email": [{"name": "MAIL"}], "triggers": {"crons": ["* * * * *"]}, "migrations": [{"tag": "v1"}],
    }  # fmt: skip
    assert read_bindings(values, "wrangler.jsonc") == {
        "objects": {"ROOMS": "Room"},
        "vars": {"A": "x", "B": {"c": 1}},
        "missing": {"KV": "kv_namespaces", "AI": "ai", "Q": "queues", "MAIL": "send_email"},
    }


def test_without_durable_objects_each_class_is_bound_by_its_own_name() -> None:
    assert "objects" not in read_bindings({}, "")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"vars": []}, "vars"),
        ({"vars": {"a-b": 1}}, "a-b"),
        ({"durable_objects": []}, "list of bindings"),
        ({"durable_objects": {"bindings": {}}}, "list of bindings"),
        ({"durable_objects": {"bindings": [{"name": "A"}]}}, "class_name"),
        ({"durable_objects": {"bindings": ["A"]}}, "class_name"),
        ({"durable_objects": {"bindings": [{**ROOM, "script_name": "other"}]}}, "other"),
        ({"durable_objects": {"bindings": [ROOM]}, "vars": {"ROOMS": 1}}, "ROOMS more than once"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_bindings(values, "wrangler.jsonc")
