"""The files `_headers` and `_redirects` beside static assets, and patterns of paths.

Formats and limits are those of https://developers.cloudflare.com/workers/static-assets/headers/ and …/redirects/. A
line that is none is passed over, as there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from homing.bindings.asset_paths import NONE, Url, normal_path
from homing.http import Headers

LINE_CHARS_MAX = 2_000
HEADER_RULES_MAX = 100
STATIC_REDIRECTS_MAX = 2_000
DYNAMIC_REDIRECTS_MAX = 100
REDIRECT_STATUS = {str(code): code for code in (200, 301, 302, 303, 307, 308)}
REWRITE = 200

_PLACEHOLDER = re.compile(r":([A-Za-z]\w*)", re.ASCII)
_HOLES = re.compile(r"\*|:[A-Za-z]\w*", re.ASCII)
_ABSOLUTE = re.compile(r"(https://)/*([^/]+)(/?.*)", re.DOTALL)
_STARTS_A_RULE = re.compile(r"[^\s]+://|/")
_WITH_PORT = re.compile(r".*:\d+")
_LOOPS_BACK = re.compile(r"/index(\.html)?")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Pattern:
    """What the first line of a rule matches: a path or a whole address, with `*` and `:names` in it.

    Args:
        rule: as it is written; `*` stands for anything, a name for what is between two slashes (in a host: dots), or
            up to what follows it in the rule.

    Raises:
        ValueError: two parts of it have one name, or nothing is between them.

    Example:
        >>> Pattern("/blog/:year/*").match(read_url("https://x.example/blog/2026/a/b"))
        {'year': '2026', 'splat': 'a/b'}
    """

    def __init__(self, rule: str) -> None:
        absolute = _ABSOLUTE.fullmatch(rule)
        self._with_host = absolute is not None
        host, path = (absolute[1] + absolute[2], absolute[3]) if absolute is not None else ("", rule)
        try:
            self._regex = re.compile(_regex_of(host, "/.") + _regex_of(path, "/"), re.ASCII)
        except re.error as error:
            raise ValueError(f"{rule} has two parts of one name") from error

    def match(self, url: Url) -> Mapping[str, str] | None:
        """What its names stand for in a URL; None: it does not match. Scheme and port do not count."""
        found = self._regex.fullmatch(f"https://{url.host}{url.path}" if self._with_host else url.path)
        return found.groupdict() if found is not None else None


def _regex_of(text: str, ends: str) -> str:
    """An expression for a path or a host that takes no longer than what it reads: a part whose end is found is kept."""
    holes = [*_HOLES.finditer(text)]
    parts = [re.escape(text[: holes[0].start()] if holes else text)]
    follow = [*(hole.start() for hole in holes[1:]), len(text)]
    for hole, end in zip(holes, follow, strict=False):  # without holes there is an end all the same
        literal = text[hole.end() : end]
        if hole[0] == "*":
            parts.append(f"(?P<splat>.*){re.escape(literal)}")
        elif literal == "" and end < len(text):
            raise ValueError(f"{text} has two names side by side")
        elif literal == "" or literal[0] in ends:
            parts.append(f"(?P<{hole[0][1:]}>[^{ends}]+){re.escape(literal)}")
        else:
            parts.append(f"(?>(?P<{hole[0][1:]}>[^{ends}]+?){re.escape(literal)})")
    return "".join(parts)


def filled(text: str, values: Mapping[str, str]) -> str:
    """A text whose `:names` are replaced by what they stand for; others stay.

    Example:
        >>> filled("/:a/:b", {"a": "x"})
        '/x/:b'
    """
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), text)


def _lines(text: str) -> Iterable[str]:
    lines = (line.strip() for line in text.split("\n"))
    return (line for line in lines if line and not line.startswith("#") and len(line) <= LINE_CHARS_MAX)


def _source(token: str, *, absolute: bool) -> str | None:
    """The path or address that a rule is for, in the form in which URLs are matched."""
    whole = _ABSOLUTE.fullmatch(token)
    if whole is not None:
        if not absolute or _WITH_PORT.fullmatch(whole[2]):
            return None
        return f"https://{whole[2]}{normal_path(_bare(whole[3]))}"
    return normal_path(_bare(token)) if token.startswith("/") else None


def _bare(path: str) -> str:
    return re.split(r"[?#]", path, maxsplit=1)[0]


class HeaderRules:
    """What `_headers` says.

    Args:
        text: the file.
    """

    def __init__(self, text: str = "") -> None:
        found: list[tuple[str, dict[str, str], list[str]]] = []
        is_open = False
        for line in _lines(text):
            if _STARTS_A_RULE.match(line):
                if len(found) >= HEADER_RULES_MAX:
                    break
                path = _source(line, absolute=True)
                is_open = path is not None
                if path is not None:
                    found.append((path, {}, []))
            elif is_open:
                _add_header(line, *found[-1][1:])
        rules = {path: (to_set, to_remove) for path, to_set, to_remove in found if to_set or to_remove}
        self._rules = [(pattern, *rule) for path, rule in rules.items() if (pattern := _pattern(path)) is not None]

    def apply(self, url: Url, headers: Headers) -> None:
        """Set and remove fields of an answer. What two rules set is joined; what was there before is replaced."""
        added: set[str] = set()
        for pattern, to_set, to_remove in self._rules:
            values = pattern.match(url)
            if values is None:
                continue
            for name in to_remove:
                if name in headers:
                    del headers[name]
            for name, text in to_set.items():
                value = filled(text, values)
                if name == "set-cookie" and name in added:
                    headers.append(name, value)
                else:
                    headers[name] = f"{headers[name]}, {value}" if name in added and name in headers else value
                added.add(name)


def _pattern(path: str) -> Pattern | None:
    try:
        return Pattern(path)
    except ValueError:
        return None


def _add_header(line: str, to_set: dict[str, str], to_remove: list[str]) -> None:
    """One line of a rule: `name: value`, or `! name`."""
    name, colon, value = (part.strip() for part in line.partition(":"))
    if not colon:
        if name.startswith("! "):
            to_remove.append(name.removeprefix("! ").strip())
    elif _HEADER_NAME.fullmatch(name) and value and _HEADER_VALUE.fullmatch(value):
        low = name.lower()
        to_set[low] = f"{to_set[low]}, {value}" if low in to_set else value


class Redirect(NamedTuple):
    """Where a path leads.

    Attributes:
        to: a path, or an address of another site.
        status: of the answer; `REWRITE`: what is there is served here.
    """

    to: str
    status: int


class RedirectRules:
    """What `_redirects` says.

    Args:
        text: the file.
        html: how pages are served; one of `asset_paths.HTML_HANDLING`.
    """

    def __init__(self, text: str = "", html: str = NONE) -> None:
        self._static: dict[str, Redirect] = {}
        self._dynamic: list[tuple[Pattern, Redirect]] = []
        seen: set[str] = set()
        for line in _lines(text):
            read = _redirect(line, html)
            if read is None or read[0] in seen:
                continue
            source, redirect = read
            if not self._dynamic and not _HOLES.search(source):
                if len(self._static) < STATIC_REDIRECTS_MAX:
                    self._static[source] = redirect
            elif len(self._dynamic) >= DYNAMIC_REDIRECTS_MAX:
                break
            elif pattern := _pattern(source):
                self._dynamic.append((pattern, redirect))
            seen.add(source)

    def find(self, url: Url) -> Redirect | None:
        """Where a URL leads; None: nowhere else. The first rule that matches counts, those without patterns first."""
        found = self._static.get(url.path)
        if found is not None:
            return found
        for pattern, redirect in self._dynamic:
            values = pattern.match(url)
            if values is not None:
                return Redirect(_joined_slashes(filled(redirect.to, values)), redirect.status)
        return None


def _redirect(line: str, html: str) -> tuple[str, Redirect] | None:
    tokens = line.split()
    comment = next((at for at, token in enumerate(tokens) if at >= 2 and token.startswith("#")), len(tokens))
    match tokens[:comment]:
        case [source, to, *rest] if len(rest) < 2:
            status = REDIRECT_STATUS.get(rest[0] if rest else "302")
        case _:
            return None
    path = _source(source if source.startswith(("/", "https://")) else f"/{source}", absolute=False)
    target = _target(to)
    inside = target is not None and target.startswith("/")
    if path is None or target is None or status is None or (status == REWRITE and not inside):
        return None
    # A page's own address leads to it without its name: such a rule would never end.
    ends_at_page = _LOOPS_BACK.fullmatch(target, target.rfind("/"))
    if inside and ends_at_page and (path.endswith("/*") or (path.endswith("/") and html != NONE)):
        return None
    return path, Redirect(target, status)


def _target(token: str) -> str | None:
    path = _bare(token)
    rest = token[len(path) :]
    whole = _ABSOLUTE.fullmatch(path)
    if whole is not None:
        return f"https://{whole[2]}{normal_path(whole[3])}{rest}"
    return f"{normal_path(path)}{rest}" if path.startswith("/") else None


def _joined_slashes(target: str) -> str:
    """A path without two slashes in a row, which a browser would take for the name of another site."""
    if not target.startswith("/"):
        return target
    path = _bare(target)
    return re.sub("/+", "/", path) + target[len(path) :]


class Globs:
    """Patterns in which only `*` has a meaning; of `run_worker_first`.

    Example:
        >>> Globs(["/api/*"]).match("/api/x"), Globs(["/api/*"]).match("/api")
        (True, False)
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._regexes = [re.compile(_glob_regex(*pattern.split("*"))) for pattern in patterns]

    def match(self, path: str) -> bool:
        """Whether one of them matches the whole of a path."""
        return any(regex.fullmatch(path) for regex in self._regexes)


def _glob_regex(first: str, *others: str) -> str:
    """Stars never look back: each takes what is before the next place where what follows it stands."""
    if not others:
        return re.escape(first)
    between = "".join(f"(?>.*?{re.escape(text)})" for text in others[:-1])
    return f"{re.escape(first)}{between}.*{re.escape(others[-1])}"
