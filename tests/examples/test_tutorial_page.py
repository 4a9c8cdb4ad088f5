"""The chat room of docs/tutorial-chat.md, typed as written, with its page in two tabs of headless Chromium.

Seen to fail when the page does not say again what was not heard (the line said to no gateway is missing), when it asks
for everything instead of what came after (lines are there twice), and when the room does not look at keys.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright
from tests.examples import test_docs_commands as docs

from homing import SyncClient
from homing.cli.ports import find_free

TEXT = (docs.ROOT / "docs" / "tutorial-chat.md").read_text()
BLOCKS = docs.blocks(TEXT)
FILES = {block.argument: block.text for block in BLOCKS if block.mark == "file"}
LINES_MAX = 60
WAIT_MS = 20_000  # a takeover is in it
NEWCOMERS_LINES = 50

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and os.geteuid() != 0, reason="chromium is missing, and only root can install it"
)
# It is to draw without a GPU, and to ask the network for nothing; that it has no sandbox, as root must, is the default.
FLAGS = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

place = docs.place


class Tab:
    """The page of a room in a tab of its own."""

    def __init__(self, page: Page, url: str, who: str) -> None:
        self.who = who
        self.connections = 0
        self.errors: list[str] = []
        self._page = page
        page.on("websocket", self._connected)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(url)
        page.locator("#who").fill(who)

    def _connected(self, _: object) -> None:
        self.connections += 1

    def say(self, what: str) -> str:
        """Type a line and press the button; what everybody should see of it."""
        self._page.locator("#what").fill(what)
        self._page.get_by_role("button", name="say").click()
        return f"{self.who}: {what}"

    def shows(self, said: Sequence[str]) -> None:
        """Wait until it shows these lines, all of them and no others, in this order."""
        expect(self._page.locator("#lines li")).to_have_text(list(said), timeout=WAIT_MS)

    def lines(self, count: int) -> list[str]:
        """What it shows when there are so many."""
        items = self._page.locator("#lines li")
        expect(items).to_have_count(count, timeout=WAIT_MS)
        return items.all_inner_texts()

    def reload(self) -> None:
        self._page.reload()
        self._page.locator("#who").fill(self.who)

    def wait_until_alone(self) -> None:
        self._page.wait_for_function("socket.readyState !== WebSocket.OPEN", timeout=WAIT_MS)


class Reader:
    """Types the commands of the tutorial, one after the other, and looks at what they print."""

    def __init__(self, place: Path, port: int) -> None:
        self._place, self._port = place, port
        self.left = [block for block in BLOCKS if block.mark in ("run", "prints")]

    def types(self, times: int = 1) -> None:
        command = self.left.pop(0)
        promised = self.left.pop(0) if self.left and self.left[0].mark == "prints" else None
        for _ in range(times):
            printed = docs.type_in(command, self._place, self._port)
            assert promised is None or docs.same(printed, promised.text), f"line {command.line} printed\n{printed}"


@pytest.fixture
def browser() -> Iterator[BrowserContext]:
    assert CHROMIUM is not None, "chromium is missing: `make setup` installs it"
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium.new_context()
        chromium.close()


@pytest.fixture
def url(place: Path) -> Iterator[str]:
    for name, text in FILES.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    port = find_free(3)[0]
    (start,) = (block.text.strip() for block in BLOCKS if block.mark == "cluster")
    with docs.cluster(start, place, port):
        yield f"http://127.0.0.1:{port}"


def ask(url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{url}/_homing/v1{path}", timeout=20.0) as answer:
        return json.load(answer)


def kill_workers_of_the_room(url: str) -> None:
    owner = ask(url, "/objects/Room/lobby")["owner"]
    pids = [worker["pid"] for worker in ask(url, "/cluster")["workers"] if worker["node"] == owner]
    assert pids
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@needs_chromium
def test_two_tabs_hear_everything_once_whatever_dies(url: str, browser: BrowserContext, place: Path) -> None:
    reader = Reader(place, int(url.rsplit(":", 1)[1]))
    ann, bob = (Tab(browser.new_page(), url, who) for who in ("ann", "bob"))
    tabs = (ann, bob)

    for number in range(5):
        for tab in tabs:
            tab.say(f"line {number}")
    said = ann.lines(10)
    assert bob.lines(10) == said, "not in one order for both"
    for who in ("ann", "bob"):
        assert [line for line in said if line.startswith(who)] == [f"{who}: line {number}" for number in range(5)]

    def both_hear(*lines: str) -> None:
        said.extend(lines)
        for tab in tabs:
            tab.shows(said)

    bob.reload()
    bob.shows(said)
    reader.types(times=2)  # the second time nothing happens: its key is known
    both_hear("shell: Hello, tabs!", ann.say("hello, shell"))
    kill_workers_of_the_room(url)
    both_hear(bob.say("its workers are dead"))
    reader.types()
    both_hear(ann.say("its node is dead"))
    assert [tab.connections for tab in tabs] == [1, 2], "a tab connected again, and not only for being reloaded"

    reader.types()
    ann.wait_until_alone()
    both_hear(ann.say("there is no gateway"))
    assert [tab.connections >= least for tab, least in zip(tabs, (2, 3), strict=True)] == [True, True]
    reader.types()
    assert reader.left == []

    with SyncClient(url, auto_key=True) as client:
        for number in range(NEWCOMERS_LINES):
            client.get("Room", "lobby").say(f"many {number}", "robot", str(number))
    both_hear(*(f"robot: {number}" for number in range(NEWCOMERS_LINES)))
    carol = Tab(browser.new_page(), url, "carol")
    carol.shows(said[-NEWCOMERS_LINES:])
    assert [tab.errors for tab in (*tabs, carol)] == [[], [], []]


def test_the_application_is_as_short_as_it_says() -> None:
    marks = re.findall(r"^<!-- (?:run|prints|file|cluster)\b", TEXT, re.MULTILINE)
    assert len(BLOCKS) == len(marks), "a mark without a block"
    found = re.search(r"are (\d+) lines, blank ones not counted: (\d+) and (\d+)\.", TEXT)
    assert found is not None
    counted = [sum(bool(line.strip()) for line in text.splitlines()) for text in FILES.values()]
    assert [sum(counted), *counted] == [int(number) for number in found.groups()]
    assert sum(counted) <= LINES_MAX
