"""What is measured, and its medians."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Used:
    """CPU seconds (user and system) and peak resident memory in MB of one run."""

    cpu: float
    peak: float


@dataclass(frozen=True)
class Run:
    """One run of a contender: what it used, calls on ELB and tagging, those on others, its words, its exit status."""

    used: Used
    calls: int
    writes: int
    others: int
    said: str
    code: int = 0


def medians(runs: Sequence[Used]) -> Used:
    """The median of each figure."""
    return Used(median(r.cpu for r in runs), median(r.peak for r in runs))
