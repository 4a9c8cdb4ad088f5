"""Forms: what a browser posts, as fields and files."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any
from urllib.parse import parse_qsl

from homing.compat.membrane import JsNamed


class Blob(JsNamed):
    """Bytes with a type.

    Args:
        parts: texts, bytes, and other blobs and files; or one of them.
        content_type: such as `image/png`, or empty.
    """

    def __init__(self, parts: Any = (), content_type: str = "") -> None:
        single = isinstance(parts, (str, bytes, bytearray, memoryview, Blob, File))
        several: Iterable[Any] = [parts] if single else parts
        self.content = b"".join(map(_bytes_of, several))
        self.content_type = self.type = content_type

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self.content)

    def slice(self, start: int = 0, end: int | None = None, content_type: str = "") -> Blob:
        """A part of it."""
        return Blob(self.content[start:end], content_type)

    async def text(self) -> str:
        """As UTF-8."""
        return self.content.decode(errors="replace")

    async def array_buffer(self) -> bytes:
        """As they are."""
        return self.content

    async def bytes(self) -> bytes:
        """As they are."""
        return self.content


def _bytes_of(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode(errors="replace")
    return part.content if isinstance(part, (Blob, File)) else bytes(part)


@dataclass(slots=True, frozen=True)
class File:
    """A file in a form."""

    content: bytes
    name: str
    content_type: str = "application/octet-stream"

    async def text(self) -> str:
        """As UTF-8."""
        return self.content.decode(errors="replace")

    async def bytes(self) -> bytes:
        """As it is."""
        return self.content


class FormData(JsNamed):
    """Fields in order; a name may stand more than once.

    Example:
        >>> form = FormData([("a", "1"), ("a", "2")])
        >>> form["a"], form.get_all("a"), "b" in form
        ('1', ['1', '2'], False)
    """

    def __init__(self, fields: list[tuple[str, str | File]] | None = None) -> None:
        self._fields = list(fields or ())

    def __getitem__(self, name: str) -> str | File:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def get(self, name: str, default: str | File | None = None) -> str | File | None:
        """The first value of a field."""
        return next((value for own, value in self._fields if own == name), default)

    def get_all(self, name: str) -> list[str | File]:
        """Every value of a field."""
        return [value for own, value in self._fields if own == name]

    def append(self, name: str, value: str | File) -> None:
        """Add a value."""
        self._fields.append((name, value))

    def has(self, name: str) -> bool:
        """Whether there is a field of this name."""
        return name in self

    def set(self, name: str, value: str | File) -> None:
        """Give a field one value."""
        self.delete(name)
        self.append(name, value)

    def delete(self, name: str) -> None:
        """Take a field out."""
        self._fields = [field for field in self._fields if field[0] != name]

    def items(self) -> Iterator[tuple[str, str | File]]:
        """Names and values, in order."""
        return iter(self._fields)

    def __contains__(self, name: object) -> bool:
        return any(own == name for own, _ in self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self._fields))

    def encoded(self) -> tuple[bytes, str]:
        """As multipart/form-data (RFC 7578), and the content type that says so."""
        boundary = secrets.token_hex(16)
        parts: list[bytes] = []
        for name, value in self._fields:
            head = f'--{boundary}\r\ncontent-disposition: form-data; name="{_quoted(name)}"'
            if isinstance(value, File):
                head += f'; filename="{_quoted(value.name)}"\r\ncontent-type: {value.content_type}'
            content = value.content if isinstance(value, File) else value.encode()
            parts += [head.encode(), b"\r\n\r\n", content, b"\r\n"]
        return b"".join([*parts, f"--{boundary}--\r\n".encode()]), f"multipart/form-data; boundary={boundary}"


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def read_form(content_type: str, body: bytes) -> FormData:
    """The fields of a posted form.

    Raises:
        ValueError: the body is of another kind.
    """
    kind = content_type.split(";", 1)[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return FormData([*parse_qsl(body.decode(errors="replace"), keep_blank_values=True)])
    if kind != "multipart/form-data":
        raise ValueError(f"a form is urlencoded or multipart, not {kind or 'without a content type'}")
    message = BytesParser(policy=HTTP).parsebytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + body)
    if not message.is_multipart():
        raise ValueError("a multipart form names its boundary in the content type")
    form = FormData()
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise ValueError("a part of the form has no name")
        filename = part.get_filename()
        form.append(
            name,
            content.decode(errors="replace") if filename is None else File(content, filename, part.get_content_type()),
        )
    return form
