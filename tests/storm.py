"""A storm: the real mind and hand on strict AWS, on a clock of its own, with everything that can go wrong by a seed.

Events are lost, repeated and late; calls are throttled, or the function is killed before or after them; agents come
late; commands are lost with or without their effect; operators go on as they do. Then the storm ends, sweeps go round,
and all must be as it should be. The law is watched after every step.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from local import cloudtrail
from local.strict import listen, observe
from local.strict import ssm as agents
from smtp_fleet import around, autoscaling, ec2, elb, ledger, ssm
from smtp_fleet.fleet import HOOK_NAME
from smtp_fleet.hand import Hand
from smtp_fleet.mind import Mind
from smtp_fleet.observe import Gateways
from smtp_fleet.settings import HandSettings
from tests.smtp_fleet.conftest import DOCUMENT
from tests.smtp_fleet.world import LAG, SETTINGS
from tests.test_template import woken

OURS, THEIRS = "A" * 20, "B" * 20
VISIBILITY, RECEIVES = 120, 5
SWEEP = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
READS = ("Describe", "List", "Get", "BatchGet")


class Killed(BaseException):
    """The function's process is gone: nothing in it runs any more."""


@dataclass
class Message:
    """A message in a queue, and from when on it can be received."""

    body: str
    at: int
    receives: int = 0


@dataclass
class Queue:
    """A queue of the storm's own clock, in the place of `smtp_fleet.sqs.Queue`."""

    clock: Any
    url: str = "asks"
    messages: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)

    def send(self, messages: Any, delay: int = 0) -> None:
        self.messages += [Message(json.dumps(message), self.clock() + delay) for message in messages]

    def receive(self) -> list[Message]:
        """What can be received now, hidden for a while; what was received too often is dead."""
        taken = [m for m in self.messages if m.at <= self.clock()][:100]
        for m in taken:
            m.at, m.receives = self.clock() + VISIBILITY, m.receives + 1
            if m.receives > RECEIVES:
                self.messages.remove(m)
                self.dead.append(m)
        return [m for m in taken if m.receives <= RECEIVES]

    def delete(self, message: Message) -> None:
        if message in self.messages:
            self.messages.remove(message)


class Instances(ec2.Instances):
    """Launch times on the storm's clock: moto takes them from the real one."""

    def __init__(self, client: Any, launched_at: dict[str, int]) -> None:
        super().__init__(client)
        self._launched_at = launched_at

    def roots(self, instance_ids: Any) -> Any:
        found = super().roots(instance_ids)
        return {i: replace(root, launched_at=self._launched_at.get(i, 0)) for i, root in found.items()}


class Storm:
    """One seed's worth of weather over one account."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = int(time.time())
        self.raging = True
        self.story: list[str] = []
        self.launched_at: dict[str, int] = {}
        self.agent_at: dict[str, int] = {}
        self.expects: dict[str, frozenset[int]] = {}
        self.fence: dict[str, int] = {}
        self.sent_until: dict[str, int] = {}
        self.sends_now: dict[str, bool] = {}
        self.wakes, self.asks = Queue(self.clock), Queue(self.clock)
        self.ours = {name: self._client(name, OURS) for name in SERVICES}
        self.theirs = {name: self._client(name, THEIRS) for name in SERVICES}
        self.calls = 0
        for client in self.ours.values():
            client.meta.events.register_first("before-call", self._before)
            client.meta.events.register_last("after-call", self._after)

    def clock(self) -> int:
        return self.now

    def _client(self, service: str, key: str) -> Any:
        keys = {"aws_access_key_id": key, "aws_secret_access_key": "x"}
        config = Config(retries={"mode": "standard", "max_attempts": 1})
        return boto3.client(service, region_name="us-east-1", config=config, **keys)

    # ---- what goes wrong

    def _before(self, model: Any, **_: Any) -> None:
        self.calls += 1
        if self.raging and self._strikes(0.015):
            self.tell(f"{model.name} is throttled")
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "Rate exceeded"}}, model.name)
        if self.raging and self._strikes(0.01):
            self.tell(f"killed before {model.name}")
            raise Killed

    def _after(self, model: Any, **_: Any) -> None:
        if self.raging and self._strikes(0.01):
            self.tell(f"killed after {model.name}")
            raise Killed

    def _strikes(self, chance: float) -> bool:
        return self.random.random() < chance

    def tell(self, what: str) -> None:
        self.story.append(f"{self.now - int(self.started)} s {what}")

    def seen(self, call: Any) -> None:
        """A call becomes an event, if it does."""
        if call.operation.startswith(READS):
            return
        at = "2026-01-01T00:00:00Z"
        self._event(cloudtrail.event(call.service, call.operation, call.params, call.error, at, "id"))

    def happens(self, happening: Any) -> None:
        """A service reports something by itself."""
        if happening.source == "aws.autoscaling" and "EC2InstanceId" in happening.detail:
            instance = happening.detail["EC2InstanceId"]
            if instance not in self.launched_at:
                self.launched_at[instance] = self.now
                self.agent_at[instance] = self.now + self.random.choice((5, 30, 120, 400))
        document = {"document-name": "configure-postfix"} if happening.source == "aws.ssm" else {}
        self._event(
            {
                "source": happening.source,
                "detail-type": happening.detail_type,
                "detail": {**happening.detail, **document},
                "account": "123456789012",
                "region": "us-east-1",
            }
        )

    def _event(self, event: Any) -> None:
        concerns = event and (event["source"] == "aws.ssm" or woken(event))
        if not concerns or (self.raging and self._strikes(0.2)):
            return
        for _ in range(2 if self.raging and self._strikes(0.1) else 1):
            self.wakes.send([event], delay=self.random.choice((0, 1, 60)) if self.raging else 0)

    # ---- the instances

    def host(self, instance: str, content: Any, parameters: Any, command: str) -> Any:
        """A host that obeys the document; what it does or what it says may get lost."""
        if self.raging and self._strikes(0.1):
            return agents.Answer("TimedOut", "DeliveryTimedOut", -1)
        verb, epoch = parameters["Verb"][0], int(parameters["Epoch"][0])
        ports = frozenset(map(int, parameters["Ports"][0].replace("none", "").split()))
        verdict = {"contract": 1, "verb": verb, "epoch": epoch, "class": "ok", "reason": ""}
        before = self.expects.get(instance, frozenset())
        if epoch < self.fence.get(instance, 0):
            verdict |= {"class": "older-epoch", "stored": self.fence[instance], "ports": {}}
        else:
            self.fence[instance] = epoch
            if verb == "expect":
                self.expects[instance] = ports
            now = self.expects.get(instance, frozenset())
            verdict["ports"] = {str(p): "proxy" if p in now else "plain" for p in before | ports | {25}}
        if self.raging and self._strikes(0.1):
            return agents.Answer("Failed", "Terminated", 1)
        return agents.Answer("Success", "Success", 0, json.dumps(verdict) + "\n")

    def agents_come(self) -> None:
        for instance, at in list(self.agent_at.items()):
            if at <= self.now:
                agents.register_agent(instance)
                del self.agent_at[instance]

    # ---- the functions

    def mind(self) -> Mind:
        aws = Gateways(
            balancers=elb.LoadBalancers(self.ours["elb"], self.ours["resourcegroupstaggingapi"]),
            groups=autoscaling.Groups(self.ours["autoscaling"], self.ours["elbv2"]),
            instances=Instances(self.ours["ec2"], self.launched_at),
            answers=ssm.Answers(self.ours["ssm"]),
            ledger=ledger.Ledger(self.ours["dynamodb"], "ledger"),
            wakes=self.wakes,  # type: ignore[arg-type]
            asks=self.asks,  # type: ignore[arg-type]
            around=around.Around(self.ours["ec2"]),
        )
        return Mind(SETTINGS, aws, self.clock, self.says, lambda *_: None, lambda: 100)

    def hand(self) -> Hand:
        told = HandSettings("configure-postfix", "postscreen", "none", "ledger", "asks")
        groups = autoscaling.Groups(self.ours["autoscaling"])
        rows = ledger.Ledger(self.ours["dynamodb"], "ledger")
        commands = ssm.Commands(self.ours["ssm"], told)
        asks: Any = self.asks
        return Hand(commands, groups, rows, asks, self.clock, self.says, lambda *_: None, lambda: 100)

    def says(self, phrase: str, **keys: Any) -> None:
        self.tell(f"{phrase} {keys.get('actions') or keys.get('error') or ''}")

    def run(self, queue: Queue, work: Any) -> None:
        """One invocation: its messages go when it ends, but for those that it names."""
        messages = {str(n): m for n, m in enumerate(queue.receive())}
        if not messages:
            return
        try:
            failed = work({i: json.loads(m.body) for i, m in messages.items()})
        except Killed:
            return
        except ClientError as error:
            self.tell(f"the function fails: {error}")
            return
        for i, m in messages.items():
            if i not in failed:
                queue.delete(m)
        assert agents.drain(10)

    def step(self, seconds: int) -> None:
        """Time passes, and whatever comes due on the way has its turn when it does."""
        end = self.now + seconds
        while (due := min((m.at for queue in (self.wakes, self.asks) for m in queue.messages), default=end)) < end:
            self.now = max(self.now, due)
            self.turn()
        self.now = end
        self.turn()

    def turn(self) -> None:
        """Agents come, both functions have their turn, and the law is looked after."""
        self.agents_come()
        holder = f"{self.now}"
        self.run(self.wakes, lambda bodies: self.mind().wake(bodies, holder))
        self.watch()
        self.run(self.asks, lambda bodies: self.hand().work(bodies))
        self.watch()

    # ---- the law

    def watch(self) -> None:
        """Nobody who takes traffic gets a header that it does not expect; the data plane follows late."""
        for b in self.theirs["elb"].describe_load_balancers()["LoadBalancerDescriptions"]:
            name = b["LoadBalancerName"]
            sends = any("EnableProxyProtocol" in d["PolicyNames"] for d in b["BackendServerDescriptions"])
            if self.sends_now.get(name) and not sends:
                self.sent_until[name] = self.now + LAG
            self.sends_now[name] = sends
            if sends or self.sent_until.get(name, 0) > self.now:
                wrong = [i["InstanceId"] for i in b["Instances"] if 25 not in self.expects.get(i["InstanceId"], ())]
                assert wrong == [], f"{name} sends to {wrong}"

    # ---- the operators

    def raise_account(self) -> None:
        """The stack's own table and document, and a balancer of somebody else."""
        self.started = self.now
        self.theirs["dynamodb"].create_table(
            TableName="ledger", BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )  # fmt: skip
        self.theirs["ssm"].create_document(
            Name="configure-postfix", Content=json.dumps(DOCUMENT), DocumentType="Command"
        )
        for name, tags in (("other", []), ("mx-1", [{"Key": SETTINGS.tag_key, "Value": "enabled"}])):
            self.theirs["elb"].create_load_balancer(
                LoadBalancerName=name, AvailabilityZones=["us-east-1a"], **({"Tags": tags} if tags else {}),
                Listeners=[{"Protocol": "tcp", "LoadBalancerPort": 25, "InstanceProtocol": "tcp", "InstancePort": 25}],
            )  # fmt: skip
            template = self.theirs["ec2"].create_launch_template(
                LaunchTemplateName=name, LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"}
            )["LaunchTemplate"]["LaunchTemplateId"]
            self.theirs["autoscaling"].create_auto_scaling_group(
                AutoScalingGroupName=name, MinSize=0, MaxSize=60, DesiredCapacity=0, LoadBalancerNames=[name],
                AvailabilityZones=["us-east-1a"], LaunchTemplate={"LaunchTemplateId": template},
            )  # fmt: skip

    def states(self, name: str = "mx-1") -> dict[str, str]:
        [g] = self.theirs["autoscaling"].describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
        return {i["InstanceId"]: i["LifecycleState"] for i in g["Instances"]}

    def policies(self, name: str = "mx-1") -> list[str]:
        [b] = self.theirs["elb"].describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"]
        return [p for d in b["BackendServerDescriptions"] for p in d["PolicyNames"]]

    def tag(self, value: str) -> None:
        self.tell(f"an operator tags: {value}")
        self.theirs["elb"].add_tags(LoadBalancerNames=["mx-1"], Tags=[{"Key": SETTINGS.tag_key, "Value": value}])

    def scale_out(self) -> None:
        """Behind a balancer that sends a launch that met no hook of ours is outside the law."""
        hooks = self.theirs["autoscaling"].describe_lifecycle_hooks(AutoScalingGroupName="mx-1")["LifecycleHooks"]
        sends = self.policies() or self.sent_until.get("mx-1", 0) > self.now
        if sends and HOOK_NAME not in [h["LifecycleHookName"] for h in hooks]:
            return
        wanted = min(12, len(self.states()) + self.random.choice((1, 1, 3)))
        self.tell(f"an operator scales out to {wanted}")
        self.theirs["autoscaling"].set_desired_capacity(AutoScalingGroupName="mx-1", DesiredCapacity=wanted)

    def scale_in(self) -> None:
        if instances := sorted(self.states()):
            gone = self.random.choice(instances)
            self.tell(f"{gone} is terminated")
            self.theirs["autoscaling"].terminate_instance_in_auto_scaling_group(
                InstanceId=gone, ShouldDecrementDesiredCapacity=True
            )

    def remove_policy(self) -> None:
        if self.policies():
            self.tell("somebody removes the policy")
            self.theirs["elb"].set_load_balancer_policies_for_backend_server(
                LoadBalancerName="mx-1", InstancePort=25, PolicyNames=[]
            )
            self.watch()

    def operate(self) -> None:
        acts = [self.scale_out] * 3 + [self.scale_in, self.remove_policy]
        acts += [partial(self.tag, value) for value in ("enabled", "disabled", "audit", "?")]
        self.random.choice(acts)()

    # ---- the whole of it

    def rage(self, steps: int) -> None:
        """So many steps of storm."""
        for _ in range(steps):
            if self._strikes(0.3):
                self.operate()
            if self._strikes(0.1):
                self.wakes.send([SWEEP])
            self.step(self.random.choice((1, 2, 5, 30, 61)))

    def calm(self, wanted: str) -> None:
        """The storm is over: the tag says what is wanted, and sweeps go round for some hours."""
        self.raging, self.wanted = False, wanted
        self.tag(wanted)
        for _ in range(40):
            self.wakes.send([SWEEP])
            for pause in (1, 1, 3, 5, 10, 30, 60, 190):
                self.step(pause)
            if self.is_as_it_should_be(wanted):
                break

    def is_as_it_should_be(self, wanted: str) -> bool:
        """Every instance in service and as the tag wants it, every balancer right, nothing outside the tag touched."""
        on = wanted == "enabled"
        expected = frozenset({25}) if on else frozenset()
        states = self.states()
        return (
            self.policies() == (["EnableProxyProtocol"] if on else [])
            and set(states.values()) <= {"InService"}
            and all(self.expects.get(i, frozenset()) == expected for i in states)
            and self.policies("other") == []
        )


SERVICES = ("elb", "elbv2", "resourcegroupstaggingapi", "autoscaling", "ec2", "ssm", "dynamodb")


def weather(seed: int, steps: int = 60) -> Storm:
    """A storm of this seed, over and done with; needs strict AWS."""
    storm = Storm(seed)
    storm.raise_account()
    agents.executor = storm.host
    try:
        with observe(storm.seen), listen(storm.happens):
            storm.rage(steps)
            storm.calm(storm.random.choice(("enabled", "enabled", "disabled")))
    finally:
        assert agents.drain(10)
        agents.executor = None
    return storm
