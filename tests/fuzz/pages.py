"""The target `pages`: what object code and a gateway's users make of web pages: HTML, forms, and rules of assets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from tests.fuzz.mutators import behind, changed_bytes, changed_text, either
from tests.fuzz.target import Check, Target

from homing.bindings.asset_paths import (
    HTML_HANDLING,
    NOT_FOUND_HANDLING,
    decoded,
    instead,
    normal_path,
    read_url,
    resolve,
)
from homing.bindings.asset_rules import Globs, HeaderRules, RedirectRules
from homing.compat.forms import File, FormData, read_form
from homing.compat.html.rewriter import Handlers, Rewriter
from homing.compat.html.selectors import Selectors
from homing.errors import NotSupported, TooLarge
from homing.http import Headers

ENCODINGS = ("utf-8", "windows-1252", "shift_jis", "gbk")
FILES = frozenset(
    f"/{name}" for name in
    ("index.html", "a.html", "a/index.html", "b", "b.html", "c/index.html", "404.html", "c/404.html", "d e.txt")
)  # fmt: skip


# -- HTML ---------------------------------------------------------------------------------------------------------


class _Seen:
    """Handlers that write down what they are given, and change it if they are to."""

    def __init__(self, *, changes: bool) -> None:
        self.told: list[Any] = []
        self._changes = changes

    def element(self, element: Any) -> None:
        """A start tag."""
        self.told.append((element.tag_name, [tuple(pair) for pair in element.attributes], element.namespace_uri))
        if not self._changes:
            return
        element.before("<").after(">", html=True).prepend("[").append("]")
        element.set_attribute("x", '"&')
        element.remove_attribute("id")
        match len(self.told) % 5:
            case 0:
                element.set_inner_content("in", html=True)
            case 1:
                element.remove_and_keep_content()
            case 2:
                element.tag_name = "changed"
            case 3 if element.tag_name != "img":
                with contextlib.suppress(ValueError):
                    element.on_end_tag(lambda tag: tag.before("end"))
            case _:
                element.replace("instead")

    def comments(self, comment: Any) -> None:
        """A comment."""
        self.told.append(("comment", comment.text))
        if self._changes:
            comment.text = "other"

    def text(self, text: Any) -> None:
        """A piece of a text; where it is cut means nothing."""
        if self.told and self.told[-1][0] == "text" and not self.told[-1][2]:
            self.told[-1] = ("text", self.told[-1][1] + text.text, text.last_in_text_node)
        else:
            self.told.append(("text", text.text, text.last_in_text_node))

    def doctype(self, doctype: Any) -> None:
        """The document's type."""
        self.told.append(("doctype", doctype.name, doctype.public_id, doctype.system_id))

    def end(self, end: Any) -> None:
        """The document's end."""
        self.told.append(("end",))
        if self._changes:
            end.append("<end>")


def _rewritten(selectors: Selectors, encoding: str, page: bytes, step: int, *, changes: bool) -> tuple[bytes, Any]:
    """What becomes of a page that comes in pieces, and what its handlers saw; too many open elements: nothing."""
    seen = _Seen(changes=changes)
    of_elements = Handlers({"element": seen.element, "comments": seen.comments})  # of texts one handler hears
    handlers = [of_elements for _ in range(selectors._count)]
    rewriter = Rewriter(selectors, handlers, [Handlers(seen)], encoding, lambda handler, part: handler(part))
    try:
        out = [rewriter.feed(page[at : at + step]) for at in range(0, len(page), step)]
        return b"".join([*out, rewriter.end()]), seen.told
    except TooLarge:
        return b"", None


def check_html(data: bytes) -> None:
    """What nobody changes stays as it is, byte for byte; and what comes in pieces is as what comes whole.

    Two bytes say the encoding, whether handlers change what they see, and how long a piece is; a line is the selector.
    """
    flags, step, data = (data[0], data[1] + 1, data[2:]) if len(data) > 1 else (0, 1, b"")
    line, _, page = data.partition(b"\n")
    selectors = Selectors()
    with contextlib.suppress(ValueError, NotSupported):
        selectors.add(line.decode(errors="replace"))
    selectors.add("*")
    encoding, changes = ENCODINGS[flags % 4], bool(flags & 4)
    whole = _rewritten(selectors, encoding, page, max(1, len(page)), changes=changes)
    assert _rewritten(selectors, encoding, page, step, changes=changes) == whole, "it depends on how the page is cut"
    if not changes and whole[1] is not None:
        assert whole[0] == page, "what nobody changed is not what it was"


# -- forms --------------------------------------------------------------------------------------------------------


def check_form(data: bytes) -> None:
    """A form is refused with a ValueError, or its fields make the way there and back."""
    line, _, body = data.partition(b"\n")
    try:
        form = read_form(line.decode("latin-1"), body)
    except ValueError:
        return
    again = read_form(*reversed(form.encoded()))
    assert _contents(again) == _contents(form)


def _contents(form: FormData) -> list[tuple[bool, str | bytes]]:
    """Of each field, whether it is a file, and what is in it; names and types are written in more than one way."""
    return [(True, value.content) if isinstance(value, File) else (False, value) for _, value in form.items()]


# -- static assets ------------------------------------------------------------------------------------------------


def check_path(data: bytes) -> None:
    """A path of a client means one file or none, and where it leads it stays: nobody is sent round in circles."""
    flags, text = (data[0], data[1:].decode(errors="replace")) if data else (0, "")
    html, not_found = HTML_HANDLING[flags % 4], NOT_FOUND_HANDLING[flags // 4 % 3]
    try:
        url = read_url(text if "://" in text else f"http://h/{text}")
    except ValueError:
        return
    assert normal_path(url.path) == url.path
    assert not {".", ".."} & set(decoded(url.path).split("/")) or "%" in url.path
    path = decoded(url.path)
    found = resolve(path, FILES, html)
    if found is None:
        page = instead(path, FILES, not_found)
        assert page is None or page[0] in FILES
        return
    file, home = found
    assert file in FILES
    assert resolve(home, FILES, html) == (file, home), "whoever is sent there is sent on"


def check_rules(data: bytes) -> None:
    """`_headers`, `_redirects` and patterns of paths take any text, in a time that no rule blows up.

    The first line is a URL.
    """
    flags, rest = (data[0], data[1:].decode(errors="replace")) if data else (0, "")
    line, _, text = rest.partition("\n")
    try:
        url = read_url(line if "://" in line else f"http://h/{line}")
    except ValueError:
        return
    headers = Headers([("etag", "x"), ("a", "b")])
    HeaderRules(text).apply(url, headers)
    assert not any("\n" in part or "\r" in part for field in headers.raw() for part in field)
    found = RedirectRules(text, HTML_HANDLING[flags % 4]).find(url)
    if found is not None:
        assert found.to.startswith("https://") or (found.to.startswith("/") and not found.to.startswith("//"))
    Globs(text.split("\n")[:20]).match(url.path)


# -- what to begin with -------------------------------------------------------------------------------------------

_PAGES = [
    b'\x00\x02div > p.a, #b:not(.c)[x^="y" i]\n<!doctype html>'
    b'<div><p class=a id=b x="Yes">t&amp;<b>u</b></p></div><!--c-->',
    b"\x04\x00*\n<div id=1><img alt=a/><svg><a/><![CDATA[x]]></svg><textarea><b></textarea>t</div></p>",
    b"\x04\x06p:nth-child(2n + 1)\n<p>1<p>2</p><p>3</p><script><!--<script></script>--></script><plaintext><p>",
    b"\x01\x00:first-of-type\n<a b='c' d=e f>\xe4\xf6<br/><!x><?y></ z></>",
    b"\x02\x00[a~=\"b\"]\n<p a='b c'>\x83\x5c\x83</p>",
    b"\x00\x00a\\62 c, *|d\n<!DOCTYPE html PUBLIC \"-//W3C\" 'sys'><title></titl</title>",
    b"\x00\x00:nth-of-type(odd):hover\n<math><mi><b></mi></math><!--><!--->--!>",
    b'\x04\x00[id="x"][y|=z][w$=v][u*=t]\n<p id=x y=z-1 w=vv u=ttt></p><p',
    b"\x04\x03b\n<style><b></style><noscript></noscript><xmp></xmp><iframe></iframe></b>",
    b"\x00\x00x\n<!DOCTYPE html SYSTEM 'about:legacy-compat'>",
    b"\x00\x00x\n" + b"<i>" * 1_300,
]
_FORMS = [
    b"application/x-www-form-urlencoded\na=1&a=%C3%A4&b=",
    b'multipart/form-data; boundary=X\n--X\r\ncontent-disposition: form-data; name="a"\r\n\r\nv\r\n--X\r\n'
    b'content-disposition: form-data; name=f; filename="n.txt"\r\ncontent-type: text/plain'
    b"\r\n\r\n\x00\xff\r\n--X--\r\n",
    b"multipart/form-data\nx",
    b"text/plain\nx",
    b"multipart/form-data; boundary=X\n--X\r\n\r\nv\r\n--X--",
    b"multipart/form-data; boundary=X\n--X\r\ncontent-type: multipart/mixed; boundary=Y\r\n"
    b"content-disposition: form-data; name=a\r\n\r\n--Y--\r\n--X--",
    b"multipart/form-data; boundary=X\n--X\r\ncontent-disposition: form-data; name=a; filename*=x'y'z\r\n"
    b"content-transfer-encoding: base64\r\n\r\nQQ\r\n--X--",
]
_PATHS = [
    bytes((flags,)) + path for flags in range(8) for path in (b"a", b"a/", b"a.html", b"b", b"c", b"index", b"", b"c/x")
] + [b"\x00http://h:1/%2e%2E/d%20e.txt?q#f", b"\x01//x//../a", b"\x00a\\b/%zz/%ff", b"\x00x://y", b"\x02c/index.html"]
_RULES = [
    b"\x00a/b\n/a/*\n  X-A: 1\n  ! etag\n  Set-Cookie: a\n/:x/b\n  x-a: :x\n  Set-Cookie: b\nhttps://h/*"
    b"\n b: c\n# no\nbad",
    b"\x00a/b\n/a/:x /c/:x 301\n/b /c\n/a/* https://o.example/:splat 308 # why\n/x /y 999\n/z //evil\nq /r 200",
    b"\x01a/index.html\n/a/* /a/index.html 200\n/* /:splat/index 200\n/:a:b /x\n/:a-:a /x\nhttps://h:1/x /y",
    b"\x03http://h/abab\n/a*b*\n*\n/:a.:b /c\n/*/* /d",
]
_HTML_WORDS = (
    "<", ">", "</", "/>", "<!--", "-->", "--!>", "<!", "<?", "<![CDATA[", "]]>", "<!doctype html", " public ", "'", '"',
    "=", " a=b", " id='x'", "<script>", "</script>", "<textarea>", "</textarea>", "<svg>", "</svg>", "<math>",
    "<foreignObject>", "<p>", "</p>", "<br>", "<plaintext>", "&amp;", "\n", "\t", "\f", "é", "\x00", "div", ".a", "#b",
    "[", "]", ":not(", ":nth-child(", "2n+1", ")", ",", "~=", "|=", "\\", "*", " > ",
)  # fmt: skip
_FORM_WORDS = (
    "multipart/form-data; boundary=X\n", "--X\r\n", "--X--", "\r\n", "\r\n\r\n", "content-disposition: form-data; ",
    'name="a"', "name*=utf-8''%C3", "filename=", "filename*0*=", "content-type: ", "message/rfc822", "multipart/mixed",
    "; charset=", "content-transfer-encoding: ", "base64", "quoted-printable", "x-uuencode", "=?utf-8?q?a?=", '"', ";",
    "application/x-www-form-urlencoded\n", "a=b&", "%", "\x00", "é",
)  # fmt: skip
_PATH_WORDS = (
    "/", "//", "..", ".", "%2e", "%2F", "%", "\\", "index", ".html", "index.html", "a", "b", "c", "d e.txt", "?", "#",
    ":", "http://", "é", "@",
)  # fmt: skip
_RULE_WORDS = (
    "/", "*", ":a", ":b", ":splat", "\n", " ", "https://h", "https://", "! ", "x-a: ", "set-cookie: ", "301", "200",
    "#", ".", "-", "index", "\r", "\x85", "\u2028", "é", "?", ":1",
)  # fmt: skip


def _texts(words: tuple[str, ...]) -> Callable[..., bytes]:
    return either(changed_text(words), changed_text(words), changed_bytes)


TARGET = Target(
    "pages",
    (
        Check("html", check_html, _PAGES, behind(2, _texts(_HTML_WORDS))),
        Check("form", check_form, _FORMS, _texts(_FORM_WORDS)),
        Check("path", check_path, _PATHS, behind(1, _texts(_PATH_WORDS))),
        Check("rules", check_rules, _RULES, behind(1, _texts(_RULE_WORDS))),
    ),
    {
        "sdk/homing/compat/html/parts.py": ("Comment", "Doctype", "_unquoted", "Element.raw",
        "Element._written_attributes", "Element._attribute", "attributes_of"),
        "sdk/homing/compat/html/rewriter.py": ("Rewriter",),
        "sdk/homing/compat/html/selectors.py": (),
        "sdk/homing/compat/html/tokens.py": (),
        "sdk/homing/compat/forms.py": ("read_form", "_quoted"),
        "sdk/homing/bindings/asset_paths.py": (),
        "sdk/homing/bindings/asset_rules.py": (),
    },
)  # fmt: skip
