"""How a fleet stands: the row of its plan, and what each instance was asked, what it said, and who is waited for.

Pure: a fleet as it was observed goes in, values to print come out.
"""

from __future__ import annotations

from dataclasses import dataclass

from smtp_fleet.evidence import Record, Standing
from smtp_fleet.fleet import Fleet, LoadBalancer, Member
from smtp_fleet.plan import plan
from smtp_fleet.settings import MindSettings
from smtp_fleet.tag import Wish


@dataclass(frozen=True)
class Host:
    """One instance of a fleet; times in seconds since 1970, 0: never or not known."""

    instance: str
    group: str
    state: str
    speaks: str
    asked: str
    cause: str
    command: str
    asked_at: int
    outcome: str
    reason: str
    waited_for: bool
    waits_at_hook: bool
    launched_at: int


@dataclass(frozen=True)
class FleetStanding:
    """One fleet: what each balancer is tagged and does, the row that it is in, and what is wrong with it.

    `again_in` is in how many seconds it is looked at again whatever happens; 0: at the next sweep.
    """

    balancers: tuple[str, ...]
    names: tuple[str, ...]
    ports: tuple[int, ...]
    row: str
    not_yet: bool
    again_in: int
    findings: tuple[str, ...]
    hosts: tuple[Host, ...]

    @property
    def waits(self) -> tuple[Host, ...]:
        """The instances whose answer is waited for."""
        return tuple(host for host in self.hosts if host.waited_for)


def standing(fleet: Fleet, settings: MindSettings) -> FleetStanding:
    """How a fleet stands by the plan that the functions would make of it."""
    decided, ports = plan(fleet, settings), fleet.ports(settings)
    return FleetStanding(
        balancers=tuple(_balancer(b, fleet.wishes[b.name], ports) for b in fleet.balancers),
        names=tuple(b.name for b in fleet.balancers),
        ports=ports,
        row=decided.reason,
        not_yet=decided.not_yet,
        again_in=decided.again_in,
        findings=decided.findings,
        hosts=tuple(_host(m, fleet.now, ports) for m in fleet.members),
    )


def _balancer(balancer: LoadBalancer, wish: Wish, ports: tuple[int, ...]) -> str:
    sends = [str(port) for port in ports if balancer.sends(port)]
    what = f"sends the header on {' '.join(sends)}" if sends else "sends no header"
    return f"{balancer.name} (tag: {wish.mode.value}): {what}"


def _host(member: Member, now: int, ports: tuple[int, ...]) -> Host:
    record = member.record
    return Host(
        instance=member.machine.instance_id,
        group=member.group,
        state="in the warm pool" if member.pooled else "waits at our hook" if not member.serves else "may serve",
        speaks=" ".join(f"{port}={record.speaks(port).value}" for port in ports),
        asked=_asked(record),
        cause=record.cause,
        command=record.command_id,
        asked_at=record.asked_at,
        outcome=record.outcome.value if record.is_answered and record.outcome else "",
        reason=record.reason,
        waited_for=not record.is_answered and record.standing(now) is Standing.OUT,
        waits_at_hook=member.waits and not member.serves,
        launched_at=member.launched_at,
    )


def _asked(record: Record) -> str:
    if record.ask is None:
        return ""
    return f"{record.ask.verb.value} {' '.join(map(str, sorted(record.ask.ports))) or 'none'}"
