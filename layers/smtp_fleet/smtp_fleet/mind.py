"""The mind: looks where a wake points, plans each fleet, says why, and acts.

Level-triggered: it acts on what it reads under the lease, never on what a wake says. One broken fleet does not hold up
another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, replace
from functools import partial
from typing import Any

from smtp_fleet import events, gauges, orphan
from smtp_fleet.act import Actor, OutOfTime
from smtp_fleet.actions import Plan
from smtp_fleet.events import UnknownEvent, Where
from smtp_fleet.fleet import Fleet, Group, Index, LoadBalancer
from smtp_fleet.ledger import Superseded
from smtp_fleet.lookout import Lookout
from smtp_fleet.observe import Gateways, Observer
from smtp_fleet.plan import plan
from smtp_fleet.settings import MindSettings
from smtp_fleet.tag import Mode, Tags, Wish

LEASE = 180
"""Seconds of the lease: the function's limit and a minute more."""

LEASE_RETRY = 5
"""Seconds after which a wake that met a busy lease looks again."""

NOT_YET_VISIBLE = (5, 20, 60)
"""Seconds after which a new balancer that cannot be read yet is looked for again."""


class Mind:
    """One invocation's worth of deciding.

    `say` takes a constant phrase and keys, `count` a metric's name, `clock` gives seconds since 1970, and `left` the
    seconds that are left of the invocation.
    """

    def __init__(
        self,
        settings: MindSettings,
        aws: Gateways,
        clock: Callable[[], int],
        say: Callable[..., None],
        count: Callable[..., None],
        left: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._aws = aws
        self._clock = clock
        self._say = say
        self._observer = Observer(settings, aws, clock, say, count)
        self._count = count
        self._actor = Actor(aws, clock, count, left)
        self._left_out: set[str] = set()
        self._tallies: list[tuple[str, gauges.Tally]] = []
        self._lookout = Lookout(settings, aws, clock, say)

    def wake(self, bodies: Mapping[str, Any], holder: str) -> set[str]:
        """Handle the wakes of one batch, each body under its message id; returns the ids that must be tried again."""
        wheres, failed = self._read(bodies)
        if not wheres:
            return failed
        wheres = self._observer.located(wheres)
        groups = self._aws.groups.all() if any(w.groups for w in wheres.values()) else None
        names = self._observer.names(wheres, groups or [])
        merged = _merge(wheres.values(), names.values())
        tags = self._observer.tags(merged)
        for where in wheres.values():
            self._look_again(where, where.balancers - tags.keys())
        if not self._concerns_us(merged, tags):
            index = self._aws.ledger.index()
            groups = self._aws.groups.all() if index.groups and groups is None else groups
            if not (tags.keys() & index.balancers or self._observer.orphans(merged, [], groups or [], index)):
                self._say_none_of_ours(merged, tags, groups or [])
                return failed
        if not self._aws.ledger.take_lease(holder, self._clock(), LEASE):
            self._aws.wakes.send([events.wake(merged)], delay=LEASE_RETRY)
            self._say("lease is busy: looking again later", load_balancers=sorted(merged.balancers))
            return failed
        try:
            broken = self._reconcile(merged, tags, self._aws.groups.all() if groups is None else groups)
        finally:
            self._aws.ledger.give_back_lease(holder)
        return failed | {i for i, where in wheres.items() if broken & names[i] or (broken and where.everything)}

    def _read(self, bodies: Mapping[str, Any]) -> tuple[dict[str, Where], set[str]]:
        wheres, failed = {}, set()
        for message, body in bodies.items():
            try:
                wheres[message] = events.where(body)
            except UnknownEvent as error:
                self._say("event not understood: left to the dead-letter queue", error=str(error))
                failed.add(message)
        return wheres, failed

    def _look_again(self, where: Where, missing: frozenset[str]) -> None:
        """A balancer may be told of before it can be read: look a few times more, then leave it to the sweep."""
        if missing and where.cause == "CreateLoadBalancer" and where.tries < len(NOT_YET_VISIBLE):
            again = replace(where, balancers=missing, tries=where.tries + 1)
            self._aws.wakes.send([events.wake(again)], delay=NOT_YET_VISIBLE[where.tries])

    def _concerns_us(self, where: Where, tags: Mapping[str, Tags]) -> bool:
        """Whether a tag is set, or one of them sends; a balancer that is none of ours costs two reads."""
        tagged = any(told.value is not None for told in tags.values())
        return where.everything or tagged or self._observer.any_marked(tags)

    def _say_none_of_ours(self, where: Where, tags: Mapping[str, Tags], groups: list[Group]) -> None:
        for name in sorted(where.balancers):
            self._say("not in the fleet" if name in tags else "load balancer is not there", load_balancer=name)
        self._say_without_balancers(where, groups)

    def _say_without_balancers(self, where: Where, groups: list[Group], left: Iterable[Group] = ()) -> None:
        """A line for each group pointed at, unless there is one about its balancers or it is among those `left`."""
        told = {group.name for group in groups if group.balancers} | {group.name for group in left}
        for name in sorted(where.groups - told):
            self._say("not in the fleet", auto_scaling_group=name)

    def _reconcile(self, where: Where, tags: Mapping[str, Tags], groups: list[Group]) -> frozenset[str]:
        """Every fleet that the wake touches, on its own; returns the balancers of those that broke."""
        index = self._aws.ledger.index()
        parted, others = self._observer.fleets(where, tags, groups, index)
        broken: set[str] = set()
        for part, wishes in parted:
            names = frozenset(wishes)
            if where.everything and min(names) < where.begin:
                continue  # served by the round that this one goes on from
            nearby = [g for g in groups if g.balancers & names]
            if not self._trying(where, names, partial(self._look, part, wishes, nearby, index)):
                broken |= names
        if where.everything:
            self._strike_out(index.groups - {group.name for group in groups})
            self._strike_out_balancers(index.balancers.difference(*(wishes for _, wishes in parted)))
        left = self._observer.orphans(where, parted, groups, index)
        for group in left:
            if not self._trying(where, group.balancers, partial(self._look_at_left, group)):
                broken |= group.balancers
        for name in sorted(others):
            self._say("not in the fleet", load_balancer=name)
        for name in sorted((where.balancers | tags.keys()).difference(others, *(wishes for _, wishes in parted))):
            self._say("load balancer is not there", load_balancer=name)
        self._say_without_balancers(where, groups, left)
        if self._left_out:
            self._go_on(where)
        tagged = sum(wish.mode is not Mode.ABSENT for _, wishes in parted for wish in wishes.values())
        ended = where.everything and not self._left_out
        seen = [tally for _, tally in self._tallies] + [gauges.carried(where.seen)] * ended
        for gauge in gauges.told(gauges.total(seen), tagged, ended):
            self._count(*gauge)
        return frozenset(broken)

    def _strike_out(self, gone: frozenset[str]) -> None:
        """Groups that are gone took our hook with them."""
        for name in sorted(gone):
            self._say("a group is gone: nothing of it is kept", auto_scaling_group=name)
            self._aws.ledger.void_hook(name)
            self._aws.ledger.close_breaker(name)
            self._aws.ledger.forget_hook(name)

    def _strike_out_balancers(self, gone: frozenset[str]) -> None:
        """Balancers that are gone feed nobody."""
        for name in sorted(gone):
            self._say("a load balancer is gone: nothing of it is kept", load_balancer=name)
            self._aws.ledger.forget_balancer(name)

    def _go_on(self, where: Where) -> None:
        """Leave to another round what this one had no time for, and what a sweep has counted of all before it."""
        self._say("out of time: going on in another round", load_balancers=sorted(self._left_out))
        begin = min(self._left_out)
        again = replace(where, balancers=frozenset(self._left_out), begin=begin)
        if where.everything:
            # It goes on where it stopped: so many names would fit neither into a message nor into a read.
            done = [tally for first, tally in self._tallies if "" < first < begin]
            seen = gauges.total([gauges.carried(where.seen), *done])
            again = replace(again, balancers=frozenset(), seen=astuple(seen))
        self._aws.wakes.send([events.wake(again)], delay=1)

    def _look(
        self,
        part: tuple[LoadBalancer, ...],
        wishes: Mapping[str, Wish],
        groups: list[Group],
        index: Index,
        where: Where,
    ) -> None:
        self._serve(self._observer.fleet(part, wishes, groups, index), where)

    def _look_at_left(self, group: Group, where: Where) -> None:
        self._serve(self._observer.left(group), where)

    def _trying(self, where: Where, names: frozenset[str], step: Callable[[Where], None]) -> bool:
        try:
            self._actor.has_time()
            step(where)
        except OutOfTime:
            self._left_out |= names
        except Superseded:
            # The hand has recorded a command since the row was read: no fault, and the plan may be another now.
            again = replace(where, balancers=names, everything=False)
            self._aws.wakes.send([events.wake(again)], delay=LEASE_RETRY)
            self._say("the ledger changed meanwhile: looking again", load_balancers=sorted(names))
        except Exception as error:
            self._say("broken: left to the queue's retry", error=error, load_balancers=sorted(names))
            return False
        return True

    def _serve(self, fleet: Fleet, where: Where) -> None:
        """Plan one fleet, say it before anything is done, and do it."""
        if where.retagged & {b.name for b in fleet.balancers}:
            # Whoever tags has changed his mind, or the reason: what was answered before that counts no more.
            refusals = self._aws.ledger.hasten(fleet.name, fleet.refusals, self._clock())
            for group in fleet.breakers:
                self._aws.ledger.close_breaker(group)
            fleet = replace(fleet, refusals=refusals, breakers={})
        decision = self._plan(fleet)
        if decision.actions and any(b.assumed for b in fleet.balancers):
            fleet = replace(fleet, balancers=tuple(self._aws.balancers.read(b.name for b in fleet.balancers)))
            if not fleet.balancers:
                return  # deleted since; its groups are found at the next wake
            decision = self._plan(fleet)
        self._tallies.append((min(fleet.wishes, default=""), gauges.tally(fleet, self._settings)))
        keys: dict[str, Any] = {"load_balancers": [b.name for b in fleet.balancers]}
        keys |= {"auto_scaling_groups": [g.name for g in fleet.groups], "calls": sorted(where.by)}
        known = self._aws.ledger.findings(fleet.name)
        self._say_findings(fleet, decision, known.within, keys)
        self._say(
            decision.reason,
            **keys,
            instances=len(fleet.members),
            actions=[str(action) for action in decision.actions],
            findings=len(decision.findings),
            cause=where.cause,
        )
        self._actor.act(fleet, decision, where.cause)
        self._lookout.look(fleet, known, keys, where.everything)  # last: the fleet is served, whatever is around it

    def _plan(self, fleet: Fleet) -> Plan:
        return plan(fleet, self._settings) if fleet.balancers else orphan.plan(fleet, self._settings)

    def _say_findings(self, fleet: Fleet, decision: Plan, known: frozenset[str], keys: dict[str, Any]) -> None:
        """What is wrong is said once, and once more when it is over."""
        for finding in decision.findings:
            if finding not in known:
                self._say("finding", **keys, finding=finding)
        for finding in sorted(known.difference(decision.findings)):
            self._say("finding is over", **keys, finding=finding)
        if known != set(decision.findings):
            self._aws.ledger.record_findings(fleet.name, decision.findings)


def _merge(wheres: Iterable[Where], names: Iterable[frozenset[str]]) -> Where:
    """All wakes of a batch as one; the command history is told the first of their causes."""
    found = list(wheres)
    first = min((where for where in found if where.everything), key=lambda where: where.begin, default=found[0])
    return Where(
        cause=found[0].cause,
        balancers=frozenset().union(*names),
        groups=frozenset().union(*(where.groups for where in found)),
        retagged=frozenset().union(*(where.retagged for where in found)),
        everything=any(where.everything for where in found),
        begin=first.begin if first.everything else "",
        seen=first.seen,
        by=frozenset().union(*(where.by for where in found)),
    )
