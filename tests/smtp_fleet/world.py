"""A small world of balancers, groups and instances that obeys AWS, to carry plans out in and to watch the law in.

Stricter than AWS is kind: an unknown policy, a duplicate policy or a stray admission is an error. Time is a number.
The data plane follows a policy that was taken off only after `LAG` seconds: it may send when the API says it is off.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from smtp_fleet import orphan
from smtp_fleet.actions import (
    Action,
    Admit,
    CloseBreaker,
    DeleteHook,
    DeletePolicy,
    Forget,
    ForgetAttachment,
    ForgetBalancer,
    ForgetOff,
    Hold,
    Plan,
    PutHook,
    Recall,
    RecordAttachment,
    RecordBalancer,
    RecordBreaker,
    RecordOff,
    Refuse,
    Reject,
    Relent,
    Send,
    SetPolicies,
)
from smtp_fleet.evidence import CONTRACT, Answer, Ask, Invocation, Machine, Record, Verb, answered, asked, believe
from smtp_fleet.fleet import (
    Attachment,
    Breaker,
    Fleet,
    Group,
    Hook,
    Listener,
    LoadBalancer,
    Refusal,
    Root,
    is_ending,
    member,
    ours,
)
from smtp_fleet.outcome import Outcome
from smtp_fleet.plan import plan
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
    agent_wait=720,
    group_name_pattern="*",
    ledger_table="ledger",
    wakes_queue_url="wakes",
    asks_queue_url="asks",
)
SMTP = Listener(25, "TCP", 25, "TCP")


BEGUN = "begun"
"""The state of a launch that has begun, held by our hook or not, and that no API shows for up to `LAG` seconds."""


@dataclass
class Instance:
    """An instance: its root volume, lifecycle state, which ports its Postfix expects the header on, its fence.

    `result` is what the hook that it waits at would have ended in by itself when it began to wait; empty without one.
    One of no group was registered by hand, with every balancer.
    """

    volume: str
    group: str
    state: str
    launched_at: int
    expects: frozenset[int] = frozenset()
    fence: int = 0
    able: bool = True
    result: str = ""


@dataclass(frozen=True)
class Told:
    """What Systems Manager tells of a command: its status, and what the host printed of which ask, if anything."""

    ask: Ask
    status: str = "Success"
    outcome: Outcome | None = None
    proxy: frozenset[int] = frozenset()
    plain: frozenset[int] = frozenset()
    stored: int = 0

    def invocation(self, machine: Machine) -> Invocation:
        """The same as the API words it: the document's verdict, or none."""
        verdict = {
            "contract": CONTRACT,
            "verb": self.ask.verb.value,
            "epoch": self.ask.epoch,
            "class": self.outcome and self.outcome.value,
            "stored": self.stored,
            "ports": {str(p): "proxy" for p in self.proxy} | {str(p): "plain" for p in self.plain},
        }
        output = json.dumps(verdict) if self.outcome else ""
        return Invocation(machine.instance_id, self.status, self.status, output)


Write = tuple[str, Callable[[], object]]
"""One single write, under a name, and what it does."""


@dataclass
class World:
    """Everything there is, and the ledger; `able` tells whether what is launched could expect the header."""

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
    answers: list[tuple[Machine, Told]] = field(default_factory=list)
    admissions: list[tuple[Machine, str]] = field(default_factory=list)
    refusals: dict[int, Refusal] = field(default_factory=dict)
    attachments: dict[int, Attachment] = field(default_factory=dict)
    breakers: dict[str, Breaker] = field(default_factory=dict)
    recorded: dict[str, bool] = field(default_factory=dict)
    able: bool = True

    def fleet(self) -> Fleet:
        """What the mind would observe now."""
        wishes = {name: wish(Tags(tag), SETTINGS.mail_ports) for name, tag in self.tags.items()}
        groups = tuple(
            replace(
                g,
                states={i: x.state for i, x in self.instances.items() if x.group == name and x.state != BEGUN},
                hooked_since=self.hooked_since.get(name, 0) if g.hook else 0,
            )
            for name, g in sorted(self.groups.items())
            if g.balancers
        )
        by_name = {g.name: g for g in groups}
        balancers = tuple(replace(b, instances=self.registered(n)) for n, b in sorted(self.balancers.items()))
        members = []
        for i, x in sorted(self.instances.items()):
            if x.group not in {"", *by_name} or x.state == BEGUN or is_ending(x.state):
                continue
            machine = self.machine(i)
            record = self.records.get(machine, Record(machine))
            registered = any(i in b.instances for b in balancers)
            state = x.state if x.group else ""
            members.append(member(state, by_name.get(x.group), registered, Root(x.volume, x.launched_at), record))
        return Fleet(
            self.now,
            balancers,
            wishes,
            groups,
            tuple(members),
            dict(self.off_since),
            dict(self.refusals),
            dict(self.attachments),
            dict(self.breakers),
            frozenset(self.recorded),
        )

    def orphans(self) -> list[Fleet]:
        """The groups with our hook that no balancer of ours feeds, as the mind would observe them."""
        fed = {name for name, b in self.balancers.items() if self.is_ours(b)}
        left = {name: g for name, g in self.groups.items() if g.hook and not g.balancers & fed}
        if not left:
            return []
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

    def is_ours(self, balancer: LoadBalancer) -> bool:
        """Whether the mind looks at a balancer at all."""
        return balancer.name in self.recorded or ours(
            balancer, wish(Tags(self.tags[balancer.name]), SETTINGS.mail_ports), SETTINGS.policy_name
        )

    def plans(self) -> list[Plan]:
        """What a wake of the mind would decide now, of each fleet and each group that left its own."""
        fleets = [plan(self.fleet(), SETTINGS)] if any(map(self.is_ours, self.balancers.values())) else []
        return fleets + [orphan.plan(fleet, SETTINGS) for fleet in self.orphans()]

    def machine(self, instance_id: str) -> Machine:
        """Under which name the ledger knows an instance."""
        return Machine(instance_id, self.instances[instance_id].volume)

    def registered(self, balancer: str) -> frozenset[str]:
        """The instances that take traffic from a balancer: those in service in a group behind it."""
        behind = {"", *(name for name, group in self.groups.items() if balancer in group.balancers)}
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
        for _, write in self.writes(action, cause):
            write()

    def writes(self, action: Action, cause: str = "") -> list[Write]:
        """The single writes of an action, in the order of `act`; the mind may crash after each."""
        match action:
            case SetPolicies(balancer, port, sends=True):
                return [
                    ("forget_off", lambda: self.off_since.pop((balancer, port), None)),
                    *([("create_policy", lambda: self._create(action))] if action.create else []),
                    ("set_policies", lambda: self._set(action)),
                ]
            case SetPolicies(balancer, port):
                return [
                    ("set_policies", lambda: self._set(action)),
                    ("record_off", lambda: self.off_since.setdefault((balancer, port), self.now)),
                ]
            case Send(ask, machines):
                return self._send(machines, ask, cause)
            case Reject(machine, _, reason, outcome):
                return [
                    ("record the outcome", lambda: self._give_up(machine, outcome, reason)),
                    ("message reject", lambda: self._end(machine)),
                ]
            case Admit(machine, group):
                return [
                    ("mark admitted", lambda: self._mark(machine, True)),
                    ("message admit", lambda: self.admissions.append((machine, group))),
                ]
            case Recall(machine):
                return [("mark recalled", lambda: self._mark(machine, False))]
            case PutHook(group, result, timeout, anew):
                void = [("void_hook", lambda: self.hooked_since.pop(group, None))] if anew else []
                known = [("record_hook", lambda: self.hooked_since.update({group: self.now}))] if anew else []
                return [*void, ("put_hook", lambda: self._hook(group, Hook(result, timeout))), *known]
            case DeleteHook(group):
                return [
                    ("void_hook", lambda: self.hooked_since.pop(group, None)),
                    ("delete_hook", lambda: self._unhook(group)),
                ]
            case _:
                return [(type(action).__name__, lambda: self._write(action))]

    def _send(self, machines: tuple[Machine, ...], ask: Ask, cause: str) -> list[Write]:
        asks = [("write ask", partial(self._ask, machine, ask, cause)) for machine in machines]
        return [*asks, ("message ask", lambda: self.queue.extend((machine, ask) for machine in machines))]

    def _ask(self, machine: Machine, ask: Ask, cause: str) -> None:
        old = self.records.get(machine, Record(machine))
        assert old.ask is None or ask.epoch >= old.ask.epoch, "epochs only grow"
        self.records[machine] = asked(old, ask, self.now, cause)

    def _mark(self, machine: Machine, admitted: bool) -> None:
        at = self.now if admitted else 0
        record = self.records.get(machine, Record(machine))
        self.records[machine] = replace(record, admitted=admitted, admitted_at=at)

    def _give_up(self, machine: Machine, outcome: Outcome, reason: str) -> None:
        record = self.records[machine]
        if record.ask and record.outcome is not outcome:
            self.records[machine] = answered(record, Answer(record.ask.epoch, outcome, reason=reason))

    def _end(self, machine: Machine) -> None:
        if self._waits(machine):
            del self.instances[machine.instance_id]

    def _hook(self, group: str, hook: Hook | None) -> None:
        self.groups[group] = replace(self.groups[group], hook=hook)

    def _unhook(self, group: str) -> None:
        self._hook(group, None)
        for i in [i for i, x in self.instances.items() if x.group == group and x.state == "Pending:Wait"]:
            del self.instances[i]  # AWS abandons those that wait

    def _write(self, action: Action) -> None:
        """An action that is one write."""
        match action:
            case RecordOff(balancer, port):
                self.off_since.setdefault((balancer, port), self.now)
            case ForgetOff(balancer, port):
                self.off_since.pop((balancer, port), None)
            case DeletePolicy(balancer, policy):
                b = self.balancers[balancer]
                assert not any(policy in on for on in b.backend.values()), "InvalidConfigurationRequest"
                left = b.policies - {policy}
                self.balancers[balancer] = replace(b, policies=left, proxy_policies=b.proxy_policies & left)
            case RecordBalancer(balancer):
                self.recorded[balancer] = True
            case ForgetBalancer(balancer):
                self.recorded.pop(balancer, None)
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
            case RecordBreaker(group, breaker):
                self.breakers[group] = breaker
            case CloseBreaker(group):
                self.breakers.pop(group, None)
            case Hold(machine):
                self.records[machine] = replace(self.records[machine], held_at=self.now)

    def _create(self, action: SetPolicies) -> None:
        b = self.balancers[action.balancer]
        if action.create not in b.proxy_policies:  # the same again is accepted
            assert action.create not in b.policies, "DuplicatePolicyName"
            b = replace(b, policies=b.policies | {action.create}, proxy_policies=b.proxy_policies | {action.create})
            self.balancers[action.balancer] = b

    def _set(self, action: SetPolicies) -> None:
        key, b = (action.balancer, action.port), self.balancers[action.balancer]
        assert set(action.policies) <= b.policies, "PolicyNotFound"
        was = b.sends(action.port)
        b = replace(b, backend={**b.backend, action.port: action.policies})
        assert b.sends(action.port) == action.sends
        self.balancers[action.balancer] = b
        if was and not action.sends:
            self.sent_until[key] = self.now + LAG

    def run(self, position: int) -> None:
        """Deliver one command: the host refuses an older epoch, else stores it, acts and answers."""
        machine, ask = self.queue.pop(position)
        x = self.instances.get(machine.instance_id)
        if x is None or self.machine(machine.instance_id) != machine:
            return
        if self.is_fenced(x, ask):
            self.answers.append((machine, Told(ask, "Failed", Outcome.OLDER_EPOCH, stored=x.fence)))
            return
        self.store(x, ask)
        if ask.verb is Verb.EXPECT and (x.able or not ask.ports):
            x.expects = ask.ports
        outcome = Outcome.OK if x.able or not ask.ports else Outcome.REFUSED
        told = ask.ports if ask.verb is Verb.LOOK else ask.ports | {25}
        self.answers.append((machine, Told(ask, "Success", outcome, x.expects & told, told - x.expects, x.fence)))

    def is_fenced(self, x: Instance, ask: Ask) -> bool:
        """Whether the host refuses a command as older than one that it has begun."""
        return ask.epoch < x.fence

    def store(self, x: Instance, ask: Ask) -> None:
        """Every mode first stores its epoch on the host."""
        x.fence = ask.epoch

    def answer(self, position: int) -> None:
        """Let the mind read one answer.

        Harder than the ledger's command ids allow: it is read as if it were that of the command that is out.
        """
        machine, told = self.answers.pop(position)
        record = self.records.get(machine)
        if record and record.ask and record.answered != record.ask.epoch:
            answer = believe(record.ask, told.invocation(machine))
            self.records[machine] = answered(record, answer) if answer else record

    def admit(self, position: int) -> None:
        """Complete one lifecycle action, if the instance still waits."""
        machine, _ = self.admissions.pop(position)
        if self._waits(machine):
            self.instances[machine.instance_id].state = "InService"

    def _waits(self, machine: Machine) -> bool:
        x = self.instances.get(machine.instance_id)
        return x is not None and self.machine(machine.instance_id) == machine and x.state == "Pending:Wait"

    def expire(self, instance_id: str, result: str) -> None:
        """The launch hook of an instance expires: it goes into service, or is terminated."""
        if result == "CONTINUE":
            self.instances[instance_id].state = "InService"
        else:
            del self.instances[instance_id]

    def passes(self, seconds: int) -> None:
        """Time passes; no launch stays hidden for longer than the lag."""
        self.now += seconds
        for x in self.instances.values():
            if x.state == BEGUN and x.launched_at + LAG <= self.now:
                self.appear(x)

    def appear(self, x: Instance) -> None:
        """A launch that had begun is shown, held or not as it was when it began."""
        x.state = "Pending:Wait" if x.result else "InService"

    def launch(self, instance_id: str, group: str, begun: bool = False) -> None:
        """A launch: held where our hook is on the group, else in service; at once, or begun and not shown yet."""
        hook = self.groups[group].hook
        result = hook.default_result if hook else ""
        x = Instance(f"vol-{instance_id}", group, BEGUN, self.now, able=self.able, result=result)
        self.instances[instance_id] = x
        if not begun:
            self.appear(x)
