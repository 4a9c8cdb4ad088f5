"""`homing sandbox`: run a file in a sandbox of the cluster, see what runs, end it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from homing.cli.ending import at_ctrl_c
from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.limits import RUN_LINE_BYTES_MAX, RUN_TIMEOUT_S, TOP_EVERY_S
from homing.cli.output import LineSplitter
from homing.cli.sandbox_top import RunRow, Top, show, watch
from homing.cli.tables import table
from homing.errors import BadRequest
from homing.sandboxes import JAVASCRIPT, LANGUAGES, PYTHON, TYPESCRIPT

_BY_ENDING = {".js": JAVASCRIPT, ".mjs": JAVASCRIPT, ".ts": TYPESCRIPT, ".mts": TYPESCRIPT}


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""
    traceback: str = ""


class _Line(msgspec.Struct):
    """What it printed since, or what became of it."""

    stdout: str = ""
    stderr: str = ""
    result: Any = None
    error: _Error | None = None


@click.group("sandbox")
def sandbox() -> None:
    """Run code that can do nothing else, and see what runs."""


@sandbox.command("run")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--arg", "arguments", multiple=True, metavar="NAME=JSON", help="A name that the code finds defined.")
@click.option("--limit", "limits", multiple=True, metavar="NAME=NUMBER", help="Such as wall_s=2.")
@click.option("--tenant", default="", help="Whose code it is.")
@click.option("--language", type=click.Choice(LANGUAGES), help="Of the code; by default as FILE's name ends.")
@gateway_options
def run(
    file: Path, arguments: tuple[str, ...], limits: tuple[str, ...], tenant: str, language: str | None, url: str,
    token: str, as_json: bool,
) -> None:  # fmt: skip
    """Run FILE in a sandbox, and show what it prints, as it prints it, and its result; `-` reads standard input."""
    code = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    asked = {
        "code": code,
        "args": dict(_pair(each) for each in arguments),
        "limits": dict(_pair(each) for each in limits),
        "tenant": tenant,
        "language": language or _BY_ENDING.get(file.suffix, PYTHON),
    }
    with GatewayApi(url, token, timeout_s=RUN_TIMEOUT_S, silence_s=RUN_TIMEOUT_S) as api:
        if as_json:
            click.echo(api.send_json("/sandbox", asked))
            return
        with api.post_for_lines("/sandbox", asked) as body:
            ended = _follow(body)
    if ended.error is not None:
        click.echo(ended.error.traceback or f"{ended.error.code}: {ended.error.message}", err=True)
        sys.exit(1)
    if ended.result is not None:
        click.echo(msgspec.json.encode(ended.result))


def _follow(body: Iterator[bytes]) -> _Line:
    """Show what a run prints until it ends; returns what became of it."""
    line = _Line()
    splitter = LineSplitter(RUN_LINE_BYTES_MAX)
    for data in body:
        for text in splitter.feed(data):
            line = msgspec.json.decode(text, type=_Line)
            click.echo(line.stdout, nl=False)
            click.echo(line.stderr, nl=False, err=True)
    return line


@sandbox.command("ps")
@gateway_options
def ps(url: str, token: str, as_json: bool) -> None:
    """List what runs in sandboxes now, on every node."""
    with GatewayApi(url, token) as api:
        answer = api.get("/sandbox")
    if as_json:
        click.echo(answer)
        return
    runs = _runs(answer)
    rows = [(each.node, each.run, each.tenant or "-", each.pid, each.age_ms, each.cpu_ms) for each in runs]
    click.echo(table(("NODE", "RUN", "TENANT", "PID", "AGE ms", "CPU ms"), rows))


@sandbox.command("top")
@click.option("--once", is_flag=True, help="Show it once, as it is where standard output is no terminal.")
@gateway_options
def top(once: bool, url: str, token: str, as_json: bool) -> None:
    """Watch what runs in sandboxes, on every node: what takes most CPU first, anew each second, until Ctrl-C.

    Memory is each run's own, without what it shares with its siblings.
    """
    with GatewayApi(url, token) as api:
        if as_json:
            click.echo(api.get("/sandbox"))
        elif once or not sys.stdout.isatty():
            click.echo(show(Top(), _runs(api.get("/sandbox"))))
        else:
            with at_ctrl_c():
                watch(lambda: _runs(api.get("/sandbox")), TOP_EVERY_S)


def _runs(answer: bytes) -> list[RunRow]:
    return msgspec.json.decode(answer, type=dict[str, list[RunRow]])["runs"]


@sandbox.command("kill")
@click.argument("node")
@click.argument("number", type=click.IntRange(min=1), metavar="RUN")
@gateway_options
def kill(node: str, number: int, url: str, token: str, as_json: bool) -> None:
    """End a run, by what `homing sandbox ps` shows of it."""
    with GatewayApi(url, token) as api:
        api.delete(f"/sandbox/{node}/{number}")
    click.echo("{}" if as_json else f"run {number} on {node} was ended")


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError("there is no `=`")
        return name, msgspec.json.decode(value)
    except ValueError as error:
        raise BadRequest(f"{text!r} is no NAME=JSON: {error}; a text is written NAME='\"…\"'") from error
