"""The packages of an application: what is wanted, and the tree that pip makes of it. Wheels come from a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from homing.errors import ConfigurationError
from homing_node.workers import limits
from homing_node.workers.app_bundle import bundle_app
from homing_node.workers.app_packages import obtain_packages
from homing_node.workers.app_requirements import Requirements, read_requirements
from wheels import looking_in, source, wheel


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where pip looks, instead of a registry."""
    (tmp_path / "index").mkdir()
    for name, value in looking_in(tmp_path / "index").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "index"


def wanted(*lines: str) -> Requirements:
    return Requirements("requirements.txt", lines)


def project(text: str) -> dict[str, bytes]:
    return {"pyproject.toml": text.encode(), "requirements.txt": b"other"}


@pytest.mark.parametrize(
    ("files", "file", "lines"),
    [
        (project('[project]\ndependencies = ["a", "b>=1,<2; python_version > \'3\'"]'), "pyproject.toml",
         ("a", 'b<2,>=1; python_version > "3"')),
        (project('[project]\nname = "x"'), "requirements.txt", ("other",)),
        (project("[tool.x]\ny = 1"), "requirements.txt", ("other",)),
        ({"requirements.txt": b"# all\n\nA_b [x,y] == 1 # why\nc==2 \\\r\n   --hash=sha256:ab \\\n --hash=sha256:cd\n"},
         "requirements.txt", ("A_b[x,y]==1", "c==2 --hash=sha256:ab --hash=sha256:cd")),
        (project('[project]\ndependencies = ["workers_py", "Workers-Runtime-SDK", "webtypy==1", "homing", "a"]'),
         "pyproject.toml", ("a",)),
    ],
)  # fmt: skip
def test_what_is_wanted(files: dict[str, bytes], file: str, lines: tuple[str, ...]):
    assert read_requirements(files) == Requirements(file, lines)


@pytest.mark.parametrize(
    "files",
    [{}, {"main.py": b""}, {"requirements.txt": b"\n# nothing\n"}, project("[project]\ndependencies = []"),
     project('[project]\ndependencies = ["workers-py"]'), {"lib/requirements.txt": b"a"}],
)  # fmt: skip
def test_nothing_is_wanted(files: dict[str, bytes]):
    assert read_requirements(files) is None


@pytest.mark.parametrize(
    "line",
    ["-r more.txt", "-e .", ".", "./a.whl", "a @ file:///etc/a.whl", "https://x/a.tar.gz", "--pre", "a b", "a --pre",
     "git+https://x/y", "a==1 --hash=sha256:ab --no-binary=:all:", r"a; python_version > '\n-e .\n'"],
)  # fmt: skip
def test_a_line_that_leads_elsewhere_is_refused(line: str):
    """Options and addresses would let an application choose where the host looks and what it builds."""
    with pytest.raises(ConfigurationError, match=r"requirements\.txt has .* by name and version"):
        read_requirements({"requirements.txt": line.encode()})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"pyproject.toml": b"[project"}, "cannot be read"),
        ({"pyproject.toml": b"\xff"}, "not UTF-8"),
        ({"pyproject.toml": b"[project]\ndependencies = 'a'"}, "list of texts"),
        ({"pyproject.toml": b"[project]\ndependencies = [1]"}, "list of texts"),
        ({"requirements.txt": b"a\n" * 501}, "501 packages; at most 500"),
        ({"requirements.txt": b"#" * (1 << 21)}, "is over"),
    ],
)
def test_a_list_that_is_wrong_is_refused(files: dict[str, bytes], said: str):
    with pytest.raises(ConfigurationError, match=said):
        read_requirements(files)


def test_packages_come_with_what_they_need_and_only_once(
    cache: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(index, "one", {"one/__init__.py": "import two"}, needs="two")
    wheel(index, "two", {"two.py": "n = 2"})
    app = tmp_path / "app"
    app.mkdir()
    (app / "main.py").write_text("")
    assert bundle_app(app, cache).packages is None
    (app / "requirements.txt").write_text("one==1.0")
    packages = bundle_app(app, cache).packages
    assert packages is not None
    path = packages.path
    assert {"one", "two.py", "one-1.0.dist-info", "two-1.0.dist-info"} <= {entry.name for entry in path.iterdir()}
    for entry in (path, *path.rglob("*")):
        assert entry.stat().st_mode & 0o222 == 0
        assert entry.stat().st_mode & 0o004, "a worker's uid must be able to read it"
    assert [*path.rglob("__pycache__/two*")], "workers cannot compile for those after them"
    monkeypatch.setattr(sys, "executable", "/nowhere")
    assert obtain_packages(wanted("one==1.0"), cache).path == path
    with pytest.raises(ConfigurationError, match="pip cannot be started"):
        obtain_packages(wanted("two==1.0"), cache)


def refused(cache: Path, *lines: str) -> str:
    """What is said of packages that cannot be installed; nothing of them stays."""
    with pytest.raises(ConfigurationError) as raised:
        obtain_packages(wanted(*lines), cache)
    assert [entry.name for entry in (cache / "packages").iterdir() if entry.is_dir()] == []
    return raised.value.message


def test_what_cannot_be_installed_says_why_and_leaves_nothing(cache: Path, index: Path):
    wheel(index, "one", {"one.py": ""}, needs="absent")
    said = refused(cache, "one")
    assert said.startswith("the packages of requirements.txt cannot be installed.")
    assert "absent" in said
    wheel(index, "absent", {"absent.py": ""})
    assert (obtain_packages(wanted("one"), cache).path / "absent.py").is_file(), "and it can be repeated"


def test_nothing_is_built_on_the_host(cache: Path, index: Path, tmp_path: Path):
    """Seen to fail, for the second, when pip may start programs: `--only-binary` says nothing of addresses."""
    ran = tmp_path / "ran"
    archive = source(index, "built", ran)
    assert "built" in refused(cache, "built")
    wheel(index, "needy", {"needy.py": ""}, needs=f"built @ file://{archive}")
    assert "would have to be built" in refused(cache, "needy")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [("packages_bytes_max", 5_000, "at most 0 MiB"), ("install_s_max", 0.01, "not ended after 0.01 s")],
)
def test_packages_are_bounded(
    cache: Path, index: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, said: str
):
    wheel(index, "one", {f"{number}.txt": "x" * 1_000 for number in range(10)})
    monkeypatch.setattr(limits, limit, value)
    assert said in refused(cache, "one")
