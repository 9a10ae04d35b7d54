"""Storms by their seeds, many at once, and the shrunk story of one that fails."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context

from tests.storm.forecast import Decision, forecast
from tests.storm.play import Played, Storm
from tests.storm.shrink import shrink

HASHES = {"PYTHONHASHSEED": "0"}
"""With it sets are walked through in the same order each time, and a seed gives the same story in every process."""


@dataclass(frozen=True)
class Ended:
    """How the storm of a seed ended: its story, if it went wrong, and what it struck."""

    seed: int
    story: str
    invocations: int
    struck: Counter[str]


def ended(seed: int, deaf: bool = False) -> Ended:
    """The storm of a seed, over and done with."""
    decisions = forecast(seed)
    played = Storm(decisions, deaf).run()
    story = told(seed, decisions, played, deaf) if played.wrong else ""
    return Ended(seed, story, played.invocations, played.struck)


def each(seeds: Iterable[int], deaf: bool = False) -> list[Ended]:
    """The storms of some seeds, one after the other."""
    return [ended(seed, deaf) for seed in seeds]


def told(seed: int, decisions: tuple[Decision, ...], played: Played, deaf: bool = False) -> str:
    """What went wrong with a storm, by the few decisions that are enough for it, and all that came of these."""
    first, last = _kind(played.wrong[0]), decisions[-1]

    def fails(rest: Iterable[Decision]) -> bool:
        return first in map(_kind, Storm((*rest, last), deaf).run().wrong)

    few = (*shrink(decisions[:-1], fails), last)
    again = Storm(few, deaf).run()
    head = f"seed {seed}: {len(decisions)} decisions, of which these are enough (python -m tests.storm {seed}):"
    return "\n".join([head, *map(str, few), "", "what came of them:", *again.told, "", "what is wrong:", *again.wrong])


def _kind(wrong: str) -> str:
    """What is wrong, whenever it is and whoever it is about."""
    return re.sub(r"i-[0-9a-f]{17}|[0-9]+(\.[0-9]+)?", "N", wrong)


@contextmanager
def sky(processes: int = 2) -> Iterator[ProcessPoolExecutor]:
    """Processes in which a seed gives the same story each time."""
    before = {name: os.environ.get(name) for name in HASHES}
    os.environ.update(HASHES)
    try:
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            yield pool
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
