"""One storm from its first second to its last, and what is wrong then; the same decisions always give the same story.

The storm rages for `LENGTH` seconds, a sweep every five minutes. Then no fault strikes any more and no sweep comes
for `QUIET` seconds: longer than an agent's second hump, than the queue's retries, than any refusal holds, and than a
host that could not is asked again. Then one sweep comes, and five minutes later everything is mended; a stack that
hears of nothing needs a second one, for the first may ask and the next hears the answer. In the end nothing is sent
for `AFTER` seconds, longer than any planned wait, and then nothing may be left to wait.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from local import cloudtrail
from local.strict import Call, Happening
from tests.account.account import ACCOUNT, REGION, Account
from tests.smtp_fleet.conftest import DOCUMENT
from tests.storm.befalls import LISTENER, OTHER, OURS, USUAL, Befalls
from tests.storm.doors import DOCUMENT_NAME
from tests.storm.forecast import LENGTH, READS, Decision
from tests.storm.hosts import Hosts
from tests.storm.law import BrokenLaw, Law
from tests.storm.stack import Stack
from tests.storm.weather import Weather
from tests.test_template import woken

START = 2_000_000_000
QUIET, AFTER, CHECK = 9_000, 1_800, 300
DELAY = {"aws.elasticloadbalancing": 8, "aws.autoscaling": 1, "aws.ssm": 1}
"""Seconds after which an event arrives, by its source; CloudTrail takes longer."""

RESTLESS = 1_500
"""Invocations of a whole storm beyond which something goes round in circles."""

AGENT = 30
"""Seconds after which the agent of an instance is online."""

SWEEP = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}


@dataclass
class Played:
    """How a storm went: what is wrong with it, what was done and said, how often which call was struck."""

    wrong: list[str]
    told: list[str]
    invocations: int
    struck: Counter[str]


class Storm:
    """A stack on an account, and everything that befalls it; a `deaf` one hears of no event from first to last."""

    def __init__(self, decisions: Iterable[Decision], deaf: bool = False) -> None:
        self._decisions, self._deaf = tuple(decisions), deaf
        self._account = account = Account(START, USUAL)
        self._clock = account.clock
        self._told: list[str] = []
        self._wrong: list[str] = []
        self._hosts = Hosts(lambda i: account.ec2.instances[i].volume if i in account.ec2.instances else "")
        self._stack = Stack(account, self._say)
        self._weather = Weather(account.clock, self._stack.runs)
        self._law = Law(account, self._hosts)
        self._befalls = Befalls(account, self._stack, self._weather, self._hosts, self._law.excuse)
        self._raise_account()
        account.weather = self._weather
        account.seen, account.happens = self._see, self._hear
        account.ssm.agent = self._hosts.course
        account.sqs.fate = lambda url: self._befalls.fate("messages")

    def _raise_account(self) -> None:
        """The stack's table and document, the balancer and group that are to be ours, and those of somebody else."""
        table, document = self._account.client("dynamodb"), self._account.client("ssm")
        table.create_table(TableName="ledger", KeySchema=[], AttributeDefinitions=[], BillingMode="PAY_PER_REQUEST")
        document.create_document(Name=DOCUMENT_NAME, Content=json.dumps(DOCUMENT), DocumentType="Command")
        for name, desired in ((OURS, 0), (OTHER, 2)):
            self._account.client("elb").create_load_balancer(LoadBalancerName=name, Listeners=[LISTENER])
            self._account.client("autoscaling").create_auto_scaling_group(
                AutoScalingGroupName=name, MinSize=0, MaxSize=20, DesiredCapacity=desired, LoadBalancerNames=[name]
            )

    # ---- what is heard

    def _tell(self, what: str) -> None:
        self._told.append(f"{self._clock.now - START:8.2f} s  {what}")

    def _say(self, phrase: str, error: Any = "", **keys: Any) -> None:
        shown = keys.get("actions") or keys.get("instance_id") or keys.get("instance_ids") or ""
        self._tell(f"    {phrase} {shown} {error!r}" if error else f"    {phrase} {shown}")
        if error and isinstance(error, Exception) and not self._stack.runs[-1].spoiled:
            self._wrong.append(f"an error without a fault at {self._clock.now - START:.2f} s: {phrase}: {error!r}")

    def _see(self, call: Call) -> None:
        if call.operation.startswith(READS):
            return
        self._law.judge(call)
        if call.service not in ("dynamodb", "sqs"):
            at = "2033-05-18T03:33:20Z"
            told = (call.service, call.operation, call.params, call.error, at, "id", REGION, ACCOUNT, call.caller)
            self._event(cloudtrail.event(*told))
            self._law.watch()

    def _hear(self, happening: Happening) -> None:
        if happening.source == "aws.ec2":
            self._see_agent_come(happening.detail["instance-id"], happening.detail["state"])
            return
        event = {"source": happening.source, "detail-type": happening.detail_type, "detail": happening.detail}
        self._event(event | {"account": ACCOUNT, "region": REGION})
        self._law.watch()

    def _see_agent_come(self, instance: str, state: str) -> None:
        if state != "running":
            return
        late = self._befalls.agents
        at = self._clock.now + (late.pop(0) if late else AGENT)
        self._clock.at(at, partial(self._account.ssm.register, instance))
        for until, how in self._befalls.sick_images:
            if until > self._clock.now:
                self._hosts[instance].sick = how

    def _event(self, event: dict[str, Any] | None) -> None:
        """An event arrives as a wake, if a rule of the template takes it."""
        if event and not self._deaf and _concerns(event):
            for delay in self._befalls.fate("events"):
                self._account.sqs.put("wakes", json.dumps(event), DELAY[event["source"]] + delay)

    # ---- how time passes

    def _befall(self, decision: Decision) -> None:
        self._tell(f"{decision.what} {' '.join(map(str, decision.args))}")
        self._befalls.befall(decision.what, decision.args)
        self._law.watch()

    def _sweep(self) -> None:
        for delay in self._befalls.fate("events"):
            self._account.sqs.put("wakes", json.dumps(SWEEP), delay)

    def _until(self, end: float) -> None:
        while (due := min(self._stack.due(), self._clock.next_due)) <= end:
            self._clock.advance(due)
            self._stack.turn()
        self._clock.advance(end)

    def run(self) -> Played:
        """Play it to its end."""
        for decision in self._decisions:
            self._clock.at(START + decision.at, partial(self._befall, decision))
        for at in range(CHECK, LENGTH, CHECK):
            self._clock.at(START + at, self._sweep)
        try:
            self._until(START + LENGTH)
            self._weather.clear()
            self._befalls.clear()
            self._until(self._clock.now + QUIET)
            for _ in range(2 if self._deaf else 1):
                self._tell("a sweep after the quiet")
                self._sweep()
                self._until(self._clock.now + CHECK)
            self._until(self._clock.now + AFTER)
            self._wrong += self._law.complaints(self._wanted()) + self._left()
        except BrokenLaw as broken:
            self._wrong.append(f"at {self._clock.now - START:.2f} s: {broken}")
        return Played(self._wrong, self._told, self._stack.invocations, self._weather.struck)

    def _left(self) -> list[str]:
        """The messages that are left, and those that died without a fault that would explain it."""
        found = []
        for name, queue in self._stack.queues.items():
            found += [f"a message waits for the {name} for ever: {m.body}" for m in queue.messages.values()]
            found += [f"dead without a fault: {m.body}" for m in queue.dead if m.spoiled < m.receives - 1]
        if self._stack.invocations > RESTLESS:
            found.append(f"restless: {self._stack.invocations} invocations")
        return found

    def _wanted(self) -> str:
        """What the tag says at the end: nothing, where the last act was dropped."""
        return self._account.elb.balancers[OURS].tags.get("smtp-proxy-protocol", "disabled")


def _concerns(event: dict[str, Any]) -> bool:
    """Whether a rule of the template takes it."""
    return bool(woken(event))
