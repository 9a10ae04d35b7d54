"""A fleet seen from one instance port: who sends, who expects, which way it should go, and what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from smtp_fleet.evidence import Record, Speaks
from smtp_fleet.fleet import Fleet, LoadBalancer, Member
from smtp_fleet.owner import Owner, advice
from smtp_fleet.settings import MindSettings
from smtp_fleet.tag import Mode


class Direction(Enum):
    """Which way an instance port is to go; STAY changes nothing."""

    ON = "on"
    OFF = "off"
    STAY = "stay"


@dataclass(frozen=True)
class View:
    """One instance port of a fleet."""

    fleet: Fleet
    port: int
    settings: MindSettings

    @property
    def feeding(self) -> tuple[LoadBalancer, ...]:
        """The balancers that have a listener on this instance port, or send on it; all, where its listener is gone."""
        found = tuple(
            b
            for b in self.fleet.balancers
            if b.sends(self.port) or any(x.instance_port == self.port for x in b.listeners)
        )
        return found or self.fleet.balancers

    @property
    def sending(self) -> tuple[LoadBalancer, ...]:
        """The balancers that send the header here."""
        return tuple(b for b in self.feeding if b.sends(self.port))

    @property
    def silent(self) -> tuple[LoadBalancer, ...]:
        """The balancers that feed this port without the header."""
        return tuple(b for b in self.feeding if not b.sends(self.port))

    @property
    def modes(self) -> frozenset[Mode]:
        """What the tags of the feeding balancers ask for."""
        return frozenset(self.fleet.wishes[b.name].mode for b in self.feeding)

    @property
    def held_back(self) -> str:
        """Why nothing may change its direction, if so: `audit` by setting or tag, or `paused`."""
        return "audit" if self.settings.audit or Mode.AUDIT in self.modes else "paused" if self.settings.paused else ""

    @property
    def asked_for(self) -> bool:
        """Whether a tag asks for a mail listener on this instance port."""
        wishes = [(b, self.fleet.wishes[b.name]) for b in self.feeding]
        return any(wish.mode is not Mode.ABSENT and self.port in b.behind(wish.ports) for b, wish in wishes)

    @property
    def direction(self) -> Direction:
        """Sending dominates: while anybody sends, only an uncontradicted, not held back `disabled` ends it."""
        disabled = Mode.DISABLED in self.modes and self.modes <= {Mode.DISABLED, Mode.ABSENT}
        if self.sending:
            senders = {self.fleet.wishes[b.name].mode for b in self.sending}
            ends = disabled and senders == {Mode.DISABLED} and not self.held_back
            return Direction.OFF if ends else Direction.ON
        if disabled or not self.asked_for:
            return Direction.OFF
        wanted = self.modes <= {Mode.ENABLED, Mode.AUDIT, Mode.ABSENT}
        return Direction.ON if wanted else Direction.STAY

    @property
    def settled_in(self) -> int:
        """Seconds until every feeding balancer has been known off for the settle time; 0: all have."""
        if self.sending:
            return self.settings.settle
        since = [self.fleet.off_since.get((b.name, self.port), self.fleet.now) for b in self.feeding]
        return max((max(0, at + self.settings.settle - self.fleet.now) for at in since), default=0)

    @property
    def known_off(self) -> bool:
        """Whether the ledger knows since when each feeding balancer is off."""
        return all((b.name, self.port) in self.fleet.off_since for b in self.feeding)

    @property
    def floor(self) -> int:
        """Evidence for attaching must be newer than this (seconds since 1970): all were known off, no refusal held."""
        off = [self.fleet.off_since.get((b.name, self.port), self.fleet.now) for b in self.feeding]
        refusal = self.fleet.refusals.get(self.port)
        return max([*off, refusal.until if refusal else 0], default=0)

    @property
    def refused_for(self) -> int:
        """Seconds for which a refusal still holds."""
        refusal = self.fleet.refusals.get(self.port)
        return max(0, refusal.until - self.fleet.now) if refusal else 0

    def is_fresh(self, m: Member) -> bool:
        """Whether a member answered what it was last asked, and was asked since the balancers were known off."""
        return m.record.is_answered and m.record.asked_at > self.floor

    @property
    def has_traces(self) -> bool:
        """Whether anything of ours is still there: our hook on a group, or the policy of our name on a balancer."""
        hooked = any(group.hook for group in self.fleet.groups)
        return hooked or any(self.settings.policy_name in b.proxy_policies for b in self.feeding)

    @property
    def is_clean(self) -> bool:
        """Whether nothing of ours is left that switching off concerns: no hook, policy, or row of a machine."""
        known = self.fleet.recorded or any(m.record != Record(m.machine) for m in self.fleet.members)
        return not (self.sending or self.has_traces or known)

    def speaking(self, *speaks: Speaks) -> tuple[Member, ...]:
        """The members known to speak one of these here (unknown included if named), but for those in a warm pool."""
        return tuple(m for m in self.fleet.members if not m.pooled and m.record.speaks(self.port) in speaks)

    def findings(self) -> tuple[str, ...]:
        """What is odd about the tags here, whether or not it stops us."""
        wishes = [(b, self.fleet.wishes[b.name]) for b in self.feeding]
        unclear = [f"load balancer {b.name}: {wish.finding}" for b, wish in wishes if wish.finding]
        vanished = [
            f"load balancer {b.name}: tag vanished while sending"
            for b, wish in wishes
            if wish.mode is Mode.ABSENT and b.sends(self.port)
        ]
        contradict = Mode.DISABLED in self.modes and bool(self.modes & {Mode.ENABLED, Mode.AUDIT})
        against = (
            [f"tags on instance port {self.port} contradict each other: no direction is changed"] if contradict else []
        )
        return (*unclear, *vanished, *against, *self._owners())

    def _owners(self) -> tuple[str, ...]:
        """Who else describes the balancers that are to send here, and what should stand in that description."""
        enabled = [
            (b, self.fleet.wishes[b.name]) for b in self.feeding if self.fleet.wishes[b.name].mode is Mode.ENABLED
        ]
        return tuple(
            f"load balancer {b.name} is managed by {wish.owner.value}, which may undo the policy; once it is on, add "
            f"there: {advice(wish.owner, b.name, self.settings.policy_name, b.behind(wish.ports))}"
            for b, wish in enabled
            if wish.owner is not Owner.NOBODY
        )
