"""`homing tail`: what object code prints and how its events end, live, from every node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

import click
import msgspec

from homing.cli.ending import at_ctrl_c
from homing.cli.gateway_api import GatewayApi, gateway_options
from homing.cli.limits import TAIL_AGAIN_S, TAIL_LINE_BYTES_MAX, TAIL_SILENCE_S
from homing.cli.output import LineSplitter
from homing.errors import BadRequest, HomingError, NotFound, Unavailable
from homing.levels import NAMES

_COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}


class Told(msgspec.Struct, rename={"class_name": "class"}):
    """What is shown of a line of a gateway's answer."""

    time: str = ""
    node: str | None = None
    kind: str = ""
    level: str = ""
    class_name: str | None = None
    id: str | None = None
    name: str | None = None
    message: str = ""
    event: str = ""
    outcome: str = ""
    duration_ms: float = 0.0


@click.command("tail")
@click.argument("target", metavar="[CLASS[/NAME]]", default="")
@click.option("--level", type=click.Choice(list(NAMES)), default="debug", show_default=True, help="The lowest to show.")
@gateway_options
def tail(target: str, level: str, url: str, token: str, as_json: bool) -> None:
    """Follow what object code prints and how its events end, on every node, until Ctrl-C.

    CLASS follows one class, CLASS/NAME one object, CLASS/id:… one by its id. Default is the entrypoint.
    """
    class_name, _, name = target.partition("/")
    if target and (not class_name or target.endswith("/")):
        raise BadRequest(f"{target!r} names no class and no object; write CLASS, CLASS/NAME or CLASS/id:…")
    wanted = {"class": class_name, "name": name, "level": level}
    try:
        with at_ctrl_c(), GatewayApi(url, token, silence_s=TAIL_SILENCE_S) as api:
            _follow(api, {each: value for each, value in wanted.items() if value}, _echo if as_json else _show)
    except NotFound as error:
        raise NotFound(f"{error.message}; `homing objects ls CLASS` lists the objects of one") from error


def _follow(api: GatewayApi, query: Mapping[str, str], show: Callable[[str], None]) -> None:
    """Show every line; a gateway that goes away is followed again when it is back, and what was missed is not told.

    Raises:
        HomingError: the gateway refuses, or could not be reached at the first try.
    """
    met = False
    while True:
        try:
            with api.stream("/tail", **query) as body:
                met = True
                for line in _lines(body):
                    show(line)
            why: HomingError = Unavailable("the gateway ended the tail")
        except Unavailable as error:
            if not met:
                raise
            why = error
        click.echo(f"{why.message}; trying again", err=True)
        time.sleep(TAIL_AGAIN_S)


def _lines(body: Iterator[bytes]) -> Iterator[str]:
    """The lines of a body, without the empty ones by which a gateway says that it is there."""
    splitter = LineSplitter(TAIL_LINE_BYTES_MAX)
    for data in body:
        yield from filter(None, splitter.feed(data))


def _echo(line: str) -> None:
    click.echo(line)


def _show(line: str) -> None:
    try:
        told = msgspec.json.decode(line, type=Told)
    except msgspec.MsgspecError:
        click.echo(f"a line that cannot be read: {_printable(line[:200])}", err=True)
        return
    head = f"{_clock(told.time)} {told.node or '-'} {_printable(_who(told))}"
    text = click.style(_text(told), fg=_COLOURS.get(told.level))
    click.echo(f"{head} {text}")


def _who(told: Told) -> str:
    if told.kind in ("tail", "dropped"):
        return "(tail)"
    if told.id is None:
        return told.class_name or "(ended)"
    return f"{told.class_name}/{told.name or f'id:{told.id}'}"


def _text(told: Told) -> str:
    """What happened; lines after the first are indented."""
    if told.kind == "outcome":
        more = f": {told.message}" if told.message else ""
        return _printable(f"{told.event} {told.outcome} in {told.duration_ms:g} ms{more}")
    first, *others = told.message.splitlines() or [""]
    return "\n".join([f"{told.level} {_printable(first)}", *(f"    {_printable(each)}" for each in others)])


def _printable(text: str) -> str:
    """Text for a terminal, which must not take what an application wrote for orders."""
    return "".join(each if each.isprintable() or each == "\t" else ascii(each)[1:-1] for each in text)


def _clock(text: str) -> str:
    """The time of day here of a moment."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return "-"
