"""`make soak`: the model of the protocol searched far and wide, on two processors; it prints what it has counted.

Each search has a start and limits of its own; the first broken law, or the first world that does not reach its end, is
told with its shortest story.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace

from tests.smtp_fleet.search import STARTS, Limits, Search, Searched

STATES = 1_000_000
EVERY = 5
"""Seconds between two lines of progress."""

MISFORTUNE = Limits(tags=1, launches=1, terminations=0, standbys=0, lost=2, repeated=2, crashes=2)
PEOPLE = replace(Limits(tags=4, launches=2, replacements=2, standbys=2), lost=0, garbled=0, repeated=0, crashes=0)
LIMITS = {"all": Limits(), "misfortune": MISFORTUNE, "people": PEOPLE}


def one(name: str, kind: str, most: int) -> Searched:
    """One search, with a line of progress every few seconds."""
    began = said = time.monotonic()

    def told(states: int, depth: int) -> None:
        nonlocal said
        if time.monotonic() > said + EVERY:
            said = time.monotonic()
            print(f"  {name}; {kind}: {states:,} of {most:,} states, {depth} deep, {said - began:.0f} s", flush=True)

    return Search(STARTS[name](), LIMITS[kind], most, ends=True, told=told).run()


def main(states: int) -> int:
    """All searches, together `states` states or more where their worlds have as many; gives the exit code."""
    chosen = [(name, kind) for kind in LIMITS for name in STARTS]
    most = -(-states // len(chosen))
    began, counted, taken = time.monotonic(), 0, 0
    with ProcessPoolExecutor(2) as pool:
        running = {pool.submit(one, name, kind, most): f"{name}; {kind}" for name, kind in chosen}
        try:
            for done in as_completed(running):
                found = done.result()
                counted, taken = counted + found.states, taken + found.moves
                print(
                    f"{running[done]}: {found.states:,} states, {found.moves:,} moves, {found.depth} deep", flush=True
                )
                if found.found:
                    print(*found.found.story, *found.found.broken, sep="\n    ")
                    pool.shutdown(wait=False, cancel_futures=True)
                    return 1
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            print("stopped")
    seconds = time.monotonic() - began
    print(f"{counted:,} states, {taken:,} moves in {seconds:.0f} s: the law holds in each, and each reaches its end")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else STATES))
