"""`make timeline`: a live fleet switched on and off under load, recorded from a real run and drawn as one SVG."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path

from local.acts import switch_off, switch_on
from local.cutover import PARAMETERS, RETRY, LiveFleet
from local.instances import obstacle
from local.region import Region

BIN = 0.5
WIDTH, LEFT, RIGHT = 1000, 60, 980
TOP, HEIGHT = 150, 170
"""Of the deliveries; the deferrals hang below, with a scale of their own."""

LOW_TOP, LOW = 370, 60
INK, FAINT, DELIVERED, DEFERRED, DATA_PLANE = "#24292f", "#8c959f", "#1a7f37", "#bc4c00", "#0969da"


_BRIEFLY = {
    "waiting until every launch is held": "holding launches",
    "switching off: balancer first": "balancer first",
    "waiting for the balancer to settle": "settling",
    "switching off: Postfix second": "Postfix second",
}
"""Where the words of the log are too many for a picture."""


@dataclass(frozen=True)
class Recording:
    """A run: moments in seconds since its begin, and what was said at which of them, by whom."""

    delivered: list[float]
    deferred: list[float]
    phases: list[tuple[float, str, str]]
    longest: float
    clock: str


def draw(run: Recording) -> str:
    """The run as SVG, on a ground of its own, so that it can be read on white and on dark pages."""
    length = max([*run.delivered, *run.deferred, *(at for at, _, _ in run.phases)])
    title = (
        f"{len(run.delivered)} messages, {len(run.deferred)} deferrals, longest wait {run.longest:.1f} s; "
        "0 bounced, 0 lost, 0 doubled"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 455" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="455" rx="6" fill="#ffffff" stroke="{FAINT}"/>',
        _text(LEFT, 24, "A live fleet is switched on and off in place, under load", INK, 'font-size="15"'),
        _text(LEFT, 42, f"{title} ({run.clock})", INK),
        *_axis(length),
        *_bars(run.delivered, length, DELIVERED, TOP + HEIGHT, -HEIGHT, f"deliveries per {BIN:g} s"),
        *_bars(run.deferred, length, DEFERRED, LOW_TOP, LOW, f"deferrals per {BIN:g} s"),
        *_marks(run.phases, length),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _x(at: float, length: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * at / length, 1)


def _text(x: float, y: float, text: str, colour: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}"{" " + more if more else ""}>{escape(text)}</text>'


def _axis(length: float) -> list[str]:
    """The seconds, between the two scales."""
    parts = [f'<path d="M{LEFT} {TOP + HEIGHT}H{RIGHT}M{LEFT} {LOW_TOP}H{RIGHT}" stroke="{FAINT}" fill="none"/>']
    for second in range(0, int(length) + 1, 5):
        parts.append(_text(_x(second, length), TOP + HEIGHT + 16, str(second), INK, 'text-anchor="middle"'))
    return [*parts, _text(RIGHT, TOP + HEIGHT + 32, "seconds", INK, 'text-anchor="end"')]


def _bars(moments: list[float], length: float, colour: str, base: int, height: int, name: str) -> list[str]:
    """How many moments fall into each bin; a negative height grows upwards."""
    counts = Counter(int(at / BIN) for at in moments)
    most = max(counts.values(), default=1)
    width = round((RIGHT - LEFT) * BIN / length - 0.5, 2)
    path = "".join(
        f"M{_x(bin_ * BIN, length)} {base}h{width}v{round(height * n / most, 1)}h-{width}z"
        for bin_, n in sorted(counts.items())
    )
    edge = base + height
    return [
        f'<path d="{path}" fill="{colour}"/>',
        _text(LEFT - 6, edge + (10 if height < 0 else 0), str(most), colour, 'text-anchor="end"'),
        _text(LEFT, edge - 6 if height < 0 else edge + 16, name, colour),
    ]


def _marks(phases: list[tuple[float, str, str]], length: float) -> list[str]:
    """A line for each phase, its words in rows that do not run into each other."""
    parts, ends = [], [0.0] * 5
    for at, who, told in phases:
        said = _briefly(who, told)
        colour, x = DATA_PLANE if who == "balancer" else INK, _x(at, length)
        # 6.2 units are about as wide as a letter of this size.
        left = min(x, RIGHT - 6.2 * len(said))
        row = next((number for number, end in enumerate(ends) if end <= left), len(ends) - 1)
        ends[row] = left + 6.2 * len(said) + 8
        y = 62 + 15 * row
        parts.append(f'<path d="M{x} {y + 3}V{LOW_TOP + LOW}" stroke="{colour}" stroke-dasharray="2 3" fill="none"/>')
        parts.append(_text(round(left + 2, 1), y, said, colour))
    return parts


def _briefly(who: str, said: str) -> str:
    if who == "balancer":
        return "HAProxy sends the header" if "with the header" in said else "HAProxy sends it no more"
    return _BRIEFLY.get(said, said)


def record() -> Recording:
    """Switch a live fleet on and off under twenty senders, and note what happens when."""
    with Region(Path("template.yaml"), PARAMETERS) as region:
        fleet = LiveFleet(region, say=lambda seconds, phase: print(f"{seconds:6.1f} s  {phase.said}", flush=True))
        try:
            fleet.build()

            def there_and_back(fleet: LiveFleet) -> None:
                switch_on(fleet)
                fleet.await_delivered(1000)
                switch_off(fleet)

            outcome = fleet.play(there_and_back)
        finally:
            fleet.close()
    if not outcome.is_clean:
        raise RuntimeError(f"mail was harmed, a fault to find and no picture to show: {outcome}")
    begun = outcome.begun
    return Recording(
        delivered=[round(at - begun, 3) for at in outcome.tally.delivered_at],
        deferred=[round(at - begun, 3) for at in outcome.tally.deferred_at],
        phases=[(round(p.at - begun, 3), p.who, p.said) for p in outcome.phases],
        longest=outcome.tally.longest,
        clock=f"settle {PARAMETERS['SettleSeconds']} s, retry {RETRY:g} s",
    )


def main(arguments: list[str]) -> int:
    """Record a run and draw it; with a second file, keep the recording there, or draw the one that it holds."""
    if why := obstacle():
        print(f"{why}: sudo make timeline", file=sys.stderr)
        return 1
    picture, *kept = map(Path, arguments)
    if kept and kept[0].exists():
        run = Recording(**json.loads(kept[0].read_text()))
    else:
        run = record()
        for file in kept:
            file.write_text(json.dumps(asdict(run)))
    picture.write_text(draw(run))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
