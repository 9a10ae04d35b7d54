"""All that a plan depends on, read from AWS and the ledger: fleets, groups that left theirs, and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from smtp_fleet.around import Around
from smtp_fleet.autoscaling import Groups
from smtp_fleet.ec2 import Instances
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.events import Where
from smtp_fleet.evidence import Machine, Record, answered, believe
from smtp_fleet.fleet import Fleet, Group, Index, LoadBalancer, Root, is_ending, member, neighbours, ours, parts, reach
from smtp_fleet.ledger import Ledger
from smtp_fleet.outcome import Outcome
from smtp_fleet.settings import MindSettings
from smtp_fleet.sqs import Queue
from smtp_fleet.ssm import Answers, comment
from smtp_fleet.tag import Tags, Wish, wish

Part = tuple[tuple[LoadBalancer, ...], dict[str, Wish]]


@dataclass(frozen=True)
class Gateways:
    """Everything that the mind reads and writes."""

    balancers: LoadBalancers
    groups: Groups
    instances: Instances
    answers: Answers
    ledger: Ledger
    wakes: Queue
    asks: Queue
    around: Around


class Observer:
    """Reads, and writes nothing but what instances have answered."""

    def __init__(
        self,
        settings: MindSettings,
        aws: Gateways,
        clock: Callable[[], int],
        say: Callable[..., None],
        count: Callable[..., None],
    ) -> None:
        self._settings = settings
        self._aws = aws
        self._clock = clock
        self._say = say
        self._count = count

    def located(self, wheres: Mapping[str, Where]) -> dict[str, Where]:
        """The same wakes with the groups of the instances that they point at, looked up for all of them together."""
        instances = frozenset().union(*(where.instances for where in wheres.values()))
        found = self._aws.groups.groups_of(instances) if instances else {}
        return {
            i: replace(where, groups=where.groups | {found[each] for each in where.instances if each in found})
            for i, where in wheres.items()
        }

    def names(self, wheres: Mapping[str, Where], groups: list[Group]) -> dict[str, frozenset[str]]:
        """The balancers that each wake points at: through groups too, or because its instances are registered there.

        An instance may be in no group, or in one that was given no balancer, and be registered by hand.
        """
        found = {
            i: where.balancers.union(*(g.balancers for g in groups if g.name in where.groups))
            for i, where in wheres.items()
        }
        apart = frozenset().union(*(where.instances for i, where in wheres.items() if not found[i]))
        fed = self._aws.balancers.feeding(apart) if apart else {}
        for instance in sorted(apart.difference(*fed.values())):
            self._say("not in the fleet", instance_id=instance)
        return {
            i: names or frozenset(b for b, registered in fed.items() if registered & wheres[i].instances)
            for i, names in found.items()
        }

    def tags(self, where: Where) -> dict[str, Tags]:
        """The tag of each balancer that the wake points at; of a sweep, of each that has it."""
        key = self._settings.tag_key
        if where.everything:
            return self._aws.balancers.tagged(key)
        return self._aws.balancers.tags(where.balancers, key) if where.balancers else {}

    def any_marked(self, names: Iterable[str]) -> bool:
        """Whether any of the balancers sends by the policy of our name."""
        return any(b.marked_ports(self._settings.policy_name) for b in self._aws.balancers.read(names))

    def fleets(
        self, where: Where, tags: Mapping[str, Tags], groups: list[Group], index: Index
    ) -> tuple[list[Part], frozenset[str]]:
        """The balancers to look at, parted into fleets, with their wishes; and the names of those that are not ours."""
        balancers, key = self._aws.balancers, self._settings.tag_key
        if where.everything:
            nearby = frozenset().union(*(g.states for g in groups if g.balancers & tags.keys()))
            seen = balancers.read_all(tags.keys() | index.balancers, self._settings.policy_name, nearby)
            names = frozenset(b.name for b in seen)
            seen = seen + balancers.read(neighbours(names, groups) - names)
        else:
            names = neighbours(where.balancers, groups)
            seen = balancers.read(names)
            tags = {**tags, **balancers.tags(names - tags.keys(), key)}
        # A sweep has read these, too.
        others_too = [] if where.everything else self._sharing(seen, tags, groups, index)
        if others_too:
            seen = seen + others_too
            tags = {**tags, **balancers.tags([b.name for b in others_too], key)}
        found: list[Part] = []
        others: set[str] = set()
        for part in parts(seen, groups):
            wishes = {b.name: wish(tags.get(b.name, Tags()), self._settings.mail_ports) for b in part}
            if any(b.name in index.balancers or ours(b, wishes[b.name], self._settings.policy_name) for b in part):
                found.append((part, wishes))
            else:
                others |= wishes.keys()
        return found, frozenset(others)

    def _sharing(
        self, seen: list[LoadBalancer], tags: Mapping[str, Tags], groups: list[Group], index: Index
    ) -> list[LoadBalancer]:
        """Before a live fleet is switched on, or let go of: who else feeds its instances, without sharing a group."""
        silent = [b for b in seen if not any(b.sends(port) for port in b.backend)]
        live = [b for b in silent if b.name in index.balancers or tags.get(b.name, Tags()).value is not None]
        instances = frozenset().union(*(reach(b, groups) for b in live))
        return self._aws.balancers.read_sharing(instances, [b.name for b in seen]) if instances else []

    def orphans(self, where: Where, fleets: list[Part], groups: list[Group], index: Index) -> list[Group]:
        """Of the groups that may have our hook those without a balancer of a fleet, as far as the wake touches them."""
        served = frozenset(name for _, wishes in fleets for name in wishes)
        near = neighbours(where.balancers, groups)
        touched = [g for g in groups if where.everything or g.name in where.groups or g.balancers & near]
        return [g for g in touched if g.name in index.groups and not g.balancers & served]

    def left(self, group: Group) -> Fleet:
        """A group that left its fleet, without those of its instances that a balancer of another fleet feeds."""
        fleet = self.fleet((), {}, [group], Index())
        instances = frozenset(m.machine.instance_id for m in fleet.members)
        others = self._aws.balancers.read_sharing(instances, ()) if instances else []
        tags = self._aws.balancers.tags([b.name for b in others], self._settings.tag_key) if others else {}
        fed = frozenset().union(*(b.instances for b in others if b.name in tags and _serves(b, tags[b.name])))
        return replace(fleet, members=tuple(m for m in fleet.members if m.machine.instance_id not in fed))

    def fleet(
        self,
        balancers: tuple[LoadBalancer, ...],
        wishes: Mapping[str, Wish],
        groups: list[Group],
        index: Index,
    ) -> Fleet:
        """One fleet as it is now, the answers that came in meanwhile included."""
        aws = self._aws
        since, breakers = aws.ledger.groups([g.name for g in groups])
        pooled = [aws.groups.with_pool(g) for g in groups]
        hooked = tuple(aws.groups.with_targets(aws.groups.with_hook(g, since.get(g.name, 0))) for g in pooled)
        states = {i: (state, group) for group in hooked for i, state in group.states.items()}
        registered = frozenset().union(*(b.instances for b in balancers))
        ids = registered | {i for i, (state, _) in states.items() if not is_ending(state)}
        # An instance that EC2 does not show (yet) is one of unknown root volume: it counts, and cannot be asked.
        found = aws.instances.roots(ids)
        roots = {i: root for i in ids if not (root := found.get(i, Root("", 0))).gone}
        records = aws.ledger.records(Machine(i, root.volume) for i, root in roots.items())
        self._hear(records, [b.name for b in balancers])
        members = tuple(
            member(*states.get(i, _ALONE), i in registered, roots[i], records[Machine(i, roots[i].volume)])
            for i in sorted(roots)
        )
        recorded = index.balancers & wishes.keys()
        fleet = Fleet(self._clock(), balancers, wishes, hooked, members, breakers=breakers, recorded=recorded)
        off_since = aws.ledger.off_since(fleet.off_keys(self._settings))
        refusals, attachments = aws.ledger.cutovers(fleet.name, fleet.ports(self._settings))
        return replace(fleet, off_since=off_since, refusals=refusals, attachments=attachments)

    def _hear(self, records: dict[Machine, Record], balancers: list[str]) -> None:
        """Bring what the commands that are out have ended in into the records, and into the ledger.

        It is said first: the log is what is kept of it, and a word too often does no harm there.
        """
        out = {m: r for m, r in records.items() if r.ask and r.command_id and r.answered != r.ask.epoch}
        told = {command: self._aws.answers.invocations(command) for command in {r.command_id for r in out.values()}}
        for machine, record in out.items():
            invocation = told[record.command_id].get(machine.instance_id)
            answer = believe(record.ask, invocation) if record.ask and invocation else None
            if record.ask and invocation and answer:
                records[machine] = answered(record, answer)
                self._say(
                    "an instance answered",
                    instance_id=machine.instance_id,
                    command_id=record.command_id,
                    load_balancers=balancers,
                    asked=comment(record.ask, record.cause),
                    sent_at=record.sent_at,
                    status=invocation.details or invocation.status,
                    seconds=invocation.seconds,
                    outcome=answer.outcome.value,
                    answer=answer.reason,
                    detail=answer.detail,
                    speaks=answer.speaks,
                    changed=answer.changed,
                )
                self._aws.ledger.write(record, records[machine])
                self._count(_METRIC_OF.get(answer.outcome, "Failed"))


def _serves(balancer: LoadBalancer, tags: Tags) -> bool:
    """Whether a balancer is in a fleet, or sends by anybody's doing."""
    return tags.value is not None or any(balancer.sends(port) for port in balancer.backend)


_METRIC_OF = {Outcome.OK: "Configured", Outcome.REFUSED: "Refused", Outcome.NOT_READY: "NotReady"}
_ALONE: tuple[str, Group | None] = ("", None)
