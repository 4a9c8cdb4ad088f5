"""Patterns as in .gitignore: what git says of each, and patterns that are meant to take long."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from homing_node.workers.app_ignore import Ignored

PATHS = (
    "a", "b", "a/b", "a/b/c", "b/a", "c/a/b", "x/a/b/y", "a.txt", "a/a.txt", "b/c/a.txt", "ab", "abc", "a*b", "axb",
    "a[b", "#a", "!a", "a b", "a ", "[a]", "deep/1/2/3/x", "deep/x", "logo.png", "child/logo.png", "child/yup.svg",
    "child/a/b/yup.svg", "child/nope.svg", "foo.js", "child/foo.js", ".hidden", ".well-known/x",
)  # fmt: skip
PATTERNS = [
    "a", "/a", "a/", "/a/", "a/b", "/a/b", "a/b/", "b/c", "*", "/*", "*/", "**", "*.txt", "/*.txt", "a/*.txt",
    "**/a.txt", "**/a/b", "a/**", "a/**/c", "**/b/**", "a/**/b", "deep/**/x", "deep/*/x", "**/", "a?", "a?b", "[ab]",
    "[!a]", "[^a]", "[a-b]c", "[z-a]", "[", "a[", r"a\*b", r"a\[b", r"\#a", r"\!a", "#a", "!a", "!", "/", r"\[a\]",
    "a b", "a ", r"a\ ", "", " ", "  a", "a**b", "***", ".*", "*.svg", "child/**/*.svg", "?/?", "\\", "a//b", "//a",
    "//", "a\n!a", "*\n!a", "*\n!a/\n!a/b", "a/*\n!a/b", "/*\n!/a", "*.txt\n!a.txt\n/a.txt", "child/*\n!child/nope.svg",
    "!a\na", "a/\n!a/b/c", "**/b\n!c/a/b",
]  # fmt: skip


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    (folder / ".git" / "info").mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("patterns", PATTERNS)
def test_as_git_has_it(repository: Path, patterns: str) -> None:
    (repository / ".git" / "info" / "exclude").write_text(patterns + "\n")
    asked = subprocess.run(
        ["git", "-C", str(repository), "check-ignore", "--no-index", "--stdin", "-z"],
        input="\0".join(PATHS), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode in (0, 1), asked.stderr
    ignored = Ignored(patterns.split("\n"))
    assert [path for path in PATHS if ignored.match(path)] == [path for path in asked.stdout.split("\0") if path]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("a*" * 100 + "b", "a" * 255),
        ("*a" * 60 + "*b*", "a" * 255),
        ("**/" * 200 + "b", "a/" * 63 + "a"),
        ("a/**/" * 100 + "b", "a/" * 63 + "a"),
        ("[a-z]*" * 80 + "0", "abc" * 85),
        ("?*" * 100 + "0", "a" * 255),
    ],
)
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    """Seen to take minutes with one expression for a whole pattern."""
    began = time.process_time()
    assert not Ignored([pattern]).match(path)
    assert time.process_time() - began < 1.0
