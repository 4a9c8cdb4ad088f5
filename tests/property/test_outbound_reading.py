"""URLs, secrets and compressed bodies, whatever is written in them: one reading, and nothing that slips through."""

from __future__ import annotations

import zlib
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from homing_node.broker.credentials import Credentials
from homing_node.broker.decoding import Decoder
from homing_node.broker.policy import Credential
from homing_node.broker.reflection import Mirror
from homing_node.broker.urls import Refusal, Target, read_url

SECRET = "sk-live/9f+Q2x7Kd=81mZp0TqLw"
PARTS = st.sampled_from(
    ["https://", "http://", "//", "/", "\\", "api.example.com", "evil.net", "127.0.0.1", "127.1", "[::1]", "[", "]",
     "@", ":", ":443", ":80", "?", "#", "%2e", "%2F", "%25", "%00", "..", ".", ";", " ", "\t", "\n", "\u3002", "\uff0e",
     "\uff11", "\u0430", "\u00df", "\u200d", "\u00ad", "xn--", "-", "_", "a", "0x7f", "1", "\u00e9", "\ud800", "*", "|",
     "^", "%", "+", "&", "="]
)  # fmt: skip
JOINED = st.lists(PARTS, max_size=12).map("".join)
URLS = st.one_of(JOINED, JOINED.map("https://{}".format))


def written(target: Target) -> str:
    return f"{target.scheme}://{target.authority}{target.resource}"


@given(URLS)
@example("https://api.example.com\\@evil.net")
@example("https://evil.net#@api.example.com")
def test_what_is_read_is_read_by_all_in_the_same_way(url: str) -> None:
    """Also by two libraries that others use, and by itself again."""
    with suppress(Refusal):
        target = read_url(url)
        text = written(target)
        assert text.isascii()
        assert read_url(text) == target
        parts = urlsplit(text)
        assert (parts.hostname, parts.username, parts.path) == (target.host, None, target.path)
        other = httpx.URL(text)
        assert (other.raw_host.decode("ascii"), other.port or {"https": 443, "http": 80}[other.scheme]) == (
            target.host,
            target.port,
        )
        assert other.raw_path.decode("ascii").partition("?")[0] == target.path


@given(URLS)
def test_whoever_reads_it_carelessly_sees_no_other_host(url: str) -> None:
    """What a careless reader takes for the host is what is connected to, or the URL is refused."""
    with suppress(Refusal, ValueError):
        target = read_url(url)
        careless = (urlsplit(url).hostname or "").rstrip(".")
        if careless.isascii():
            assert careless == target.host or target.literal


cuts = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, at = list[bytes](), 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    return pieces


TRACES = Credentials([Credential(name="a", secret="T")], {"T": SECRET}).traces()


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 16), st.integers(12, 28), cuts)
def test_a_secret_is_found_wherever_it_stands(
    before: bytes, after: bytes, begin: int, size: int, sizes: list[int]
) -> None:
    """Or 12 characters of it, however the body is cut; and nothing of a trace has passed."""
    begin = min(begin, len(SECRET) - size)
    part = SECRET[begin : begin + size].encode()
    mirror, passed = Mirror(TRACES), b""
    found = False
    for piece in cut(before + part + after, sizes):
        try:
            passed += mirror.feed(piece)
        except Refusal:
            found = True
            break
    assert found
    assert (before + part + after).startswith(passed)
    assert not TRACES.are_in(passed)


@given(
    st.lists(st.sampled_from([b"sk-live/", b"9f+", b"x", b"0TqLw", b"\0\xff", b"SK-"]), max_size=60).map(b"".join), cuts
)
def test_a_body_without_it_passes_whole(body: bytes, sizes: list[int]) -> None:
    if TRACES.are_in(body):
        return
    mirror = Mirror(TRACES)
    assert b"".join([*map(mirror.feed, cut(body, sizes)), mirror.end()]) == body


@given(st.binary(max_size=3_000), st.integers(1, 400), st.sampled_from(["gzip", "deflate", ""]), cuts)
def test_what_was_compressed_comes_out(body: bytes, times: int, coding: str, sizes: list[int]) -> None:
    whole = body * times
    pack = zlib.compressobj(wbits={"gzip": 31, "deflate": 15}.get(coding, 15))
    data = pack.compress(whole) + pack.flush() if coding else whole
    decoder = Decoder(coding, len(whole))
    pieces = [piece for part in cut(data, [size * 50 for size in sizes]) for piece in decoder.feed(part)]
    decoder.end()
    assert b"".join(pieces) == whole
    if coding:
        assert all(len(piece) <= 65_536 for piece in pieces)
    if whole:
        with pytest.raises(Refusal):
            list(Decoder(coding, len(whole) - 1).feed(data))


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_what_was_not_is_refused(data: bytes, coding: str) -> None:
    decoder = Decoder(coding, 10_000)
    with suppress(Refusal):
        for piece in decoder.feed(data):
            assert piece
        decoder.end()
