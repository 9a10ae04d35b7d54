"""How an ask can end, and what follows from each end: the one table of failure classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

RETRY_WAIT, LONGEST_RETRY_WAIT = 30, 300
"""Seconds before an ask that ended without a usable answer is sent again: at first, and at most; doubled each time."""


class Outcome(Enum):
    """How an ask ended: the document's classes, and three that only the sender can see."""

    OK = "ok"
    NOT_READY = "not-ready"
    BROKEN = "broken"
    REFUSED = "refused"
    EDITED = "edited"
    OLDER_EPOCH = "older-epoch"
    FAILED = "failed"
    LOST = "lost"
    ABSENT = "agent-absent"
    BUG = "bug"


class Again(Enum):
    """When an instance is asked the same again."""

    NEVER = "not again"
    BACK_OFF = "after 30 s, doubled each time up to 5 minutes"
    INTERVAL = "each check interval"


class Launch(Enum):
    """What becomes of a launch that waits at our hook while the fleet sends."""

    ADMIT = "admitted"
    WAIT = "waits, until its hook ends it"
    ABANDON = "given up, unless the breaker is open"
    HOLD = "held"


@dataclass(frozen=True)
class Policy:
    """What an outcome means, when the same is asked again, and what becomes of a launch."""

    meaning: str
    again: Again
    launch: Launch


POLICIES: Mapping[Outcome, Policy] = MappingProxyType({
    Outcome.OK: Policy("done, or was so already", Again.NEVER, Launch.ADMIT),
    Outcome.NOT_READY: Policy("cloud-init or Postfix is not up yet", Again.BACK_OFF, Launch.WAIT),
    Outcome.LOST: Policy("a command was sent, and nothing came back", Again.BACK_OFF, Launch.WAIT),
    Outcome.OLDER_EPOCH: Policy("the host has obeyed a newer ask", Again.BACK_OFF, Launch.WAIT),
    Outcome.ABSENT: Policy("its agent did not come online in `AgentWaitSeconds`", Again.INTERVAL, Launch.ABANDON),
    Outcome.BROKEN: Policy("no Postfix, a broken one, or a full disk", Again.INTERVAL, Launch.ABANDON),
    Outcome.REFUSED: Policy("its configuration cannot speak PROXY safely", Again.INTERVAL, Launch.ABANDON),
    Outcome.EDITED: Policy("others have edited what we would have to change", Again.INTERVAL, Launch.ABANDON),
    Outcome.FAILED: Policy("it was changed, could not be proven, and was put back", Again.INTERVAL, Launch.ABANDON),
    # A bug of ours would only be met again by its successor.
    Outcome.BUG: Policy("the document failed without a verdict: our bug", Again.INTERVAL, Launch.HOLD),
})  # fmt: skip
"""Every outcome with what follows from it."""

CANNOT = frozenset(outcome for outcome, policy in POLICIES.items() if policy.again is Again.INTERVAL)
"""Outcomes that asking again at once does not mend."""

HOPELESS = frozenset(outcome for outcome, policy in POLICIES.items() if policy.launch is Launch.ABANDON)
"""Outcomes for which a launching instance is given up."""

HELD = frozenset(outcome for outcome, policy in POLICIES.items() if policy.launch is Launch.HOLD)
"""Outcomes for which a launching instance is neither let in nor given up."""


def retry_wait(tries: int) -> int:
    """Seconds to wait before the same is asked again, when it was asked `tries` times in vain before."""
    return min(RETRY_WAIT << min(tries, 10), LONGEST_RETRY_WAIT)
