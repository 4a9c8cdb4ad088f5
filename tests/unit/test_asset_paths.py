"""Which file a path comes to. The tables are those of the reference's documentation, and of its own tests."""

from __future__ import annotations

import pytest

from homing.bindings.asset_paths import (
    AUTO,
    DROP,
    FORCE,
    NONE,
    decoded,
    encoded,
    instead,
    normal_path,
    read_url,
    resolve,
)

BOTH = ("/both.html", "/both/index.html")
BINARY = ("/file-bin", "/file-bin.html")
ESCAPED = ("/bin%2F", "/bin/index.html")

# Files, the path that is asked for, the file that it means, and where that is served.
AUTO_TABLE = [
    (("/index.html",), "/", "/index.html", "/"),
    (("/index.html",), "/index", "/index.html", "/"),
    (("/index.html",), "/index.html", "/index.html", "/"),
    (("/file.html",), "/file", "/file.html", "/file"),
    (("/file.html",), "/file.html", "/file.html", "/file"),
    (("/file.html",), "/file/", "/file.html", "/file"),
    (("/file.html",), "/file/index", "/file.html", "/file"),
    (("/file.html",), "/file/index.html", "/file.html", "/file"),
    (("/folder/index.html",), "/folder", "/folder/index.html", "/folder/"),
    (("/folder/index.html",), "/folder.html", "/folder/index.html", "/folder/"),
    (("/folder/index.html",), "/folder/", "/folder/index.html", "/folder/"),
    (("/folder/index.html",), "/folder/index", "/folder/index.html", "/folder/"),
    (("/folder/index.html",), "/folder/index.html", "/folder/index.html", "/folder/"),
    (BOTH, "/both", "/both.html", "/both"),
    (BOTH, "/both.html", "/both.html", "/both"),
    (BOTH, "/both/", "/both/index.html", "/both/"),
    (BOTH, "/both/index.html", "/both/index.html", "/both/"),
    (BOTH, "/both/index", "/both/index.html", "/both/"),
    (BINARY, "/file-bin", "/file-bin", "/file-bin"),
    (BINARY, "/file-bin.html", "/file-bin.html", "/file-bin.html"),
    (ESCAPED, "/bin", "/bin/index.html", "/bin/"),
    (ESCAPED, "/bin%2F", "/bin%2F", "/bin%2F"),
]
FORCE_TABLE = [
    (("/index.html",), "/index", "/index.html", "/"),
    (("/file.html",), "/file", "/file.html", "/file/"),
    (("/file.html",), "/file.html", "/file.html", "/file/"),
    (("/file.html",), "/file/", "/file.html", "/file/"),
    (("/file.html",), "/file/index", "/file.html", "/file/"),
    (("/file.html",), "/file/index.html", "/file.html", "/file/"),
    (("/folder/index.html",), "/folder", "/folder/index.html", "/folder/"),
    (("/folder/index.html",), "/folder.html", "/folder/index.html", "/folder/"),
    (("/folder/index.html",), "/folder/index", "/folder/index.html", "/folder/"),
    (BOTH, "/both", "/both/index.html", "/both/"),
    (BOTH, "/both.html", "/both.html", "/both.html"),
    (BOTH, "/both/", "/both/index.html", "/both/"),
    (BOTH, "/both/index", "/both/index.html", "/both/"),
    (BINARY, "/file-bin", "/file-bin", "/file-bin"),
    (BINARY, "/file-bin.html", "/file-bin.html", "/file-bin/"),
    (BINARY, "/file-bin/index", "/file-bin.html", "/file-bin/"),
]
DROP_TABLE = [
    (("/index.html",), "/", "/index.html", "/"),
    (("/index.html",), "/index", "/index.html", "/"),
    (("/index.html",), "/index.html", "/index.html", "/"),
    (("/file.html",), "/file", "/file.html", "/file"),
    (("/file.html",), "/file/", "/file.html", "/file"),
    (("/file.html",), "/file/index.html", "/file.html", "/file"),
    (("/folder/index.html",), "/folder", "/folder/index.html", "/folder"),
    (("/folder/index.html",), "/folder.html", "/folder/index.html", "/folder"),
    (("/folder/index.html",), "/folder/", "/folder/index.html", "/folder"),
    (("/folder/index.html",), "/folder/index", "/folder/index.html", "/folder"),
    (BOTH, "/both", "/both.html", "/both"),
    (BOTH, "/both/", "/both.html", "/both"),
    (BOTH, "/both/index", "/both.html", "/both"),
    (BOTH, "/both/index.html", "/both/index.html", "/both/index.html"),
    (BINARY, "/file-bin.html", "/file-bin.html", "/file-bin.html"),
    (ESCAPED, "/bin", "/bin/index.html", "/bin"),
]
NONE_TABLE = [
    (("/file.html",), "/file.html", "/file.html", "/file.html"),
    (("/folder/index.html",), "/folder/index.html", "/folder/index.html", "/folder/index.html"),
]
TABLE = [
    (html, *case)
    for html, cases in ((AUTO, AUTO_TABLE), (FORCE, FORCE_TABLE), (DROP, DROP_TABLE), (NONE, NONE_TABLE))
    for case in cases
]


@pytest.mark.parametrize(("html", "files", "path", "file", "served_at"), TABLE)
def test_a_path_means_a_file(html: str, files: tuple[str, ...], path: str, file: str, served_at: str) -> None:
    assert resolve(path, set(files), html) == (file, served_at)
    assert resolve(served_at, set(files), html) == (file, served_at), "whoever is sent there is served there"


@pytest.mark.parametrize("html", [AUTO, DROP])
@pytest.mark.parametrize("path", ["/file-bin/", "/file-bin/index", "/file-bin/index.html", "/other", "/file-bin/x"])
def test_a_path_that_means_none(html: str, path: str) -> None:
    assert resolve(path, set(BINARY), html) is None


@pytest.mark.parametrize("path", ["/file", "/file/", "/file/index", "/file/index.html", "/folder", "/folder/"])
def test_without_handling_only_names_count(path: str) -> None:
    assert resolve(path, {"/file.html", "/folder/index.html"}, NONE) is None


@pytest.mark.parametrize(
    ("path", "files", "not_found", "expected"),
    [
        ("/a/b/c", {"/404.html", "/a/404.html"}, "404-page", ("/a/404.html", 404)),
        ("/b/c", {"/404.html", "/a/404.html"}, "404-page", ("/404.html", 404)),
        ("/x", {"/404.html"}, "404-page", ("/404.html", 404)),
        ("/x", {"/a/404.html"}, "404-page", None),
        ("/a/b/c", {"/index.html"}, "single-page-application", ("/index.html", 200)),
        ("/x", {"/404.html"}, "single-page-application", None),
        ("/x", {"/404.html", "/index.html"}, "none", None),
    ],
)
def test_what_is_served_instead(path: str, files: set[str], not_found: str, expected: tuple[str, int] | None) -> None:
    assert instead(path, files, not_found) == expected


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/a/..", "/"),
        ("/a/b/.", "/a/b/"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/%2e%2E/%2e./x", "/x"),
        ("/a/%2e%2e%2fsrc/entry.py", "/a/%2e%2e%2fsrc/entry.py"),
        ("\\..\\src", "/src"),
        ("//evil.example", "//evil.example"),
        ("/a b\n<>", "/a%20b%0A%3C%3E"),
        ("/ä", "/%C3%A4"),
        ("/[x]*:y", "/[x]*:y"),
    ],
)
def test_a_path_as_a_browser_sends_it(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/%5Bboop%5D", "/[boop]"),
        ("/%255Bboop%255D", "/%5Bboop%5D"),
        ("/bin%2F", "/bin/"),
        ("/a%2f..%2f..%2fsrc", "/a/../../src"),
        ("/%zz/%41", "/%zz/A"),
        ("/%ff/%C3%A4", "/%ff/ä"),
        ("//a///b", "/a/b"),
        ("/%00", "/\0"),
    ],
)
def test_a_path_as_files_are_named(path: str, names: str) -> None:
    """What would climb in a file system is a name like any other here, and nothing has it."""
    assert decoded(path) == names


def test_the_one_form_of_a_path() -> None:
    assert encoded("/beep/[bòop]/a-b_c.d!~*'()") == "/beep/%5Bb%C3%B2op%5D/a-b_c.d!~*'()"
    assert encoded("/%5Bboop%5D?#") == "/%255Bboop%255D%3F%23"


@pytest.mark.parametrize("path", ["/a/../../src/entry.py", "/../wrangler.jsonc", "/.", "/..", "/\0", "/public/../x"])
def test_no_path_of_dots_is_a_file(path: str) -> None:
    files = {"/index.html", "/src/entry.txt"}
    assert all(resolve(path, files, html) is None for html in (AUTO, FORCE, DROP, NONE))


def test_the_parts_of_a_url() -> None:
    url = read_url("HTTPS://User@Example.com:8443\\a/../b?q=/x#top")
    assert url == ("https://user@example.com:8443", "example.com", "/b", "?q=/x")
    assert read_url("http://[::1]:80").host == "[::1]"
    assert read_url("http://x?a").path == "/"
    for none in ("/a", "ftp://x/", "x", ""):
        with pytest.raises(ValueError, match="Invalid URL"):
            read_url(none)
