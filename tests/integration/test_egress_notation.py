"""Egress suite: hosts and paths that are written so that two readers see two things.

Each is refused, or read in one way. Every case goes through the whole broker: what is refused has looked up no name and
opened no connection.
"""

from __future__ import annotations

import pytest

from egress_world import World

FORBIDDEN_LITERALS = {
    "an address": "https://127.0.0.1/",
    "a metadata service": "http://169.254.169.254/latest/meta-data/",
    "a public address that is not named": "https://93.184.215.14/",
    "IPv6 loopback": "https://[::1]/",
    "a mapped address": "https://[::ffff:127.0.0.1]/",
    "a mapped address in hex": "https://[::ffff:7f00:1]/",
    "a compatible address": "https://[::127.0.0.1]/",
    "NAT64": "https://[64:ff9b::169.254.169.254]/",
    "full-width digits": "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "enclosed digits": "https://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "ideographic full stops": "https://127\u30020\u30020\u30021/",
    "a dot at the end of an address": "https://127.0.0.1./",
    "the name of this machine": "https://localhost/",
    "a name below it": "https://a.localhost/",
    "a metadata host": "http://metadata.google.internal/computeMetadata/v1/",
}
UNREADABLE = {
    "a short address": "https://127.1/",
    "a shorter address": "https://127.0.1/",
    "one number": "https://2130706433/",
    "one number in hex": "https://0x7f000001/",
    "hex parts": "https://0x7f.0x0.0x0.0x1/",
    "octal parts": "https://0177.0.0.1/",
    "a leading zero": "https://127.0.0.01/",
    "a part over 255": "https://127.0.0.256/",
    "an empty hex number": "https://127.0.0.0x/",
    "a name that ends in a number": "https://api.example.com.1/",
    "an octal number": "https://017700000001/",
    "a zone": "https://[fe80::1%25eth0]/",
    "brackets around a name": "https://[api.example.com]/",
    "a bracket too many": "https://[::1]]/",
    "an escaped host": "https://%61pi.example.com/",
    "an escaped dot": "https://api%2eexample.com/",
    "an escaped zero": "https://api.example.com%00.evil.net/",
    "an empty label": "https://api..example.com/",
    "two dots at the end": "https://api.example.com../",
    "no host": "https:///path",
    "a label too long": f"https://{'a' * 64}.example.org/",
    "a soft hyphen alone": "https://\u00ad/",
    "a mark that belongs to no letter": "https://a\u200d.example.org/",
    "a user": "https://user@api.example.com/",
    "a user and a password": "https://a:b@api.example.com/",
    "a host as user": "https://api.example.com@127.0.0.1/",
    "an escaped at": "https://api.example.com%40127.0.0.1/",
    "a backslash as slash": "https://api.example.com\\@127.0.0.1/",
    "two backslashes": "https:\\\\127.0.0.1/",
    "a tab in the host": "https://api.exam\tple.com/",
    "a line break in the path": "https://api.example.com/\r\nhost: evil",
    "a space in front": " https://api.example.com/",
    "a zero at the end": "https://api.example.com/\x00",
    "half a surrogate": "https://api.example.com/\ud800",
    "no scheme": "//api.example.com/",
    "another scheme": "file:///etc/passwd",
    "gopher": "gopher://api.example.com:6379/_INFO",
    "a scheme inside a scheme": "https:https://api.example.com/",
    "one slash": "https:/api.example.com/",
    "no port behind a colon": "https://api.example.com:/",
    "port 0": "https://api.example.com:0/",
    "a port beyond the last": "https://api.example.com:65536/",
    "a port that wraps round": "https://api.example.com:65979/",
    "a port with a zero in front": "https://api.example.com:0443/",
    "a port in other digits": "https://api.example.com:\uff14\uff14\uff13/",
    "two ports": "https://api.example.com:443:80/",
    "a URL too long": "https://api.example.com/" + "a" * 8_192,
}
OTHER_HOSTS = {
    "a suffix that is not its own label": "https://evilapi.example.com/",
    "a name behind it": "https://api.example.com.evil.net/",
    "the domain itself": "https://example.org/",
    "a domain that ends alike": "https://notexample.org/",
    "a Cyrillic letter": "https://\u0430pi.example.com/",
    "a Greek letter": "https://api.example.c\u03bfm/",
    "punycode": "https://xn--pi-7ba.example.com/",
    "a dotless i": "https://ap\u0131.example.com/",
    "another port": "https://api.example.com:8443/",
    "another scheme's port": "https://api.example.com:80/",
    "another scheme": "http://api.example.com/",
}
SAME_HOST = {
    "capital letters": ("HTTPS://API.Example.COM/a", "/a"),
    "a dot at the end": ("https://api.example.com./a", "/a"),
    "full-width letters": ("https://\uff41\uff50\uff49.example.com/a", "/a"),
    "an ideographic full stop": ("https://api\u3002example.com/a", "/a"),
    "its own port": ("https://api.example.com:443/a", "/a"),
    "no path": ("https://api.example.com", "/"),
    "a query at once": ("https://api.example.com?b=c", "/?b=c"),
    "a fragment": ("https://api.example.com/a#/../b", "/a"),
    "escapes that are not needed": ("https://api.example.com/%61%2d%7e", "/a-~"),
    "small hexadecimal digits": ("https://api.example.com/%c3%a9", "/%C3%A9"),
    "letters that must be escaped": ("https://api.example.com/\u00e9?q=\u00e9", "/%C3%A9?q=%C3%A9"),
    "a host behind a question mark": ("https://api.example.com/a?https://127.0.0.1/@", "/a?https://127.0.0.1/@"),
}
PATHS = {
    "dots": "/v1/../admin",
    "dots at the end": "/v1/..",
    "one dot": "/v1/./admin",
    "escaped dots": "/v1/%2e%2e/admin",
    "half escaped dots": "/v1/.%2E/admin",
    "dots with a parameter": "/v1/..;/admin",
    "dots with an escaped parameter": "/v1/..%3bx/admin",
    "an escaped slash": "/v1/..%2fadmin",
    "an escaped backslash": "/v1/..%5cadmin",
    "an escape of an escape": "/v1/%252e%252e/admin",
    "an escape of a slash's escape": "/v1/x%252f..%252fadmin",
    "a zero": "/v1/x%00/admin",
    "an escape cut short": "/v1/%2",
    "no escape": "/v1/%zz",
}
OTHER_PATHS = ("/", "/v1x", "/V1/a", "/admin", "//v1/a", "/v2/v1/a", "/%561/a", "/?/v1/a")


async def is_refused(world: World, url: str, code: str, rules: set[str], **changes: object) -> None:
    got = await world.ask(url, **changes)
    assert (got.code, got.status) == (code, 0), url
    assert (world.network.lookups, world.network.connected, world.heard) == ([], [], [])
    (record,) = world.audit
    assert record.outcome == "refused"
    assert record.rule in rules, record


@pytest.mark.parametrize("url", FORBIDDEN_LITERALS.values(), ids=FORBIDDEN_LITERALS)
async def test_an_address_is_no_name(world: World, url: str) -> None:
    """Seen to fail when hosts are not compared (mutant egress-host): the connection reaches the forbidden listener."""
    await is_refused(world, url, "forbidden", {"host"}, schemes=("https", "http"))


@pytest.mark.parametrize("url", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_can_be_read_in_two_ways_is_refused(world: World, url: str) -> None:
    """Seen to fail when what `_BARE` finds passes (egress-bare), when users do (egress-userinfo), and when a number
    is a name (egress-number)."""
    got = await world.ask(url, hosts=(*world.grant().hosts, "93.184.215.14"), fetch_hosts=["93.184.215.14"])
    assert got.code in ("bad-request", "forbidden"), url
    assert (world.network.lookups, world.network.connected) == ([], [])
    assert world.audit[0].rule in ("url", "userinfo", "host", "port")


@pytest.mark.parametrize("url", OTHER_HOSTS.values(), ids=OTHER_HOSTS)
async def test_another_host_is_another(world: World, url: str) -> None:
    """Seen to fail when a suffix needs no dot (egress-suffix), and when schemes or ports are not compared."""
    await is_refused(world, url, "forbidden", {"host", "scheme", "port"})


@pytest.mark.parametrize(("url", "resource"), SAME_HOST.values(), ids=SAME_HOST)
async def test_the_same_host_is_the_same(world: World, url: str, resource: str) -> None:
    """What is looked up, SNI, Host and the target are written anew (egress-sni, egress-host-field)."""
    got = await world.ask(url)
    assert (got.status, got.body) == (200, b"ok")
    (heard,) = world.heard
    assert heard.line == f"GET {resource} HTTP/1.1"
    assert (heard.get("host"), heard.sni) == (["api.example.com"], "api.example.com")
    assert world.network.lookups == ["api.example.com"]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
async def test_a_path_leads_nowhere_else(world: World, path: str) -> None:
    """Seen to fail when dots are looked for before escapes are undone (egress-dots), and when an escape of an escape
    passes (egress-twice)."""
    await is_refused(world, f"https://api.example.com{path}", "forbidden", {"path"}, paths=("/v1/**",))


@pytest.mark.parametrize("path", OTHER_PATHS)
async def test_a_path_that_is_not_named_is_refused(world: World, path: str) -> None:
    """Seen to fail when paths are compared as text (egress-path)."""
    await is_refused(world, f"https://api.example.com{path}", "forbidden", {"path"}, paths=("/v1/**",))


@pytest.mark.parametrize(
    ("pattern", "passes", "does_not"),
    [
        ("/v1/items", ["/v1/items", "/v1/%69tems"], ["/v1/items/", "/v1/items/1", "/v1"]),
        ("/v1/*/items", ["/v1/a/items", "/v1/%C3%A9/items"], ["/v1//items", "/v1/a/b/items", "/v1/items"]),
        ("/v1/**", ["/v1", "/v1/", "/v1/a/b"], ["/v1a", "/"]),
        ("/**", ["/", "/a//b"], []),
        ("/*", ["/a"], ["/", "/a/b"]),
    ],
)
async def test_patterns(world: World, pattern: str, passes: list[str], does_not: list[str]) -> None:
    opened = world.open(paths=(pattern,))
    for path in passes:
        assert (await world.ask(f"https://api.example.com{path}", opened=opened)).status == 200, path
    for path in does_not:
        assert (await world.ask(f"https://api.example.com{path}", opened=opened)).code == "forbidden", path
