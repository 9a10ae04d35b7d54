"""How the fleets stand, in numbers for CloudWatch: gauges, decided here and counted once a round of the mind.

The metric format gathers every value that an invocation counts under one name: a gauge that was counted fleet by fleet
would be read as many observations of a small thing. So it is one value a round, over all that the round looked at, as
it was found before anything was done.

Only a sweep looks at everything: it tells every gauge, zeros included, in the round in which it comes to its end. Their
newest value, Average or Maximum is a state; Sum means nothing, and SampleCount is the number of sweeps. What an alarm
waits for is not left to the next sweep, before which a live mismatch is mended: every other round tells of those that
it met, and is silent where it met none. Read these by Maximum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields, replace

from smtp_fleet import breaker, drift, launch
from smtp_fleet.evidence import Speaks
from smtp_fleet.fleet import Fleet, LoadBalancer, our_ports
from smtp_fleet.settings import MindSettings
from smtp_fleet.tag import Mode
from smtp_fleet.view import View

Gauge = tuple[str, int, str]
"""A metric's name, its value and its unit."""


@dataclass(frozen=True)
class Tally:
    """Fleets in numbers: balancers that send and are right, instances, the longest wait in seconds, open breakers."""

    sending: int = 0
    right: int = 0
    expecting: int = 0
    waiting: int = 0
    longest_wait: int = 0
    mismatched: int = 0
    breakers: int = 0


def tally(fleet: Fleet, settings: MindSettings) -> Tally:
    """Count one fleet, or a group that left its own.

    A launch waits since it was launched. One that left a running warm pool was launched long before it began to wait:
    that is longer than the hook allows, by which it is known, unless it is held; it tells nothing of its wait.
    """
    views = [View(fleet, port, settings) for port in fleet.ports(settings)]
    waiting = launch.waiting(fleet.members)
    waits = [(m, fleet.now - m.launched_at) for m in waiting if m.launched_at]
    return Tally(
        sending=sum(bool(our_ports(b, fleet.wishes[b.name], settings)) for b in fleet.balancers),
        right=sum(_is_right(fleet, b, settings) for b in fleet.balancers),
        expecting=sum(bool(m.record.proxy) for m in fleet.members),
        waiting=len(waiting),
        longest_wait=max((s for m, s in waits if s <= settings.hook_timeout or m.record.held_at), default=0),
        mismatched=len({m.machine for view in views if view.sending for m in drift.mismatched(view)}),
        breakers=sum(breaker.is_open(fleet, group) for group in fleet.groups),
    )


def total(tallies: Iterable[Tally]) -> Tally:
    """All of them together: sums, and of waits the longest."""
    found = [astuple(each) for each in tallies] or [astuple(Tally())]
    added = Tally(*map(sum, zip(*found, strict=True)))
    return replace(added, longest_wait=max(Tally(*each).longest_wait for each in found))


def carried(numbers: tuple[int, ...]) -> Tally:
    """The total that an earlier round of the same sweep has left, as a tuple; nothing, if it left none."""
    return Tally(*numbers) if len(numbers) == len(fields(Tally)) else Tally()


def told(seen: Tally, tagged: int, everything: bool) -> Iterator[Gauge]:
    """What a round counts: `tagged` balancers, those of fleets that broke included, which are therefore not right."""
    for name, alarming in (("LiveMismatches", seen.mismatched), ("BreakerOpen", seen.breakers)):
        if everything or alarming:
            yield name, alarming, "Count"
    if everything:
        yield "BalancersTagged", tagged, "Count"
        yield "BalancersRight", seen.right, "Count"
        yield "BalancersSending", seen.sending, "Count"
        yield "InstancesExpecting", seen.expecting, "Count"
        yield "LaunchesWaiting", seen.waiting, "Count"
        yield "OldestLaunchWaiting", seen.longest_wait, "Seconds"


def _is_right(fleet: Fleet, balancer: LoadBalancer, settings: MindSettings) -> bool:
    """Whether a tagged balancer sends just where its tag asks for it, and whoever takes its traffic goes along.

    Where it sends, every serving instance must be known to expect; where it does not, none may be known to.
    """
    wish = fleet.wishes[balancer.name]
    if wish.mode in (Mode.ABSENT, Mode.UNCLEAR):
        return False
    asked = balancer.behind(wish.ports)
    serving = drift.serving(fleet)

    def agrees(port: int) -> bool:
        sends, speaks = balancer.sends(port), [m.record.speaks(port) for m in serving]
        as_asked = wish.mode is Mode.AUDIT or sends == (wish.mode is Mode.ENABLED and port in asked)
        return as_asked and (set(speaks) <= {Speaks.PROXY} if sends else Speaks.PROXY not in speaks)

    return all(map(agrees, asked | our_ports(balancer, wish, settings)))
