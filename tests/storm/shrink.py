"""Makes a failing storm small: decisions are dropped as long as it still fails in the same way (delta debugging)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(whole: Sequence[T], fails: Callable[[Sequence[T]], bool], tries: int = 400) -> list[T]:
    """A part of `whole` that fails, from which no single one can be dropped, if `tries` are enough to find it.

    Zeller's ddmin without its subsets: complements only, in ever finer parts.
    """
    left, parts = list(whole), 2
    while len(left) >= 2 and tries > 0:
        size = -(-len(left) // parts)
        for start in range(0, len(left), size):
            rest = left[:start] + left[start + size :]
            tries -= 1
            if rest and fails(rest):
                left, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(left))
    return left
