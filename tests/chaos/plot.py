"""A small SVG of a chaos run: calls per second and latency over time, each fault marked from its begin to its end."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 960, 420
LEFT, RIGHT, TOP, GAP, BOTTOM = 60, 16, 44, 34, 34
PANEL = (HEIGHT - TOP - GAP - BOTTOM) / 2
INK, FAINT, RATE, MIDDLE, TAIL, FAULT = "#222", "#ddd", "#2a6fb0", "#3a8f4d", "#c26a1b", "#b02a37"
STYLE = "font:11px sans-serif"


def draw(
    rates: Sequence[float],
    p50_ms: Sequence[float | None],
    p99_ms: Sequence[float | None],
    marks: Sequence[tuple[float, float, str]],
) -> str:
    """The picture as SVG text.

    Args:
        rates: answered calls in each second.
        p50_ms: median latency of each second in ms; `None` where nothing was answered.
        p99_ms: 99th percentile of each second in ms.
        marks: begin and end in seconds, and name of each fault.
    """
    seconds = max(1, len(rates))
    top_rate = max([*rates, 1.0])
    top_ms = max([value for value in p99_ms if value is not None] or [1.0])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{STYLE}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *_axes(TOP, "calls/s", top_rate, seconds),
        *_axes(TOP + PANEL + GAP, "ms (root scale)", top_ms, seconds, root=True),
    ]
    for at_s, ended_s, name in marks:
        x = _x(at_s, seconds)
        width = max(0.0, _x(ended_s, seconds) - x)
        parts.append(
            f'<rect x="{x:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - BOTTOM - TOP}" '
            f'fill="{FAULT}" fill-opacity="0.08"/>'
        )
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="{FAULT}"/>')
        parts.append(
            f'<text transform="translate({x + 3:.1f} {TOP - 4}) rotate(-28)" fill="{FAULT}">{escape(name)}</text>'
        )
    parts.append(_line(rates, seconds, TOP, top_rate, RATE))
    lower = TOP + PANEL + GAP
    parts.append(_line([_root(v) for v in p99_ms], seconds, lower, _root(top_ms) or 1.0, TAIL))
    parts.append(_line([_root(v) for v in p50_ms], seconds, lower, _root(top_ms) or 1.0, MIDDLE))
    legend = ((RATE, "answered per second"), (MIDDLE, "p50"), (TAIL, "p99"), (FAULT, "fault"))
    for number, (colour, text) in enumerate(legend):
        parts.append(f'<text x="{LEFT + 150 * number}" y="{HEIGHT - 4}" fill="{colour}">{text}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _axes(top: float, title: str, highest: float, seconds: int, root: bool = False) -> list[str]:
    parts = [f'<text x="{LEFT}" y="{top + PANEL + 14}" fill="{INK}">0 s</text>']
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{top + PANEL + 14}" fill="{INK}" text-anchor="end">{seconds} s</text>')
    for share in (0.0, 0.5, 1.0):
        y = top + PANEL * (1 - share)
        value = highest * share * share if root else highest * share
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{FAINT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" fill="{INK}" text-anchor="end">{value:,.0f}</text>')
    middle = top + PANEL / 2
    parts.append(f'<text transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle">{title}</text>')
    return parts


def _line(values: Sequence[float | None], seconds: int, top: float, highest: float, colour: str) -> str:
    """One curve; a second without a value breaks it."""
    path: list[str] = []
    down = False
    for second, value in enumerate(values):
        if value is None:
            down = False
            continue
        y = top + PANEL * (1 - value / highest)
        path.append(f"{'L' if down else 'M'}{_x(second + 0.5, seconds):.1f} {y:.1f}")
        down = True
    return f'<path d="{" ".join(path)}" fill="none" stroke="{colour}" stroke-width="1.4"/>'


def _x(at_s: float, seconds: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * at_s / seconds


def _root(value: float | None) -> float | None:
    return None if value is None else value**0.5
