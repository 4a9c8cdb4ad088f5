"""Patterns in the format of .gitignore (https://git-scm.com/docs/gitignore), in time that no pattern can blow up.

The node itself reads them, out of an application that may mean it harm. Libraries turn a pattern into one expression
that tries every way in which its stars may stand: some name and a dozen stars take minutes. Here each segment of a
path is matched by itself, and a star never looks back: see `fnmatch.translate`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class _Rule(NamedTuple):
    """One line.

    Attributes:
        segments: what each segment of a path has to match; None: any number of them.
        anywhere: it is one segment, which may be the last of a path at any depth.
        folders: it is for folders only.
        ignores: False: it takes back what a line before it said.
    """

    segments: Sequence[re.Pattern[str] | None]
    anywhere: bool
    folders: bool
    ignores: bool


class Ignored:
    """Which paths a list of patterns names.

    Args:
        lines: the patterns; the last that matches counts, and what is in a folder that is ignored is ignored, too.

    Example:
        >>> ignored = Ignored(["*.draft", "!kept.draft", "/node/"])
        >>> [ignored.match(path) for path in ("a/b.draft", "kept.draft", "node/x", "a/node/x")]
        [True, False, True, False]
    """

    def __init__(self, lines: Iterable[str]) -> None:
        rules = [rule for line in lines if (rule := _rule(line)) is not None]
        self._rules = rules[::-1]
        self._folders: dict[tuple[str, ...], bool] = {(): False}

    def match(self, path: str) -> bool:
        """Whether a file is ignored.

        Args:
            path: of the file, without a leading slash.
        """
        parts = tuple(path.split("/"))
        return self._has_ignored_folder(parts[:-1]) or self._names(parts, folder=False)

    def _has_ignored_folder(self, parts: tuple[str, ...]) -> bool:
        for depth in range(1, len(parts) + 1):
            folder = parts[:depth]
            if folder not in self._folders:
                self._folders[folder] = self._folders[folder[:-1]] or self._names(folder, folder=True)
        return self._folders[parts]

    def _names(self, parts: tuple[str, ...], *, folder: bool) -> bool:
        for rule in self._rules:
            if (folder or not rule.folders) and _fits(rule, parts):
                return rule.ignores
        return False


def _rule(line: str) -> _Rule | None:
    text = re.sub(r"(?<!\\)\s+$", "", line)
    if not text or text.startswith("#"):
        return None
    ignores = not text.startswith("!")
    text = text if ignores else text[1:]
    folders = text.endswith("/")
    names = text.removesuffix("/").removeprefix("/").split("/")
    if names == [""]:
        return None
    anywhere = len(names) == 1 and not text.startswith("/") and names != ["**"]
    return _Rule([None if name == "**" else _regex(name) for name in names], anywhere, folders, ignores)


def _regex(name: str) -> re.Pattern[str]:
    """One segment; a backslash takes a character as it is, which `fnmatch` says with a set of one."""
    plain = re.sub(r"\\(.)", lambda match: f"[{match[1]}]" if match[1] in "*?[" else match[1], name)
    return re.compile(fnmatch.translate(plain.replace("[^", "[!")))


def _fits(rule: _Rule, parts: tuple[str, ...]) -> bool:
    if rule.anywhere:
        regex = rule.segments[0]
        return regex is not None and regex.match(parts[-1]) is not None
    reached: set[int] = {0}  # how many parts the segments so far may have taken
    for segment in rule.segments:
        if not reached:
            return False
        if segment is None:
            reached = set(range(min(reached), len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and segment.match(parts[at])}
    if rule.segments[-1] is None:
        reached.discard(min(reached, default=0))  # two stars at the end stand for something
    return len(parts) in reached
