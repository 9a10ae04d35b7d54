"""When waiting instances are looked at again: the one place of the ladder and its jitter.

All that wait are looked at in the same moments, so that one call, and one command, serves fifty of them; stacks are
kept apart by a phase of their own, rather than instances by chance.
"""

from __future__ import annotations

from zlib import crc32

LADDER = ((60, 10),)
"""Up to so many seconds of waiting, look each so many seconds: the more at once, the fewer commands."""

LONGEST_STEP = 30
"""Seconds between two looks at who waits for longer than that; a multiple of every other step."""


def phase(name: str) -> int:
    """By how many seconds the moments of a stack, told by a name of its own, are shifted against those of others."""
    return crc32(name.encode()) % LONGEST_STEP


def next_look(now: int, waited: int, shift: int) -> int:
    """Seconds from `now` until what has waited for `waited` seconds is looked at again; at least one."""
    step = next((step for most, step in LADDER if waited < most), LONGEST_STEP)
    return step - (now - shift) % step
