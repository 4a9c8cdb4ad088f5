"""The rewriter: tokens go in, handlers are called for what their selectors match, and bytes come out."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from homing.compat.html import tokens
from homing.compat.html.parts import Comment, Doctype, DocumentEnd, Element, EndTag, Part, TextChunk, attributes_of
from homing.compat.html.selectors import Selectors
from homing.errors import TooLarge

open_elements_max = 4_096

_HTML = "http://www.w3.org/1999/xhtml"
_FOREIGN = {b"svg": "http://www.w3.org/2000/svg", b"math": "http://www.w3.org/1998/Math/MathML"}
# Elements of SVG and MathML in which HTML stands.
_HOLDING_HTML = frozenset(
    (b"foreignobject", b"desc", b"title", b"annotation-xml", b"mi", b"mo", b"mn", b"ms", b"mtext")
)
_EMPTY = frozenset(
    b"area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr".split()
)
# Elements that are of HTML wherever they stand: a parser with a tree would end the SVG or MathML around them.
_OF_HTML = frozenset(
    b"b big blockquote body br center code dd div dl dt em embed h1 h2 h3 h4 h5 h6 head hr i img li listing menu meta "
    b"nobr ol p pre ruby s small span strong strike sub sup table tt u ul var".split()
)


class Handlers:
    """The functions of an object, or the entries of a dict, that are called.

    Args:
        given: has some of `element`, `comments`, `text`, `doctype`, `end`.
    """

    def __init__(self, given: Any) -> None:
        self.element, self.comments, self.text = (_function(given, name) for name in ("element", "comments", "text"))
        self.doctype, self.end = _function(given, "doctype"), _function(given, "end")


def _function(given: Any, name: str) -> Callable[[Any], Any] | None:
    if isinstance(given, Mapping):
        return cast("Mapping[str, Any]", given).get(name)
    return getattr(given, name, None)


@dataclass(slots=True)
class _Open:
    """An element whose end has not come.

    Attributes:
        name: in lower case.
        namespace: its URI.
        bits, around: of its own, and those of all that it is in with them; see `Selectors`.
        matched: the numbers of the selectors that match it.
        element: what was given to handlers, where something is to be done at its end.
        removes: its content is taken out.
        children, kinds: how many it has so far, and of each name.
    """

    name: bytes
    namespace: str
    bits: int = 0
    around: int = 0
    matched: list[int] = field(default_factory=list[int])
    element: Element | None = None
    removes: bool = False
    children: int = 0
    kinds: dict[bytes, int] = field(default_factory=dict[bytes, int])


class _Seen:
    """See `selectors.Seen`."""

    __slots__ = ("_attributes", "_encoding", "nth_child", "nth_of_type", "tag", "token")

    def __init__(self, token: tokens.StartTag, encoding: str, parent: _Open) -> None:
        self.token = token
        self.tag = token.name.decode(encoding, "replace")
        self.nth_child = parent.children
        self.nth_of_type = parent.kinds[token.name]
        self._encoding = encoding
        self._attributes: dict[str, str] | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """Values by names."""
        if self._attributes is None:
            self._attributes = attributes_of(self.token, self._encoding)
        return self._attributes


class Rewriter:
    """One document on its way.

    Args:
        selectors: which elements are meant.
        handlers: of each of them.
        document: handlers of the whole document.
        encoding: of the document; it has ASCII in it.
        call: calls a handler.

    Raises:
        TooLarge: more than 4,096 elements are open at once.

    Example:
        >>> selectors = Selectors()
        >>> _ = selectors.add("b")
        >>> handlers = [Handlers({"element": lambda element: element.after("!")})]
        >>> rewriter = Rewriter(selectors, handlers, [], "utf-8", lambda handler, part: handler(part))
        >>> rewriter.feed(b"a <b>big</b> wave") + rewriter.end()
        b'a <b>big</b>! wave'
    """

    def __init__(
        self,
        selectors: Selectors,
        handlers: list[Handlers],
        document: list[Handlers],
        encoding: str,
        call: Callable[[Callable[[Any], Any], Any], None],
    ) -> None:
        self._selectors = selectors
        self._handlers = handlers
        self._document = document
        self._encoding = encoding
        self._call = call
        self._tokenizer = tokens.Tokenizer()
        self._decoder: Any = codecs.getincrementaldecoder(encoding)("replace")
        self._cut = b""  # the beginning of a character
        self._in_text = False
        self._removing = 0  # open elements whose content is taken out
        self._root = _Open(b"", _HTML)
        self._open: list[_Open] = []
        self._names: dict[bytes, int] = {}  # of the open elements, how many there are of each
        self._in: dict[int, int] = {}  # by selector, how many open elements it matches

    def feed(self, data: bytes) -> bytes:
        """What these bytes become; the beginning of a tag waits for its end."""
        return b"".join(self._rewritten(self._tokenizer.feed(data)))

    def end(self) -> bytes:
        """What is left."""
        left = [*self._rewritten(self._tokenizer.end()), *self._end_text()]
        while self._open:
            left += self._close(self._open.pop(), None)
        end = DocumentEnd(self._encoding)
        self._tell((each.end for each in self._document), end)
        return b"".join([*left, end.appended])

    def _rewritten(self, found: Iterable[tokens.Token]) -> Iterator[bytes]:
        for token in found:
            if isinstance(token, tokens.Text):
                yield from self._text(token.raw)
                continue
            yield from self._end_text()
            if isinstance(token, tokens.StartTag):
                yield from self._start(token)
            elif isinstance(token, tokens.EndTag):
                yield from self._end_tag(token)
            elif isinstance(token, tokens.Comment):
                yield from self._comment(token)
            else:
                if isinstance(token, tokens.Doctype):
                    self._tell((each.doctype for each in self._document), Doctype(self._encoding, token))
                yield from self._kept(token.raw)

    # Text and comments

    def _listening(self, kind: str) -> list[Callable[[Any], Any]]:
        """Handlers of texts or comments that hear of one here."""
        around = [self._handlers[number] for number in sorted(self._in)]
        found = (getattr(each, kind) for each in (*around, *self._document))
        return [handler for handler in found if handler is not None]

    def _text(self, raw: bytes) -> Iterator[bytes]:
        listening = self._listening("text")
        self._in_text = True
        if not listening:
            yield from self._kept(raw)
            return
        whole = self._cut + raw
        self._decoder.reset()
        self._decoder.decode(whole)
        self._cut = self._decoder.getstate()[0]
        whole = whole[: len(whole) - len(self._cut)]
        if whole:
            yield from self._told(TextChunk(self._encoding, whole, last=False), listening)

    def _end_text(self) -> Iterator[bytes]:
        if not self._in_text:
            return
        self._in_text = False
        listening = self._listening("text")
        cut, self._cut = self._cut, b""
        if listening:
            yield from self._told(TextChunk(self._encoding, cut, last=True), listening)

    def _comment(self, token: tokens.Comment) -> Iterator[bytes]:
        listening = self._listening("comments")
        if listening:
            yield from self._told(Comment(self._encoding, token), listening)
        else:
            yield from self._kept(token.raw)

    def _told(self, part: Part, handlers: Iterable[Callable[[Any], Any]]) -> Iterator[bytes]:
        self._tell(handlers, part)
        yield from self._kept(part.written())

    def _tell(self, handlers: Iterable[Callable[[Any], Any] | None], part: Any) -> None:
        for handler in handlers:
            if handler is not None:
                self._call(handler, part)

    def _kept(self, data: bytes) -> Iterator[bytes]:
        if not self._removing:
            yield data

    # Elements

    def _start(self, token: tokens.StartTag) -> Iterator[bytes]:
        parent = self._open[-1] if self._open else self._root
        parent.children += 1
        parent.kinds[token.name] = parent.kinds.get(token.name, 0) + 1
        mine = self._opened(token, parent)
        foreign = mine.namespace != _HTML
        has_content = token.name not in _EMPTY if not foreign else not token.self_closing
        seen = _Seen(token, self._encoding, parent)
        mine.bits = self._selectors.match(seen, parent.bits, parent.around)
        mine.around = parent.around | mine.bits
        mine.matched = self._selectors.matched(mine.bits)
        handlers = [self._handlers[number].element for number in mine.matched]
        written = token.raw
        if any(handlers):
            element = Element(
                self._encoding, token, seen.attributes, mine.namespace, can_have_content=has_content
            )  # fmt: skip
            element.removed = bool(self._removing)
            self._tell(handlers, element)
            written = element.written()
            mine.element = element if element.changes_end() else None
            mine.removes = element.removes_content
        yield from self._kept(written)
        if has_content:
            self._push(mine)
            self._tokenizer.text_of = _text_of(token.name) if not foreign else b""
        self._tokenizer.foreign = self._is_foreign()

    def _opened(self, token: tokens.StartTag, parent: _Open) -> _Open:
        inherits = parent.name not in _HOLDING_HTML and token.name not in _OF_HTML
        namespace = parent.namespace if inherits else _HTML
        return _Open(token.name, namespace if namespace != _HTML else _FOREIGN.get(token.name, _HTML))

    def _is_foreign(self) -> bool:
        return bool(self._open) and self._open[-1].namespace != _HTML and self._open[-1].name not in _HOLDING_HTML

    def _push(self, mine: _Open) -> None:
        if len(self._open) >= open_elements_max:
            raise TooLarge(f"more than {open_elements_max} elements are open at once")
        self._open.append(mine)
        self._names[mine.name] = self._names.get(mine.name, 0) + 1
        self._removing += mine.removes
        for number in mine.matched:
            self._in[number] = self._in.get(number, 0) + 1

    def _end_tag(self, token: tokens.EndTag) -> Iterator[bytes]:
        if not self._names.get(token.name):
            yield from self._kept(token.raw)
            return
        while self._open[-1].name != token.name:
            yield from self._close(self._open.pop(), None)
        yield from self._close(self._open.pop(), token)
        self._tokenizer.foreign = self._is_foreign()

    def _close(self, mine: _Open, token: tokens.EndTag | None) -> Iterator[bytes]:
        """An element that is not open any more ends, with its end tag or without one."""
        self._names[mine.name] -= 1
        self._removing -= mine.removes
        for number in mine.matched:
            self._in[number] -= 1
            if not self._in[number]:
                del self._in[number]
        element = mine.element
        if token is None:
            yield from self._kept(element.unended() if element is not None else b"")
        elif element is None:
            yield from self._kept(token.raw)
        else:
            tag = EndTag(self._encoding, token)
            element.change_end(tag)
            self._tell(element.end_handlers, tag)
            yield from self._kept(tag.written())


def _text_of(name: bytes) -> bytes:
    return name if name in tokens.RAW_TEXT or name in (tokens.SCRIPT, tokens.PLAINTEXT) else b""
