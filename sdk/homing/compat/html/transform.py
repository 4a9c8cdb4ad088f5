"""`js.HTMLRewriter`.

Names and meanings are those of https://developers.cloudflare.com/workers/runtime-apis/html-rewriter/.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from email.message import Message
from inspect import isawaitable
from typing import Any

from homing.compat import waiting
from homing.compat.html.rewriter import Handlers, Rewriter
from homing.compat.html.selectors import Selectors
from homing.compat.membrane import FetchResponse, JsNamed
from homing.errors import NotSupported
from homing.http import Headers, Response
from homing.streams import ReadableStream

_ASCII = bytes(range(128))


class HTMLRewriter(JsNamed):
    """Calls handlers for the elements that selectors match, and writes what they say; made with `new`.

    Example:
        >>> from homing.http import Response
        >>> page = Response(b"<p>old <b>text</b></p>", headers={"content-type": "text/html"})
        >>> HTMLRewriter.new().on("b", {"element": lambda e: e.setInnerContent("word")}).transform(page).body
        b'<p>old <b>word</b></p>'
    """

    def __init__(self) -> None:
        self._selectors = Selectors()
        self._handlers: list[Handlers] = []
        self._document: list[Handlers] = []

    @classmethod
    def new(cls) -> HTMLRewriter:
        """One without handlers."""
        return cls()

    def on(self, selector: str, handlers: Any) -> HTMLRewriter:
        """Have handlers called for what a selector matches.

        Args:
            selector: of CSS: names, classes, ids, attributes, `:nth-child`, `:first-child`, `:nth-of-type`,
                `:first-of-type`, `:not`, joined by blanks, `>` and commas.
            handlers: an object or a dict with some of `element`, `comments` and `text`.

        Raises:
            ValueError: it is no selector.
            NotSupported: it asks for what is not known yet when a start tag is seen.
        """
        self._selectors.add(selector)
        self._handlers.append(Handlers(handlers))
        return self

    def on_document(self, handlers: Any) -> HTMLRewriter:
        """Have handlers called for the document: some of `doctype`, `comments`, `text` and `end`."""
        self._document.append(Handlers(handlers))
        return self

    def transform(self, response: Response) -> FetchResponse:
        """An answer with another body. Handlers are called before this returns, or of a stream as it is read.

        They may be `async` where the body is whole.

        Raises:
            NotSupported: its body is compressed, or of an encoding without ASCII.
            Exception: what a handler raised.
        """
        headers = Headers(response.headers.raw())
        packed = headers.get("content-encoding", "identity")
        if packed.strip().lower() != "identity":
            raise NotSupported(
                f"HTMLRewriter over a body in {packed} is not supported: ask for accept-encoding identity"
            )
        encoding = _encoding_of(headers.get("content-type", ""))
        rewriter = Rewriter(self._selectors, self._handlers, self._document, encoding, _call)
        whole = response.homing_body
        body = (
            _rewritten(rewriter, whole) if isinstance(whole, ReadableStream) else rewriter.feed(whole) + rewriter.end()
        )
        if "content-length" in headers:
            del headers["content-length"]
        return FetchResponse(body, status=response.status, headers=headers, web_socket=response.web_socket)


async def _rewritten(rewriter: Rewriter, pieces: ReadableStream) -> AsyncIterator[bytes]:
    """What becomes of each piece; some wait for the next."""
    async for piece in pieces:
        if out := rewriter.feed(piece):
            yield out
    if out := rewriter.end():
        yield out


def _call(handler: Callable[[Any], Any], part: Any) -> None:
    result = handler(part)
    if isawaitable(result):
        waiting.wait(result)


def _encoding_of(content_type: str) -> str:
    message = Message()
    message["content-type"] = content_type
    named = message.get_content_charset("utf-8")
    try:
        plain = _ASCII.decode(named) == _ASCII.decode("ascii")
    except LookupError:
        return "utf-8"
    except UnicodeError:
        plain = False
    if not plain:
        raise NotSupported(f"HTMLRewriter over text in {named} is not supported")
    return named
