"""The stack's two functions as Lambda runs them on an account: from their queues, in batches, ended at their limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from smtp_fleet import around, autoscaling, ec2, elb, ledger, sqs, ssm
from smtp_fleet.hand import Hand
from smtp_fleet.mind import Mind
from smtp_fleet.observe import Gateways
from smtp_fleet.settings import HandSettings
from tests.account.sqs import Message
from tests.smtp_fleet.world import SETTINGS
from tests.test_template import FUNCTIONS, TEMPLATE

DOCUMENT_NAME = TEMPLATE.name("ConfigurePostfixDocument")
HAND_SETTINGS = HandSettings(DOCUMENT_NAME, "postscreen", "none", "ledger", "asks")


class Killed(BaseException):
    """The function's process is gone: nothing in it runs any more, no `finally` either."""


@dataclass(frozen=True)
class Mapping:
    """How a function is fed by its queue, as the template has it (seconds)."""

    queue: str
    timeout: int
    batch: int
    window: int
    visibility: int
    receives: int


def _mapping(function: str, source: str, queue: str, url: str) -> Mapping:
    told = FUNCTIONS[function]["Events"][source]["Properties"]
    kept = TEMPLATE.resources("AWS::SQS::Queue")[queue]
    return Mapping(
        url,
        int(FUNCTIONS[function]["Timeout"]),
        int(told["BatchSize"]),
        int(told["MaximumBatchingWindowInSeconds"]),
        int(kept["VisibilityTimeout"]),
        int(kept["RedrivePolicy"]["maxReceiveCount"]),
    )


MAPPINGS = {
    "mind": _mapping("ReconcileFleetFunction", "Wakes", "WakesQueue", "wakes"),
    "hand": _mapping("ConfigurePostfixFunction", "Asks", "AsksQueue", "asks"),
}


@dataclass
class Run:
    """One invocation under way: when it ends at the latest, whether it still lives, and whether a fault befell it."""

    function: str
    ends: float
    alive: bool = True
    spoiled: bool = False


class Stack:
    """Mind and hand over an account; `tell` gets what they say, `runs` are the invocations under way, the inner last."""

    def __init__(self, account: Any, tell: Callable[..., None]) -> None:
        self._account = account
        self._tell = tell
        self.runs: list[Run] = []
        self.invocations = 0
        self.queues = {
            name: account.sqs.add(mapping.queue, mapping.visibility, mapping.receives)
            for name, mapping in MAPPINGS.items()
        }
        self._clients = {name: account.client(name, "stack") for name in SERVICES}

    def due(self) -> float:
        """When a function is to run next: its oldest message has waited for the window, or a batch is full."""
        return min(self._due(name) for name in MAPPINGS)

    def _due(self, name: str) -> float:
        return self.queues[name].due() + MAPPINGS[name].window

    def turn(self) -> None:
        """Run each function that is due."""
        for name in MAPPINGS:
            if self._due(name) <= self._account.clock.now:
                self.invoke(name)

    def invoke(self, name: str) -> None:
        """One invocation: its messages go when it ends, but for those that it names; all stay where it dies."""
        mapping, queue, clock = MAPPINGS[name], self.queues[name], self._account.clock
        messages = {m.id: m for m in queue.receive(clock.now, mapping.batch)}
        if not messages:
            return
        self.invocations += 1
        run = Run(name, clock.now + mapping.timeout)
        self.runs.append(run)
        failed = set(messages)
        try:
            failed = self._handle(run, {"Records": [_record(m) for m in messages.values()]})
        except Killed:
            run.spoiled = True
        except (ClientError, BotoCoreError) as error:
            self._tell("the function failed", error=error)
        finally:
            self.runs.pop()
        for i, message in messages.items():
            if i in failed:
                message.spoiled += run.spoiled or message.forged
            else:
                queue.delete(message)

    def _handle(self, run: Run, event: dict[str, Any]) -> set[str]:
        """What the function's door does with an event (functions/*/app.py)."""
        clients, clock = self._clients, self._account.clock
        seconds = (clock.seconds, self._tell, _nothing, lambda: run.ends - clock.now)
        rows = ledger.Ledger(clients["dynamodb"], "ledger")
        asks = sqs.Queue(clients["sqs"], "asks")
        if run.function == "hand":
            commands = ssm.Commands(clients["ssm"], HAND_SETTINGS)
            groups = autoscaling.Groups(clients["autoscaling"])
            hand = Hand(commands, groups, rows, asks, *seconds)
            return hand.work(sqs.bodies(event), again=sqs.received_before(event))
        aws = Gateways(
            balancers=elb.LoadBalancers(clients["elb"], clients["resourcegroupstaggingapi"]),
            groups=autoscaling.Groups(clients["autoscaling"], clients["elbv2"]),
            instances=ec2.Instances(clients["ec2"]),
            answers=ssm.Answers(clients["ssm"]),
            ledger=rows,
            wakes=sqs.Queue(clients["sqs"], "wakes"),
            asks=asks,
            around=around.Around(clients["ec2"]),
        )
        return Mind(SETTINGS, aws, *seconds).wake(sqs.bodies(event), holder=f"run-{self.invocations}")


SERVICES = ("elb", "elbv2", "resourcegroupstaggingapi", "autoscaling", "ec2", "ssm", "dynamodb", "sqs")


def _record(message: Message) -> dict[str, Any]:
    """A message as Lambda shows it to a function."""
    attributes = {"ApproximateReceiveCount": str(message.receives)}
    return {"messageId": message.id, "body": message.body, "attributes": attributes}


def _nothing(*_: Any) -> None:
    """Nobody counts."""
