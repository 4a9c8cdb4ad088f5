"""What an application's configuration puts into `env`: classes of objects, variables, and what is not built yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, cast

import msgspec

from homing.bindings.workflow_rules import NAME_CHARS_MAX, STEPS_DEFAULT, STEPS_MAX, is_identifier
from homing.cron import Schedule
from homing.errors import ConfigurationError
from homing_node.broker.hosts import check_host
from homing_node.workers import limits
from homing_node.workers.app_grants import read_grants, read_secrets

# Kinds whose entries have their names under another key than `binding`.
_NAMED = {"send_email": "name"}
_SETTINGS = frozenset(
    {
        "durable_objects",
        "vars",
        "kv_namespaces",
        "d1_databases",
        "assets",
        "services",
        "workflows",
        "worker_loaders",
        "triggers",
        "homing",
    }
)
_LATER = "leave it out; objects of your own can be bound"
_MIGRATIONS_DIR = "migrations"  # as the reference's own tools have it


def read_bindings(values: Mapping[str, Any], file: str) -> dict[str, Any]:
    """The bindings of an application, as its workers are told them.

    Args:
        values: what the configuration file holds.
        file: its name, for errors.

    Returns:
        `vars`: name to value; `kv`: name to the id of a namespace of keys and its jurisdiction, or None; `d1`: name to
        the same of a database, and the folder of its migrations; `assets`: the name of the static assets, if they have
        one; `services`: name to the application it is `of`, if not of this one, its class of entrypoints and their
        `props`; `loaders`: the names of loaders of dynamic workers; `crons`: schedules of its cron triggers;
        `fetch_hosts`: where it may send requests; `secrets`: names of those that its grants may use; `grants`: those
        that runs are given by name (`app_grants`); `missing`: name to the kind of binding that this version does not
        have; and `objects`, name to class, and `workflows`, name to a
        workflow's name, class and limit of steps, where the file names any: else every class is bound under its own
        name.

    Raises:
        ConfigurationError: an entry that is none, two of one name, or a value that a worker cannot be told.

    Example:
        >>> read_bindings({"vars": {"COLOR": "red"}, "ai": {"binding": "AI"}}, "wrangler.jsonc")
        >>> sorted(read_bindings({"vars": {"COLOR": "red"}, "ai": {"binding": "AI"}}, "wrangler.jsonc"))
        ['assets', 'crons', 'd1', 'fetch_hosts', 'grants', 'kv', 'loaders', 'missing', 'secrets', 'services', 'vars']
    """
    variables = values.get("vars", {})
    if not isinstance(variables, dict):
        raise ConfigurationError(f"vars in {file} must be a table of names and values")
    found: dict[str, list[tuple[str, Any]]] = {
        "vars": list(cast("dict[str, Any]", variables).items()),
        "kv": list(_kv(values.get("kv_namespaces", []), file)),
        "d1": list(_d1(values.get("d1_databases", []), file)),
        "assets": list(_assets(values.get("assets"), file)),
        "services": list(_services(values.get("services", []), values.get("name"), file)),
        "loaders": list(_loaders(values.get("worker_loaders", []), file)),
        "missing": list(_missing(values)),
    }
    if "durable_objects" in values:
        found["objects"] = list(_objects(values["durable_objects"], file))
    if "workflows" in values:
        found["workflows"] = list(_workflows(values, file))
    _check_names((name for part in found.values() for name, _ in part), file)
    bindings: dict[str, Any] = {kind: dict(part) for kind, part in found.items()}
    bindings["crons"] = _crons(values.get("triggers", {}), file)
    settings: object = values.get("homing", {})
    bindings["fetch_hosts"] = hosts = _fetch_hosts(settings, file)
    bindings["secrets"] = secrets = read_secrets(settings, file)
    bindings["grants"] = read_grants(settings, hosts, secrets, file)
    try:
        msgspec.msgpack.encode(bindings)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ConfigurationError(f"{file} holds a value that a worker cannot be told: {error}") from error
    return bindings


def _check_names(names: Iterable[str], file: str) -> None:
    count = Counter(names)
    for name in count:
        if not name.isidentifier():
            raise ConfigurationError(f"{file} binds {name!r}, which is no name for an attribute of env")
    twice = sorted(name for name, times in count.items() if times > 1)
    if twice:
        raise ConfigurationError(f"{file} binds {', '.join(twice)} more than once")


def _fetch_hosts(settings: object, file: str) -> list[str]:
    try:
        return [check_host(host) for host in _list(settings, "fetch_hosts", limits.app_hosts_max)]
    except ValueError as error:
        raise ConfigurationError(f"homing.fetch_hosts in {file}: {error}") from error


def _crons(triggers: object, file: str) -> list[str]:
    _check_unbound(triggers, "cron triggers", _LATER, file)
    try:
        crons = [str(cron) for cron in _list(triggers, "crons", limits.app_crons_max)]
        for cron in crons:
            Schedule(cron)
    except ValueError as error:
        raise ConfigurationError(f"triggers.crons in {file}: {error}") from error
    return list(dict.fromkeys(crons))


def _list(table: object, key: str, count_max: int) -> list[object]:
    """A list in a table; empty where there is none.

    Raises:
        ValueError: it is no list, or too long.
    """
    found = cast("dict[str, object]", table).get(key, []) if isinstance(table, dict) else None
    if not isinstance(found, list) or len(cast("list[object]", found)) > count_max:
        raise ValueError(f"{key} is a list of at most {count_max}")
    return cast("list[object]", found)


def _jurisdiction_of(entry: object, what: str, file: str) -> str | None:
    """What binds the objects behind an entry to zones; whether the cluster has that is seen where it is loaded."""
    found = cast("dict[str, object]", entry).get("jurisdiction")
    if found is not None and not isinstance(found, str):
        raise ConfigurationError(f"the jurisdiction of {what} in {file} is a name: {found!r}")
    return found or None


def _check_unbound(entry: object, what: str, instead: str, file: str) -> None:
    """Refuse what would be bound nowhere although somebody wrote that it is."""
    if isinstance(entry, dict) and "jurisdiction" in cast("dict[str, object]", entry):
        raise ConfigurationError(f"{file} gives {what} a jurisdiction, and nothing would bind them to it: {instead}")


def _objects(value: object, file: str) -> Iterator[tuple[str, str]]:
    listed = cast("dict[str, Any]", value).get("bindings") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise ConfigurationError(f"durable_objects in {file} must hold a list of bindings")
    for entry in cast("list[object]", listed):
        _check_unbound(entry, "objects", 'their namespace does, as in env.NAME.jurisdiction("eu")', file)
        match entry:
            case {"script_name": str(other)}:
                raise ConfigurationError(
                    f"{file} binds a class of {other}: classes of other applications are not supported yet"
                )
            case {"name": str(name), "class_name": str(class_name)}:
                yield name, class_name
            case _:
                raise ConfigurationError(
                    f"a binding of durable_objects in {file} needs a name and a class_name: {entry!r}"
                )


def _kv(value: object, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in cast("list[object]", value) if isinstance(value, list) else [value]:
        match entry:
            case {"binding": str(name)}:
                namespace = cast("dict[str, object]", entry).get("id")
                # Without an id: as the reference's own tools do before a namespace is made.
                found = namespace if isinstance(namespace, str) and namespace else name
                yield name, {"id": found, "jurisdiction": _jurisdiction_of(entry, name, file)}
            case _:
                raise ConfigurationError(f"an entry of kv_namespaces in {file} needs a binding and an id: {entry!r}")


def _d1(value: object, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in cast("list[object]", value) if isinstance(value, list) else [value]:
        match entry:
            case {"binding": str(name)}:
                database = cast("dict[str, Any]", entry)
                folder = database.get("migrations_dir", _MIGRATIONS_DIR)
                if not isinstance(folder, str) or ".." in PurePosixPath(folder).parts or folder.startswith("/"):
                    raise ConfigurationError(f"migrations_dir in {file} is a folder of the application, not {folder!r}")
                found, title = database.get("database_id") or name, database.get("database_name", "")
                if not isinstance(found, str) or not isinstance(title, str):
                    raise ConfigurationError(f"database_id and database_name in {file} are texts: {entry!r}")
                bound_by = _jurisdiction_of(entry, name, file)
                yield name, {"id": found, "name": title, "migrations_dir": folder, "jurisdiction": bound_by}
            case _:
                raise ConfigurationError(f"an entry of d1_databases in {file} needs a binding: {entry!r}")


def _workflows(values: Mapping[str, Any], file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    listed, classes = values["workflows"], dict[str, str]()
    for value in cast("list[object]", listed) if isinstance(listed, list) else [listed]:
        entry = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        _check_unbound(entry, "instances of a workflow", _LATER, file)
        name, binding, class_name = (entry.get(key) for key in ("name", "binding", "class_name"))
        if not (isinstance(name, str) and isinstance(binding, str) and isinstance(class_name, str)):
            raise ConfigurationError(f"an entry of workflows in {file} needs a name, a binding and a class_name")
        if not is_identifier(name, NAME_CHARS_MAX):
            raise ConfigurationError(f"{name!r}, in {file}, is no name of a workflow: letters, digits, _ and -")
        if entry.get("script_name", values.get("name")) != values.get("name"):
            raise ConfigurationError(f"{file} binds a workflow of another application: not supported yet")
        if entry.get("schedules"):
            raise ConfigurationError(f"{file} has schedules of a workflow: not supported yet")
        if classes.setdefault(name, class_name) != class_name:
            raise ConfigurationError(f"{file} gives the workflow {name} two classes")
        limits = entry.get("limits", {})
        steps_max = cast("dict[str, Any]", limits).get("steps", STEPS_DEFAULT) if isinstance(limits, dict) else None
        if not isinstance(steps_max, int) or not 0 < steps_max <= STEPS_MAX:
            raise ConfigurationError(f"a workflow in {file} has from 1 to {STEPS_MAX} steps")
        yield binding, {"name": name, "class": class_name, "steps_max": steps_max}


def _assets(value: object, file: str) -> Iterator[tuple[str, None]]:
    """The name of the static assets in `env`; what else there is of them is read by `app_assets`."""
    name = cast("dict[str, object]", value).get("binding") if isinstance(value, dict) else None
    if isinstance(name, str):
        yield name, None
    elif name is not None:
        raise ConfigurationError(f"assets.binding in {file} is a name, not {name!r}")


def _services(value: object, own: object, file: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in cast("list[object]", value) if isinstance(value, list) else [value]:
        match entry:
            case {"binding": str(name), "service": str(service)}:
                given = cast("dict[str, Any]", entry)
                entrypoint, props = given.get("entrypoint", ""), given.get("props", {})
                if not isinstance(entrypoint, str) or not isinstance(props, dict):
                    raise ConfigurationError(f"the service {name} in {file} has an entrypoint or props that are none")
                yield name, {"of": "" if service == own else service, "entrypoint": entrypoint, "props": props}
            case _:
                raise ConfigurationError(f"an entry of services in {file} needs a binding and a service: {entry!r}")


def _loaders(value: object, file: str) -> Iterator[tuple[str, None]]:
    for entry in cast("list[object]", value) if isinstance(value, list) else [value]:
        match entry:
            case {"binding": str(name)}:
                yield name, None
            case _:
                raise ConfigurationError(f"an entry of worker_loaders in {file} needs a binding: {entry!r}")


def migrations_of(folder: str, files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """The migrations in a folder, in the order of their names: each with its script.

    Args:
        folder: inside the application.
        files: of the application, by path.

    Raises:
        ConfigurationError: one is not text.
    """
    inside = PurePosixPath(folder)
    found: list[tuple[str, str]] = []
    for path in sorted(files):
        file = PurePosixPath(path)
        if file.parent == inside and file.suffix == ".sql":
            try:
                found.append((file.name, files[path].decode()))
            except UnicodeDecodeError as error:
                raise ConfigurationError(f"the migration {path} is not UTF-8") from error
    return found


def _missing(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The bindings of every other kind."""
    for kind, value in values.items():
        if kind in _SETTINGS:
            continue
        listed = (
            cast("dict[str, Any]", value).get("producers") if kind == "queues" and isinstance(value, dict) else value
        )
        for entry in cast("list[object]", listed) if isinstance(listed, list) else (listed,):
            if isinstance(entry, dict):
                name = cast("dict[str, Any]", entry).get(_NAMED.get(kind, "binding"))
                if isinstance(name, str):
                    yield name, kind
