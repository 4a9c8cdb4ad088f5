"""Snapshots of applications: which module is the main one, what is in them, and what is refused."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import pytest

from homing.errors import ConfigurationError
from homing_node.workers import app_bundle, limits
from homing_node.workers.app_bundle import bundle_app
from homing_node.workers.app_bundle_config import parse_jsonc


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("main = 1\n")
    return tmp_path / "app"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "cache").mkdir()
    return tmp_path / "cache"


def add(app: Path, name: str, text: str = "") -> None:
    (app / name).parent.mkdir(parents=True, exist_ok=True)
    (app / name).write_text(text)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_folder_without_configuration(app: Path, cache: Path):
    bundle = bundle_app(app, cache)
    assert (bundle.import_path, bundle.main_module, bundle.config_file) == ("/app", "main", "")
    assert files_of(bundle.path) == {"main.py"}


def test_a_folder_whose_main_module_is_in_src(app: Path, cache: Path):
    (app / "main.py").rename(app / "x.py")
    add(app, "src/main.py")
    bundle = bundle_app(app, cache)
    assert (bundle.import_path, bundle.main_module) == ("/app/src", "main")


def test_one_file_of_any_name(app: Path, cache: Path):
    add(app, "my-counter.py", "counter = 1\n")
    bundle = bundle_app(app / "my-counter.py", cache)
    assert (bundle.import_path, bundle.main_module) == ("/app", "main")
    assert (bundle.path / "main.py").read_text() == "counter = 1\n"
    assert files_of(bundle.path) == {"main.py"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("homing.toml", '[app]\nmain = "lib/entry.py"\n'),
        ("wrangler.toml", 'name = "x"\nmain = "lib/entry.py"\n'),
        ("wrangler.jsonc", '{ // a comment\n "name": "x", /* another\n */ "main": "lib/entry.py", }'),
    ],
)
def test_a_configuration_names_the_main_module(app: Path, cache: Path, name: str, text: str):
    add(app, "lib/entry.py")
    add(app, name, text)
    bundle = bundle_app(app, cache)
    assert (bundle.import_path, bundle.main_module, bundle.config_file) == ("/app/lib", "entry", name)
    assert not any(bundle.bindings.values())


def test_homing_toml_goes_before_wrangler(app: Path, cache: Path):
    add(app, "one.py")
    add(app, "two.py")
    add(app, "wrangler.toml", 'main = "one.py"')
    add(app, "homing.toml", '[app]\nmain = "two.py"')
    assert bundle_app(app, cache).main_module == "two"


def test_jsonc_reads_what_stands_between_two_comments():
    """Found by `make fuzz`: it was taken for a part of them, and the comma before for a trailing one."""
    assert parse_jsonc('{"a": 1, /* one */ "b": 2 /* two */ }') == {"a": 1, "b": 2}


def test_jsonc_leaves_strings_alone():
    text = r'{"a": "// no /* comment */ ,}", "b": "\",}", "c": [1, 2, /* x */ ], }'
    assert parse_jsonc(text) == {"a": "// no /* comment */ ,}", "b": '",}', "c": [1, 2]}


@pytest.mark.parametrize("text", ["1/**/2", "tr/**/ue", "1 /*", '1 /* "', '"a', '"a\\'])
def test_what_a_comment_stands_in_or_has_no_end_is_refused(text: str):
    """Found by `make fuzz`: a comment was taken out, and `1/**/2` was 12."""
    with pytest.raises(ValueError, match=r".+"):
        parse_jsonc(text)


@pytest.mark.parametrize(
    ("head", "piece", "tail"),
    [
        ('{"a": 1, ', "/**/", '"b": 2}'),
        ('{"a": 1, ', "////", '\n"b": 2}'),
        ("", "/*", ""),
        ("", ", /*", ""),
        ("", '"\\', ""),
        (",", "    ", ","),
    ],
)
def test_no_text_takes_long(head: str, piece: str, tail: str):
    """Found by `make fuzz`: thirty comments after a comma took longer than anybody waits."""
    began = time.monotonic()
    with contextlib.suppress(ValueError):
        parse_jsonc(head + piece * 200_000 + tail)
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("homing.toml", '[app]\nmain = "../main.py"'),
        ("homing.toml", '[app]\nmain = "/etc/passwd.py"'),
        ("homing.toml", '[app]\nmain = "gone.py"'),
        ("homing.toml", '[app]\nmain = "my-app.py"'),
        ("homing.toml", f'[app]\nmain = "{"a" * 300}.py"'),
        ("homing.toml", '[app]\nmain = "main"'),
        ("homing.toml", "[app]\nmain = 3"),
        ("homing.toml", "[app"),
        ("wrangler.jsonc", "[1]"),
        ("wrangler.jsonc", '{"main": '),
        ("wrangler.jsonc", "[" * 100_000),
        ("wrangler.toml", "main = ''"),
    ],
)
def test_a_configuration_that_is_wrong_is_refused(app: Path, cache: Path, name: str, text: str):
    add(app, name, text)
    with pytest.raises(ConfigurationError, match=name.split(".", maxsplit=1)[0]):
        bundle_app(app, cache)


def test_what_is_no_part_of_an_application_stays_out(app: Path, cache: Path):
    for folder in (*app_bundle.SKIPPED_FOLDERS, "lib/__pycache__"):
        add(app, f"{folder}/x.py")
    add(app, "lib/data.json", "{}")
    assert files_of(bundle_app(app, cache).path) == {"main.py", "lib/data.json"}


def test_the_same_files_give_the_same_snapshot_and_others_another(app: Path, cache: Path, tmp_path: Path):
    first = bundle_app(app, cache)
    os.utime(app / "main.py", (1, 1))
    app.rename(tmp_path / "elsewhere")
    app = tmp_path / "elsewhere"
    assert bundle_app(app, cache).path == first.path
    add(app, "main.py", "main = 2\n")
    second = bundle_app(app, cache)
    assert second.digest != first.digest
    assert (first.path / "main.py").read_text() == "main = 1\n"


def test_nobody_may_write_to_a_snapshot(app: Path, cache: Path):
    add(app, "lib/x.py")
    (app / "main.py").chmod(0o700)
    path = bundle_app(app, cache).path
    for entry in (path, *path.rglob("*")):
        assert entry.stat().st_mode & 0o222 == 0
        assert entry.stat().st_mode & 0o004, "a worker's uid must be able to read it"


def test_a_link_inside_is_followed_and_one_that_leaves_is_refused(app: Path, cache: Path, tmp_path: Path):
    (app / "alias.py").symlink_to("main.py")
    path = bundle_app(app, cache).path
    assert not (path / "alias.py").is_symlink()
    assert (path / "alias.py").read_text() == "main = 1\n"
    add(tmp_path, "secret.txt")
    (app / "out.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(ConfigurationError, match=r"out\.txt is a symbolic link"):
        bundle_app(app, cache)


@pytest.mark.parametrize("target", [".", "loop"])
def test_a_link_into_itself_is_refused(app: Path, cache: Path, target: str):
    (app / "loop").symlink_to(target)
    with pytest.raises(ConfigurationError):
        bundle_app(app, cache)


def test_a_pipe_is_left_out(app: Path, cache: Path):
    os.mkfifo(app / "fifo")
    assert files_of(bundle_app(app, cache).path) == {"main.py"}


def test_too_many_files(app: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "app_files_max", 3)
    for number in range(2):
        add(app, f"{number}.py")
    bundle_app(app, cache)
    add(app, "2.py")
    with pytest.raises(ConfigurationError, match="more than 3 files"):
        bundle_app(app, cache)


def test_too_many_bytes(app: Path, cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "app_bytes_max", 100)
    add(app, "data.bin", "x" * (100 - len("main = 1\n")))
    bundle_app(app, cache)
    add(app, "more.bin", "x")
    with pytest.raises(ConfigurationError, match="over 0 MiB"):
        bundle_app(app, cache)


def test_nothing_there(tmp_path: Path, cache: Path):
    with pytest.raises(ConfigurationError, match="no application"):
        bundle_app(tmp_path / "gone", cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=r"no main\.py and no src/main\.py"):
        bundle_app(tmp_path / "empty", cache)
    add(tmp_path, "notes.txt")
    with pytest.raises(ConfigurationError, match=r"neither a folder nor a \.py file"):
        bundle_app(tmp_path / "notes.txt", cache)


def test_skipped_folders_are_the_documented_ones():
    tools = {".venv-workers", "python_modules"}
    assert tools | {".git", ".venv", "__pycache__", "node_modules", ".homing"} == app_bundle.SKIPPED_FOLDERS
