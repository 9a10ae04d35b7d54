"""What is there: load balancers, groups and instances that must agree, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from smtp_fleet.evidence import Machine, Record, Verb
from smtp_fleet.outcome import Outcome
from smtp_fleet.settings import Marks, MindSettings
from smtp_fleet.tag import Mode, Wish

HOOK_NAME = "smtp-fleet"
"""The fixed name of the launch lifecycle hook that the stack keeps on the groups of its fleets."""

WAITING = ("Pending:Wait", "Warmed:Pending:Wait")
"""The lifecycle states in which a launch waits at a hook: on its way into service, or into the warm pool."""


@dataclass(frozen=True)
class Listener:
    """A front port of a load balancer and the instance port behind it, with both protocols in capitals."""

    port: int
    protocol: str
    instance_port: int
    instance_protocol: str


@dataclass(frozen=True)
class LoadBalancer:
    """A classic load balancer as the API describes it; `backend` maps instance ports to all policy names on them.

    `assumed` tells that the type of its one policy was taken from its name, which is ours, and not read.
    """

    name: str
    listeners: tuple[Listener, ...] = ()
    policies: frozenset[str] = frozenset()
    proxy_policies: frozenset[str] = frozenset()
    backend: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    instances: frozenset[str] = frozenset()
    assumed: bool = False
    security_groups: frozenset[str] = frozenset()

    def on(self, port: int) -> tuple[str, ...]:
        """The names of all policies on an instance port, in the order that the API tells."""
        return self.backend.get(port, ())

    def sends(self, port: int) -> bool:
        """Whether it sends the header on an instance port: judged by the policies' type and attribute, not by name."""
        return not self.proxy_policies.isdisjoint(self.on(port))

    def marked_ports(self, policy_name: str) -> frozenset[int]:
        """The instance ports on which it sends by the policy of our name: ours, whatever its tag says."""
        return frozenset(port for port, on in self.backend.items() if policy_name in on and self.sends(port))

    def behind(self, ports: frozenset[int]) -> frozenset[int]:
        """The instance ports behind these front ports."""
        return frozenset(listener.instance_port for listener in self.listeners if listener.port in ports)


@dataclass(frozen=True)
class Hook:
    """A launch lifecycle hook: what happens when it expires, and after how many seconds."""

    default_result: str
    timeout: int


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group.

    `hooked_since` is when our hook was read back, 0 where no such time is known; `target_ports` tells the port of each
    target group by which a network or application load balancer feeds its instances; `has_pool`: has a warm pool;
    `configuration` names what it launches: a launch template and its version, or a launch configuration.
    """

    name: str
    balancers: frozenset[str] = frozenset()
    states: Mapping[str, str] = field(default_factory=dict)
    hook: Hook | None = None
    hooked_since: int = 0
    target_ports: Mapping[str, int] = field(default_factory=dict)
    has_pool: bool = False
    configuration: str = ""

    @property
    def off_key(self) -> tuple[str, int]:
        """Under which the ledger keeps since when nobody of a fleet feeds the group; no balancer has such a name."""
        return f"group:{self.name}", 0

    def matches(self, pattern: str) -> bool:
        """Whether the stack may put its hook on the group: an IAM wildcard pattern over its name."""
        return fnmatchcase(self.name, pattern)


@dataclass(frozen=True)
class Root:
    """The root volume of an instance, when it was launched (seconds since 1970), and whether it was terminated."""

    volume: str
    launched_at: int
    gone: bool = False


@dataclass(frozen=True)
class Member:
    """An instance of the fleet: `waits` at a launch hook, and `serves`: may take traffic without our leave.

    One that is `pooled` rests in the warm pool, perhaps stopped: it serves only once it has waited at the hook again.
    """

    record: Record
    group: str = ""
    waits: bool = False
    serves: bool = True
    launched_at: int = 0
    pooled: bool = False

    @property
    def machine(self) -> Machine:
        """The instance and its root volume."""
        return self.record.machine

    @property
    def expected_ports(self) -> frozenset[int]:
        """The ports on which it was last asked to expect the header."""
        ask = self.record.ask
        return ask.ports if ask and ask.verb is Verb.EXPECT else frozenset()

    def stays(self, port: int) -> bool:
        """Whether it was asked to let go of a port, and answered that it is edited by others: theirs from then on."""
        ask = self.record.ask
        return self.record.outcome is Outcome.EDITED and bool(ask and ask.verb is Verb.EXPECT and port not in ask.ports)


@dataclass(frozen=True)
class Refusal:
    """A cutover that was refused: why, how often in a row, and until when (seconds since 1970)."""

    why: str
    times: int
    until: int


@dataclass(frozen=True)
class Attachment:
    """How often a policy was attached without being taken off by us in between, and when last (seconds since 1970)."""

    times: int
    at: int


@dataclass(frozen=True)
class Breaker:
    """The latest launches of a group that were given up in a row, when last (seconds since 1970), of what, and why."""

    given_up: tuple[str, ...]
    at: int
    configuration: str
    why: str = ""


@dataclass(frozen=True)
class Index:
    """Where something of ours may be, whatever tags and policies say.

    `groups` may have our hook, and instances behind `balancers` may expect the header.
    """

    groups: frozenset[str] = frozenset()
    balancers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """What was found wrong with a fleet, and with what is around it, looked at when (seconds since 1970; 0: never)."""

    within: frozenset[str] = frozenset()
    around: frozenset[str] = frozenset()
    looked_around_at: int = 0


@dataclass(frozen=True)
class Fleet:
    """What must agree, observed at `now`.

    `off_since` tells since when each (balancer, instance port) is known off, `refusals` which ports were refused, and
    `attachments` on which the policy was attached lately; `breakers` tells of the groups whose launches were given up,
    and `recorded` which balancers are known to have instances that may expect.
    """

    now: int
    balancers: tuple[LoadBalancer, ...]
    wishes: Mapping[str, Wish]
    groups: tuple[Group, ...] = ()
    members: tuple[Member, ...] = ()
    off_since: Mapping[tuple[str, int], int] = field(default_factory=dict)
    refusals: Mapping[int, Refusal] = field(default_factory=dict)
    attachments: Mapping[int, Attachment] = field(default_factory=dict)
    breakers: Mapping[str, Breaker] = field(default_factory=dict)
    recorded: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """The names of its load balancers, for people."""
        return " ".join(balancer.name for balancer in self.balancers) or " ".join(g.off_key[0] for g in self.groups)

    def ports(self, settings: MindSettings) -> tuple[int, ...]:
        """The instance ports that it is about: those asked for, ours, or asked of machines."""
        found = [
            b.behind(self._front_ports(b, settings)) | our_ports(b, self.wishes[b.name], settings)
            for b in self.balancers
        ]
        asked_about = [m.expected_ports | m.record.proxy | m.record.told for m in self.members]
        return tuple(sorted(frozenset().union(*found, *asked_about)))

    def _front_ports(self, balancer: LoadBalancer, settings: MindSettings) -> frozenset[int]:
        """Those that its tag asks for; of one that lost its tag and is recorded, the mail ports."""
        wished = self.wishes[balancer.name]
        lost = settings.mail_ports if balancer.name in self.recorded else frozenset()
        return wished.ports if wished.mode is not Mode.ABSENT else lost

    def off_keys(self, settings: MindSettings) -> tuple[tuple[str, int], ...]:
        """Under which the ledger keeps since when each balancer is off, and each group was without one."""
        ports = self.ports(settings)
        return (*((b.name, port) for b in self.balancers for port in ports), *(g.off_key for g in self.groups))


def our_ports(balancer: LoadBalancer, wish: Wish, settings: MindSettings | Marks) -> frozenset[int]:
    """The instance ports on which a balancer sends by our doing.

    All on which the policy of our name is; and of a tagged balancer those behind mail ports, by a policy of any name.
    """
    marked = balancer.marked_ports(settings.policy_name)
    if wish.mode is Mode.ABSENT:
        return marked
    mail = balancer.behind(settings.mail_ports | wish.ports)
    return marked | {port for port in mail if balancer.sends(port)}


def ours(balancer: LoadBalancer, wish: Wish, policy_name: str) -> bool:
    """Whether a balancer concerns us: it is tagged, or it sends by the policy of our name."""
    return wish.mode is not Mode.ABSENT or bool(balancer.marked_ports(policy_name))


def neighbours(names: frozenset[str], groups: Iterable[Group]) -> frozenset[str]:
    """The balancers that share groups with `names`, near or far, and these themselves."""
    wider = names.union(*(group.balancers for group in groups if group.balancers & names))
    return names if wider == names else neighbours(wider, groups)


def reach(balancer: LoadBalancer, groups: Iterable[Group]) -> frozenset[str]:
    """The instances that a balancer feeds, or may feed by and by: those registered and those of its groups."""
    return balancer.instances.union(*(group.states for group in groups if balancer.name in group.balancers))


def parts(balancers: Iterable[LoadBalancer], groups: Iterable[Group]) -> list[tuple[LoadBalancer, ...]]:
    """The balancers, parted so that those that share a group or an instance, registered or not, stay together."""
    rest, all_groups = sorted(balancers, key=lambda b: b.name), tuple(groups)
    reached = {b.name: reach(b, all_groups) for b in rest}
    found = []
    while rest:
        part = [rest.pop(0)]
        for one in part:  # grows while it is read
            near = neighbours(frozenset({one.name}), all_groups)
            part += [b for b in rest if b.name in near or reached[b.name] & reached[one.name]]
            rest = [b for b in rest if b not in part]
        found.append(tuple(sorted(part, key=lambda b: b.name)))
    return found


def member(state: str, group: Group | None, registered: bool, root: Root, record: Record) -> Member:
    """How an instance takes part: it serves unless it certainly waits under our own hook, unadmitted."""
    waits = state in WAITING and group is not None and group.hook is not None
    pooled = state.startswith("Warmed:") and not waits and not registered
    # An instance that launched before our hook was on the group waits for somebody else's hook, not for ours.
    held = waits and group is not None and 0 < group.hooked_since <= root.launched_at
    return Member(
        record=record,
        group=group.name if group else "",
        waits=waits,
        serves=not pooled and (registered or record.admitted or not held),
        launched_at=root.launched_at,
        pooled=pooled,
    )


def is_ending(state: str) -> bool:
    """Whether an instance in this lifecycle state is on its way out, and comes back no more."""
    return state.removeprefix("Warmed:").startswith("Terminat")
