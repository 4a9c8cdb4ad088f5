"""The code of a dynamic worker, checked: see docs/dynamic-workers.md. How it travels is in `loading_frames`.

Names and shapes are those of https://developers.cloudflare.com/dynamic-workers/api-reference/, in Python's manner or in
JavaScript's (`main_module` or `mainModule`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import msgspec

from homing.errors import BadRequest, NotSupported, TooLarge
from homing.grants import Grant, gateway

_MIB = 1024 * 1024

CODE_BYTES_MAX = 64 * _MIB  # of all modules, their names included
ENV_BYTES_MAX = _MIB
MODULES_MAX = 1_000
MODULE_NAME_CHARS_MAX = 512
MODULE_DEPTH_MAX = 32
CPU_MS_DEFAULT = 5_000
CPU_MS_MAX = 30_000
SUB_REQUESTS_DEFAULT = 50
SUB_REQUESTS_MAX = 1_000
TENANT_CHARS_MAX = 200
ID_CHARS_MAX = 512
TAILS_MAX = 8
GLOBAL_OUTBOUND = "global_outbound"  # the name of the grant that is for all requests

PY, JS, TS, TEXT, JSON, DATA = "py", "js", "ts", "text", "json", "data"
_LANGUAGES = {PY: "Python", JS: "JavaScript", TS: "JavaScript"}
_KINDS = {".py": PY, ".js": JS, ".mjs": JS, ".ts": TS, ".mts": TS}  # of a text, by how its name ends
_NOT_YET = frozenset(("cjs", "wasm"))
_NOT_YET_ENDINGS = (".cjs", ".cts", ".jsx", ".tsx")


@dataclass(frozen=True, slots=True)
class CallLimits:
    """What one call of a dynamic worker may use. Where limits are given twice, the lower counts.

    Attributes:
        cpu_ms: CPU time, in milliseconds.
        sub_requests: requests and calls that it makes.
    """

    cpu_ms: int = CPU_MS_DEFAULT
    sub_requests: int = SUB_REQUESTS_DEFAULT

    def __post_init__(self) -> None:
        for name, least, most in (("cpu_ms", 1, CPU_MS_MAX), ("sub_requests", 0, SUB_REQUESTS_MAX)):
            given = getattr(self, name)
            if type(given) is not int or not least <= given <= most:
                raise BadRequest(f"the limit {name} is {given!r}; it is a whole number from {least} to {most}")

    def lower(self, other: CallLimits) -> CallLimits:
        """The lower of each."""
        return CallLimits(min(self.cpu_ms, other.cpu_ms), min(self.sub_requests, other.sub_requests))


def limits_of(given: CallLimits | Mapping[str, Any] | None) -> CallLimits:
    """Limits by name, in Python's manner or in JavaScript's; what is not named is as high as it can be.

    Raises:
        BadRequest: there is no such limit, or it cannot be that.

    Example:
        >>> limits_of({"cpuMs": 50}).cpu_ms
        50
    """
    if isinstance(given, CallLimits):
        return given
    named = _named("limits", given or {}, {"cpu_ms": "cpuMs", "sub_requests": "subRequests"})
    return CallLimits(**({"cpu_ms": CPU_MS_MAX, "sub_requests": SUB_REQUESTS_MAX} | named))


class Module(NamedTuple):
    """One module.

    Attributes:
        kind: PY, JS, TS, TEXT, JSON or DATA.
        content: its text in UTF-8; JSON as it was given, or as text.
    """

    kind: str
    content: bytes


@dataclass(frozen=True, slots=True)
class WorkerCode:
    """What a dynamic worker is made of.

    Attributes:
        main_module: the name of the module that has its entrypoints. It is one of Python, or of JavaScript or
            TypeScript, and so are all others that are code.
        modules: by name, `main.py` or `lib/prices.ts`: the text of a module; or `{"py": …}`, `{"js": …}`, `{"ts": …}`,
            `{"text": …}`, `{"json": …}` or `{"data": bytes}`.
        env: what the worker has as `env`: values that objects can store, and grants of `homing.grants`.
        limits: of each call.
        global_outbound: where each request that the worker's code sends goes: a grant of `homing.grants.http`; or an
            object, by a stub or as `self`, whose `fetch` gets all of them. None: nowhere, `fetch` raises.
        tails: stubs with a method `tail`; it gets a list with what became of a call, after each.
        compatibility_date, compatibility_flags: are taken, and change nothing.
        tenant: whose code it is: see `homing.run`.

    Raises:
        BadRequest: the main module is not there, or a name or content cannot be one of a module.
        TooLarge: too many modules, or more than 64 MiB of them, or an `env` of more than 1 MiB.
        NotSupported: a module of a kind that there is not.
        TypeError: a value in `env` that cannot be sent.

    Example:
        >>> code = WorkerCode("main.py", {"main.py": "from workers import *", "note.txt": {"text": "hello"}})
        >>> code.checked["note.txt"]
        Module(kind='text', content=b'hello')
    """

    main_module: str
    modules: Mapping[str, Any]
    env: Mapping[str, Any] = field(default_factory=dict[str, Any])
    limits: CallLimits = field(default_factory=CallLimits)
    global_outbound: Any = None
    tails: Sequence[Any] = ()
    compatibility_date: str = ""
    compatibility_flags: Sequence[str] = ()
    tenant: str = ""
    checked: Mapping[str, Module] = field(init=False)
    grants: Mapping[str, Grant] = field(init=False)
    values: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        modules = _modules(self.modules)
        main = modules.get(self.main_module)
        if main is None or main.kind not in _LANGUAGES:
            what = "is not there" if main is None else "is no code"
            raise BadRequest(f"the main module {str(self.main_module)[:MODULE_NAME_CHARS_MAX]!r} {what}")
        _check_language(self.main_module, modules)
        if len(self.tenant) > TENANT_CHARS_MAX:
            raise BadRequest(f"the name of a tenant has at most {TENANT_CHARS_MAX} characters")
        if len(self.tails) > TAILS_MAX:
            raise BadRequest(f"at most {TAILS_MAX} tails")
        object.__setattr__(self, "checked", modules)
        grants = {name: value for name, value in self.env.items() if isinstance(value, Grant)}
        values = {name: value for name, value in self.env.items() if name not in grants}
        if GLOBAL_OUTBOUND in self.env:
            raise BadRequest(f"env can have nothing that is named {GLOBAL_OUTBOUND}")
        if self.global_outbound is not None:
            grants[GLOBAL_OUTBOUND] = gateway(self.global_outbound)
        object.__setattr__(self, "grants", grants)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "limits", limits_of(self.limits))


_KEYS = {
    "main_module": "mainModule", "modules": "modules", "env": "env", "limits": "limits",
    "global_outbound": "globalOutbound", "tails": "tails", "compatibility_date": "compatibilityDate",
    "compatibility_flags": "compatibilityFlags", "tenant": "tenant",
}  # fmt: skip


def worker_code(given: WorkerCode | Mapping[str, Any]) -> WorkerCode:
    """The code of a dynamic worker, of a `WorkerCode` or of a dict with its fields.

    Raises:
        BadRequest, TooLarge, NotSupported, TypeError: see `WorkerCode`.

    Example:
        >>> worker_code({"mainModule": "a.py", "modules": {"a.py": ""}}).main_module
        'a.py'
    """
    if isinstance(given, WorkerCode):
        return given
    named = _named("the code of a worker", given, _KEYS)
    for name in ("main_module", "modules"):
        if name not in named:
            raise BadRequest(f"the code of a worker needs {name}")
    if named.get("env") is None:
        named.pop("env", None)
    if "limits" in named:
        named["limits"] = limits_of(named["limits"])
    return WorkerCode(**named)


def _named(what: str, given: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    """Entries under Python's names."""
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - an application's own code gave it
        raise BadRequest(f"{what}: a dict, not {type(given).__qualname__}")
    own = {theirs: ours for ours, theirs in keys.items()} | {ours: ours for ours in keys}
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = own.get(key)
        if name is None:
            raise BadRequest(f"{what}: there is no {str(key)[:100]!r}; there are {', '.join(sorted(keys))}")
        if name in found:
            raise BadRequest(f"{what}: {name} is there twice")
        found[name] = value
    return found


# -- modules ----------------------------------------------------------------------------------------------------------


def _modules(given: Mapping[str, Any]) -> dict[str, Module]:
    if len(given) > MODULES_MAX:
        raise TooLarge(f"{len(given)} modules; at most {MODULES_MAX}")
    found: dict[str, Module] = {}
    room = CODE_BYTES_MAX
    names: dict[str, str] = {}
    for name, content in given.items():
        _check_name(name)
        module = found[name] = _module(name, content)
        room -= len(name) + len(module.content)
        if room < 0:
            raise TooLarge(f"modules of more than {CODE_BYTES_MAX} bytes")
        if module.kind == PY:
            other = names.setdefault(import_name(name), name)
            if other != name:
                raise BadRequest(f"{other!r} and {name!r} would be imported under one name")
    return found


def _check_language(main: str, modules: Mapping[str, Module]) -> None:
    """Raises `BadRequest` unless all code is of the main module's language: no other could import it."""
    language = _LANGUAGES[modules[main].kind]
    for name, module in modules.items():
        if _LANGUAGES.get(module.kind, language) != language:
            raise BadRequest(f"a worker is of one language: {main!r} is {language}, and {name!r} is not")


def _check_name(name: object) -> None:
    """Raises `BadRequest` unless it is a path: parts, none of which leads anywhere else."""
    if not isinstance(name, str) or not 0 < len(name) <= MODULE_NAME_CHARS_MAX:
        raise BadRequest(f"the name of a module has 1 to {MODULE_NAME_CHARS_MAX} characters")
    parts = name.split("/")
    bad = any(part in ("", ".", "..") for part in parts) or "\\" in name or not name.isprintable()
    if bad or len(parts) > MODULE_DEPTH_MAX:
        raise BadRequest(f"{name!r} is no name of a module: names with slashes between them, as in lib/prices.py")


def _module(name: str, content: Any) -> Module:
    kind, value = PY, content
    if isinstance(content, Mapping):
        entries = dict(cast("Mapping[str, Any]", content))
        if len(entries) != 1:
            raise BadRequest(f"the module {name!r} has one of py, js, ts, text, json and data")
        ((kind, value),) = entries.items()
    elif isinstance(content, str):
        if name.endswith(_NOT_YET_ENDINGS):
            raise NotSupported(f"modules whose names end so, which have to be made JavaScript first ({name})")
        kind = next((kind for ending, kind in _KINDS.items() if name.endswith(ending)), "")
        if not kind:
            raise BadRequest(f"the module {name!r} is a text, and its name does not say of which kind")
    if kind in _NOT_YET:
        raise NotSupported(f"modules of the kind {kind} ({name})")
    if kind in (*_LANGUAGES, TEXT) and isinstance(value, str):
        return Module(kind, _encoded(name, value))
    if kind == DATA and isinstance(value, (bytes, bytearray, memoryview)):
        return Module(kind, bytes(cast("bytes", value)))
    if kind == JSON:
        return Module(kind, _json(name, value))
    raise BadRequest(f"the module {name!r} is no {str(kind)[:20]} that can be: {type(value).__qualname__}")


def _encoded(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadRequest(f"the module {name!r} is no text: {error.reason}") from error


def _json(name: str, value: Any) -> bytes:
    """JSON as text, of a value or, as the reference takes it, of text that is JSON already."""
    try:
        if isinstance(value, str):
            msgspec.json.decode(_encoded(name, value))
            return value.encode()
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"the module {name!r} is no JSON: {error}") from error


def import_name(name: str) -> str:
    """The name under which a module is imported.

    Example:
        >>> import_name("main.py"), import_name("lib/prices.py"), import_name("lib/__init__.py")
        ('main', 'lib.prices', 'lib')
    """
    parts = name.removesuffix(".py").split("/")
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)
