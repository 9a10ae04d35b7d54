"""An AWS account in memory, on a clock of its own: the boto3 interface of what the gateways call, and nothing else.

It answers as AWS does and as `local.strict` does (tests/test_account.py compares the two call by call), without
botocore's request machinery: a call costs microseconds, so that hundreds of storms fit into a minute. Ids are counted,
nothing is random, no time passes but by `clock`. How long things take in AWS is a `Pace`; with none they are instant,
as in `local.strict`.

Where it differs from `local.strict` on purpose, it is nearer to AWS:

* warm pools, root volumes that are replaced, what is not shown yet (launches, tags in the tagging API, invocations);
* the rate of SendCommand, the quota of pending invocations, UnprocessedKeys;
* a desired capacity beyond the group's size, a group deleted with its instances in it, and the hooks of a group that is
  not there, are refused; terminating an instance that is not there is an error and no crash;
* what was deregistered by hand stays so when the group changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from botocore.exceptions import ClientError

from local.strict import Call, Happening
from tests.account.autoscaling import AutoScaling
from tests.account.clock import Clock
from tests.account.dynamodb import DynamoDB
from tests.account.ec2 import EC2
from tests.account.elb import ClassicBalancers, Tagging, TargetGroups
from tests.account.sqs import SQS
from tests.account.ssm import SystemsManager
from tests.account.wire import Client, Refused, error, validate

REGION, ACCOUNT = "us-east-1", "123456789012"
OPERATOR = "operator"


@dataclass(frozen=True)
class Pace:
    """Seconds that things take in AWS, and the limits of Systems Manager; `burst` 0 is no limit on its calls.

    A launch is `hidden` at first, then Pending; EC2 shows it and then its volume a while after it has begun; what was
    completed shows Pending:Proceed; a group replaces what it has lost; a stopped instance starts; an invocation is
    shown a moment after the command was sent; the tagging API follows.
    """

    hidden: float = 0
    described: float = 0
    pending: float = 0
    proceed: float = 0
    terminating: float = 0
    replacing: float = 0
    starting: float = 0
    shown: float = 0
    tagged: float = 0
    rate: float = 1
    burst: int = 0
    quota: int = 10**9


class Weather(Protocol):
    """What may befall a call of the functions; both may raise."""

    def before(self, service: str, operation: str, params: dict[str, Any]) -> int:
        """Called before a call takes effect; gives how often it does, for an SDK may send it again."""

    def after(self, service: str, operation: str, result: Any) -> Any:
        """Called once it has taken effect; gives what the caller is told."""


class Account:
    """One account in one Region; `seen` is told every call and `happens` whatever a service reports by itself."""

    def __init__(self, now: float, pace: Pace | None = None, checked: bool = False) -> None:
        self.clock = Clock(now)
        self.pace = pace or Pace()
        self.checked = checked
        self.weather: Weather | None = None
        self.seen: Callable[[Call], None] = lambda call: None
        self.happens: Callable[[Happening], None] = lambda happening: None
        self.ec2 = EC2(self)
        self.elb = ClassicBalancers(self)
        self.autoscaling = AutoScaling(self)
        self.ssm = SystemsManager(self)
        self.sqs = SQS(self.clock)
        self._services = {
            "elb": self.elb,
            "elbv2": TargetGroups(),
            "resourcegroupstaggingapi": Tagging(self.elb),
            "autoscaling": self.autoscaling,
            "ec2": self.ec2,
            "ssm": self.ssm,
            "dynamodb": DynamoDB(),
            "sqs": self.sqs,
        }

    def client(self, service: str, caller: str = OPERATOR) -> Client:
        """A client of a service; only callers other than operators stand in the weather."""

        def calling(service: str, operation: str, answer: Callable[..., Any], **params: Any) -> Any:
            return self._call(caller, service, operation, answer, params)

        return Client(service, self._services[service], calling)

    def operations(self) -> frozenset[tuple[str, str]]:
        """Every operation that is answered, with its service."""
        return frozenset((name, operation) for name, told in self._services.items() for operation in told.operations)

    def _call(
        self, caller: str, service: str, operation: str, answer: Callable[..., Any], params: dict[str, Any]
    ) -> Any:
        if self.checked:
            validate(service, operation, params)
        weather = self.weather if caller != OPERATOR else None
        for _ in range(weather.before(service, operation, params) if weather else 1):
            refusal: ClientError | None = None
            result: Any = None
            try:
                result = answer(**params)
            except Refused as refused:
                refusal = error(service, operation, refused.code, str(refused))
            code = refusal.response["Error"]["Code"] if refusal else None
            self.seen(Call(service, operation, params, code, result, caller, ""))
        if refusal:
            raise refusal
        return weather.after(service, operation, result) if weather else result
