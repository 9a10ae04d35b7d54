"""`make soak HOURS=2` or `STORMS=10000`: storms of ever new seeds on two processors; it prints what it has counted."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from tests.storm.run import Ended, each, sky

CHUNK, EVERY = 20, 30
"""Seeds that a process takes at once; seconds between two lines of progress."""


@dataclass
class Counted:
    """What has been counted so far."""

    storms: int = 0
    strikes: int = 0
    invocations: int = 0

    def add(self, end: Ended) -> None:
        """Count a storm."""
        self.storms += 1
        self.strikes += end.struck.total()
        self.invocations += end.invocations

    def __str__(self) -> str:
        return f"{self.storms:,} storms, {self.strikes:,} faults, {self.invocations:,} invocations"


def storms(first: int, most: int, until: float) -> Iterator[Ended]:
    """The storms of new seeds, `most` of them or until a time (monotonic seconds)."""
    with sky() as pool:
        running: set[Future[list[Ended]]] = set()
        given = 0
        while True:
            while len(running) < 4 and given < most and time.monotonic() < until:
                chunk = min(CHUNK, most - given)
                running.add(pool.submit(each, range(first + given, first + given + chunk)))
                given += chunk
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield from future.result()


def main(hours: float, most: int) -> int:
    """Storms for so many hours, or so many of them; gives the exit code."""
    first, began = int(time.time()), time.monotonic()
    counted, said = Counted(), began
    print(f"storms of the seeds from {first}", flush=True)
    for end in storms(first, most, began + hours * 3600):
        counted.add(end)
        if end.story:
            print(end.story)
            return 1
        if time.monotonic() > said + EVERY:
            said = time.monotonic()
            print(f"  {counted}, {said - began:.0f} s", flush=True)
    print(f"{counted} in {time.monotonic() - began:.0f} s: after each, all is as it should be")
    return 0


if __name__ == "__main__":
    told = dict(word.split("=") for word in sys.argv[1:])
    sys.exit(main(float(told.get("HOURS", 1_000_000)), int(told.get("STORMS", 10**12))))
