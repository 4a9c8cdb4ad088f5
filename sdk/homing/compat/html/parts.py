"""What the handlers of a rewriter are given: elements, end tags, texts, comments, the doctype, the document's end.

Names and meanings are those of https://developers.cloudflare.com/workers/runtime-apis/html-rewriter/; each name can be
written as JavaScript has it or with underscores. Names and values are as they stand in the document: `&amp;` is not
decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from html import escape
from typing import Any

from homing.compat.html.tokens import Comment as CommentToken
from homing.compat.html.tokens import Doctype as DoctypeToken
from homing.compat.html.tokens import EndTag as EndTagToken
from homing.compat.html.tokens import StartTag
from homing.compat.membrane import JsArray, JsNamed, snake_case

_TAG_NAME = re.compile(r"[a-zA-Z][^\t\n\f\r />]*")
_ATTRIBUTE_NAME = re.compile(r"[^\t\n\f\r />=][^\t\n\f\r />=]*")
_PUBLIC = re.compile(r"\s*public\s*(\"[^\"]*\"?|'[^']*'?)\s*(\"[^\"]*\"?|'[^']*'?)?", re.IGNORECASE)
_SYSTEM = re.compile(r"\s*system\s*(\"[^\"]*\"?|'[^']*'?)", re.IGNORECASE)


class Part(JsNamed):
    """A part of the document, and what is put in its place.

    Args:
        encoding: of the document.

    Attributes:
        removed: whether it was removed or replaced.
    """

    def __init__(self, encoding: str) -> None:
        self.encoding = encoding
        self.removed = False
        self._before: list[bytes] = []
        self._instead: list[bytes] = []
        self._after: list[bytes] = []

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, snake_case(name), value)

    def encoded(self, content: Any, options: Mapping[str, Any] | None, *, html: bool) -> bytes:
        """Content as bytes of the document: as it is, or as a text whose `<`, `>` and `&` are escaped."""
        text = str(content)
        as_html = html or bool(options and options.get("html"))
        return (text if as_html else escape(text, quote=False)).encode(self.encoding, "xmlcharrefreplace")

    def before(self, content: Any, options: Mapping[str, Any] | None = None, *, html: bool = False) -> Any:
        """Put content before it, behind what was put there."""
        self._before.append(self.encoded(content, options, html=html))
        return self

    def after(self, content: Any, options: Mapping[str, Any] | None = None, *, html: bool = False) -> Any:
        """Put content after it, before what was put there."""
        self._after.insert(0, self.encoded(content, options, html=html))
        return self

    def replace(self, content: Any, options: Mapping[str, Any] | None = None, *, html: bool = False) -> Any:
        """Put content in its place."""
        self._instead = [self.encoded(content, options, html=html)]
        self.removed = True
        return self

    def remove(self) -> Any:
        """Take it out."""
        self.removed = True
        return self

    def raw(self) -> bytes:
        """The part itself."""
        raise NotImplementedError

    def written(self) -> bytes:
        """The part, and all that was put around it."""
        itself = self._instead if self.removed else [self.raw()]
        return b"".join([*self._before, *itself, *self._after])


class TextChunk(Part):
    """A piece of a text.

    Attributes:
        text: the piece; empty where only the text's end is told.
        last_in_text_node: whether it is the text's last.
    """

    def __init__(self, encoding: str, raw: bytes, *, last: bool) -> None:
        super().__init__(encoding)
        self._raw = raw
        self.text = raw.decode(encoding, "replace")
        self.last_in_text_node = last

    def raw(self) -> bytes:
        """See `Part`."""
        return self._raw


class Comment(Part):
    """A comment.

    Attributes:
        text: what stands in it; it can be set.
    """

    def __init__(self, encoding: str, token: CommentToken) -> None:
        super().__init__(encoding)
        self._token = token
        self._was = self.text = token.text.decode(encoding, "replace")

    def raw(self) -> bytes:
        """See `Part`."""
        if self.text == self._was:
            return self._token.raw
        if re.search(r"--!?>|^-?>", self.text):
            raise ValueError("the text of a comment cannot hold a comment's end")
        return b"<!--%b-->" % self.encoded(self.text, None, html=True)


class Doctype:
    """The document's type.

    Attributes:
        name: such as `html`, or None.
        public_id, system_id: the texts behind PUBLIC and SYSTEM, or None.
    """

    def __init__(self, encoding: str, token: DoctypeToken) -> None:
        words = token.text.decode(encoding, "replace").strip()
        self.name = words.split()[0].lower() if words else None
        rest = words[len(self.name) :] if self.name else ""
        public, system = _PUBLIC.match(rest), _SYSTEM.match(rest)
        self.public_id = self.publicId = _unquoted(public[1] if public else None)
        self.system_id = self.systemId = _unquoted((public and public[2]) or (system and system[1]))


def _unquoted(text: str | None) -> str | None:
    return text.strip(text[0]) if text else None


class DocumentEnd:
    """The end of the document."""

    def __init__(self, encoding: str) -> None:
        self._part = Part(encoding)
        self.appended = b""

    def append(self, content: Any, options: Mapping[str, Any] | None = None, *, html: bool = False) -> DocumentEnd:
        """Put content at the end."""
        self.appended += self._part.encoded(content, options, html=html)
        return self


class EndTag(Part):
    """An end tag.

    Attributes:
        name: of the element; it can be set.
    """

    def __init__(self, encoding: str, token: EndTagToken) -> None:
        super().__init__(encoding)
        self._token = token
        self._was = self.name = token.name.decode(encoding, "replace")

    def take(self, before: list[bytes], after: list[bytes]) -> None:
        """What its element was told to have before and after it."""
        self._before, self._after = [*before], [*after]

    def raw(self) -> bytes:
        """See `Part`."""
        return self._token.raw if self.name == self._was else b"</%b>" % self.encoded(self.name, None, html=True)


class Element(Part):
    """An element, seen at its start tag.

    Args:
        encoding: of the document.
        token: the start tag.
        attributes: see `attributes_of`.
        namespace: its URI.
        can_have_content: it is not empty by its kind, as `<img>` is.

    Attributes:
        tag_name: in lower case; it can be set, and the end tag's follows.
    """

    def __init__(
        self, encoding: str, token: StartTag, attributes: Mapping[str, str], namespace: str, *, can_have_content: bool
    ) -> None:
        super().__init__(encoding)
        self.tag_name = token.name.decode(encoding, "replace")
        self.namespace_uri = namespace
        self.removes_content = False
        self.end_handlers: list[Callable[[EndTag], Any]] = []
        self._token = token
        self._was = self.tag_name
        self._attributes = dict(attributes)
        self._set: dict[str, str | None] = {}  # what was changed; None: taken out
        self._can_have_content = can_have_content
        self._removes_end = False
        self._prepended: list[bytes] = []
        self._appended: list[bytes] = []

    # Attributes

    @property
    def attributes(self) -> Iterator[JsArray]:
        """Pairs of a name and a value."""
        return iter([JsArray(pair) for pair in self._attributes.items()])

    def get_attribute(self, name: str) -> str | None:
        """A value, or None."""
        return self._attributes.get(name.lower())

    def has_attribute(self, name: str) -> bool:
        """Whether there is one of this name."""
        return name.lower() in self._attributes

    def set_attribute(self, name: str, value: Any) -> Element:
        """Give it another value, or make it; quotes in the value are escaped."""
        if not _ATTRIBUTE_NAME.fullmatch(name):
            raise ValueError(f"not the name of an attribute: {name!r}")
        self._attributes[name.lower()] = self._set[name.lower()] = str(value)
        return self

    def remove_attribute(self, name: str) -> Element:
        """Take it out."""
        if self._attributes.pop(name.lower(), None) is not None:
            self._set[name.lower()] = None
        return self

    # Content

    def prepend(self, content: Any, options: Mapping[str, Any] | None = None, *, html: bool = False) -> Element:
        """Put content right behind the start tag, before what was put there."""
        if self._can_have_content:
            self._prepended.insert(0, self.encoded(content, options, html=html))
        return self

    def append(self, content: Any, options: Mapping[str, Any] | None = None, *, html: bool = False) -> Element:
        """Put content right before the end tag, behind what was put there."""
        if self._can_have_content:
            self._appended.append(self.encoded(content, options, html=html))
        return self

    def set_inner_content(
        self, content: Any, options: Mapping[str, Any] | None = None, *, html: bool = False
    ) -> Element:
        """Put content in the place of what is between the tags."""
        if self._can_have_content:
            self._drop_content()
            self._prepended = [self.encoded(content, options, html=html)]
        return self

    def replace(self, content: Any, options: Mapping[str, Any] | None = None, *, html: bool = False) -> Element:
        """Put content in the place of the element and all that is in it."""
        super().replace(content, options, html=html)
        self._drop_content()
        self._removes_end = True
        return self

    def remove(self) -> Element:
        """Take it out with all that is in it."""
        self._drop_content()
        return self.remove_and_keep_content()

    def remove_and_keep_content(self) -> Element:
        """Take its tags out."""
        self.removed = self._removes_end = True
        return self

    def on_end_tag(self, handler: Callable[[EndTag], Any]) -> None:
        """Call a function when the end tag is reached.

        Raises:
            ValueError: such an element has none.
        """
        if not self._can_have_content:
            raise ValueError(f"<{self.tag_name}> has no end tag")
        self.end_handlers.append(handler)

    def _drop_content(self) -> None:
        self.removes_content = self._can_have_content
        self._prepended, self._appended = [], []

    # How it is written

    def raw(self) -> bytes:
        """The start tag."""
        renamed = self.tag_name != self._was
        if not self._set and not renamed:
            return self._token.raw
        if renamed and not _TAG_NAME.fullmatch(self.tag_name):
            raise ValueError(f"not the name of an element: {self.tag_name!r}")
        name = (
            self.encoded(self.tag_name, None, html=True) if renamed else self._token.raw[1 : 1 + len(self._token.name)]
        )
        parts = [b"<" + name, *self._written_attributes()]
        closing = (
            (b" />" if len(parts) > 1 else b"/>") if self._token.self_closing else b">"
        )  # a value may end in a slash
        return b" ".join(parts) + closing

    def _written_attributes(self) -> Iterator[bytes]:
        left = dict(self._set)
        for name, _, raw, _ in self._token.attributes():
            key = name.decode(self.encoding, "replace").lower()
            if key not in self._set:
                yield raw
            elif left.pop(key, None) is not None:
                yield self._attribute(name, self._set[key])
        for key, value in left.items():
            if value is not None:
                yield self._attribute(self.encoded(key, None, html=True), value)

    def _attribute(self, name: bytes, value: str | None) -> bytes:
        return b'%b="%b"' % (name, self.encoded((value or "").replace('"', "&quot;"), None, html=True))

    def written(self) -> bytes:
        """The start tag with what is around it; what comes after an element that ends here, too."""
        itself = self._instead if self.removed else [self.raw()]
        after = [] if self._can_have_content else self._after
        return b"".join([*self._before, *itself, *self._prepended, *after])

    def changes_end(self) -> bool:
        """Whether anything is to be done where it ends."""
        renamed = self.tag_name != self._was
        return bool(renamed or self._removes_end or self._appended or self._after or self.end_handlers)

    def change_end(self, tag: EndTag) -> None:
        """Say what becomes of its end tag, before the handlers of that are called."""
        tag.removed = self._removes_end
        if self.tag_name != self._was:
            tag.name = self.tag_name
        tag.take(self._appended, self._after)

    def unended(self) -> bytes:
        """What was put at its end, where it has no end tag."""
        return b"".join([*self._appended, *self._after])


def attributes_of(token: StartTag, encoding: str) -> dict[str, str]:
    """Values by names in lower case; of several attributes of one name the first counts."""
    found: dict[str, str] = {}
    for name, value, _, _ in token.attributes():
        found.setdefault(name.decode(encoding, "replace").lower(), value.decode(encoding, "replace"))
    return found
