"""What a configuration file binds, and the errors of one that does not say it well."""

from __future__ import annotations

from typing import Any

import pytest

from homing.errors import ConfigurationError
from homing_node.workers.app_bindings import migrations_of, read_bindings

ROOM = {"name": "ROOMS", "class_name": "Room"}
FLOW = {"name": "orders", "binding": "ORDERS", "class_name": "Order"}


def test_classes_variables_and_what_is_not_built() -> None:
    values = {
        "name": "chat", "main": "a.py", "durable_objects": {"bindings": [ROOM]}, "vars": {"A": "x", "B": {"c": 1}},
        "kv_namespaces": [{"binding": "KV", "id": "1"}, {"binding": "EU", "jurisdiction": "eu"}],
        "d1_databases": [
            {"binding": "DB", "database_id": "2", "database_name": "main", "migrations_dir": "sql"},
            {"binding": "MORE", "jurisdiction": "us"}
        ], "ai": {"binding": "AI"}, "worker_loaders": [{"binding": "LOADER"}],
        "queues": {"producers": [{"binding": "Q", "queue": "q"}], "consumers": [{"queue": "q"}]},
        "send_email": [{"name": "MAIL"}], "triggers": {"crons": ["* * * * *", "* * * * *"]},
        "homing": {"fetch_hosts": ["API.example.com"]}, "migrations": [{"tag": "v1"}],
        "workflows": [
            {"name": "orders", "binding": "ORDERS", "class_name": "Order", "script_name": "chat"},
            {"name": "long", "binding": "LONG", "class_name": "Order", "limits": {"steps": 25_000}},
        ],
    }  # fmt: skip
    assert read_bindings(values, "wrangler.jsonc") == {
        "objects": {"ROOMS": "Room"},
        "vars": {"A": "x", "B": {"c": 1}},
        "kv": {"KV": {"id": "1", "jurisdiction": None}, "EU": {"id": "EU", "jurisdiction": "eu"}},
        "d1": {
            "DB": {"id": "2", "name": "main", "migrations_dir": "sql", "jurisdiction": None},
            "MORE": {"id": "MORE", "name": "", "migrations_dir": "migrations", "jurisdiction": "us"},
        },
        "assets": {},
        "services": {},
        "loaders": {"LOADER": None},
        "missing": {"AI": "ai", "Q": "queues", "MAIL": "send_email"},
        "crons": ["* * * * *"],
        "fetch_hosts": ["api.example.com"],
        "grants": {},
        "secrets": [],
        "workflows": {
            "ORDERS": {"name": "orders", "class": "Order", "steps_max": 10_000},
            "LONG": {"name": "long", "class": "Order", "steps_max": 25_000},
        },
    }


def test_without_durable_objects_each_class_is_bound_by_its_own_name() -> None:
    assert "objects" not in read_bindings({}, "")
    assert "workflows" not in read_bindings({}, "")


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
        ({"kv_namespaces": [{"id": "1"}]}, "kv_namespaces"),
        ({"kv_namespaces": "KV"}, "kv_namespaces"),
        ({"kv_namespaces": [{"binding": "A", "id": "1"}], "vars": {"A": 1}}, "A more than once"),
        ({"d1_databases": [{"database_id": "1"}]}, "d1_databases"),
        ({"triggers": {"crons": "* * * * *"}}, "crons is a list"),
        ({"triggers": []}, "crons is a list"),
        ({"triggers": {"crons": ["* * * * *", "61 * * * *"]}}, "triggers.crons in .*61"),
        ({"triggers": {"crons": [7]}}, "five fields"),
        ({"homing": {"fetch_hosts": ["https://x"]}}, "fetch_hosts in .*https://x"),
        ({"homing": {"fetch_hosts": "x"}}, "fetch_hosts is a list"),
        ({"d1_databases": [{"binding": "A", "database_id": "1", "migrations_dir": "../x"}]}, "migrations_dir"),
        ({"workflows": [{"name": "orders", "binding": "ORDERS"}]}, "class_name"),
        ({"workflows": "orders"}, "class_name"),
        ({"workflows": [{**FLOW, "name": "a/b"}]}, "is no name of a workflow"),
        ({"workflows": [{**FLOW, "script_name": "other"}], "name": "mine"}, "a workflow of another application"),
        ({"workflows": [{**FLOW, "schedules": ["0 * * * *"]}]}, "schedules"),
        ({"workflows": [{**FLOW, "limits": {"steps": 25_001}}]}, "from 1 to 25000 steps"),
        ({"workflows": [FLOW, {**FLOW, "binding": "MORE", "class_name": "Other"}]}, "two classes"),
        ({"workflows": [FLOW], "vars": {"ORDERS": 1}}, "ORDERS more than once"),
        ({"kv_namespaces": [{"binding": "A", "id": "1"}, {"binding": "A", "id": "2"}]}, "A more than once"),
        ({"d1_databases": [{"binding": "A"}, {"binding": "A"}]}, "A more than once"),
        ({"durable_objects": {"bindings": [ROOM, {**ROOM, "class_name": "Other"}]}}, "ROOMS more than once"),
        ({"d1_databases": [{"binding": "A", "database_id": 5}]}, "database_id"),
        ({"d1_databases": [{"binding": "A", "database_name": []}]}, "database_name"),
        ({"kv_namespaces": [{"binding": "A", "jurisdiction": 1}]}, "the jurisdiction of A"),
        ({"d1_databases": [{"binding": "A", "jurisdiction": ["eu"]}]}, "the jurisdiction of A"),
        ({"durable_objects": {"bindings": [{**ROOM, "jurisdiction": "eu"}]}}, "gives objects a jurisdiction"),
        ({"workflows": [{**FLOW, "jurisdiction": "eu"}]}, "gives instances of a workflow a jurisdiction"),
        ({"triggers": {"crons": [], "jurisdiction": "eu"}}, "gives cron triggers a jurisdiction"),
        ({"vars": {"A": 1 << 64}}, "cannot be told"),
        ({"vars": {"A": "\ud800"}}, "cannot be told"),
        ({"assets": {"directory": "a", "binding": 1}}, "assets.binding"),
        ({"assets": {"directory": "a", "binding": "A"}, "vars": {"A": 1}}, "A more than once"),
        ({"services": [{"binding": "A"}]}, "needs a binding and a service"),
        ({"services": [{"service": "a"}]}, "needs a binding and a service"),
        ({"services": [{"binding": "A", "service": "a", "entrypoint": 1}]}, "the service A"),
        ({"services": [{"binding": "A", "service": "a", "props": []}]}, "the service A"),
        ({"services": [{"binding": "A", "service": "a"}], "vars": {"A": 1}}, "A more than once"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_bindings(values, "wrangler.jsonc")


def test_assets_and_services() -> None:
    own = {"binding": "OWN", "service": "shop", "entrypoint": "Prices", "props": {"a": 1}}
    values = {
        "name": "shop",
        "assets": {"directory": "public", "binding": "ASSETS"},
        "services": [own, {"binding": "SELF", "service": "shop"}, {"binding": "OTHER", "service": "billing"}],
    }
    found = read_bindings(values, "wrangler.jsonc")
    assert list(found["assets"]) == ["ASSETS"]
    assert found["services"] == {
        "OWN": {"of": "", "entrypoint": "Prices", "props": {"a": 1}},
        "SELF": {"of": "", "entrypoint": "", "props": {}},
        "OTHER": {"of": "billing", "entrypoint": "", "props": {}},
    }
    assert found["missing"] == {}
    assert not read_bindings({"assets": {"directory": "public"}}, "wrangler.jsonc")["assets"]


def test_migrations_are_the_scripts_of_their_folder_in_order() -> None:
    files = {
        "sql/0002.sql": b"b",
        "sql/0001.sql": b"a",
        "sql/deep/0003.sql": b"c",
        "0004.sql": b"d",
        "sql/read.md": b"e",
    }
    assert migrations_of("sql", files) == [("0001.sql", "a"), ("0002.sql", "b")]
    assert migrations_of("./sql/", files) == migrations_of("sql", files)
    with pytest.raises(ConfigurationError, match=r"sql/1\.sql"):
        migrations_of("sql", {"sql/1.sql": b"\xff"})
