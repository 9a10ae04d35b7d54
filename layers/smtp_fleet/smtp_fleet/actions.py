"""What can be done to a fleet, as values: a plan is made of these, and each says what it changes."""

from __future__ import annotations

from dataclasses import dataclass

from smtp_fleet.evidence import Ask, Machine
from smtp_fleet.fleet import Breaker
from smtp_fleet.outcome import Outcome

ABANDON, CONTINUE = "ABANDON", "CONTINUE"


@dataclass(frozen=True)
class PutHook:
    """Put our launch hook on a group; `anew` where it was not known to be there."""

    group: str
    default_result: str
    timeout: int
    anew: bool


@dataclass(frozen=True)
class RecordOff:
    """Write down that a balancer was seen not to send on an instance port."""

    balancer: str
    port: int


@dataclass(frozen=True)
class ForgetOff:
    """Strike out that a balancer was off on an instance port: it sends."""

    balancer: str
    port: int


@dataclass(frozen=True)
class RecordBalancer:
    """Write down that instances behind a balancer may come to expect the header, whatever its tag says later."""

    balancer: str


@dataclass(frozen=True)
class ForgetBalancer:
    """Strike out that instances behind a balancer may expect the header: all were let go of."""

    balancer: str


@dataclass(frozen=True)
class SetPolicies:
    """Set the whole list of policies on an instance port; the API replaces it, so those of others are in it.

    `create` names the ProxyProtocol policy to create first, if any; `sends` tells what the list makes of the port.
    """

    balancer: str
    port: int
    policies: tuple[str, ...]
    sends: bool
    create: str = ""


@dataclass(frozen=True)
class Send:
    """Ask machines, all the same, by Run Command."""

    ask: Ask
    machines: tuple[Machine, ...]


@dataclass(frozen=True)
class Admit:
    """Let an instance, launched at a time in seconds since 1970, into service."""

    machine: Machine
    group: str
    launched_at: int


@dataclass(frozen=True)
class Recall:
    """Strike out that an instance was admitted: it went into a warm pool, and will wait at the hook again."""

    machine: Machine


@dataclass(frozen=True)
class Reject:
    """Give a launching instance up, for a failure of this class and the reason that it gave, or that we saw."""

    machine: Machine
    group: str
    reason: str
    outcome: Outcome


@dataclass(frozen=True)
class Hold:
    """Begin the timeout of a waiting launch anew: it may neither go into service nor be given up."""

    machine: Machine
    group: str


@dataclass(frozen=True)
class DeleteHook:
    """Take our launch hook off a group on which nobody waits (waiting launches would be abandoned with it)."""

    group: str


@dataclass(frozen=True)
class DeletePolicy:
    """Delete the policy of our name, which is on no instance port any more."""

    balancer: str
    policy: str


@dataclass(frozen=True)
class Refuse:
    """Write down that a cutover was refused on an instance port, why, how often in a row, and until when (seconds)."""

    port: int
    why: str
    times: int
    until: int


@dataclass(frozen=True)
class RecordAttachment:
    """Write down how often the policy was attached to an instance port, just now included, and when (seconds)."""

    port: int
    times: int
    at: int


@dataclass(frozen=True)
class ForgetAttachment:
    """Strike out that the policy was attached to an instance port: it is taken off on request."""

    port: int


@dataclass(frozen=True)
class RecordBreaker:
    """Write down which launches of a group were given up in a row."""

    group: str
    breaker: Breaker


@dataclass(frozen=True)
class CloseBreaker:
    """Strike out that launches of a group were given up: one was good, or it launches something else now."""

    group: str


@dataclass(frozen=True)
class Relent:
    """Strike out that a cutover was refused: it succeeded."""

    port: int


@dataclass(frozen=True)
class Forget:
    """Strike a machine out of the ledger: nothing of ours is on it."""

    machine: Machine


OnInstances = Send | Admit | Recall | Reject | Hold | Forget
OnLedger = (
    RecordBalancer
    | ForgetBalancer
    | RecordOff
    | ForgetOff
    | Refuse
    | Relent
    | RecordAttachment
    | ForgetAttachment
    | RecordBreaker
    | CloseBreaker
)
OnBalancers = PutHook | DeleteHook | SetPolicies | DeletePolicy | OnLedger
Action = OnInstances | OnBalancers


@dataclass(frozen=True)
class Plan:
    """Why, what, whether something is waited for, and in how many seconds to look again (0: an event will tell)."""

    reason: str
    actions: tuple[Action, ...] = ()
    not_yet: bool = False
    again_in: int = 0
    findings: tuple[str, ...] = ()
