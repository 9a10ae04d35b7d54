"""A breadth-first search through the histories of a small world, driving the real plan; its stories are the shortest.

Two histories that led to states which no plan, command or answer can tell apart are followed once: of all times and
epochs only their order and the class of their age count, so that their number is unbounded. Each state is asked two
things: does the law hold (safety), and is the wanted end reached from it once faults and people stop (liveness)?
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

from smtp_fleet.actions import Send
from smtp_fleet.evidence import Machine, Record, Verb
from smtp_fleet.fleet import Group, LoadBalancer
from smtp_fleet.outcome import Outcome
from tests.smtp_fleet.world import BEGUN, LAG, SETTINGS, SMTP, Instance, Told, World

AGES = (0, 1, 30, 45, LAG, SETTINGS.settle, 300, 600, 900, 3600, 86_400)
STEPS = (1, 61, 901)
WAITS = (1, 61, 901, 3601)
PATIENCE = 150
"""Rounds within which a world that is left alone has to reach its end; a refusal alone takes 5 of them."""


@dataclass(frozen=True)
class Limits:
    """How often people and misfortune may strike in one history, and how many commands and answers are on their way.

    With few on their way a small world comes to an end of its states, and is then searched in full.
    """

    tags: int = 2
    launches: int = 2
    terminations: int = 1
    replacements: int = 1
    standbys: int = 1
    vanished: int = 1
    overwritten: int = 1
    expired: int = 1
    lost: int = 1
    garbled: int = 1
    repeated: int = 1
    crashes: int = 1
    tag_values: tuple[str | None, ...] = ("enabled", "disabled", None)
    under_way: int = 1_000


NOTHING_GOES_WRONG = Limits(*[0] * 12)


@dataclass(frozen=True)
class Found:
    """A broken law, and the shortest history that leads there."""

    broken: tuple[str, ...]
    story: tuple[str, ...]


@dataclass(frozen=True)
class Searched:
    """What was searched: how many states and moves between them, how deep, and what was found, if anything.

    `closed`: there are no other states.
    """

    states: int
    moves: int
    depth: int
    found: Found | None
    closed: bool = False


State = tuple[World, Limits]


def start(live: bool) -> World:
    """A tagged balancer and a group behind it, with one instance in service or none."""
    world = World(tags={"mx-1": "enabled"}, balancers={"mx-1": LoadBalancer("mx-1", (SMTP,))})
    world.groups["mx"] = Group("mx", frozenset({"mx-1"}))
    if live:
        world.instances["i-0"] = Instance("vol-0", "mx", "InService", world.now)
    return world


def by_hand() -> World:
    """A tagged balancer and an instance that somebody registered with it, of no group."""
    world = World(tags={"mx-1": "enabled"}, balancers={"mx-1": LoadBalancer("mx-1", (SMTP,))})
    world.instances["i-0"] = Instance("vol-0", "", "InService", world.now)
    return world


def sending(live: bool) -> World:
    """The same world once all is on."""
    return on(start(live))


def on(world: World) -> World:
    """A world once all is on."""
    while not world.balancers["mx-1"].sends(25):
        wake(world)
        deliver(world)
        world.passes(1)
    world.passes(61)
    return world


def switching_off() -> World:
    """A live world that was on, is switched off and has settled: Postfix is next."""
    world = sending(live=True)
    world.tags["mx-1"] = "disabled"
    wake(world)
    world.passes(61)
    return world


def late_answer() -> World:
    """The same, with a repetition of the answer by which the instance once said that it expects still on its way."""
    world = switching_off()
    machine = world.machine("i-0")
    ask = world.records[machine].ask
    assert ask is not None
    world.answers.append((machine, Told(ask, "Success", Outcome.OK, ask.ports, stored=ask.epoch)))
    return world


STARTS: dict[str, Callable[[], World]] = {
    "off, nobody in service": lambda: start(live=False),
    "off, live": lambda: start(live=True),
    "on, nobody in service": lambda: sending(live=False),
    "on, live": lambda: sending(live=True),
    "switching off": switching_off,
    "switching off, an old answer still out": late_answer,
    "off, registered by hand": by_hand,
    "on, registered by hand": lambda: on(by_hand()),
}
"""Where searches start: the deeper ones are reached from the first two by the real plan."""


@dataclass
class Search:
    """One search: follow histories from `first`, shortest first, until something breaks or `most` states were seen.

    With `ends`, each state is also left alone to see whether it reaches its end; `told` hears now and then how many
    states there are.
    """

    first: World
    limits: Limits
    most: int
    ends: bool = False
    told: Callable[[int, int], None] = lambda states, depth: None

    def run(self) -> Searched:
        """Search."""
        state: State = (self.first, self.limits)
        good: set[int] = set()
        parents: dict[int, tuple[int, str] | None] = {key(state): None}
        queue = deque([(state, key(state), 0)])
        taken = depth = 0
        while queue:
            state, here, depth = queue.popleft()
            for what, following in moves(state):
                if len(following[0].queue) + len(following[0].answers) > following[1].under_way:
                    continue
                taken += 1
                there = key(following)
                if there in parents:
                    continue
                parents[there] = (here, what)
                broken = following[0].broken_law() or (self.ends and left_alone(following[0], good))
                if broken:
                    return Searched(len(parents), taken, depth + 1, Found(tuple(broken), _story(parents, there)))
                if len(parents) >= self.most:
                    return Searched(len(parents), taken, depth + 1, None)
                if len(parents) % 1000 == 0:
                    self.told(len(parents), depth)
                queue.append((following, there, depth + 1))
        return Searched(len(parents), taken, depth, None, closed=True)


def search(world: World, limits: Limits, most: int, ends: bool = False) -> Searched:
    """Follow histories from a world until something breaks or `most` states were seen."""
    return Search(world, limits, most, ends).run()


def _story(parents: dict[int, tuple[int, str] | None], at: int) -> tuple[str, ...]:
    told = []
    while step := parents[at]:
        at, what = step
        told.append(what)
    return tuple(reversed(told))


def left_alone(world: World, good: set[int] | None = None) -> list[str]:
    """What is wrong where faults and people stop: the end that is not reached; nothing where it is.

    All that is out is delivered, the mind wakes, and time passes where nothing else happens. `good` are the worlds
    from which the end is known to be reached; those on the way join them.
    """
    good = set() if good is None else good
    seen: list[int] = []
    after, quiet = clone(world), 0
    for _ in range(PATIENCE):
        here = hash((_facts(after), quiet))
        if here in good:
            break
        seen.append(here)
        busy = wake(after)
        deliver(after)
        broken = after.broken_law()
        if broken:
            return broken
        if quiet == len(WAITS) and not busy:
            missing = not_at_its_end(after)
            if missing:
                return missing
            break
        quiet = 0 if busy else quiet + 1
        _wait(after, WAITS[max(0, quiet - 1)])
    else:
        return [f"it does not come to rest: {'; '.join(told.reason for told in after.plans())}"]
    good.update(seen)
    return []


def wake(world: World) -> bool:
    """The mind wakes and carries out what it decides; says whether that was more than to look at those that expect.

    A look at who does not yet is the first step of a cutover.
    """
    actions = [action for told in world.plans() for action in told.actions]
    for action in actions:
        world.do(action)
    return any(not (isinstance(a, Send) and a.ask.verb is Verb.LOOK and _sends(world)) for a in actions)


def deliver(world: World) -> None:
    """Everything that is out arrives, in order."""
    for arrive, waiting in (
        (world.run, world.queue),
        (world.answer, world.answers),
        (world.admit, world.admissions),
    ):
        while waiting:
            arrive(0)


def _wait(world: World, seconds: int) -> None:
    world.passes(seconds)
    for i in [i for i, x in world.instances.items() if _may_expire(world, x)]:
        world.expire(i, world.instances[i].result)


def not_at_its_end(world: World) -> list[str]:
    """How the world at rest differs from what its tag asks for; where that is no direction, it is all on or all off."""
    tag, b = world.tags["mx-1"], world.balancers["mx-1"]
    on = tag == "enabled" or (tag in (None, "audit", "?") and b.sends(25))
    wanted = frozenset({25}) if on else frozenset()
    missing = [] if b.sends(25) == on else [f"the balancer {'does not send' if on else 'sends'}"]
    if not on:
        # Audit changes nothing; and on a balancer without the tag a policy that is on no port does nothing.
        missing += [f"the hook on {name} is left" for name, g in world.groups.items() if g.hook and tag != "audit"]
        missing += [f"the policy {name} is left" for name in b.policies if tag == "disabled"]
    for i, x in world.instances.items():
        missing += [f"{i} waits for ever"] if x.state == "Pending:Wait" else []
        missing += [f"{i} expects {sorted(x.expects)}"] if x.expects != wanted else []
    return missing and [*missing, *(told.reason for told in world.plans())]


def moves(state: State) -> Iterator[tuple[str, State]]:
    """Everything that may happen next."""
    yield from _of_mind(state)
    yield from _of_messages(state)
    yield from _of_people(state)
    yield from _of_instances(state)
    world, limits = state
    for seconds in STEPS:
        after = clone(world)
        after.passes(seconds)
        yield f"{seconds} s pass", (after, limits)


def _of_mind(state: State) -> Iterator[tuple[str, State]]:
    """The mind carries its plans out, or crashes after any single write of them."""
    world, limits = state
    actions = [action for told in world.plans() for action in told.actions]
    if not actions:
        return
    after = clone(world)
    for n, action in enumerate(actions):
        writes = after.writes(action)
        for m, (name, write) in enumerate(writes):
            write()
            if limits.crashes and (n, m) != (len(actions) - 1, len(writes) - 1):
                told = _told((*actions[:n], f"{name} of {action}"))
                yield f"the mind: {told} and crashes", (clone(after), _less(limits, "crashes"))
    yield f"the mind: {_told(actions)}", (after, limits)


def _told(actions: Any) -> str:
    return "; ".join(map(str, actions))


def _of_messages(state: State) -> Iterator[tuple[str, State]]:
    world, limits = state
    for kind, waiting, arrive in (
        ("queue", world.queue, World.run),
        ("answers", world.answers, World.answer),
        ("admissions", world.admissions, World.admit),
    ):
        for n, what in enumerate(waiting):
            told = f"{_OF[kind]}: {_short(what)}"
            after = clone(world)
            arrive(after, n)
            yield f"arrives: {told}", (after, limits)
            if limits.lost:
                after = clone(world)
                getattr(after, kind).pop(n)
                yield f"is lost: {told}", (after, _less(limits, "lost"))
            if limits.repeated:
                after = clone(world)
                getattr(after, kind).append(what)
                arrive(after, n)
                yield f"arrives, and will again: {told}", (after, _less(limits, "repeated"))
    if limits.lost:
        for machine, ask in world.queue:
            after = clone(world)
            after.answers.append((machine, Told(ask, "TimedOut")))
            yield (
                f"is told as timed out, and is not: {_OF['queue']} {machine.instance_id}",
                (after, _less(limits, "lost")),
            )
    if limits.garbled:
        for n, (machine, told_) in enumerate(world.answers):
            after = clone(world)
            after.answers[n] = (machine, Told(told_.ask, "Failed"))
            yield f"is garbled: {_OF['answers']} of {machine.instance_id}", (after, _less(limits, "garbled"))


_OF = {"queue": "command", "answers": "answer", "admissions": "admission"}


def _of_people(state: State) -> Iterator[tuple[str, State]]:
    world, limits = state
    b = world.balancers["mx-1"]
    if limits.tags:
        for value in limits.tag_values:
            if value != world.tags["mx-1"]:
                after = clone(world)
                after.tags["mx-1"] = value
                yield f"tag: {value}", (after, _less(limits, "tags"))
    if limits.vanished and b.sends(25):
        after = clone(world)
        after.balancers["mx-1"] = replace(b, backend={25: ()})
        after.sent_until["mx-1", 25] = world.now + LAG
        yield "the policy is removed by hand", (after, _less(limits, "vanished"))
    # What is overwritten while somebody sends, or after fresh evidence, is found and repaired, not prevented; so is a
    # launch that is overwritten while it waits: it is admitted on what it answered last.
    if limits.overwritten and not _sends(world) and ("mx-1", 25) not in world.off_since:
        for i, x in world.instances.items():
            if x.expects and x.state == "InService":
                after = clone(world)
                after.instances[i].expects = frozenset()
                yield f"{i} is overwritten by hand", (after, _less(limits, "overwritten"))


def _sends(world: World) -> bool:
    return world.balancers["mx-1"].sends(25) or world.sent_until.get(("mx-1", 25), 0) > world.now


def _of_instances(state: State) -> Iterator[tuple[str, State]]:
    world, limits = state
    group = world.groups.get("mx")
    hook = group.hook if group else None
    # A launch that meets no hook of ours behind a balancer that sends is healed, not prevented.
    held = hook is not None or not _sends(world)
    if group and limits.launches and held:
        for begun in (False, True):
            after = clone(world)
            after.launch(f"i-{limits.launches}", "mx", begun=begun)
            told = "begins to launch" if begun else "launches"
            yield f"i-{limits.launches} {told}", (after, _less(limits, "launches"))
    for i, x in world.instances.items():
        for what, limit, change in _lives(world, i, x, held):
            if not limit or getattr(limits, limit):
                after = clone(world)
                change(after)
                yield f"{i} {what}", (after, _less(limits, limit) if limit else limits)


def _lives(world: World, i: str, x: Instance, held: bool) -> Iterator[tuple[str, str, Callable[[World], object]]]:
    """What may happen to an instance, which limit that counts against, and how it is done."""
    if x.state == BEGUN:
        yield "is shown", "", lambda after: after.appear(after.instances[i])
        return
    yield "is terminated", "terminations", lambda after: after.instances.pop(i)
    if held and x.group:
        yield "has its root volume replaced", "replacements", lambda after: _reroot(after, i)
    if x.state == "InService" and x.group:
        yield "goes to Standby", "standbys", lambda after: setattr(after.instances[i], "state", "Standby")
    if x.state == "Standby":
        yield "leaves Standby", "", lambda after: setattr(after.instances[i], "state", "InService")
    if _may_expire(world, x):
        # AWS does not document which of the two results counts for those that wait already.
        hook = world.groups[x.group].hook
        for result in {x.result, hook.default_result if hook else x.result}:
            told = f"has waited for too long: {result}"
            yield told, "expired", lambda after, result=result: after.expire(i, result)


def _may_expire(world: World, x: Instance) -> bool:
    return x.state == "Pending:Wait" and x.launched_at + SETTINGS.hook_timeout <= world.now


def _reroot(world: World, i: str) -> None:
    """Stock Postfix on another volume, under the same id; it goes through the launch hook again, if there is one."""
    old = world.instances.pop(i)
    world.launch(i, old.group)
    world.instances[i].volume = old.volume + "+"


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


def key(state: State) -> int:
    """What tells two states apart."""
    world, limits = state
    return hash((_facts(world), limits))


def _facts(world: World) -> Any:
    """All facts, with times by order and class of age."""
    times: list[int] = []
    take = times.append
    facts: list[Any] = [
        tuple(world.tags.values()),
        [(b.policies, b.backend.get(25)) for b in world.balancers.values()],
        [(g.balancers, g.hook) for g in world.groups.values()],
        tuple(world.recorded),
    ]
    for known in (world.off_since, world.hooked_since):
        for k, v in sorted(known.items()):
            facts.append(k)
            take(v)
    for v in world.sent_until.values():
        take(v if v > world.now else 0)
    for port, r in world.refusals.items():
        facts.append((port, min(r.times, 3)))
        take(r.until)
    for port, a in world.attachments.items():
        facts.append((port, min(a.times, 4)))
        take(a.at)
    for name, breaker in sorted(world.breakers.items()):
        facts.append((name, breaker.given_up))
        take(breaker.at)
    for i, x in sorted(world.instances.items()):
        facts.append((i, x.volume, x.state, x.expects, x.able, x.result))
        times += (x.launched_at, x.fence)
    for m, r in sorted(world.records.items()):
        facts.append((m, r.outcome, r.proxy, r.plain, r.admitted, min(r.overwritten, 3), _ask(r), r.answered == 0))
        facts.append((r.unheard > 0, min(r.tries, 4), r.told))
        times += (
            r.asked_at,
            r.first_asked_at,
            r.answered,
            r.stored,
            r.ask.epoch if r.ask else 0,
            r.admitted_at,
            r.held_at,
        )
    for m, a in world.queue:
        facts.append((m, a.verb, a.ports))
        take(a.epoch)
    for m, t in world.answers:
        facts.append((m, t.status, t.outcome, t.proxy, t.plain, t.ask.verb, t.ask.ports))
        times += (t.ask.epoch, t.stored)
    facts.append(tuple(world.admissions))
    return hash((_frozen(facts), _ranks(times, world.now)))


def _frozen(facts: list[Any]) -> tuple[Any, ...]:
    """The same as a value that can be hashed."""
    return tuple(tuple(f) if isinstance(f, list) else f for f in facts)


def _ask(record: Record) -> Any:
    return record.ask and (record.ask.verb, record.ask.ports)


def _ranks(times: list[int], now: int) -> tuple[Any, ...]:
    order = {t: (n, bisect(AGES, now - t), bisect(AGES, t - now)) for n, t in enumerate(sorted(set(times)))}
    return tuple([order[t] if t else None for t in times])


def _short(what: Any) -> str:
    match what:
        case (Machine(instance_id=i), Told(ask=ask) as told):
            said = told.outcome.value if told.outcome else told.status
            return f"{i} to {ask.verb.value} {sorted(ask.ports)}: {said}"
        case (Machine(instance_id=i), *rest):
            return f"{i} {rest[0]}"
    return str(what)
