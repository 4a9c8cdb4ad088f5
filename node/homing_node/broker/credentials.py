"""Secrets that the broker adds to requests: what is sent, and how they would look if they came back. Pure."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote, quote_plus, unquote_plus

from homing_node import limits
from homing_node.broker.policy import Credential
from homing_node.broker.urls import Refusal

_SECRET = re.compile(r"[\x20-\x7e]+")
_FRAGMENT = 12  # of the secret itself: a part of it that comes back is a secret, too
_FRAGMENTS_MAX = 64  # looking for them costs time: those of a long secret are longer
_FRAGMENT_OF_FORMS = 48
_FRAGMENTS_OF_A_FORM = 4  # from its beginning; and its end


class Credentials:
    """The credentials of one grant.

    Args:
        given: what the grant says of them.
        secrets: the application's, by name.

    Attributes:
        fields: header fields, to be sent as they are.
        query: to be appended to a query, escaped, or empty.
        secretive: there are any.

    Raises:
        Refusal: a secret is not there, or is none that can be sent and found again.
    """

    def __init__(self, given: Sequence[Credential], secrets: Mapping[str, str]) -> None:
        self.secretive = bool(given)
        self._names: set[str] = {each.name.lower().replace("_", "-") for each in given if each.place == "header"}
        self._parameters = {each.name.lower() for each in given if each.place == "query"}
        self.fields = [(each.name.lower(), _sent(each, secrets)) for each in given if each.place == "header"]
        pairs = [(each.name, _sent(each, secrets)) for each in given if each.place == "query"]
        self.query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
        self._values = {secrets[each.secret] for each in given}

    def __repr__(self) -> str:
        return f"Credentials({sorted(self._names | self._parameters)})"

    def gives_field(self, name: str) -> bool:
        """Whether a header field is one of them; `name` in lower case, with dashes."""
        return name in self._names

    def gives_parameter(self, query: str) -> bool:
        """Whether a query has a parameter of the same name, however it is written."""
        for part in re.split("[&;]", query):
            once = unquote_plus(part).strip().lower()
            if any(re.split(r"[=\[.]", text)[0] in self._parameters for text in (once, unquote_plus(once))):
                return True
        return False

    def traces(self) -> list[bytes]:
        """What would be found in an answer that gave one of them back, in lower case."""
        return sorted({trace.lower() for value in self._values for trace in _traces(value)})


def _sent(credential: Credential, secrets: Mapping[str, str]) -> str:
    secret = secrets.get(credential.secret)
    if secret is None:
        raise Refusal("secret", f"there is no secret {credential.secret!r}")
    if not limits.grant_secret_chars_min <= len(secret) <= limits.grant_secret_chars_max:
        least, most = limits.grant_secret_chars_min, limits.grant_secret_chars_max
        raise Refusal("secret", f"the secret {credential.secret!r} must have {least} to {most:,} characters")
    if not _SECRET.fullmatch(secret) or secret != secret.strip():
        raise Refusal("secret", f"the secret {credential.secret!r} has characters that cannot be sent")
    plain = credential.form.replace("{secret}", secret)
    return plain.replace("{base64}", base64.b64encode(secret.encode()).decode()) if plain == credential.form else plain


def _traces(secret: str) -> Iterator[bytes]:
    """The secret and what encodings make of it; long ones in parts, so that a part is found."""
    raw = secret.encode()
    yield from _parts(raw, max(_FRAGMENT, len(raw) // _FRAGMENTS_MAX))
    written = json.dumps(secret)[1:-1]
    forms = {
        quote(secret, safe="").encode(), quote_plus(secret).encode(), html.escape(secret).encode(), written.encode(),
        written.replace("/", "\\/").encode(), raw.hex().encode(), raw[::-1], secret.encode("utf-16-le"),
        secret.encode("utf-32-le"), "".join(f"\\u{ord(char):04x}" for char in secret).encode(),
        "".join(f"%{byte:02x}" for byte in raw).encode(), "".join(f"&#{byte};" for byte in raw).encode(),
        "".join(f"&#x{byte:x};" for byte in raw).encode(), "".join(f"\\x{byte:02x}" for byte in raw).encode(),
    }  # fmt: skip
    for skipped in range(3):  # base64 of a text in which it stands: its outermost digits depend on what is beside it
        digits = base64.b64encode(b"\0" * skipped + raw).rstrip(b"=")
        inner = digits[-(-skipped * 8 // 6) : len(digits) - (1 if (skipped + len(raw)) % 3 else 0)]
        forms |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    for form in forms - {raw}:
        parts = list(_parts(form, _FRAGMENT_OF_FORMS))
        yield from (*parts[:_FRAGMENTS_OF_A_FORM], parts[-1])


def _parts(form: bytes, size: int) -> Iterator[bytes]:
    """It, cut; the last part as long as the others. Whatever has twice as many bytes of it in a row has one of them."""
    if len(form) <= size:
        yield form
        return
    for begin in range(0, len(form) - size + 1, size):
        yield form[begin : begin + size]
    yield form[-size:]
