"""A breadth-first search through the histories of a small world, driving the real plan; its stories are the shortest.

Two histories that led to states which no plan, command or answer can tell apart are followed once: of all times and
epochs only their order and the class of their age count.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from smtp_fleet import orphan
from smtp_fleet.evidence import Machine, Record
from smtp_fleet.fleet import Group, LoadBalancer
from smtp_fleet.plan import plan
from tests.smtp_fleet.world import LAG, SETTINGS, SMTP, Instance, World

AGES = (0, 1, 30, 45, LAG, SETTINGS.settle, 300, 600, 3600)
STEPS = (1, 61, 700)


@dataclass(frozen=True)
class Limits:
    """How often people and misfortune may strike in one history."""

    tags: int = 2
    launches: int = 2
    terminations: int = 1
    replacements: int = 1
    vanished: int = 1
    lost: int = 1
    repeated: int = 1
    crashes: int = 1
    tag_values: tuple[str | None, ...] = ("enabled", "disabled", None)


@dataclass(frozen=True)
class Found:
    """A broken law, and the shortest history that leads there."""

    broken: tuple[str, ...]
    story: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """What was searched: how many states, how deep, and what was found, if anything."""

    states: int
    depth: int
    found: Found | None


State = tuple[World, Limits]
Mind = Callable[[World], list[Any]]


def mind(world: World) -> list[Any]:
    """What a wake of the mind would do now, in order."""
    decided = list(plan(world.fleet(), SETTINGS).actions)
    for fleet in world.orphans():
        decided += orphan.plan(fleet, SETTINGS).actions
    return decided


def start(live: bool) -> World:
    """A tagged balancer and a group behind it, with one instance in service or none."""
    world = World(tags={"mx-1": "enabled"}, balancers={"mx-1": LoadBalancer("mx-1", (SMTP,))})
    world.groups["mx"] = Group("mx", frozenset({"mx-1"}))
    if live:
        world.instances["i-0"] = Instance("vol-0", "mx", "InService", world.now)
    return world


def search(world: World, limits: Limits, most: int, decide: Mind = mind) -> Search:
    """Follow histories, shortest first, until the law breaks or `most` states were seen."""
    first = (world, limits)
    parents: dict[Any, tuple[Any, str] | None] = {key(first): None}
    queue = deque([(first, 0)])
    depth = 0
    while queue:
        state, depth = queue.popleft()
        here = key(state)
        for what, following in moves(state, decide):
            there = key(following)
            if there in parents:
                continue
            parents[there] = (here, what)
            broken = following[0].broken_law()
            if broken:
                return Search(len(parents), depth + 1, Found(tuple(broken), _story(parents, there)))
            if len(parents) >= most:
                return Search(len(parents), depth + 1, None)
            queue.append((following, depth + 1))
    return Search(len(parents), depth, None)


def _story(parents: dict[Any, tuple[Any, str] | None], at: Any) -> tuple[str, ...]:
    told = []
    while step := parents[at]:
        at, what = step
        told.append(what)
    return tuple(reversed(told))


def moves(state: State, decide: Mind) -> Iterator[tuple[str, State]]:
    """Everything that may happen next."""
    yield from _of_mind(state, decide)
    yield from _of_messages(state)
    yield from _of_people(state)
    world, limits = state
    for seconds in STEPS:
        after = clone(world)
        after.now += seconds
        yield f"{seconds} s pass", (after, limits)


def _of_mind(state: State, decide: Mind) -> Iterator[tuple[str, State]]:
    world, limits = state
    actions = decide(world)
    last = len(actions)
    for done in range(1, last + 1):
        if done < last and not limits.crashes:
            continue
        after = clone(world)
        for action in actions[:done]:
            after.do(action)
        crash = "" if done == last else " and crashes"
        told = "; ".join(map(_short, actions[:done]))
        yield f"the mind: {told}{crash}", (after, limits if done == last else _less(limits, "crashes"))


def _of_messages(state: State) -> Iterator[tuple[str, State]]:
    world, limits = state
    for kind, waiting, deliver in (
        ("command", world.queue, World.run),
        ("answer", world.answers, World.answer),
        ("admission", world.admissions, World.admit),
    ):
        for n, what in enumerate(waiting):
            after = clone(world)
            deliver(after, n)
            yield f"{kind} arrives: {_short(what)}", (after, limits)
            if limits.lost:
                after = clone(world)
                getattr(after, _QUEUE[kind]).pop(n)
                yield f"{kind} is lost: {_short(what)}", (after, _less(limits, "lost"))
            if limits.repeated:
                after = clone(world)
                getattr(after, _QUEUE[kind]).append(what)
                deliver(after, n)
                yield f"{kind} arrives, and will again: {_short(what)}", (after, _less(limits, "repeated"))


_QUEUE = {"command": "queue", "answer": "answers", "admission": "admissions"}


def _of_people(state: State) -> Iterator[tuple[str, State]]:
    world, limits = state
    if limits.tags:
        for value in limits.tag_values:
            if value != world.tags["mx-1"]:
                after = clone(world)
                after.tags["mx-1"] = value
                yield f"tag: {value}", (after, _less(limits, "tags"))
    b = world.balancers["mx-1"]
    if limits.vanished and b.sends(25):
        after = clone(world)
        after.balancers["mx-1"] = replace(b, backend={25: ()})
        after.sent_until["mx-1", 25] = world.now + LAG
        yield "the policy is removed by hand", (after, _less(limits, "vanished"))
    # A launch that meets no hook of ours behind a balancer that sends is healed, not prevented.
    sends = b.sends(25) or world.sent_until.get(("mx-1", 25), 0) > world.now
    held = world.groups["mx"].hook is not None or not sends
    if limits.launches and held:
        after = clone(world)
        after.launch(f"i-{limits.launches}", "mx")
        yield f"i-{limits.launches} launches", (after, _less(limits, "launches"))
    for i, x in world.instances.items():
        if limits.terminations:
            after = clone(world)
            del after.instances[i]
            yield f"{i} is terminated", (after, _less(limits, "terminations"))
        if limits.replacements and held:
            after = clone(world)
            state_ = "Pending:Wait" if world.groups["mx"].hook else x.state
            after.instances[i] = Instance(x.volume + "+", "mx", state_, world.now)
            yield f"the root volume of {i} is replaced", (after, _less(limits, "replacements"))


def _less(limits: Limits, what: str) -> Limits:
    return replace(limits, **{what: getattr(limits, what) - 1})


def clone(world: World) -> World:
    """A world that shares nothing that changes."""
    other = copy(world)
    for name, value in vars(world).items():
        if isinstance(value, dict | list):
            setattr(other, name, value.copy())
    other.instances = {i: copy(x) for i, x in world.instances.items()}
    return other


def key(state: State) -> Any:
    """What tells two states apart: all facts, with times by order and class of age."""
    world, limits = state
    times: list[int] = []
    facts = (
        tuple(world.tags.values()),
        tuple((b.policies, tuple(b.backend.items())) for b in world.balancers.values()),
        tuple((n, g.balancers, g.hook) for n, g in world.groups.items()),
        tuple((k, _time(times, v)) for k, v in sorted(world.sent_until.items()) if v > world.now),
        tuple((k, _time(times, v)) for k, v in sorted(world.off_since.items())),
        tuple((k, _time(times, v)) for k, v in sorted(world.hooked_since.items())),
        tuple((k, r.why, min(r.times, 3), _time(times, r.until)) for k, r in sorted(world.refusals.items())),
        tuple(
            (i, x.volume, x.state, x.expects, x.able, _time(times, x.launched_at), _time(times, x.fence))
            for i, x in sorted(world.instances.items())
        ),
        tuple(
            (
                m,
                r.outcome,
                r.proxy,
                r.plain,
                r.admitted,
                r.ask and (r.ask.verb, r.ask.ports),
                r.answered == 0,
                _all_times(times, r),
            )
            for m, r in sorted(world.records.items())
        ),
        tuple((m, a.verb, a.ports, _time(times, a.epoch)) for m, a in world.queue),
        tuple((m, a.outcome, a.proxy, _time(times, a.epoch)) for m, a in world.answers),
        tuple(world.admissions),
    )
    order = sorted(set(times))
    ranks = tuple(
        (order.index(t), bisect(AGES, world.now - t), bisect(AGES, t - world.now)) if t else None for t in times
    )
    return hash((facts, ranks, limits))


def _time(times: list[int], value: int) -> int:
    """Takes a time out of the facts; its place stays."""
    times.append(value)
    return 0


def _all_times(times: list[int], r: Record) -> int:
    for value in (r.asked_at, r.answered, r.stored, r.ask.epoch if r.ask else 0):
        _time(times, value)
    return 0


def _short(what: Any) -> str:
    match what:
        case (Machine(instance_id=i), *rest):
            return f"{i} {rest[0]}"
    return str(what)
