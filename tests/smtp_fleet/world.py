"""A small world of balancers, groups and instances that obeys AWS, to carry plans out in and to watch the law in.

Stricter than AWS is kind: an unknown policy, a duplicate policy or a stray admission is an error. Time is a number.
The data plane follows a policy that was taken off only after `LAG` seconds: it may send when the API says it is off.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from smtp_fleet.actions import (
    Action,
    Admit,
    DeleteHook,
    DeletePolicy,
    Forget,
    ForgetAttachment,
    ForgetOff,
    PutHook,
    RecordAttachment,
    RecordOff,
    Refuse,
    Reject,
    Relent,
    Send,
    SetPolicies,
)
from smtp_fleet.evidence import Answer, Ask, Machine, Outcome, Record, Verb, answered, asked
from smtp_fleet.fleet import Attachment, Fleet, Group, Hook, Listener, LoadBalancer, Refusal, Root, member
from smtp_fleet.settings import MindSettings
from smtp_fleet.tag import Tags, wish

LAG = 50
"""Seconds for which a balancer may go on sending after its policy was taken off; less than the settle time."""

SETTINGS = MindSettings(
    tag_key="smtp-proxy-protocol",
    mail_ports=frozenset({25}),
    policy_name="EnableProxyProtocol",
    audit=False,
    paused=False,
    live_cutover="at-once",
    cutover_budget=45,
    settle=60,
    check_interval=3600,
    hook_timeout=900,
    group_name_pattern="*",
    ledger_table="ledger",
    wakes_queue_url="wakes",
    asks_queue_url="asks",
)
SMTP = Listener(25, "TCP", 25, "TCP")


@dataclass
class Instance:
    """An instance: its root volume, lifecycle state, which ports its Postfix expects the header on, its fence."""

    volume: str
    group: str
    state: str
    launched_at: int
    expects: frozenset[int] = frozenset()
    fence: int = 0
    able: bool = True


@dataclass
class World:
    """Everything there is, and the ledger."""

    now: int = 1_000_000
    tags: dict[str, str | None] = field(default_factory=dict)
    balancers: dict[str, LoadBalancer] = field(default_factory=dict)
    sent_until: dict[tuple[str, int], int] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    instances: dict[str, Instance] = field(default_factory=dict)
    records: dict[Machine, Record] = field(default_factory=dict)
    off_since: dict[tuple[str, int], int] = field(default_factory=dict)
    hooked_since: dict[str, int] = field(default_factory=dict)
    queue: list[tuple[Machine, Ask]] = field(default_factory=list)
    answers: list[tuple[Machine, Answer]] = field(default_factory=list)
    admissions: list[tuple[Machine, str]] = field(default_factory=list)
    refusals: dict[int, Refusal] = field(default_factory=dict)
    attachments: dict[int, Attachment] = field(default_factory=dict)

    def fleet(self) -> Fleet:
        """What the mind would observe now."""
        wishes = {name: wish(Tags(tag), SETTINGS.mail_ports) for name, tag in self.tags.items()}
        groups = tuple(
            replace(
                g,
                states={i: x.state for i, x in self.instances.items() if x.group == name},
                hooked_since=self.hooked_since.get(name, 0) if g.hook else 0,
            )
            for name, g in sorted(self.groups.items())
            if g.balancers
        )
        by_name = {g.name: g for g in groups}
        balancers = tuple(replace(b, instances=self.registered(n)) for n, b in sorted(self.balancers.items()))
        members = []
        for i, x in sorted(self.instances.items()):
            if x.group not in by_name:
                continue
            machine = Machine(i, x.volume)
            record = self.records.get(machine, Record(machine))
            registered = any(i in b.instances for b in balancers)
            members.append(member(x.state, by_name.get(x.group), registered, Root(x.volume, x.launched_at), record))
        return Fleet(
            self.now,
            balancers,
            wishes,
            groups,
            tuple(members),
            dict(self.off_since),
            dict(self.refusals),
            dict(self.attachments),
        )

    def orphans(self) -> list[Fleet]:
        """The groups with our hook that nobody of a fleet feeds, as the mind would observe them."""
        left = {name: g for name, g in self.groups.items() if g.hook and not g.balancers}
        borrowed = World(
            self.now,
            groups={name: replace(g, balancers=frozenset({"-"})) for name, g in left.items()},
            instances=self.instances,
        )
        borrowed.records, borrowed.off_since, borrowed.hooked_since = self.records, self.off_since, self.hooked_since
        fleet = borrowed.fleet()
        return [
            replace(fleet, groups=(g,), members=tuple(m for m in fleet.members if m.group == g.name))
            for g in fleet.groups
        ]

    def registered(self, balancer: str) -> frozenset[str]:
        """The instances that take traffic from a balancer: those in service in a group behind it."""
        behind = {name for name, group in self.groups.items() if balancer in group.balancers}
        return frozenset(i for i, x in self.instances.items() if x.group in behind and x.state == "InService")

    def broken_law(self) -> list[str]:
        """Where a balancer sends and an instance that takes its traffic does not expect."""
        return [
            f"{name} sends to {i} on {port}, which does not expect it"
            for name, b in self.balancers.items()
            for i in self.registered(name)
            for port in {x.instance_port for x in b.listeners}
            if (b.sends(port) or self.sent_until.get((name, port), 0) > self.now)
            and port not in self.instances[i].expects
        ]

    def do(self, action: Action, cause: str = "") -> None:
        """Carry out one action of a plan, ledger included."""
        match action:
            case SetPolicies():
                self._set(action)
            case PutHook(group, result, timeout, anew):
                self.groups[group] = replace(self.groups[group], hook=Hook(result, timeout))
                if anew:
                    self.hooked_since[group] = self.now
            case RecordOff(balancer, port):
                self.off_since.setdefault((balancer, port), self.now)
            case ForgetOff(balancer, port):
                self.off_since.pop((balancer, port), None)
            case DeleteHook(group):
                self.groups[group] = replace(self.groups[group], hook=None)
                self.hooked_since.pop(group, None)
                for i in [i for i, x in self.instances.items() if x.group == group and x.state == "Pending:Wait"]:
                    del self.instances[i]  # AWS abandons those that wait
            case DeletePolicy(balancer, policy):
                b = self.balancers[balancer]
                assert not any(policy in on for on in b.backend.values()), "InvalidConfigurationRequest"
                left = b.policies - {policy}
                self.balancers[balancer] = replace(b, policies=left, proxy_policies=b.proxy_policies & left)
            case Refuse(port, why, times, until):
                self.refusals[port] = Refusal(why, times, until)
            case Relent(port):
                self.refusals.pop(port, None)
            case RecordAttachment(port, times, at):
                self.attachments[port] = Attachment(times, at)
            case ForgetAttachment(port):
                self.attachments.pop(port, None)
            case Forget(machine):
                self.records.pop(machine, None)
            case Reject(machine):
                x = self.instances.get(machine.instance_id)
                if x and x.volume == machine.volume and x.state == "Pending:Wait":
                    del self.instances[machine.instance_id]
            case Send(ask, machines):
                for machine in machines:
                    old = self.records.get(machine, Record(machine))
                    assert old.ask is None or ask.epoch >= old.ask.epoch, "epochs only grow"
                    self.records[machine] = asked(old, ask, self.now, cause)
                    self.queue.append((machine, ask))
            case Admit(machine, group):
                self.records[machine] = replace(self.records.get(machine, Record(machine)), admitted=True)
                self.admissions.append((machine, group))

    def _set(self, action: SetPolicies) -> None:
        key, b = (action.balancer, action.port), self.balancers[action.balancer]
        if action.create and action.create not in b.proxy_policies:  # the same again is accepted
            assert action.create not in b.policies, "DuplicatePolicyName"
            b = replace(b, policies=b.policies | {action.create}, proxy_policies=b.proxy_policies | {action.create})
        assert set(action.policies) <= b.policies, "PolicyNotFound"
        if action.sends:
            self.off_since.pop(key, None)
        was = b.sends(action.port)
        b = replace(b, backend={**b.backend, action.port: action.policies})
        assert b.sends(action.port) == action.sends
        self.balancers[action.balancer] = b
        if was and not action.sends:
            self.sent_until[key] = self.now + LAG
            self.off_since[key] = self.now

    def run(self, position: int) -> None:
        """Deliver one command: the host refuses an older epoch, else stores it, acts and answers."""
        machine, ask = self.queue.pop(position)
        x = self.instances.get(machine.instance_id)
        if x is None or x.volume != machine.volume:
            return
        if ask.epoch < x.fence:
            self.answers.append((machine, Answer(ask.epoch, Outcome.OLDER_EPOCH, stored=x.fence)))
            return
        x.fence = ask.epoch
        if ask.verb is Verb.EXPECT and (x.able or not ask.ports):
            x.expects = ask.ports
        outcome = Outcome.OK if x.able or not ask.ports else Outcome.REFUSED
        told = ask.ports if ask.verb is Verb.LOOK else ask.ports | {25}
        self.answers.append((machine, Answer(ask.epoch, outcome, x.expects & told, told - x.expects)))

    def answer(self, position: int) -> None:
        """Let one answer reach the ledger."""
        machine, told = self.answers.pop(position)
        if machine in self.records:
            self.records[machine] = answered(self.records[machine], told)

    def admit(self, position: int) -> None:
        """Complete one lifecycle action, if the instance still waits."""
        machine, _ = self.admissions.pop(position)
        x = self.instances.get(machine.instance_id)
        if x and x.volume == machine.volume and x.state == "Pending:Wait":
            x.state = "InService"

    def launch(self, instance_id: str, group: str, able: bool = True) -> None:
        """A launch: held where our hook is on the group, else in service at once."""
        hooked = self.groups[group].hook is not None
        state = "Pending:Wait" if hooked else "InService"
        self.instances[instance_id] = Instance(f"vol-{instance_id}", group, state, self.now, able=able)
