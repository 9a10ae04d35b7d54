"""What the functions' doors do (functions/*/app.py), on clients and a clock of the simulation's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
SERVICES = ("elb", "elbv2", "resourcegroupstaggingapi", "autoscaling", "ec2", "ssm", "dynamodb", "sqs")


@dataclass(frozen=True)
class Mapping:
    """How a function is fed by its queue, as the template has it (seconds), and how many of it run at a time."""

    queue: str
    timeout: int
    batch: int
    window: int
    at_once: int
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
        int(told["ScalingConfig"]["MaximumConcurrency"]),
        int(kept["VisibilityTimeout"]),
        int(kept["RedrivePolicy"]["maxReceiveCount"]),
    )


MAPPINGS = {
    "mind": _mapping("ReconcileFleetFunction", "Wakes", "WakesQueue", "wakes"),
    "hand": _mapping("ConfigurePostfixFunction", "Asks", "AsksQueue", "asks"),
}


class Doors:
    """Both doors; `client` makes the client of a service, `clock` gives seconds, `tell` gets what the functions say."""

    def __init__(self, client: Callable[[str], Any], clock: Callable[[], int], tell: Callable[..., None]) -> None:
        self._clients = {name: client(name) for name in SERVICES}
        self._clock = clock
        self._tell = tell

    def handle(self, function: str, messages: list[Message], left: Callable[[], float], holder: str) -> set[str]:
        """One event of a function; gives the ids that are to be tried again."""
        event = {"Records": [_record(message) for message in messages]}
        return (self._hand if function == "hand" else self._mind)(event, left, holder)

    def _hand(self, event: dict[str, Any], left: Callable[[], float], holder: str) -> set[str]:
        clients = self._clients
        hand = Hand(
            ssm.Commands(clients["ssm"], HAND_SETTINGS),
            autoscaling.Groups(clients["autoscaling"]),
            ledger.Ledger(clients["dynamodb"], "ledger"),
            sqs.Queue(clients["sqs"], "asks"),
            self._clock,
            self._tell,
            _nothing,
            left,
        )
        return hand.work(sqs.bodies(event), again=sqs.received_before(event))

    def _mind(self, event: dict[str, Any], left: Callable[[], float], holder: str) -> set[str]:
        clients = self._clients
        aws = Gateways(
            balancers=elb.LoadBalancers(clients["elb"], clients["resourcegroupstaggingapi"]),
            groups=autoscaling.Groups(clients["autoscaling"], clients["elbv2"]),
            instances=ec2.Instances(clients["ec2"]),
            answers=ssm.Answers(clients["ssm"]),
            ledger=ledger.Ledger(clients["dynamodb"], "ledger"),
            wakes=sqs.Queue(clients["sqs"], "wakes"),
            asks=sqs.Queue(clients["sqs"], "asks"),
            around=around.Around(clients["ec2"]),
        )
        mind = Mind(SETTINGS, aws, self._clock, self._tell, _nothing, left)
        return mind.wake(sqs.bodies(event), holder=holder)


def _record(message: Message) -> dict[str, Any]:
    """A message as Lambda shows it to a function."""
    attributes = {"ApproximateReceiveCount": str(message.receives)}
    return {"messageId": message.id, "body": message.body, "attributes": attributes}


def _nothing(*_: Any) -> None:
    """Nobody counts."""
