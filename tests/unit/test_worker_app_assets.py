"""Which files of an application are served, and configurations that are refused."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from homing.errors import ConfigurationError
from homing_node.workers import app_assets, limits
from homing_node.workers.app_assets import site_of
from homing_node.workers.app_bundle import bundle_app

MAIN = PurePosixPath("src/entry.py")
FILES = {"src/entry.py": b"", "public/index.html": b"<p>", "public/a/b.txt": b"b", "publicity/x": b""}


@pytest.fixture
def app(tmp_path: Path) -> Path:
    tmp_path = tmp_path.resolve()
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def read(app: Path, assets: Any, *, main: PurePosixPath = MAIN, **more: Any) -> Any:
    files = {str(file.relative_to(app)): file.read_bytes() for file in app.rglob("*") if file.is_file()}
    return site_of({"assets": assets, **more}, "wrangler.jsonc", main, files, app)


def test_an_application_without_assets(app: Path) -> None:
    assert site_of({}, "", MAIN, {}, app) is None


def test_the_files_of_a_folder(app: Path) -> None:
    site = read(app, {"directory": "./public/", "binding": "ASSETS"})
    assert site["folder"] == "public"
    assert {path: size for path, (_, size) in site["files"].items()} == {"/index.html": 3, "/a/b.txt": 1}
    assert (site["html_handling"], site["not_found_handling"]) == ("auto-trailing-slash", "none")
    assert (site["worker_first"], site["headers"], site["redirects"], site["navigation"]) == (False, "", "", False)


def test_the_hash_is_of_content_and_ending(app: Path) -> None:
    for name in ("same.txt", "again.txt", "same.html"):
        (app / "public" / name).write_text("same")
    files = read(app, {"directory": "public"})["files"]
    assert files["/same.txt"] == files["/again.txt"]
    assert files["/same.txt"][0] != files["/same.html"][0]
    assert all(len(etag) == 32 for etag, _ in files.values())


def test_what_is_not_served(app: Path) -> None:
    """The reference's own tests, and its defaults."""
    names = (
        "_headers _redirects .assetsignore logo.png foo.js child/logo.png child/foo.js child/yup.svg child/a/b/yup.svg "
        "child/nope.svg child/_headers .well-known/x node/deep/y"
    )
    for name in names.split():
        (app / "public" / name).parent.mkdir(parents=True, exist_ok=True)
        (app / "public" / name).write_text(name)
    patterns = "# a comment\n\nlogo.png\nchild/**/*.svg\n!child/nope.svg\n/*.js\nnode/\n"
    (app / "public" / ".assetsignore").write_text(patterns)
    site = read(app, {"directory": "public"})
    served = "/index.html /a/b.txt /child/foo.js /child/nope.svg /child/_headers /.well-known/x"
    assert set(site["files"]) == set(served.split())
    assert (site["headers"], site["redirects"]) == ("_headers", "_redirects")
    (app / "public" / ".assetsignore").write_text("!_headers")
    assert "/_headers" in read(app, {"directory": "public"})["files"]


@pytest.mark.parametrize(
    ("assets", "said"),
    [
        ("public", "must be a table"),
        ({}, "needs a directory"),
        ({"directory": 1}, "needs a directory"),
        ({"directory": "."}, "must be a folder inside"),
        ({"directory": "./"}, "must be a folder inside"),
        ({"directory": "../public"}, "must be a folder inside"),
        ({"directory": "public/../src"}, "must be a folder inside"),
        ({"directory": "/srv/public"}, "must be a folder inside"),
        ({"directory": "src"}, "holds the main module src/entry.py"),
        ({"directory": "gone"}, "no such folder"),
        ({"directory": "public/index.html"}, "no such folder"),
        ({"directory": "public", "html_handling": "auto"}, "html_handling .* is one of auto-trailing-slash, "),
        ({"directory": "public", "not_found_handling": "spa"}, "not_found_handling .* is one of none, 404-page"),
        ({"directory": "public", "run_worker_first": "/api/*"}, "true, false, or patterns"),
        ({"directory": "public", "run_worker_first": []}, "true, false, or patterns"),
        ({"directory": "public", "run_worker_first": ["api"]}, "true, false, or patterns"),
        ({"directory": "public", "run_worker_first": ["!api", "/"]}, "true, false, or patterns"),
        ({"directory": "public", "run_worker_first": ["!/api"]}, "true, false, or patterns"),
        ({"directory": "public", "run_worker_first": ["/" + "a" * 100]}, "at most 100 patterns of 100"),
        ({"directory": "public", "run_worker_first": [f"/{n}" for n in range(101)]}, "at most 100 patterns of 100"),
    ],
)
def test_what_is_refused(app: Path, assets: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read(app, assets)


@pytest.mark.parametrize("first", [True, ["/api/*", "!/api/docs/*"]])
def test_code_may_run_first_where_there_is_some(app: Path, first: Any) -> None:
    assets = {"directory": "public", "run_worker_first": first}
    assert read(app, assets)["worker_first"] == first
    with pytest.raises(ConfigurationError, match="needs a main module"):
        read(app, assets, main=PurePosixPath())


@pytest.mark.parametrize(
    ("more", "navigation"),
    [
        ({}, False),
        ({"compatibility_date": "2025-03-31"}, False),
        ({"compatibility_date": "2025-04-01"}, True),
        ({"compatibility_date": "2026-01-01", "compatibility_flags": ["assets_navigation_has_no_effect"]}, False),
        ({"compatibility_flags": ["python_workers", "assets_navigation_prefers_asset_serving"]}, True),
    ],
)
def test_whether_going_to_a_page_counts(app: Path, more: dict[str, Any], navigation: bool) -> None:
    assert read(app, {"directory": "public"}, **more)["navigation"] is navigation


def test_a_link_out_of_the_folder_is_refused(app: Path) -> None:
    (app / "public" / "again.txt").symlink_to("a/b.txt")
    assert "/again.txt" in read(app, {"directory": "public"})["files"], "it stays inside"
    (app / "public" / "code.py").symlink_to(app / "src" / "entry.py")
    with pytest.raises(ConfigurationError, match=r"public/code\.py is a symbolic link out of public"):
        read(app, {"directory": "public"})
    (app / "public" / ".assetsignore").write_text("*.py")
    assert "/code.py" not in read(app, {"directory": "public"})["files"], "what is not served may lead anywhere"


def test_the_folder_and_the_main_module_are_what_they_seem(app: Path) -> None:
    """Seen to fail when only the names are compared."""
    (app / "site").symlink_to("src", target_is_directory=True)
    with pytest.raises(ConfigurationError, match="which is a symbolic link"):
        read(app, {"directory": "site"})
    (app / "public" / "code.py").write_text("")
    (app / "main.py").symlink_to("public/code.py")
    with pytest.raises(ConfigurationError, match=r"holds the main module main\.py"):
        read(app, {"directory": "public"}, main=PurePosixPath("main.py"))


def test_a_linked_folder_is_refused_too(app: Path, tmp_path: Path) -> None:
    (app / "public" / "all").symlink_to(app / "src", target_is_directory=True)
    (tmp_path / "cache").mkdir()
    (app / "wrangler.jsonc").write_text('{"main": "src/entry.py", "assets": {"directory": "public"}}')
    with pytest.raises(ConfigurationError, match=r"public/all/entry\.py is a symbolic link out of public"):
        bundle_app(app, tmp_path / "cache")


def test_a_file_that_no_answer_holds(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asset_bytes_max", 3)
    assert read(app, {"directory": "public"}) is not None
    (app / "public" / "large.bin").write_bytes(b"1234")
    with pytest.raises(ConfigurationError, match=r"public/large\.bin has 4 bytes; a static asset has at most 3"):
        read(app, {"directory": "public"})


@pytest.mark.parametrize("name", [app_assets.HEADERS_FILE, app_assets.REDIRECTS_FILE, app_assets.IGNORE_FILE])
def test_rules_that_are_too_long(app: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(limits, "asset_rules_bytes_max", 8)
    (app / "public" / name).write_text("/a /b  #")
    assert read(app, {"directory": "public"}) is not None
    (app / "public" / name).write_text("/a /b   #")
    with pytest.raises(ConfigurationError, match=f"public/{name} is over 8 bytes"):
        read(app, {"directory": "public"})


def test_too_many_patterns(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "asset_ignore_lines_max", 2)
    (app / "public" / ".assetsignore").write_text("a\nb")
    assert read(app, {"directory": "public"}) is not None
    (app / "public" / ".assetsignore").write_text("a\nb\n")
    with pytest.raises(ConfigurationError, match=r"public/\.assetsignore has more than 2 lines"):
        read(app, {"directory": "public"})


def test_an_application_that_is_files_alone(tmp_path: Path) -> None:
    (tmp_path / "app" / "public").mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "app" / "public" / "a.txt").write_text("a")
    (tmp_path / "app" / "wrangler.toml").write_text('name = "a"\nassets = { directory = "public" }\n')
    bundle = bundle_app(tmp_path / "app", tmp_path / "cache")
    assert (bundle.import_path, bundle.main_module) == ("/app", "")
    assert bundle.bindings["site"]["folder"] == "/app/public"
    assert set(bundle.bindings["site"]["files"]) == {"/a.txt"}
    assert (bundle.path / "public" / "a.txt").read_text() == "a"
