"""`make story STORY=name`: a story on the local Region, told act by act while it happens."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from rich.console import Console

from local.acts import ACTS
from local.cutover import PARAMETERS, RETRY, SWEEP, LiveFleet, Phase
from local.instances import obstacle
from local.region import Region

SENDERS, AROUND = 20, 1000

out = Console(highlight=False)


def live_cutover(events: bool = True) -> int:
    """Play all acts on one live fleet; 1 if any message bounced, was lost or doubled."""
    clock = f"settle {PARAMETERS['SettleSeconds']} s, retry {RETRY:g} s, budget {PARAMETERS['CutoverBudgetSeconds']} s"
    out.print(
        f"A live fleet: 3 Postfix behind HAProxy, {SENDERS} senders, {AROUND} messages before and after each act."
    )
    out.print(f"The clock is compressed: {clock}, looks after {PARAMETERS['CheckIntervalSeconds']} s.")
    if not events:
        out.print(f"Every event is lost: only sweeps wake the mind, every {SWEEP:g} s instead of five minutes.")
    good = True
    with Region(Path("template.yaml"), PARAMETERS) as region:
        fleet = LiveFleet(region, SENDERS, AROUND, _show)
        try:
            with out.status("starting three instances …"):
                fleet.build()
            for number, act in enumerate(ACTS.values(), 1):
                out.print(f"\n[bold]{number}  {act.title}[/bold]")
                begun = time.monotonic()
                with out.status(_Counting(fleet)), nullcontext() if events else fleet.without_events():
                    outcome = fleet.play(act.play)
                good &= outcome.is_clean
                out.print(f"  {outcome}, all in {time.monotonic() - begun:.0f} s", soft_wrap=True)
        finally:
            fleet.close()
    out.print("\nNothing bounced, was lost or doubled." if good else "\n[bold red]Mail was harmed.[/bold red]")
    return 0 if good else 1


class _Counting:
    """The numbers so far, as often as the screen is drawn."""

    def __init__(self, fleet: LiveFleet) -> None:
        self._fleet = fleet

    def __rich__(self) -> str:
        tally = self._fleet.outcome.tally
        return f"{len(tally.delivered)} delivered, {len(tally.deferred_at)} deferrals"


def _show(seconds: float, phase: Phase) -> None:
    out.print(f"  [dim]{seconds:5.1f} s  {phase.who}[/dim]  {phase.said}", soft_wrap=True)


STORIES: Mapping[str, Callable[[], int]] = {
    "live-cutover": live_cutover,
    "unheard": partial(live_cutover, events=False),
}


def main(arguments: list[str]) -> int:
    """Tell the story that is named; 2 if there is none of that name, 1 if this machine cannot."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    name = arguments[0] if arguments else ""
    if name not in STORIES:
        print(f"STORY={name}: no such story; there is: {' '.join(STORIES)}", file=sys.stderr)
        return 2
    if why := obstacle():
        print(f"{why}: sudo make story STORY={name}", file=sys.stderr)
        return 1
    try:
        return STORIES[name]()
    except KeyboardInterrupt:
        out.print("\nstopped; nothing is left behind")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
