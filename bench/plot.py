"""A bar chart as SVG text: pure, no library, readable in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, LABEL, VALUE, LINE, HEAD = 780, 230, 120, 24, 40
OURS, OTHERS, INK = "#1f77b4", "#9aa5b1", "#6b7280"

Bar = tuple[str, float, str, bool]
"""A label, a value, how the value is written, and whether it is ours."""

Panel = tuple[str, Sequence[Bar]]
"""A title, and its bars."""


def chart(panels: Sequence[Panel]) -> str:
    """One panel under the other, each on a scale of its own."""
    parts, top = [], 8
    for title, bars in panels:
        parts.append(_text(8, top + 20, title, bold=True))
        longest = max(value for _, value, _, _ in bars)
        for row, (label, value, written, ours) in enumerate(bars):
            parts += _bar(top + HEAD - 8 + row * LINE, label, value / longest, written, OURS if ours else OTHERS)
        top += HEAD + len(bars) * LINE
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}"'
    return "\n".join([f'{head} font-family="sans-serif" font-size="13">', *parts, "</svg>", ""])


def _bar(top: int, label: str, share: float, written: str, colour: str) -> list[str]:
    width = max(2, round(share * (WIDTH - LABEL - VALUE)))
    bar = f'<rect x="{LABEL}" y="{top}" width="{width}" height="{LINE - 8}" fill="{colour}"/>'
    return [_text(8, top + 13, label), bar, _text(LABEL + width + 6, top + 13, written)]


def _text(left: int, base: int, text: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{left}" y="{base}" fill="{INK}"{weight}>{escape(text)}</text>'
