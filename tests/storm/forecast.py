"""What befalls a stack in a storm, as a list of decisions: a seed gives them all, each can be left out on its own.

A decision stands at a second of the storm, and is about the next thing of its kind from then on (the next call of an
operation, the next command to an instance), so that dropping one leaves the others what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.storm.errors import called, honest

READS = ("Describe", "List", "Get", "BatchGet")
LENGTH = 2_400
"""Seconds that a storm rages; the last act of its operators comes at its end."""


@dataclass(frozen=True)
class Decision:
    """One thing that goes wrong or that somebody does, `at` a second of the storm; `what` is a method of `befalls`."""

    at: int
    what: str
    args: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.at:5} s  {self.what.replace('_', ' ')} {' '.join(map(str, self.args))}"


def forecast(seed: int) -> tuple[Decision, ...]:
    """The decisions of a seed, in the order of their times: most misfortunes come when much is going on."""
    random = Random(seed)
    pace = Decision(0, "pace", (random.choice(("usual", "usual", "slow", "at once")),))
    begin = [
        pace,
        Decision(random.choice((0, 20, 300)), *_tag(random)),
        Decision(0, "scale_out", (random.randint(0, 3),)),
    ]
    acts = [_at(random.randrange(LENGTH), random, ACTS) for _ in range(random.randint(4, 24))]
    acts += [_near(act, random, {_one("scale_out", (1, 2)): 1}) for act in acts if act.what == "tag"]
    busy = begin + acts
    wrong = [_near(random.choice(busy), random, MISFORTUNES) for _ in range(random.choice((0, 15, 40, 80)))]
    wrong += [_at(random.randrange(LENGTH), random, MISFORTUNES) for _ in wrong[::3]]
    end = Decision(LENGTH, "tag", (random.choice(("enabled", "enabled", "disabled")),))
    return (*sorted(busy + wrong, key=lambda decision: decision.at), end)


Draw = Callable[[Random], tuple[str, tuple[Any, ...]]]


def _at(second: int, random: Random, weights: dict[Draw, int]) -> Decision:
    return Decision(second, *_drawn(random, weights))


def _near(other: Decision, random: Random, weights: dict[Draw, int]) -> Decision:
    """A decision from a minute before another one to a few minutes after it."""
    second = other.at + random.choice((-60, 0, 0, 60)) + random.randrange(100)
    return _at(max(0, min(LENGTH - 1, second)), random, weights)


def _drawn(random: Random, weights: dict[Draw, int]) -> tuple[str, tuple[Any, ...]]:
    [draw] = random.choices(list(weights), list(weights.values()))
    return draw(random)


def _tag(random: Random) -> tuple[str, tuple[Any, ...]]:
    return "tag", (random.choice(("enabled", "enabled", "enabled", "disabled", "disabled", "audit", "?", "25")),)


def _one(what: str, *choices: tuple[Any, ...]) -> Draw:
    """A decision whose arguments are drawn one by one."""
    return lambda random: (what, tuple(random.choice(values) for values in choices))


def _operation(random: Random) -> tuple[str, str]:
    """One of the calls of the functions; as often a write as a read."""
    wanted = random.random() < 0.5
    return random.choice([(s, o) for s, o in called() if o.startswith(READS) == wanted])


def _fail(random: Random) -> tuple[str, tuple[Any, ...]]:
    service, operation = _operation(random)
    return "fail", (operation, random.choice(honest(service, operation)))


def _outage(random: Random) -> tuple[str, tuple[Any, ...]]:
    service, operation = _operation(random)
    return "outage", (operation, random.choice(honest(service, operation)), random.choice((30, 120, 400)))


def _at_call(what: str, *choices: tuple[Any, ...]) -> Draw:
    return lambda random: (what, (_operation(random)[1], *(random.choice(values) for values in choices)))


def _meanwhile(random: Random) -> tuple[str, tuple[Any, ...]]:
    what, args = random.choice([("turn", ("hand",)), ("turn", ("mind",)), _drawn(random, ACTS)])
    return "meanwhile", (_operation(random)[1], what, *args)


WHICH = tuple(range(6))
SECONDS = (5, 30, 120, 360)
ACTS: dict[Draw, int] = {
    _tag: 6,
    _one("untag"): 1,
    _one("scale_out", (1, 1, 2, 5)): 6,
    _one("scale_in", (1, 2, 9)): 2,
    _one("terminate", WHICH): 2,
    _one("die", WHICH): 1,
    _one("remove_policy"): 2,
    _one("add_policy_of_others"): 1,
    _one("remove_hook"): 1,
    _one("standby", WHICH): 1,
    _one("back", WHICH): 1,
    _one("detach_instance", WHICH): 1,
    _one("heartbeat", WHICH): 1,
    _one("warm_pool", (1, 2), ("Stopped", "Running"), (True, False)): 2,
    _one("no_warm_pool"): 1,
    _one("replace_root", WHICH): 1,
    _one("new_image", ("2", "3")): 1,
    _one("delete_group"): 1,
    _one("create_group", (0, 2)): 1,
    _one("detach_balancer"): 1,
    _one("attach_balancer"): 1,
    _one("edit", WHICH): 1,
    _one("register_by_hand"): 1,
    _one("attach_targets"): 1,
    _one("detach_targets"): 1,
    _one("second_balancer", ("enabled", "disabled", "audit")): 1,
    _one("delete_second_balancer"): 1,
}
"""What operators and others do, and how often."""

ENDS = ("not-ready", "broken", "refused", "edited", "failed", "bug", "garbage", "silent")
MISFORTUNES: dict[Draw, int] = {
    _fail: 8,
    _outage: 2,
    _at_call("lose_answer"): 3,
    _at_call("send_twice"): 2,
    _at_call("take_long", (5, 40, 130)): 2,
    _at_call("kill", ("before", "after")): 8,
    _meanwhile: 4,
    _one("rain", (3, 7, 13, 29), (20, 60, 200)): 3,
    _one("leave_keys"): 1,
    _one("forged", ("wakes",), ("garbage", "unknown", "of others", "of nobody")): 1,
    _one("forged", ("asks",), ("garbage", "unknown", "admit", "reject", "ask")): 2,
    _one("quota", (0, 2), (60, 400)): 1,
    _one("events", ("lost", "lost", "twice", "late", "very late"), SECONDS): 6,
    _one("messages", ("lost", "twice", "late", "very late"), SECONDS): 3,
    _one("agent_late", (120, 360, 1_500, 1_800)): 3,
    _one("agent_lost", WHICH, SECONDS): 2,
    _one("command", ("undelivered", "late", "slow", "killed before", "killed after", *ENDS), WHICH): 8,
    _one("sick", WHICH, ENDS, (60, 600, 9_999)): 1,
    _one("sick_image", ENDS, (300, 900)): 1,
}
"""What goes wrong, and how often."""
