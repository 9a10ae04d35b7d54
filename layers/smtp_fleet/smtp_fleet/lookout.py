"""Looks, in sweeps and now and then, at what is around the fleets that send, and says what an operator should mend.

Where Postfix expects the header, whoever reaches its port past the balancer writes the client's address himself.
Nothing is changed: neither security groups nor a balancer's attributes are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from smtp_fleet.fleet import Fleet, Found
from smtp_fleet.mend import Mend, mends
from smtp_fleet.observe import Gateways
from smtp_fleet.settings import MindSettings

AT_ONCE = 10
"""Fleets looked around in one sweep: each balancer costs a call, and the API of Elastic Load Balancing throttles."""


class Lookout:
    """One sweep's worth of looking around; `say` takes a constant phrase and keys, `clock` gives seconds since 1970."""

    def __init__(
        self, settings: MindSettings, aws: Gateways, clock: Callable[[], int], say: Callable[..., None]
    ) -> None:
        self._settings = settings
        self._aws = aws
        self._clock = clock
        self._say = say
        self._left = AT_ONCE

    def look(self, fleet: Fleet, known: Found, keys: Mapping[str, Any], in_sweep: bool) -> None:
        """Look around a fleet whose last look is a check interval ago; what is said has these keys beside it."""
        ports = tuple(p for p in fleet.ports(self._settings) if any(b.sends(p) for b in fleet.balancers))
        due = self._clock() >= known.looked_around_at + self._settings.check_interval
        if ports and fleet.members:
            if in_sweep and due and self._left:
                self._look_around(fleet, ports, known, keys)
        elif known.looked_around_at:
            self._say_changes((), known, keys)
            self._aws.ledger.forget_around(fleet.name)

    def _look_around(self, fleet: Fleet, ports: tuple[int, ...], known: Found, keys: Mapping[str, Any]) -> None:
        self._left -= 1
        knobs = {b.name: self._aws.balancers.knobs(b.name) for b in fleet.balancers}
        found = mends(ports, self._aws.around.of(fleet), knobs)
        self._say_changes(found, known, keys)
        self._aws.ledger.record_around(fleet.name, [mend.what for mend in found], self._clock())

    def _say_changes(self, found: tuple[Mend, ...], known: Found, keys: Mapping[str, Any]) -> None:
        for mend in found:
            if mend.what not in known.around:
                self._say("finding", **keys, finding=mend.what, detail=mend.detail, mend=list(mend.commands))
        for over in sorted(known.around - {mend.what for mend in found}):
            self._say("finding is over", **keys, finding=over)
