"""What the pages tell a reader to type is typed here, against a real `homing dev`, and must print what they say.

Marks in a page, each an HTML comment on the line before a block: `run` (type it), `prints` (what the block before
printed), `file: PATH` (the reader writes it), `cluster` (the reader starts it, and leaves it running). A page that
starts no cluster is read with `examples/hello` running.

    pytest tests/examples/test_docs_commands.py -k tutorial
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from homing.cli.ports import find_free

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    "README.md", "docs/tutorial.md", "docs/reference/http.md", "docs/how-to/back-up.md", "docs/how-to/cloudflare.md",
    "docs/how-to/test.md", "docs/how-to/deploy.md", "docs/how-to/static-assets.md", "docs/how-to/look-inside.md",
    "docs/how-to/tail.md", "docs/how-to/clients.md", "docs/sandboxes.md",
    "docs/dynamic-workers.md", "docs/facets.md",
)  # fmt: skip
# Pages that are read one after the other, with one cluster; every other page has one of its own.
TOGETHER = ("docs/how-to/look-inside.md", "docs/how-to/tail.md", "docs/how-to/clients.md", "docs/sandboxes.md")
DEFAULT_PORT = "8787"
DEFAULT_GRPC_PORT = "8788"
READY_S = 90
COMMAND_S = 60

_BLOCK = re.compile(r"^<!-- (\w+)(?:: ([^\n]+?))? -->\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A marked block of a page: its mark, the mark's argument, the text, and the line where it stands."""

    mark: str
    argument: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    return [
        Block(found[1], found[2] or "", found[3], page.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(page)
    ]


@pytest.fixture
def place() -> Iterator[Path]:
    """An empty folder that workers of any uid can read, with the environment where a reader has it."""
    folder = Path(tempfile.mkdtemp(prefix="homing-docs-"))
    folder.chmod(0o755)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def cluster(command: str, place: Path, port: int) -> Iterator[None]:
    """The command of a page, on a port of its own; ended as a reader would, with Ctrl-C."""
    log = place / "dev.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*shlex.split(command), "--port", str(port)], cwd=place, stdout=output, stderr=output
        )
    try:
        end = time.monotonic() + READY_S
        while not answers(f"http://127.0.0.1:{port}/_homing/readyz"):
            assert process.poll() is None, f"{command} ended:\n{log.read_text()}"
            assert time.monotonic() < end, f"{command} is not ready:\n{log.read_text()}"
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        finally:
            process.kill()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def type_in(block: Block, place: Path, port: int) -> str:
    """Run a block in a shell that stops at the first mistake, and return what it printed."""
    text = block.text.replace(f"localhost:{DEFAULT_PORT}", f"127.0.0.1:{port}")
    text = text.replace(f"localhost:{DEFAULT_GRPC_PORT}", f"127.0.0.1:{port + 1}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=place,
        env={**os.environ, "HOMING_URL": f"http://127.0.0.1:{port}"},
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        check=False,
    )
    assert done.returncode == 0, f"line {block.line} failed:\n{block.text}\n{done.stdout}{done.stderr}"
    return done.stdout


def same(printed: str, promised: str) -> bool:
    """Equal as JSON where both are, else equal line by line but for blanks at the ends."""
    with contextlib.suppress(ValueError):
        return json.loads(printed) == json.loads(promised)
    return [line.strip() for line in printed.strip().splitlines()] == [
        line.strip() for line in promised.strip().splitlines()
    ]


@pytest.mark.parametrize("pages", [*((page,) for page in PAGES if page not in TOGETHER), TOGETHER], ids=" ".join)
def test_a_page_does_what_it_says(pages: tuple[str, ...], place: Path) -> None:
    found = [(page, block) for page in pages for block in blocks((ROOT / page).read_text())]
    port = find_free(3)[0]
    start = next((block.text.strip() for _, block in found if block.mark == "cluster"), "")
    for _, block in found:
        if block.mark == "file":
            path = place / block.argument
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
    printed = ""
    with cluster(start or f".venv/bin/homing dev {ROOT / 'examples' / 'hello'}", place, port):
        for page, block in found:
            if block.mark == "run":
                printed = type_in(block, place, port)
            elif block.mark == "prints":
                assert same(printed, block.text), f"{page}, line {block.line}: it printed\n{printed}"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_has_commands_that_are_run(page: str) -> None:
    text = (ROOT / page).read_text()
    marks = [block.mark for block in blocks(text)]
    assert marks.count("run") >= 1
    assert marks.count("prints") >= 1
    assert len(marks) == len(re.findall(r"^<!-- (run|prints|file|cluster)\b", text, re.MULTILINE)), (
        "a mark without a block"
    )


def test_blocks_are_found_with_their_marks() -> None:
    page = "# x\n<!-- file: a/b.py -->\n```python\nx = 1\n```\n\n```sh\nnot marked\n```\n<!-- run -->\n```sh\nls\n```\n"
    assert blocks(page) == [Block("file", "a/b.py", "x = 1\n", 2), Block("run", "", "ls\n", 10)]
    assert same('{"a":1}', '{"a": 1}')
    assert same("a \nb\n", "a\nb")
    assert not same('{"a":1}', '{"a": 2}')
    assert not same("a", "b")
