"""The target `config`: an application's configuration, from the bytes of the file to what its workers are told.

`config_files.py` has what else of an application a node reads.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from tests.fuzz import config_files
from tests.fuzz.mutators import behind, changed_bytes, changed_text, either
from tests.fuzz.target import Check, Target

from homing.errors import ConfigurationError
from homing_node.workers.app_bindings import migrations_of, read_bindings
from homing_node.workers.app_bundle_config import AppConfig, parse_jsonc, read_config

FILES = ("wrangler.jsonc", "wrangler.toml", "homing.toml")
REFUSED = object()
_LISTS = ("kv_namespaces", "d1_databases")
_folder = Path(tempfile.mkdtemp(prefix="homing-fuzz-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
for _name in ("main.py", "src/main.py", "src/entry.py"):
    (_folder / _name).parent.mkdir(exist_ok=True)
    (_folder / _name).touch()
SQL = {
    "migrations/0001.sql": b"CREATE TABLE t (a)",
    "sql/0002.sql": b"SELECT 1",
    "sql/bad.sql": b"\xff",
    "main.py": b"",
}


def check_file(data: bytes) -> None:
    """A configuration file gives a main module and bindings that can be handed on, or a ConfigurationError.

    The first byte says which file it is.
    """
    name, data = (FILES[data[0] % len(FILES)], data[1:]) if data else (FILES[0], b"")
    file = _folder / name
    file.write_bytes(data)
    try:
        config = read_config(_folder)
        _check_config(config, name)
        bindings = read_bindings(config.values, config.file)
        for database in bindings["d1"].values():
            database["migrations"] = migrations_of(database["migrations_dir"], SQL)
    except ConfigurationError:
        return
    finally:
        file.unlink()
    _check_bindings(bindings, config.values)


def _check_config(config: AppConfig, name: str) -> None:
    assert config.file == name
    assert not config.main.is_absolute()
    assert ".." not in config.main.parts
    assert (_folder / config.main).is_file()
    assert config.main.stem.isidentifier()


def _check_bindings(bindings: dict[str, Any], values: Any) -> None:
    msgspec.msgpack.encode(bindings)
    kinds = ("vars", "kv", "d1", "missing", "objects", "assets", "services", "workflows", "loaders")
    parts = {kind: bindings.get(kind, {}) for kind in kinds}
    assert set(bindings) <= {*parts, "crons", "fetch_hosts", "grants", "secrets"}
    names = [name for part in parts.values() for name in part]
    assert all(type(name) is str and name.isidentifier() for name in names)
    assert len(set(names)) == len(names)
    for key, kind in zip(_LISTS, ("kv", "d1"), strict=True):
        listed = values.get(key, [])
        said = listed if isinstance(listed, list) else [listed]
        assert len(parts[kind]) == len(said), f"two of {key} became one"
    assert all(type(database["name"]) is str for database in parts["d1"].values())
    for each in (*parts["d1"].values(), *parts["kv"].values()):
        assert each["id"]
        assert type(each["id"]) is str
        assert each["jurisdiction"] is None or type(each["jurisdiction"]) is str
    for kind in ("objects", "missing"):
        assert all(type(value) is str for value in parts[kind].values())


def check_jsonc(data: bytes) -> None:
    """JSONC is what it is when it is read sign by sign; comments, wherever they may stand, make no difference."""
    try:
        text = data.decode()
    except ValueError:
        return
    with contextlib.suppress(RecursionError):
        value = _value_of(parse_jsonc, text)
        assert repr(value) == repr(_value_of(lambda text: json.loads(_plain(text)), text)), "it is read in two ways"
        if value is REFUSED:
            assert _value_of(json.loads, text) is REFUSED, "JSON was refused"
            return
        commented = "".join(_written(value, Random(data)))
        assert repr(parse_jsonc(commented)) == repr(value), f"{commented!r} means something else than {value!r}"


def _value_of(parse: Callable[[str], Any], text: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        return REFUSED


def _plain(text: str) -> str:
    """JSONC as JSON, sign by sign."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        end = at + 1
        if text[at] == '"':
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            end += 1
        elif text.startswith("//", at):
            end = text.find("\n", at) % (len(text) + 1)  # without an end: that of the text
        elif text.startswith("/*", at):
            end = text.index("*/", at + 2) + 2
        pieces.append(" " if text[at] == "/" and end > at + 1 else text[at:end])
        at = end
    behind = ""
    for number in reversed(range(len(pieces))):
        if pieces[number] == "," and behind in ("]", "}"):
            pieces[number], behind = "", ","
        elif not pieces[number].isspace():
            behind = pieces[number]
    return "".join(pieces)


_BETWEEN = ("", "", " ", "\n", "/**/", '/* , ] } " */', '// " , ]\n', "////\n", "/***/", "/*//*/", "\t//\n")


def _written(value: Any, random: Random) -> Any:
    """A value as JSONC, with comments and commas at every place where they may stand."""

    def between() -> str:
        return random.choice(_BETWEEN) + random.choice(_BETWEEN)

    yield between()
    if isinstance(value, dict | list) and value:
        yield "{" if isinstance(value, dict) else "["
        for number, item in enumerate(value):
            yield "," + between() if number else between()
            if isinstance(value, dict):
                yield json.dumps(item) + between() + ":"
            yield from _written(value[item] if isinstance(value, dict) else item, random)
        yield random.choice(("", ",")) + between() + ("}" if isinstance(value, dict) else "]")
    else:
        yield json.dumps(value)
    yield between()


def check_slots(data: bytes) -> None:
    """Any value in any place that bindings are read from. JSON: an object."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(values, dict):
        return
    try:
        bindings = read_bindings(values, "wrangler.jsonc")
    except ConfigurationError:
        return
    _check_bindings(bindings, values)


_ALL = """{
  // an application with everything
  "name": "chat", "main": "src/entry.py", /* its module */
  "compatibility_flags": ["python_workers"],
  "durable_objects": {"bindings": [{"name": "ROOMS", "class_name": "Room"},]},
  "vars": {"A": "// x", "B": {"c": [1, 2.5, null, true]}, },
  "kv_namespaces": [{"binding": "KV", "id": "1"}, {"binding": "MORE"}],
  "d1_databases": [{"binding": "DB", "database_id": "2", "database_name": "n", "migrations_dir": "sql2"},
    {"binding": "D"}],
  "ai": {"binding": "AI"}, "queues": {"producers": [{"binding": "Q"}], "consumers": []},
  "send_email": [{"name": "MAIL"}], "r2_buckets": [{"binding": "R2"}, 5], "triggers": {"crons": []}
}"""
_TOML = """name = "chat"
main = "src/entry.py"
[[kv_namespaces]]
binding = "KV"
id = "1"
[[durable_objects.bindings]]
name = "ROOMS"
class_name = "Room"
[vars]
A = 1
B = 2020-01-01T00:00:00Z
"""
_FILES = [
    b"\x00" + _ALL.encode(),
    b"\x01" + _TOML.encode(),
    b'\x02[app]\nmain = "src/main.py"\n',
    b"\x02app = 5\n",
    b"\x02",
    b'\x01main = "../main.py"',
    b"\x01main = 'gone.py'",
    b"\x01main = 5",
    b'\x01main = "' + b"a/" * 2_000 + b'a.py"',
    b'\x01main = "' + b"a" * 300 + b'.py"',
    b"\x00[1]",
    b"\x00\xff",
    b"\x00" + b"[" * 3_000,
    b'\x00{"vars": {"A": ' + b"9" * 30 + b"}}",
    b'\x00{"vars": {"A": "\\ud800"}}',
    b'\x00{"vars": {"A": NaN}}',
    b'\x00{"d1_databases": [{"binding": "DB", "migrations_dir": "sql"}]}',
    b'\x00{"a": 1, ' + b"/**/" * 30 + b'"b": 2}',
    b'\x00{"a": 1, ' + b"/" * 60 + b'\n"b": 2}',
]
_SLOTS = [
    *(
        json.dumps(values).encode()
        for values in (
            {"vars": []}, {"vars": {"a-b": 1}}, {"durable_objects": []}, {"durable_objects": {"bindings": ["A"]}},
            {"durable_objects": {"bindings": [{"name": "A", "class_name": "B", "script_name": "c"}]}},
            {"vars": {"A": 1}, "ai": {"binding": "A"}}, {"kv_namespaces": [{"id": "1"}]},
            {"kv_namespaces": {"binding": "A"}},
            {"kv_namespaces": [{"binding": "A", "id": "1"}, {"binding": "A", "id": "2"}]}, {"d1_databases": [{}]},
            {"d1_databases": {"binding": "A", "database_id": 5, "database_name": 6, "migrations_dir": "x"}},
            {"d1_databases": [{"binding": "A", "migrations_dir": "/x"}]}, {"queues": 5, "ai": [5, {"binding": 6}]},
            {"durable_objects": {"bindings": [{"name": "A", "class_name": "B"}, {"name": "A", "class_name": "C"}]}},
            {"workflows": [{"name": "a", "binding": b, "class_name": b} for b in "AB"]},
            {"workflows": [{"name": "a", "binding": "A", "class_name": "C", "limits": {"steps": 5}}], "name": "x"},
            {"workflows": [{"name": "a/b", "binding": "A", "class_name": "C"}]}, {"workflows": "a"},
            {"workflows": [{"name": "a", "binding": "A", "class_name": "C", "script_name": "other"}]},
            {"workflows": [{"name": "a", "binding": "A", "class_name": "C", "schedules": ["x"]}]},
            {"workflows": [{"name": "a", "binding": "A", "class_name": "C", "limits": {"steps": 0}}]},
            {"services": [{"binding": "A", "service": "x", "entrypoint": "E", "props": {}}], "name": "x"},
            {"services": [{"binding": "A"}]}, {"services": [{"binding": "A", "service": "x", "props": []}]},
            {"triggers": {"crons": ["* * * * *", "x"]}}, {"triggers": []}, {"homing": {"fetch_hosts": ["a.b", "*"]}},
            {"assets": {"binding": "A"}}, {"assets": {"binding": 1}}, {"homing": {"fetch_hosts": ["a.b"]}},
            {"kv_namespaces": [{"binding": "A", "jurisdiction": "eu"}, {"binding": "B", "jurisdiction": ["eu"]}]},
            {"d1_databases": [{"binding": "A", "jurisdiction": "eu"}], "triggers": {"jurisdiction": "eu"}},
        )
    )
]  # fmt: skip
_JSONC = [
    _ALL.encode(),
    b"1/**/2",
    b"tr/**/ue",
    b'["a" /* "x',
    b'"\\"//\\\\"//',
    b"[1,/**/ // x\n ,]",
    b"[,]",
    b"1 /*",
    b"NaN",
    b"\xef\xbb\xbf1",
    b'"\xff"',
    b"[" * 900 + b"]" * 900,
]  # fmt: skip
_WORDS = (
    "//", "/*", "*/", "/**/", ",", ",]", ", }", "{", "}", "[", "]", '"', "\\", '\\"', ":", "\n", " ", "1", "null",
    "NaN",
    '"main": "src/entry.py"', '"vars": {', '"A": ', '"kv_namespaces": [{"binding": "A"}]', '"d1_databases": ',
    '"binding": "B"', '"jurisdiction": ',
    '"migrations_dir": ', '"durable_objects": {"bindings": [', '"queues": {"producers": [', '"\\ud800"', "9" * 25,
    "é", "\u2028",
)  # fmt: skip
_TOML_WORDS = (
    "[", "]", "[[", "]]", "=", "\n", '"', "'", '"""', "'''", ".", "#", "main = 'main.py'\n", "[vars]\n", "A = ",
    "[app]\n",
    "[[kv_namespaces]]\nbinding = 'K'\n", "[[d1_databases]]\nbinding = 'D'\n", "2020-01-01", "T00:00:00Z", "0x",
    "1_0", "inf",
    "nan", "{a = 1}", "true", "9" * 25, "\\u00e9", "\\UD800", "é", "\r",
)  # fmt: skip


TARGET = Target(
    "config",
    (
        Check(
            "file",
            check_file,
            _FILES,
            behind(1, either(changed_text(_WORDS), changed_text(_TOML_WORDS), changed_bytes)),
        ),
        Check("jsonc", check_jsonc, _JSONC, either(changed_text(_WORDS), changed_bytes)),
        Check("slots", check_slots, _SLOTS, either(changed_text(_WORDS), changed_bytes)),
        *config_files.CHECKS,
    ),
    {
        "node/homing_node/broker/hosts.py": (
            "check_host",
            "destination",
            "_names",
            "_split",
            "_is_host",
            "_is_address",
        ),
        "node/homing_node/workers/app_ignore.py": (),
        "node/homing_node/workers/app_package.py": ("unpack", "_files"),
        "node/homing_node/workers/app_requirements.py": (),
        "sdk/homing/cron.py": (),
        "sdk/homing/locations.py": ("read_jurisdictions", "_unreadable", "written"),
        "node/homing_node/workers/app_bundle_config.py": (),
        "node/homing_node/workers/app_bindings.py": (),
    },
)
