"""What a dynamic worker of JavaScript finds of the web's interfaces: URLs, headers, requests, responses."""

from __future__ import annotations

import pytest

from homing_node.sandboxes.inside import talk
from javascript_sandbox import Sandbox, value


@pytest.mark.parametrize(
    ("given", "base", "href"),
    [
        ("https://A.example:443/a/../b/./c?q=1#f", None, "https://a.example/b/c?q=1#f"),
        ("http://a.example", None, "http://a.example/"),
        ("HTTP:\\\\a.example\\x", None, "http://a.example/x"),
        (" https://u:p@a.example:8443/ä b?ö '#ü ", None, "https://u:p@a.example:8443/%C3%A4%20b?%C3%B6%20%27#%C3%BC"),
        ("https://a.example/%7Ea/%2e%2E/b", None, "https://a.example/b"),
        ("http://[::1]:8080/", None, "http://[::1]:8080/"),
        ("http://127.0.0.1/", None, "http://127.0.0.1/"),
        ("x", "https://a.example/b/c?q#f", "https://a.example/b/x"),
        ("../x/", "https://a.example/b/c/d", "https://a.example/b/x/"),
        ("/x", "https://u@a.example/b", "https://u@a.example/x"),
        ("//b.example/x", "https://a.example/b", "https://b.example/x"),
        ("?r", "https://a.example/b?q#f", "https://a.example/b?r"),
        ("#g", "https://a.example/b?q#f", "https://a.example/b?q#g"),
        ("", "https://a.example/b?q#f", "https://a.example/b?q"),
        ("..", "https://a.example/", "https://a.example/"),
        ("mailto:a@b.example", None, "mailto:a@b.example"),
        ("data:text/plain,x y", None, "data:text/plain,x y"),
        ("x:/a/../b", None, "x:/b"),
        ("https://a.example/\U0001f600", None, "https://a.example/%F0%9F%98%80"),
    ],
)  # fmt: skip
def test_urls_are_read(given: str, base: str | None, href: str) -> None:
    assert value("new URL(...x).href", [given] if base is None else [given, base]) == href


@pytest.mark.parametrize(
    "given",
    ["", "a", "/x", "http://", "http://a b/", "http://a:99999/", "http://a:x/", "http://1.2.3/", "http://1.2.3.999/",
     "http://[x]/", "http://ä.example/", "https://a@/", "http://a%00b/", "http://a<b/"],
)  # fmt: skip
def test_what_is_no_url_is_refused(given: str) -> None:
    expression = (
        "[URL.canParse(x), URL.parse(x), (() => { try { new URL(x) } catch (e) { return e instanceof TypeError } })()]"
    )
    assert value(expression, given) == [False, None, True]


WEB: dict[str, tuple[str, object]] = {
    "parts": (
        """const u = new URL("https://u:p@a.example:8443/x?q=1#f")
        return [u.protocol, u.username, u.password, u.host, u.hostname, u.port, u.pathname, u.search, u.hash,
                u.origin]""",
        ["https:", "u", "p", "a.example:8443", "a.example", "8443", "/x", "?q=1", "#f", "https://a.example:8443"],
    ),
    "changed parts": (
        """const u = new URL("https://a.example/")
        Object.assign(u, { protocol: "http", hostname: "b.example", port: "80", pathname: "/é", hash: "g" })
        u.search = "a=1"
        u.searchParams.append("b", "x y&")
        return [`${u}`, JSON.stringify({ u })]""",
        ["http://b.example/%C3%A9?a=1&b=x+y%26#g", '{"u":"http://b.example/%C3%A9?a=1&b=x+y%26#g"}'],
    ),
    "parts that cannot be": (
        """const u = new URL("https://a.example/")
        const attempts = [() => { u.port = "x" }, () => { u.hostname = "a b" }, () => { u.href = "x" }]
        return [attempts.map(refused), u.href]""",
        [["TypeError"] * 3, "https://a.example/"],
    ),
    "parameters": (
        """const p = new URLSearchParams("?a=1&a=2&b=%C3%A9+%zz&c")
        p.append("b", 2); p.set("a", 3); p.delete("c"); p.sort()
        return [p.get("a"), p.getAll("b"), p.has("c"), p.size, `${p}`, [...p.keys()]]""",
        ["3", ["é %zz", "2"], False, 3, "a=3&b=%C3%A9+%25zz&b=2", ["a", "b", "b"]],
    ),
    "parameters of others": (
        """const given = [{ a: 1 }, [["a", 1]], new Map([["a", 1]]), new URLSearchParams("a=1")]
        return given.map((each) => `${new URLSearchParams(each)}`)""",
        ["a=1"] * 4,
    ),
    "headers": (
        """const h = new Headers({ a: 1, c: 2 })
        h.append("A", "2"); h.append("set-cookie", "x"); h.append("Set-Cookie", "y"); h.set("B", " 3 "); h.delete("c")
        return [[...h], h.get("a"), h.getSetCookie(), h.has("C"), h.get("none")]""",
        [[["a", "1, 2"], ["b", "3"], ["set-cookie", "x"], ["set-cookie", "y"]], "1, 2", ["x", "y"], False, None],
    ),
    "bad headers": (
        r"""const given = [["a b", ""], ["a", "x\r\ny"], ["", ""], ["a", "\u0100"], ["a", "\0"]]
        return given.map((pair) => refused(() => new Headers([pair])))""",
        ["TypeError"] * 5,
    ),
    "a request": (
        """const r = new Request("https://a.example/x", { method: "post", body: "[1]" })
        return [r.method, r.url, await r.clone().json(), await r.text(), r.bodyUsed, r.headers.get("content-type"),
                await r.text().catch((error) => error.name)]""",
        ["POST", "https://a.example/x", [1], "[1]", True, "text/plain;charset=UTF-8", "TypeError"],
    ),
    "bad requests": (
        """const put = (body) => () => new Request("http://a/", { method: "PUT", body })
        return [() => new Request("x"), () => new Request("http://a/", { body: "" }), put([1]),
                put((async function* () {})()), () => new Request("http://a/", { method: "a b" })].map(refused)""",
        ["TypeError"] * 5,
    ),
    "a response": (
        """const r = Response.json({ a: 1 }, { status: 404, statusText: "no" })
        return [r.status, r.ok, r.statusText, await r.clone().json(), [...await r.bytes()],
                r.headers.get("content-type")]""",
        [404, False, "no", {"a": 1}, list(b'{"a":1}'), "application/json"],
    ),
    "bodies": (
        """const bytes = new Uint8Array([65])
        const found = []
        for (const body of [null, "é", bytes, bytes.buffer, new URLSearchParams("a=1")]) {
            const r = new Response(body)
            found.push([r.body === null, await r.text(), r.headers.get("content-type")])
        }
        return found""",
        [
            [True, "", None],
            [False, "é", "text/plain;charset=UTF-8"],
            [False, "A", None],
            [False, "A", None],
            [False, "a=1", "application/x-www-form-urlencoded;charset=UTF-8"],
        ],
    ),
    "a body that is handed on": (
        "return await new Response(new Response('x').body, new Response(null, { status: 201 })).text()",
        "x",
    ),
    "bytes that change later": (
        """const bytes = new Uint8Array([65]), r = new Response(bytes), other = r.clone()
        bytes[0] = 66
        new Uint8Array(await r.arrayBuffer())[0] = 67
        return await other.text()""",
        "A",
    ),
    "a redirect": (
        "const r = Response.redirect('https://a.example/b'); return [r.status, r.headers.get('location')]",
        [302, "https://a.example/b"],
    ),
    "bad responses": (
        """return [() => new Response("", { status: 101 }), () => new Response("", { status: 200.5 }),
                () => Response.redirect("https://a.example/", 200)].map(refused)""",
        ["RangeError"] * 3,
    ),
}
REFUSED = "const refused = (make) => { try { make(); return 'taken' } catch (error) { return error.name } }"


@pytest.mark.parametrize("what", WEB)
def test_interfaces_of_the_web(what: str) -> None:
    code, expected = WEB[what]
    assert value(f"await (async () => {{\n{code}\n}})()", before=REFUSED) == expected


def test_a_request_goes_to_fetch() -> None:
    text = """export default { async fetch(r, env, ctx) {
        const text = await r.text() + [...r.headers] + r.url + ctx.props.p
        return new Response(text, { status: 201, headers: [["a", "1"], ["set-cookie", "x"], ["set-cookie", "y"]] })
    } }"""
    told = Sandbox({"main.js": text}).fetch("https://a.example/x", "PUT", [("X", "y")], b"raw")
    assert told[:1] + told[2:3] + told[4:] == (talk.RESPOND, 201, b"rawx,yhttps://a.example/x1")
    assert told[3] == [
        ["a", "1"],
        ["content-type", "text/plain;charset=UTF-8"],
        ["set-cookie", "x"],
        ["set-cookie", "y"],
    ]
