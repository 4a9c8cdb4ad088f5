"""What else of an application a node reads: its package, what it depends on, what is not served, schedules, hosts."""

from __future__ import annotations

import contextlib
import tempfile
import zlib
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from tests.fuzz.mutators import behind, changed_bytes, changed_msgpack, changed_text, either
from tests.fuzz.target import Check

from homing.cron import Schedule
from homing.errors import BadRequest, ConfigurationError, Forbidden
from homing.locations import read_jurisdictions, written
from homing_node.broker.hosts import check_host, destination
from homing_node.workers.app_ignore import Ignored
from homing_node.workers.app_package import unpack
from homing_node.workers.app_requirements import read_requirements


def check_package(data: bytes) -> None:
    """A package is written into its folder and nowhere else, or refused. The first byte: it is not compressed yet."""
    package = zlib.compress(data[1:], 1) if data[:1] == b"\1" else data[1:]
    with tempfile.TemporaryDirectory() as place:
        inside = Path(place) / "in"
        inside.mkdir()
        try:
            unpack(package, inside)
        except ConfigurationError:
            return
        found = {path.relative_to(inside).as_posix(): path.read_bytes() for path in inside.rglob("*") if path.is_file()}
        assert [*Path(place).iterdir()] == [inside]
        assert found == msgspec.msgpack.decode(zlib.decompress(package), type=dict[str, bytes])


def check_requirements(data: bytes) -> None:
    """What is installed is a package of an index, by its name: no option, no path, no address."""
    files = {("pyproject.toml", "requirements.txt")[data[0] % 2] if data else "": data[1:]}
    try:
        found = read_requirements(files)
    except ConfigurationError:
        return
    for line in found.lines if found is not None else ():
        assert line.isprintable()
        assert not line.startswith("-")
        assert Requirement(line.partition(" --hash=")[0]).url is None


def check_ignored(data: bytes) -> None:
    """Any patterns, and any path: the last line is that."""
    *lines, path = data.decode(errors="replace").split("\n")
    assert Ignored(lines).match(path) in (True, False)


def check_schedule(data: bytes) -> None:
    """A schedule is refused with a ValueError, or each of its moments is behind the one before."""
    try:
        schedule = Schedule(data.decode(errors="replace"))
    except ValueError:
        return
    now = 1_700_000_000_000
    for _ in range(3):
        after = schedule.next_ms(now)
        assert after > now or not after
        assert after % 60_000 == 0
        now = after or now


def check_hosts(data: bytes) -> None:
    """Hosts that requests may go to: what leads elsewhere is refused. A line each, and the last is a URL."""
    *entries, url = data.decode(errors="replace").split("\n")
    hosts: list[str] = []
    for entry in entries:
        with contextlib.suppress(ValueError):
            hosts.append(check_host(entry))
    with contextlib.suppress(BadRequest, Forbidden):
        to = destination(url, hosts)
        assert any(to.host == host.partition(":")[0].strip("[]") or to.host.endswith(host.partition(":")[0][1:])
                   or f"[{to.host}]" in host for host in hosts)  # fmt: skip
        assert 0 < to.port < 65_536
        assert destination(to.url, hosts) == to


def check_jurisdictions(data: bytes) -> None:
    """`HOMING_JURISDICTIONS` is refused, or says what can be written again."""
    with contextlib.suppress(ConfigurationError):
        found = read_jurisdictions(data.decode(errors="replace"))
        assert read_jurisdictions(written(found)) == found


_PACKAGES = [
    b"\1" + msgspec.msgpack.encode(files)
    for files in (
        {"main.py": b"x", "a/b.py": b"y"},
        {"../x": b""},
        {"/x": b""},
        {"a": b"", "a/b": b""},
        {"a//b": b""},
        {"": b""},
        {"x" * 300: b""},
        {"a/" * 1_200 + "b": b""},
        {"a\0b": b""},
        [1],
        {"a": "text"},
    )
] + [b"\0" + zlib.compress(b"\x80"), b"\0" + zlib.compress(b"\x80")[:-2], b"\0" + zlib.compress(b"\x80") + b"x"]
_REQUIREMENTS = [
    b"\1flask==3.1.2  # web\nuvicorn[standard]>=0.30,<1 ; python_version > '3.9'\nhoming\n",
    b"\1a==1 --hash=sha256:ab \\\n  --hash=sha256:cd\n-r other.txt\n",
    b"\1a @ https://x/y.whl\n",
    b"\1\xff",
    b"\1" + b"a\n" * 300,
    b'\0[project]\ndependencies = ["flask>=3", "workers-py"]\n',
    b"\0[project]\ndependencies = [5]\n",
    b"\0[project]\nname = 'x'\n",
    b"\0project = 5",
    b"\0[",
]
_IGNORED = [
    b"*.draft\n!kept.draft\n/node/\n# no\n\nnode/a/x.draft",
    b"a/**/b\n**/c\nd/**\n\\*\n[!a-c]?\n[^x]\n\\ \na/b/x/c",
    b"**\n/\n!\na",
    b"a/b/**\na/b",
]
_SCHEDULES = [
    b"*/5 * * * *", b"30 9 * * MON-FRI", b"0 0 L * *", b"0 0 L-3 2 ?", b"0 0 LW * *", b"0 0 15W * MON#2", b"0 0 * * 6L",
    b"0 0 29 2 *", b"0 0 31 2 *", b"61 * * * *", b"* * * *", b"5-1 * * * *", b"0,30 0-23/2 1,15 JAN-MAR,12 L",
    b"0 0 1W * 1", b"0 0 31W * *",
]  # fmt: skip
_HOSTS = [
    b"api.example.com\n*.example.org\n127.0.0.1:9000\nhttps://api.example.com/x?y#z", b"*.b\nhttp://a.b:81/",
    b"[::1]:80\n::1\nhttp://[::1]/", b"a:0\na:x\n*\nhttp://u@a/", b"localhost\nhttp://localhost./",
    b"a\nftp://a/", b"a\nhttp://a:99999/", b"a:8080\nhttp://a:8080/x", b"a\nhttp://[x/", b"b\nhttp://a/",
]  # fmt: skip
_JURISDICTIONS = [
    b"eu=berlin,paris;us=ohio", b"eu=a,a", b"EU=a", b"eu", b"eu=a;eu=b", b";".join(b"j%d=a" % n for n in range(9)),
]  # fmt: skip
_TEXT_WORDS = (
    "*", "**", "/", "\n", "!", "#", "\\", "[", "]", "?", " ", "\t", "-", "--hash=sha256:ab", "==1", " @ ", ">=", ";",
    "extra", "project", "dependencies", "L", "W", "MON", "JAN", ",", "0", "59", "31", "http://", "https://", "a.b",
    ":80", "@", "=", "eu", "²", "\u2028", "é", "\x85",
)  # fmt: skip
_changed = either(changed_text(_TEXT_WORDS), changed_text(_TEXT_WORDS), changed_bytes)
CHECKS = (
    Check("package", check_package, _PACKAGES, behind(1, changed_msgpack)),
    Check("requirements", check_requirements, _REQUIREMENTS, behind(1, _changed)),
    Check("ignored", check_ignored, _IGNORED, _changed),
    Check("schedule", check_schedule, _SCHEDULES, _changed),
    Check("hosts", check_hosts, _HOSTS, _changed),
    Check("jurisdictions", check_jurisdictions, _JURISDICTIONS, _changed),
)
