"""The source itself is linted: what ruff and pyright do not know about this project.

Each check is a function from a file's text to complaints, and is itself tested on a text that must be refused.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("sdk/homing", "placement/homing_placement", "node/homing_node", "gateway/homing_gateway")

# Modules that decide without I/O: time, chance and the network are parameters. A new core is added here.
CORES = (
    "node/homing_node/broker/credentials.py",
    "node/homing_node/broker/decoding.py",
    "node/homing_node/broker/fields.py",
    "node/homing_node/broker/hosts.py",
    "node/homing_node/broker/meter.py",
    "node/homing_node/broker/policy.py",
    "node/homing_node/broker/ranges.py",
    "node/homing_node/broker/reflection.py",
    "node/homing_node/broker/urls.py",
    "node/homing_node/log/confirm.py",
    "node/homing_node/log/core.py",
    "node/homing_node/log/effects.py",
    "node/homing_node/log/owner.py",
    "node/homing_node/log/record.py",
    "node/homing_node/log/replica.py",
    "node/homing_node/objects/alarm_clock.py",
    "placement/homing_placement/creation.py",
    "placement/homing_placement/planner.py",
    "placement/homing_placement/routing/nobody.py",
    "sdk/homing/flow.py",
)
IMPURE_MODULES = frozenset(
    {"asyncio", "grpc", "httpx", "multiprocessing", "os", "random", "secrets", "socket", "subprocess", "threading"}
    | {"time", "uuid"}
)  # fmt: skip
IMPURE_CALLS = ("datetime.now", "datetime.today", "datetime.utcnow", "date.today")

LINES_MAX = 400
TEST_LINES_MAX = 600
# Longer files, each with the reason why it is one room.
LONG_FILES: dict[str, str] = {}

GENERATED = re.compile(r"_pb2\.pyi?$")
PROSE_AND_CODE = {
    ".py",
    ".pyi",
    ".md",
    ".toml",
    ".txt",
    ".sh",
    ".yml",
    ".yaml",
    ".json",
    ".proto",
    ".cfg",
    ".policy",
    "",
}


def files() -> list[Path]:
    """Every file that is, or would be, committed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return sorted(ROOT / name for name in listed if name and (ROOT / name).is_file())


FILES = files()
SOURCES = [path for path in FILES if path.suffix == ".py" and not GENERATED.search(path.name)]
PACKAGE_SOURCES = [path for path in SOURCES if str(path.relative_to(ROOT)).startswith(PACKAGES)]
TEXTS = [path for path in FILES if path.suffix in PROSE_AND_CODE and not GENERATED.search(path.name)]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def impure_imports(text: str) -> Iterator[str]:
    """Clocks, chance and I/O in a core."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for module in modules:
                if module.split(".")[0] in IMPURE_MODULES:
                    yield f"line {node.lineno}: a core imports {module}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(IMPURE_CALLS):
            yield f"line {node.lineno}: a core reads the clock"


def bare_excepts(text: str) -> Iterator[str]:
    """`except:`, which also catches what must not be caught."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {node.lineno}: bare except"


def prints(text: str) -> Iterator[str]:
    """`print` in a package: programs log, commands echo."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield f"line {node.lineno}: print"


def ownerless_tasks(text: str) -> Iterator[str]:
    """A task whose result nobody holds: its failure would be seen by nobody."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func)
            if called in ("asyncio.create_task", "asyncio.ensure_future", "loop.create_task"):
                yield f"line {node.lineno}: {called} without an owner"


def orphan_notes(text: str) -> Iterator[str]:
    """Notes for later that name no issue."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line):
            yield f"line {number}: a note for later names its issue, as in TODO(#12)"


def unexplained_exceptions(text: str) -> Iterator[str]:
    """Switched-off checks without a reason beside them; a protocol's one-line methods are described by its class."""
    for number, line in enumerate(text.splitlines(), 1):
        if not line.endswith(": ...  # noqa: D102") and re.search(
            r"#\s*(type: ignore|pyright: ignore|noqa|pragma: no cover)(\[[^\]]*\]|:\s*[A-Z0-9, ]+)?\s*$", line
        ):
            yield f"line {number}: a switched-off check says why, on the same line"


def starred_excepts(text: str) -> Iterator[str]:
    """`except*`, out of which Python 3.11.2, which Debian 12 has, lets no plain error: see `homing_gateway.groups`."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*except\*", line):
            yield f"line {number}: `except*`"


def long_file(text: str) -> Iterator[str]:
    """More lines than a room holds."""
    lines = len(text.splitlines())
    if lines > LINES_MAX:
        yield f"{lines} lines, more than {LINES_MAX}"


def addresses(text: str) -> Iterator[str]:
    """Addresses of package registries: where packages come from is the machine's matter."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"(pypi|npmjs|pythonhosted|debian)\.(org|com)\b|--(extra-)?index-url\b(?!')|--find-links\b", line):
            yield f"line {number}: names a registry"


def machine_paths(text: str) -> Iterator[str]:
    """Paths that exist on one machine only."""
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"(?<![\w.~}])/(home|root|Users|work|workspace|opt)/\w", line):
            yield f"line {number}: names a path of one machine"


def complaints(check: Callable[[str], Iterator[str]], paths: list[Path]) -> list[str]:
    assert paths
    return [f"{name_of(path)} {what}" for path in paths for what in check(path.read_text())]


def test_cores_have_no_clock_no_chance_and_no_network() -> None:
    assert complaints(impure_imports, [ROOT / core for core in CORES]) == []


@pytest.mark.parametrize("check", [bare_excepts, ownerless_tasks, starred_excepts, unexplained_exceptions])
def test_sources(check: Callable[[str], Iterator[str]]) -> None:
    assert complaints(check, SOURCES) == []


def test_packages_do_not_print() -> None:
    assert complaints(prints, PACKAGE_SOURCES) == []


def _may_be_long(complaint: str) -> bool:
    """A list of test cases may run on to a room and a half; anything else needs its reason in LONG_FILES."""
    name, lines = complaint.split()[:2]
    return name in LONG_FILES or (name.startswith("tests/") and int(lines) <= TEST_LINES_MAX)


def test_no_file_is_longer_than_a_room_without_a_reason() -> None:
    found = [text for text in complaints(long_file, SOURCES) if not _may_be_long(text)]
    assert found == []


def test_reasons_for_long_files_are_still_needed() -> None:
    for name, reason in LONG_FILES.items():
        assert reason, name
        assert list(long_file((ROOT / name).read_text())), f"{name} is short again: take it off the list"


@pytest.mark.parametrize("check", [addresses, machine_paths, orphan_notes])
def test_texts(check: Callable[[str], Iterator[str]]) -> None:
    own = {
        Path(__file__),
        ROOT / "tools" / "lock.sh",
    }  # this file quotes what it forbids; the lock says what it leaves out
    assert complaints(check, [path for path in TEXTS if path not in own]) == []


def test_locks_pin_everything_by_hash() -> None:
    for lock in (*ROOT.glob("requirements*.txt"), *(ROOT / "tools").glob("requirements-*.txt")):
        pins = re.findall(r"^([a-z0-9][^\s]*)(.*(?:\n .*)*)", lock.read_text(), flags=re.MULTILINE | re.IGNORECASE)
        assert pins
        for pin, rest in pins:
            assert "==" in pin, f"{lock.name}: {pin}"
            assert "--hash=sha256:" in rest, f"{lock.name}: {pin}"


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{name_of(page)}: {target}"
        for page in TEXTS
        if page.suffix == ".md"
        for target in re.findall(r"\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_test_files_have_names_of_their_own() -> None:
    names = [path.name for path in SOURCES if path.name.startswith("test_")]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize(
    ("check", "bad", "good"),
    [
        (impure_imports, "from time import monotonic", "from dataclasses import dataclass"),
        (impure_imports, "import os.path", "import osmosis"),
        (impure_imports, "x = datetime.datetime.now()", "x = later.now_ns"),
        (bare_excepts, "try:\n    pass\nexcept:\n    pass", "try:\n    pass\nexcept OSError:\n    pass"),
        (prints, "print(1)", "self.print(1)"),
        (ownerless_tasks, "asyncio.create_task(f())", "group.create_task(f())"),
        (orphan_notes, "# TODO: later", "# TODO(#7): later"),
        (unexplained_exceptions, "x = 1  # noqa: S101", "x = 1  # noqa: S101 - because"),
        (unexplained_exceptions, "x = 1  # type: ignore[misc]", "x = 1  # type: ignore[misc] # because"),
        (long_file, "\n" * (LINES_MAX + 1), "\n" * LINES_MAX),
        (addresses, "".join(("https://py", "pi.org/simple")), "pip install uv"),
        (machine_paths, "cd /home/someone", "root = '/usr/lib'"),
    ],
)
def test_each_check_refuses_what_it_is_for(check: Callable[[str], Iterator[str]], bad: str, good: str) -> None:
    assert list(check(bad))
    assert not list(check(good))
