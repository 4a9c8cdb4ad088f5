"""HTML cut into tokens, which put together again are the very bytes.

The cuts are those of the tokenizer of https://html.spec.whatwg.org/multipage/parsing.html#tokenization. It works on
bytes, so on any encoding that has ASCII in it. What comes in pieces gives the same tokens, but for where text is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANK = rb"\t\n\f\r "
_NAME = rb"[a-zA-Z][^%b/>]*+" % _BLANK


def _attribute(group: bytes) -> bytes:
    """One attribute. What follows an equals sign is a value; a quote that is never closed ends the match before it."""
    value = rb'"%b[^"]*+)"' % group + rb"|'%b[^']*+)'" % group + rb"|(?![\"'])%b[^%b>]++)|(?=>)" % (group, _BLANK)
    name = rb"[%b/]*+%b[^%b/>][^%b/>=]*+)" % (_BLANK, group, _BLANK, _BLANK)
    return name + rb"(?>[%b]*+=[%b]*+(?>%b)|(?![%b]*+=))" % (_BLANK, _BLANK, value, _BLANK)


_REST = rb"(?>%b)*+[%b/]*+>" % (_attribute(b"(?:"), _BLANK)
_START_TAG = re.compile(rb"<(%b)%b" % (_NAME, _REST))
_END_TAG = re.compile(rb"</(%b)%b" % (_NAME, _REST))
_ATTRIBUTES = re.compile(_attribute(b"("))
_COMMENT = re.compile(rb"<!--(?>-?>|(.*?)--!?>)", re.DOTALL)
_BOGUS = re.compile(rb"<[!/]?([^>]*)>")
_CDATA = re.compile(rb"<!\[CDATA\[.*?\]\]>", re.DOTALL)
_MARKUP = re.compile(rb"<(?=[a-zA-Z/!?])")
_SCRIPT = re.compile(rb"<!--|-->|<(/?)script(?=[%b/>])" % _BLANK, re.IGNORECASE)
_SCRIPT_LOOK = 10  # bytes in which every end of script's text is seen

RAW_TEXT = frozenset((b"style", b"xmp", b"iframe", b"noembed", b"noframes", b"noscript", b"title", b"textarea"))
"""Elements whose content is text up to their end tag."""
SCRIPT, PLAINTEXT = b"script", b"plaintext"


@dataclass(slots=True)
class Token:
    """A part of a document.

    Attributes:
        raw: as it stands there.
    """

    raw: bytes


@dataclass(slots=True)
class StartTag(Token):
    """`<name …>`; `name` is in lower case."""

    name: bytes

    @property
    def self_closing(self) -> bool:
        """Whether it ends in `/>`, and the slash is no part of a value."""
        return self.raw.endswith(b"/>") and not any(end == len(self.raw) - 1 for *_, end in self.attributes())

    def attributes(self) -> Iterator[tuple[bytes, bytes, bytes, int]]:
        """Of each its name as it stands there, its value, the whole of it, and where it ends."""
        at = 1 + len(self.name)
        while (found := _ATTRIBUTES.match(self.raw, at)) is not None:
            at = found.end()
            value = next((value for value in found.group(2, 3, 4) if value is not None), b"")
            yield found[1], value, self.raw[found.start(1) : at], at


@dataclass(slots=True)
class EndTag(Token):
    """`</name>`; `name` is in lower case."""

    name: bytes


@dataclass(slots=True)
class Text(Token):
    """A part of a text."""


@dataclass(slots=True)
class Comment(Token):
    """`<!--text-->`, or what is read as one."""

    text: bytes


@dataclass(slots=True)
class Doctype(Token):
    """`<!doctype …>`; `text` is what stands between."""

    text: bytes


class Tokenizer:
    """Takes bytes and gives tokens.

    Attributes:
        text_of: the element whose text is being read: set by who sees its start tag, as only that knows whether it is
            one of HTML; `PLAINTEXT` has no end.
        foreign: whether the current element is of SVG or MathML, where CDATA is.
    """

    def __init__(self) -> None:
        self.text_of = b""
        self.foreign = False
        self._data = b""
        self._at = 0
        self._ended = False
        self._escaped = 0  # in a script: 1 after `<!--`, 2 after `<script` behind that

    def feed(self, data: bytes) -> Iterator[Token]:
        """The tokens that are complete with these bytes."""
        self._data, self._at = self._data[self._at :] + data, 0
        return self._tokens()

    def end(self) -> Iterator[Token]:
        """What is left when no more bytes come. A tag that is cut off is passed on as it is."""
        self._ended = True
        yield from self.feed(b"")
        if self._at < len(self._data):
            yield Token(self._data[self._at :])

    def _tokens(self) -> Iterator[Token]:
        while self._at < len(self._data):
            token = self._raw_text() if self.text_of else self._text() or self._markup()
            if token is None:
                return
            self._at += len(token.raw)
            yield token

    def _text(self) -> Text | None:
        """Text up to the next markup."""
        data, at = self._data, self._at
        found = _MARKUP.search(data, at)
        end = found.start() if found is not None else len(data)
        if found is None and not self._ended and data.endswith(b"<"):
            end -= 1  # what it is, the next byte tells
        return Text(data[at:end]) if end > at else None

    def _markup(self) -> Token | None:
        """What begins with `<`; None: it is not complete."""
        data, at = self._data, self._at
        second = data[at + 1 : at + 2]
        if second.isalpha():
            found = _START_TAG.match(data, at)
            return StartTag(found[0], found[1].lower()) if found is not None else None
        if second == b"/" and data[at + 2 : at + 3].isalpha():
            found = _END_TAG.match(data, at)
            return EndTag(found[0], found[1].lower()) if found is not None else None
        if second == b"/" and data[at + 2 : at + 3] == b">":
            return Token(data[at : at + 3])  # it says nothing
        return self._declaration()

    def _declaration(self) -> Token | None:
        """What begins with `<!`, `<?`, or `</` and is no tag."""
        data, at = self._data, self._at
        begin = data[at : at + 9].lower()
        if begin.startswith(b"<!--"):
            found = _COMMENT.match(data, at)
            return Comment(found[0], found[1] or b"") if found is not None else None
        if begin == b"<![cdata[" and self.foreign and data.startswith(b"<![CDATA[", at):
            found = _CDATA.match(data, at)
            return Token(found[0]) if found is not None else None
        found = _BOGUS.match(data, at)
        if found is None:
            return None
        doctype = begin == b"<!doctype"
        return Doctype(found[0], found[1][7:]) if doctype else Comment(found[0], found[1])

    def _raw_text(self) -> Token | None:
        """Text of an element whose content is nothing else, or its end tag."""
        if self.text_of == PLAINTEXT:
            return Text(self._data[self._at :])
        end, certain = self._script_end() if self.text_of == SCRIPT else self._raw_end(self.text_of)
        if end > self._at:
            return Text(self._data[self._at : end])
        if not certain:
            return None
        found = _END_TAG.match(self._data, self._at)
        if found is None:
            return None
        self.text_of = b""
        return EndTag(found[0], found[1].lower())

    def _raw_end(self, name: bytes) -> tuple[int, bool]:
        """Up to where it is text, and whether an end tag stands there."""
        found = re.compile(rb"</%b(?=[%b/>])" % (name, _BLANK), re.IGNORECASE).search(self._data, self._at)
        if found is not None:
            return found.start(), True
        return len(self._data) if self._ended else max(self._at, len(self._data) - len(name) - 2), False

    def _script_end(self) -> tuple[int, bool]:
        """The same in a script, where comments may hold what looks like its end."""
        data, at = self._data, self._at
        sure = len(data) if self._ended else max(at, len(data) - _SCRIPT_LOOK)
        while (found := _SCRIPT.search(data, at)) is not None and found.start() < sure:
            word, closing = found[0], found[1] == b"/"
            if closing and self._escaped < 2:
                self._escaped = 0
                return found.start(), True
            if word == b"<!--":
                self._escaped = self._escaped or 1
                at = found.start() + 2  # its hyphens may be those of an end, as in `<!-->`
                continue
            if word == b"-->":
                self._escaped = 0
            elif self._escaped:
                self._escaped = 1 if closing else 2
            at = found.end()
        return sure, False
