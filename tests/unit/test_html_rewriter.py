"""`js.HTMLRewriter`: what handlers are given, what they change, and which elements selectors mean."""

from __future__ import annotations

from typing import Any

import pytest

from homing.compat.html import rewriter, selectors
from homing.compat.html.transform import HTMLRewriter
from homing.errors import NotSupported, TooLarge
from homing.http import Response


def element(*calls: tuple[Any, ...]) -> dict[str, Any]:
    """Handlers that call methods of each element."""

    def handle(found: Any) -> None:
        for name, *args in calls:
            getattr(found, name)(*args)

    return {"element": handle}


def changed(page: str, *on: tuple[str, Any], document: Any = None, kind: str = "text/html") -> str:
    made = HTMLRewriter.new()
    for selector, handlers in on:
        assert made.on(selector, handlers) is made
    if document is not None:
        made.onDocument(document)
    return made.transform(Response(page.encode(), headers={"content-type": kind})).body.decode()


HTML = {"html": True}
FOO = '<div id="foo"><!-- content --><b>x</b></div><img>'


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([("before", "<1>", HTML), ("before", "<2>")], f"<1>&lt;2&gt;{FOO}"),
        ([("after", "<1>", HTML), ("after", "<2>")], '<div id="foo"><!-- content --><b>x</b></div>&lt;2&gt;<1><img>'),
        ([("prepend", "1"), ("prepend", "2")], '<div id="foo">21<!-- content --><b>x</b></div><img>'),
        ([("append", "1"), ("append", "&")], '<div id="foo"><!-- content --><b>x</b>1&amp;</div><img>'),
        ([("append", "1"), ("setInnerContent", "2"), ("setInnerContent", "<3>", HTML)], '<div id="foo"><3></div><img>'),
        ([("set_inner_content", "2"), ("before", "1"), ("append", "3")], '1<div id="foo">23</div><img>'),
        ([("replace", "1"), ("replace", "<2>", HTML), ("before", "b"), ("after", "a")], "b<2>a<img>"),
        ([("remove",)], "<img>"),
        ([("removeAndKeepContent",), ("prepend", "1")], "1<!-- content --><b>x</b><img>"),
        ([("setAttribute", "ID", 'a"<'), ("setAttribute", "n", 1)],
         '<div id="a&quot;<" n="1"><!-- content --><b>x</b></div><img>'),
        ([("removeAttribute", "id")], "<div><!-- content --><b>x</b></div><img>"),
        ([("__setattr__", "tagName", "main")], '<main id="foo"><!-- content --><b>x</b></main><img>'),
    ],
)  # fmt: skip
def test_what_an_element_can_be_told(calls: list[Any], expected: str) -> None:
    assert changed(FOO, ("#foo", element(*calls))) == expected


@pytest.mark.parametrize(
    ("page", "calls", "expected"),
    [
        ("<img>x", [("append", "1"), ("prepend", "2"), ("setInnerContent", "3"), ("after", "a")], "<img>ax"),
        ("<img alt=a/>x", [("setAttribute", "alt", "b")], '<img alt="b">x'),
        ("<img alt='a' />x", [("setAttribute", "b", "1")], "<img alt='a' b=\"1\" />x"),
        ("<IMG Alt=a>", [("setAttribute", "alt", "b")], '<IMG Alt="b">'),
        ("<img a=1 a=2>", [("removeAttribute", "a")], "<img>"),
        ("<img>", [("replace", "r"), ("after", "a")], "ra"),
        ("<svg><img-2/></svg>x", [("append", "1"), ("after", "a")], "<svg><img-2/>a</svg>x"),
    ],
)  # fmt: skip
def test_elements_without_content(page: str, calls: list[Any], expected: str) -> None:
    assert changed(page, ("img, img-2", element(*calls))) == expected


def test_nothing_comes_out_of_what_is_removed() -> None:
    inner = {"element": lambda e: e.before("no").after("no").append("no"), "text": lambda t: t.before("no")}
    page = "<div>a<b>c<!--d--></b></div>e"
    assert changed(page, ("div", element(("remove",))), ("b", inner)) == "e"
    assert changed(page, ("b", inner), ("div", element(("setInnerContent", "f")))) == "<div>f</div>e"


def test_handlers_see_what_those_before_them_did() -> None:
    seen: list[Any] = []
    second = {"element": lambda e: seen.append((e.removed, e.getAttribute("A"), e.hasAttribute("b"), [*e.attributes]))}
    changed("<p>", ("p", element(("remove",), ("setAttribute", "a", 1))), ("p", second), ("p.x", second))
    assert seen == [(True, "1", False, [["a", "1"]])]


def test_end_tags() -> None:
    seen: list[str] = []

    def handle(tag: Any) -> None:
        seen.append(tag.name)
        tag.before("[").after("]")
        tag.name = "b"

    assert changed("<p>x</p >y", ("p", element(("append", "1"), ("onEndTag", handle)))) == "<p>x1[</b>]y"
    assert seen == ["p"]
    remove = element(("onEndTag", lambda tag: tag.remove()))
    assert changed("<p>x</p>y", ("p", remove)) == "<p>xy"
    with pytest.raises(ValueError, match="<br> has no end tag"):
        changed("<br>", ("br", remove))


def test_elements_that_nobody_ends() -> None:
    """What they were told to have at their end comes where the element around them ends, or the document."""
    calls = element(("append", "1"), ("after", "2"), ("onEndTag", lambda _: pytest.fail("there is none")))
    assert changed("<div><p>x</div>y", ("p", calls)) == "<div><p>x12</div>y"
    assert changed("<p>x", ("p", calls)) == "<p>x12"
    assert changed("</p>x</p>", ("p", calls)) == "</p>x</p>"
    assert changed("<div><p>x</div>y", ("p", element(("remove",)))) == "<div></div>y"


def test_texts_and_comments() -> None:
    seen: list[tuple[str, bool]] = []
    handlers = {
        "text": lambda text: (seen.append((text.text, text.lastInTextNode)), text.after("." if text.text else "")),
        "comments": lambda comment: setattr(comment, "text", comment.text.upper()),
    }
    page = "a<p>b<b>c</b><!--d-->&amp;é</p><!--e-->"
    assert changed(page, ("p", handlers)) == "a<p>b.<b>c.</b><!--D-->&amp;é.</p><!--e-->"
    assert seen == [("b", False), ("", True), ("c", False), ("", True), ("&amp;é", False), ("", True)]
    gone = {"comments": lambda comment: comment.replace("<x>", html=True), "text": lambda text: text.remove()}
    assert changed(page, document=gone) == "<p><b></b><x></p><x>"
    with pytest.raises(ValueError, match="cannot hold a comment's end"):
        changed("<!--a-->", document={"comments": lambda comment: setattr(comment, "text", "--> <script>")})


def test_a_text_that_comes_in_pieces_is_cut_between_characters() -> None:
    """Seen to fail when a piece is decoded for itself."""
    seen: list[str] = []
    selectors = rewriter.Selectors()
    selectors.add("p")
    handlers = [rewriter.Handlers({"text": lambda text: seen.append(text.text)})]
    running = rewriter.Rewriter(selectors, handlers, [], "utf-8", lambda handler, part: handler(part))
    page = "<p>hé€</p>".encode()
    written = b"".join(running.feed(page[at : at + 1]) for at in range(len(page))) + running.end()
    assert (written, seen) == (page, ["h", "é", "€", ""])


def test_text_of_scripts_and_their_like_has_no_tags() -> None:
    page = "<script>'<b>' <!-- <script></script> --></script><title><b></title><noscript><b></noscript><b>"
    assert changed(page, ("b", element(("before", "!")))) == page[:-3] + "!<b>"
    assert changed("<svg><title><b></title><style><b></svg>", ("b", element(("before", "!")))).count("!") == 2


def test_the_document() -> None:
    seen: list[Any] = []
    handlers = {
        "doctype": lambda doctype: seen.append((doctype.name, doctype.publicId, doctype.system_id)),
        "end": lambda end: end.append("<end>").append("<end>", HTML),
    }
    assert changed("<!DOCTYPE HTML PUBLIC '-//a' \"b\">x", document=handlers).endswith("x&lt;end&gt;<end>")
    changed("<!doctype html SYSTEM 'about:legacy-compat'><!doctype>", document=handlers)
    assert seen == [("html", "-//a", "b"), ("html", None, "about:legacy-compat"), (None, None, None)]


LIST = '<ul id=u><li class="a" x=Abc><b>1</b></li><i></i><li class="a b" x="en-us"></li><li x="p q"></li></ul><p>'


SELECTED = {
    "*": "ul li b i li li p", "li": "li li li", "LI.a": "li li", ".a.b": "li", "#u": "ul", r"#\75": "ul", "li#u": "",
    "ul#u > li": "li li li", "ul b": "b", "ul > b": "", "b > li": "", "ul>li>b , p": "b p", "li, .a": "li li li",
    "li:first-child": "li", "b:first-child": "b", ":first-of-type": "ul li b i p",
    "li:nth-child(3)": "li", "*:nth-child(odd)": "ul li b li", ":nth-child(2n)": "i li p", "li:nth-child(n+3)": "li li",
    "li:nth-of-type(2)": "li", "li:nth-of-type(-n + 2)": "li li",
    "li:not(.a)": "li", "li:not(.b, [x='p q'])": "li", "li:not(:not(.b))": "li",
    "[x]": "li li li", "[x=Abc]": "li", "[x='abc']": "", "[x='abc' i]": "li", "[x='abc' s]": "", "[ x = Abc ]": "li",
    "[x~=q]": "li", "[x~='p q']": "", "[x^=e]": "li", "[x$='-us']": "li", "[x*='b']": "li", "[x*='']": "",
    "[x|=en]": "li", "[x|=e]": "",
}  # fmt: skip


@pytest.mark.parametrize(("selector", "expected"), SELECTED.items())
def test_selectors(selector: str, expected: str) -> None:
    seen: list[str] = []
    changed(LIST, (selector, {"element": lambda e: seen.append(e.tagName)}))
    assert " ".join(seen) == expected


@pytest.mark.parametrize(
    "selector", ["", " ", ">", "a >", "a,,b", "[", "[x", "[x=", "a:nth-child(x)", "a:not(", "1a", "a$", "x" * 5_000]
)
def test_what_is_no_selector(selector: str) -> None:
    with pytest.raises(ValueError, match="selector"):
        HTMLRewriter.new().on(selector, {})


@pytest.mark.parametrize(
    ("selector", "named"),
    [("a + b", "+"), ("a ~ b", "~"), ("a:last-child", ":last-child"), ("a:hover", ":hover"), ("a::before", ":")],
)
def test_what_a_selector_cannot_ask(selector: str, named: str) -> None:
    with pytest.raises((NotSupported, ValueError)) as caught:
        HTMLRewriter.new().on(selector, {})
    assert named in str(caught.value)


def test_elements_in_elements_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriter, "open_elements_max", 5)
    assert changed("<a><a><a><a><a>")
    with pytest.raises(TooLarge, match="more than 5 elements"):
        changed("<a><a><a><a><a><a>")


def test_an_answer_keeps_what_is_not_its_body() -> None:
    headers = [
        ("content-type", "text/html; charset=iso-8859-1"),
        ("content-length", "3"),
        ("set-cookie", "a"),
        ("set-cookie", "b"),
    ]
    found = HTMLRewriter().on("p", element(("after", "é€"))).transform(Response(b"<p>", status=201, headers=headers))
    assert (found.status, found.body) == (201, b"<p>\xe9&#8364;")
    assert found.headers.raw() == [headers[0], *headers[2:]]


@pytest.mark.parametrize(
    ("headers", "said"),
    [({"content-encoding": "gzip"}, "in gzip"), ({"content-type": "text/html; charset=utf-16"}, "in utf-16")],
)
def test_what_cannot_be_read(headers: dict[str, str], said: str) -> None:
    with pytest.raises(NotSupported, match=said):
        HTMLRewriter.new().transform(Response(b"", headers=headers))


def test_an_unknown_encoding_is_read_as_utf_8() -> None:
    assert changed("<p>é", ("p", element(("after", "é"))), kind="text/html; charset=klingon") == "<p>éé"


def test_selectors_are_nested_so_deep_and_no_deeper() -> None:
    """Seen to end in an error of the interpreter's, by the fuzzer."""
    deep = selectors.selector_depth_max
    assert changed("<a><b>", (":not(" * deep + "a" + ")" * deep, element(("before", "x")))) == "x<a><b>"
    with pytest.raises(ValueError, match="at most 16 times"):
        HTMLRewriter.new().on(":not(" * (deep + 1) + "a" + ")" * (deep + 1), {})
    beside = ",".join([":not(a)"] * (deep + 1))
    assert changed("<b>", (beside, element(("before", "x")))) == "x<b>"
