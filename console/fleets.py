"""The fleets of a Region as the functions see them: read by the same code, and nothing written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

from smtp_fleet.around import Around
from smtp_fleet.autoscaling import Groups
from smtp_fleet.ec2 import Instances
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.events import Where
from smtp_fleet.evidence import Machine, Record
from smtp_fleet.fleet import Attachment, Breaker, Fleet, Index, Refusal
from smtp_fleet.ledger import Ledger
from smtp_fleet.mend import Mend, mends
from smtp_fleet.observe import Gateways, Observer
from smtp_fleet.settings import MindSettings
from smtp_fleet.sqs import Queue
from smtp_fleet.ssm import Answers
from smtp_fleet.tag import Mode, Tags, wish


class Unwritten(Ledger):
    """The stack's ledger, read: an answer that came in meanwhile is shown, and left to the functions to write down."""

    def write(self, old: Record, new: Record) -> None:
        """Write nothing."""


class NothingKnown:
    """In the place of a ledger where no stack is deployed."""

    def records(self, machines: Iterable[Machine]) -> dict[Machine, Record]:
        """Nobody was ever asked anything."""
        return {machine: Record(machine) for machine in machines}

    def off_since(self, ports: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """No balancer is known off."""
        return {}

    def cutovers(self, fleet: str, ports: Iterable[int]) -> tuple[dict[int, Refusal], dict[int, Attachment]]:
        """No cutover was refused, no policy attached."""
        return {}, {}

    def groups(self, names: Iterable[str]) -> tuple[dict[str, int], dict[str, Breaker]]:
        """No hook is known, and no launch was given up."""
        return {}, {}

    def index(self) -> Index:
        """Nothing of ours is known to be anywhere."""
        return Index()


class Fleets:
    """What is in a Region, for one set of settings."""

    def __init__(
        self, client: Callable[[str], Any], told: MindSettings, ledger: Ledger | NothingKnown, clock: Callable[[], int]
    ) -> None:
        self._told, self._ledger = told, ledger
        self.balancers = LoadBalancers(client("elb"), client("resourcegroupstaggingapi"))
        self.groups = Groups(client("autoscaling"), client("elbv2"))
        nowhere = cast(Queue, None)  # the observer sends nothing
        self.around = Around(client("ec2"))
        gateways = Gateways(
            self.balancers,
            self.groups,
            Instances(client("ec2")),
            Answers(client("ssm")),
            cast(Ledger, ledger),
            nowhere,
            nowhere,
            self.around,
        )
        self._observer = Observer(told, gateways, clock, _silent, _silent)

    def tagged(self) -> dict[str, Tags]:
        """Every classic balancer with the tag, and what it says."""
        return self.balancers.tagged(self._told.tag_key)

    def tags(self, names: Iterable[str]) -> dict[str, Tags]:
        """What the named balancers say by the tag, if anything."""
        return self.balancers.tags(names, self._told.tag_key)

    def observe(self, tags: Mapping[str, Tags]) -> list[Fleet]:
        """The fleets of these balancers and of whoever sends by our policy, as a sweep would see them."""
        groups, index = self.groups.all(), self._ledger.index()
        parts, _ = self._observer.fleets(Where("look", everything=True), dict(tags), groups, index)
        fleets = []
        for part, wishes in parts:
            names = {b.name for b in part}
            fleets.append(self._observer.fleet(part, wishes, [g for g in groups if g.balancers & names], index))
        return [_typed(fleet, self.balancers) for fleet in fleets]

    def as_if_enabled(self, names: Iterable[str]) -> list[tuple[Fleet, bool]]:
        """The fleets of these balancers; where no tag says anything yet, True and as if each were tagged `enabled`."""
        real = self.tags(names)
        supposed = {n: t if t.value is not None else replace(t, value="enabled") for n, t in real.items()}
        return [self._supposed(fleet, real) for fleet in self.observe(supposed)]

    def mends(self, fleet: Fleet) -> tuple[Mend, ...]:
        """What is around a fleet that an operator should mend."""
        knobs = {b.name: self.balancers.knobs(b.name) for b in fleet.balancers}
        return mends(fleet.ports(self._told), self.around.of(fleet), knobs)

    def _supposed(self, fleet: Fleet, real: Mapping[str, Tags]) -> tuple[Fleet, bool]:
        wishes = {
            name: wish(real[name], self._told.mail_ports) if name in real else told
            for name, told in fleet.wishes.items()
        }
        said = any(told.mode is not Mode.ABSENT for told in wishes.values())
        return (replace(fleet, wishes=wishes), False) if said else (fleet, True)


def _typed(fleet: Fleet, balancers: LoadBalancers) -> Fleet:
    """The fleet with the types of its policies read, where the sweep takes one of our name for what it says."""
    if not any(b.assumed for b in fleet.balancers):
        return fleet
    return replace(fleet, balancers=tuple(balancers.read(b.name for b in fleet.balancers)))


def _silent(*_: Any, **__: Any) -> None:
    """The console prints what it finds, and keeps no log."""
