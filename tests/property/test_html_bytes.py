"""HTML of every kind through the rewriter: what nobody changes stays as it is, however it comes in pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html.parser import HTMLParser
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from homing.compat.html import tokens
from homing.compat.html.rewriter import Handlers, Rewriter
from homing.compat.html.selectors import Selectors

# What tokenizers go wrong at, to be put together at random.
FRAGMENTS = [
    *b"< > </ /> <! <!- <!-- --> --!> <!--> <?x> </> <a <a\t <a\fhref= \" ' = <b> </b> <B\tx> <br/> <p>".split(b" "),
    *b"<script> </script> <script </script <style> </style <title> </TITLE> <textarea> </textarea>".split(b" "),
    *b"</p> </div> <plaintext> <svg> </svg> <path/> <![CDATA[ ]]> text &amp; \x00 \xff".split(b" "),
    b"<!doctype html>", b"</ x>", b"<a href='x>y' b=c/>", b"</a y='>'>", b"<img src=x>", b"<div class='a b'>",
    b" = ", b" ", "é".encode(), "é".encode()[:1],
]  # fmt: skip
DOCUMENTS = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=3), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(min_value=1, max_value=20), max_size=20)


def look(_: Any) -> None:
    """A handler that changes nothing."""


LOOKING = {"element": lambda e: e.on_end_tag(look) if e._can_have_content else None, "text": look, "comments": look}


def call(handler: Callable[[Any], Any], part: Any) -> None:
    handler(part)


def rewritten(pieces: Iterable[bytes], on: dict[str, Any], document: Any = None) -> bytes:
    selectors, handlers = Selectors(), []
    for selector, functions in on.items():
        selectors.add(selector)
        handlers.append(Handlers(functions))
    rewriter = Rewriter(selectors, handlers, [Handlers(document)] if document else [], "utf-8", call)
    return b"".join([*map(rewriter.feed, pieces), rewriter.end()])


def pieces_of(document: bytes, cuts: list[int]) -> list[bytes]:
    found: list[bytes] = []
    for size in cuts:
        found.append(document[:size])
        document = document[size:]
    return [*found, document]


@given(DOCUMENTS, CUTS)
def test_what_nobody_changes_is_the_same_byte_for_byte(document: bytes, cuts: list[int]) -> None:
    """Seen to fail when a tag is written from its parts."""
    pieces = pieces_of(document, cuts)
    assert rewritten(pieces, {}) == document
    assert rewritten(pieces, {"no > such.thing": LOOKING}) == document
    assert rewritten(pieces, {"*": LOOKING, "p:nth-child(2n+1)": LOOKING}, {**LOOKING, "doctype": look}) == document


@given(DOCUMENTS, CUTS)
@example(b"<script>a</script><b>", [12, 3])
@example(b"<script><!--<script></script>--></script><b>", [9, 7, 9, 4])
@example(b"<title>a</title><b>", [10, 3])
@example(b"<!--a--><b x='>'>", [3, 3, 8])
def test_pieces_make_no_difference(document: bytes, cuts: list[int]) -> None:
    """Seen to fail when a tag or the end of a script is looked for in one piece only."""
    on = {
        "*": {"element": lambda e: e.set_attribute("x", e.tag_name).append("!").after("?")},
        "div p": {"element": lambda e: e.remove()},
        "b": {"comments": lambda c: c.replace("c")},
    }
    assert rewritten(pieces_of(document, cuts), on) == rewritten([document], on)


NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{0,8}\Z")
VALUES = st.text(st.characters(codec="utf-8", exclude_characters='"&\r\x00'), max_size=8)
TAGS = st.tuples(NAMES.filter(lambda name: name.encode() not in (*tokens.RAW_TEXT, tokens.SCRIPT, tokens.PLAINTEXT)),
                 st.dictionaries(NAMES, VALUES, max_size=3))  # fmt: skip


class Oracle(HTMLParser):
    """The start tags that the standard library sees."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


@given(st.lists(TAGS, max_size=8))
def test_tags_are_those_that_another_parser_sees(tags: list[tuple[str, dict[str, str]]]) -> None:
    written = [(name, "".join(f' {key}="{value}"' for key, value in found.items())) for name, found in tags]
    document = "".join(f"<{name}{found}>x" for name, found in written)
    oracle, seen = Oracle(), []
    oracle.feed(document)
    rewritten([document.encode()], {"*": {"element": lambda e: seen.append((e.tag_name, dict(e.attributes)))}})
    assert seen == oracle.seen
