"""`examples/analyst` in headless Chromium: a stranger's code, its trail while it goes on, the click that ends it."""

from __future__ import annotations

import re
import shutil
import statistics
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from playwright.sync_api import Page, expect
from tests.examples import test_docs_commands as docs
from tests.examples import test_tutorial_page as chat

from homing import SyncClient
from homing.cli.ports import find_free

EXAMPLE = docs.ROOT / "examples" / "analyst"
README = (EXAMPLE / "README.md").read_text()
SECRET = "sk-analyst-0123456789abcdef"
SALES = {"sales": 365, "amount": 23_390}
WAIT_MS = 60_000  # beside other work on the same cores 20 s were not always enough
TRIES = 5
REVOKED_MS_MAX = 100

place, browser = docs.place, chat.browser


class Host(BaseHTTPRequestHandler):
    """The one host that the code may call."""

    heard: ClassVar[list[tuple[str, str, str]]] = []

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length).decode()
        self.heard.append((self.command, body, self.headers.get("authorization", "")))
        answer = f"hello, {body or 'stranger'}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[int]:
    """Its port."""
    Host.heard.clear()
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving.server_port
    serving.shutdown()
    serving.server_close()


@pytest.fixture
def url(place: Path, host: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The example as its README starts it; its host is this machine, named by its address."""
    app = place / "examples" / "analyst"
    shutil.copytree(EXAMPLE, app)
    text = (EXAMPLE / "homing.toml").read_text()
    for old, new in (
        ("https://example.com/", f"http://127.0.0.1:{host}/"),
        ('fetch_hosts = ["example.com"]', f'fetch_hosts = ["127.0.0.1:{host}"]\nsecrets = ["TOKEN"]'),
        (
            'hosts = ["example.com"]',
            f'hosts = ["127.0.0.1"]\nports = [{host}]\nschemes = ["http"]\n'
            'credentials = [{ name = "authorization", secret = "TOKEN", form = "Bearer {secret}" }]',
        ),
    ):
        assert old in text
        text = text.replace(old, new)
    (app / "homing.toml").write_text(text)
    monkeypatch.setenv("HOMING_SECRET_TOKEN", SECRET)
    (start,) = (block.text.strip() for block in docs.blocks(README) if block.mark == "cluster")
    port = find_free(3)[0]
    with docs.cluster(start, place, port):
        yield f"http://127.0.0.1:{port}"


ROWS = "[...document.querySelectorAll('#trail tr')].map((row) => [...row.cells].slice(1).map((td) => td.textContent))"


class Analyst:
    """The page."""

    def __init__(self, page: Page, url: str, state: str = "ready") -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        page.goto(url)
        self.is_(state)

    def is_(self, state: str) -> None:
        expect(self.page.locator("#state")).to_have_text(state, timeout=WAIT_MS)

    def run(self, code: str | None = None) -> None:
        """Type code, unless it is what stands there, and press Run."""
        if code is not None:
            self.page.locator("#code").fill(code)
        state = self.page.locator("#state")
        before = state.get_attribute("data-runs")
        assert before is not None
        self.page.get_by_role("button", name="Run").click()
        expect(state).to_have_attribute("data-runs", str(int(before) + 1), timeout=WAIT_MS)

    def ran(self, code: str) -> str:
        """What code printed, and its result."""
        self.run(code)
        self.is_("ready")
        return self.page.locator("#output").inner_text()

    def revoke(self) -> float:
        """Press Revoke; how many milliseconds after the click the page heard of the last use."""
        self.page.get_by_role("button", name="Revoke").click()
        self.is_("ready")
        text = self.page.locator("#revoked").inner_text()
        if text.endswith("before the click."):
            return 0.0
        found = re.search(r"([\d.]+) ms after the click", text)
        assert found is not None, text
        return float(found[1])

    def trail(self) -> list[list[str]]:
        """Grant, what, outcome and bytes of each line, the oldest first."""
        found: list[list[str]] = self.page.evaluate(ROWS)  # at once: the run may add to them
        return found[::-1]

    def wait_for_lines(self, count: int) -> None:
        try:
            expect(self.page.locator("#trail tr").nth(count - 1)).to_be_attached(timeout=WAIT_MS)
        except AssertionError as error:
            raise AssertionError(f"the page has fewer lines:\n{self.page.locator('body').inner_text()}") from error


LOOP = """
import asyncio
n = 0
while True:
    n += 1
    await env.table.exec("SELECT count(*) AS n FROM sales WHERE amount > ?", n)
    await asyncio.sleep(0.02)
"""

STUBBORN = """
import asyncio
refused = 0
while refused < 20:
    try:
        await env.table.exec("SELECT 1 AS one")
        print("asked")
    except Exception as error:
        refused += 1
        print(type(error).__name__)
    await asyncio.sleep(0.02)
"""

HOSTILE = """
mark = "<img src=x onerror='window.owned = 1'><script>window.owned = 1</script>"
print(mark)
for attempt in (env.host.fetch(url, method=mark), env.host.fetch(url + mark), env.table.exec(mark)):
    try:
        await attempt
    except Exception as error:
        print(type(error).__name__, error)
mark
"""


@chat.needs_chromium
def test_a_stranger_asks_is_seen_and_is_stopped(url: str, host: int, browser: chat.BrowserContext) -> None:
    """Broken by: telling uses with the outcome alone, revoking what was given to no run, innerHTML in the page."""
    analyst = Analyst(browser.new_page(), url)

    # The code that stands there: it reads, calls the host, fails twice, and goes on until it is stopped.
    analyst.run()
    analyst.wait_for_lines(10)
    analyst.is_("running")
    grown = len(analyst.trail())
    analyst.wait_for_lines(grown + 10)
    output = analyst.page.locator("#output").inner_text()
    answer, refused = "200 15 characters of the host", "Forbidden the grant does not"
    for said in ("south", answer, f"{refused} have that: not authorized", f"{refused} name https"):
        assert said in output
    for (grant, what, outcome, size), expected in zip(
        analyst.trail(),
        (
            ("table", "exec Analyst/main", "ok"), ("host", f"GET 127.0.0.1:{host}/", "ok 200"),
            ("table", "exec Analyst/main", "refused forbidden"), ("host", "GET example.org:443/", "refused scheme"),
            ("table", "exec Analyst/main", "ok"),
        ),
        strict=False,
    ):  # fmt: skip
        assert (grant, what, outcome) == expected
        assert int(size) > 0 or outcome.startswith("refused")
    assert Host.heard == [("GET", "", f"Bearer {SECRET}")]
    analyst.revoke()
    assert "GrantEnded" in analyst.page.locator("#output").inner_text()

    took = []
    for _ in range(TRIES):
        analyst.run(LOOP)
        analyst.wait_for_lines(20)
        took.append(analyst.revoke())
    assert statistics.median(took) < REVOKED_MS_MAX, took

    analyst.run(LOOP)
    late = Analyst(browser.new_page(), url, "running")
    late.revoke()  # whoever comes while a run goes on can end it, too
    analyst.is_("ready")
    assert late.errors == []

    analyst.run(STUBBORN)
    analyst.wait_for_lines(10)
    analyst.revoke()
    outcomes = [outcome for _, _, outcome, _ in analyst.trail()]
    assert outcomes[-20:] == ["refused revoked"] * 20 or outcomes[-20:] == ["cut revoked", *["refused revoked"] * 19]
    assert all(outcome == "ok" for outcome in outcomes[:-20])

    assert "Forbidden" in analyst.ran('await env.host.fetch(url.replace("127.0.0.1", "example.org"))')
    assert analyst.trail() == [["host", f"GET example.org:{host}/", "refused host", "0"]]
    posted = 'answer = await env.host.fetch(url, method="POST", body="analyst")\nawait answer.text()'
    assert analyst.ran(posted) == "= 'hello, analyst'"
    assert Host.heard[-1] == ("POST", "analyst", f"Bearer {SECRET}")

    assert "<script>window.owned = 1</script>" in analyst.ran(HOSTILE)
    assert analyst.page.evaluate("window.owned") is None
    assert analyst.page.locator("img, #output *, #trail td *").count() == 0
    assert SECRET not in analyst.page.content()
    assert analyst.errors == []
    with SyncClient(url) as client:
        assert client.get("Analyst", "main").total() == SALES


def test_the_page_asks_for_nothing_of_anybody_else() -> None:
    page = (EXAMPLE / "page.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?!data:,)|innerHTML|insertAdjacentHTML|@import|document\.write", page)
