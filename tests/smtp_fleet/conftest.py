"""The mind and the hand in one account, on strict moto, with a clock of their own and agents that answer as told."""

import json
from dataclasses import dataclass, field, replace

import pytest

from local.strict import ssm as agents
from smtp_fleet import around, autoscaling, ec2, elb, ledger, sqs, ssm
from smtp_fleet.hand import Hand
from smtp_fleet.mind import Mind
from smtp_fleet.observe import Gateways
from smtp_fleet.settings import HandSettings
from tests.smtp_fleet.world import SETTINGS

PARAMETERS = ("Verb", "Ports", "Epoch", "FrontEnd", "TrustedClients")
DOCUMENT = {
    "schemaVersion": "2.2",
    "parameters": {name: {"type": "String"} for name in PARAMETERS},
    "mainSteps": [{"action": "aws:runShellScript", "name": "configure", "inputs": {"runCommand": ["true"]}}],
}


@dataclass
class Stack:
    """The stack's parts over one account; `said` holds each phrase with its keys, `left` the seconds that are left."""

    client: object
    settings: object
    hand_settings: object
    urls: dict
    said: list = field(default_factory=list)
    counted: list = field(default_factory=list)
    now: int = 2_000_000_000
    left: float = 100

    def say(self, phrase, **keys):
        self.said.append((phrase, keys))

    def count(self, name, value=1, unit="Count"):
        self.counted.append((name, value, unit))

    def phrases(self):
        return [phrase for phrase, _ in self.said]

    @property
    def ledger(self):
        return ledger.Ledger(self.client("dynamodb"), "ledger")

    def queue(self, name):
        return sqs.Queue(self.client("sqs"), self.url(name))

    def url(self, name):
        return self.urls[name]

    def mind(self, **changes):
        gateways = Gateways(
            balancers=elb.LoadBalancers(self.client("elb"), self.client("resourcegroupstaggingapi")),
            groups=autoscaling.Groups(self.client("autoscaling"), self.client("elbv2")),
            instances=ec2.Instances(self.client("ec2")),
            answers=ssm.Answers(self.client("ssm")),
            ledger=self.ledger,
            wakes=self.queue("wakes"),
            asks=self.queue("asks"),
            around=around.Around(self.client("ec2")),
        )
        settings = replace(self.settings, **changes)
        return Mind(settings, gateways, lambda: self.now, self.say, self.count, lambda: self.left)

    def hand(self):
        commands = ssm.Commands(self.client("ssm"), self.hand_settings)
        groups = autoscaling.Groups(self.client("autoscaling"))
        asks = self.queue("asks")
        return Hand(commands, groups, self.ledger, asks, lambda: self.now, self.say, self.count, lambda: self.left)

    def wake(self, *balancers, holder="me", **changes):
        """Wake the mind for some balancers, or, without names, for the sweep."""
        body = {"source": "smtp-fleet", "detail-type": "Wake", "detail": {"balancers": balancers, "cause": "test"}}
        sweep = {"detail-type": "Scheduled Event"}
        return self.mind(**changes).wake({"m": body if balancers else sweep}, holder)

    def received(self, name):
        """Take every message that is in a queue, delayed ones not included."""
        taken = {}
        while (
            page := self.client("sqs").receive_message(QueueUrl=self.url(name), MaxNumberOfMessages=10).get("Messages")
        ):
            for message in page:
                taken[message["MessageId"]] = json.loads(message["Body"])
                self.client("sqs").delete_message(QueueUrl=self.url(name), ReceiptHandle=message["ReceiptHandle"])
        return taken

    def delayed(self, name):
        """How many messages a queue holds back for later."""
        attributes = ["ApproximateNumberOfMessagesDelayed"]
        answer = self.client("sqs").get_queue_attributes(QueueUrl=self.url(name), AttributeNames=attributes)
        return int(answer["Attributes"][attributes[0]])

    def balancer(self, name="mx-1", tag="enabled", port=25):
        listener = {"Protocol": "tcp", "LoadBalancerPort": 25, "InstanceProtocol": "tcp", "InstancePort": port}
        tags = {"Tags": [{"Key": self.settings.tag_key, "Value": tag}]} if tag else {}
        self.client("elb").create_load_balancer(
            LoadBalancerName=name, Listeners=[listener], AvailabilityZones=["us-east-1a"], **tags
        )

    def tag(self, value, name="mx-1"):
        self.client("elb").add_tags(LoadBalancerNames=[name], Tags=[{"Key": self.settings.tag_key, "Value": value}])

    def group(self, name="mx", balancers=("mx-1",)):
        data = {"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"}
        template = self.client("ec2").create_launch_template(LaunchTemplateName=name, LaunchTemplateData=data)
        self.client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=0, MaxSize=60, DesiredCapacity=0, AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"]},
            LoadBalancerNames=list(balancers),
        )  # fmt: skip

    def scale(self, count, name="mx"):
        self.client("autoscaling").set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=count)
        return sorted(self.states(name))

    def states(self, name="mx"):
        groups = self.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        return {i["InstanceId"]: i["LifecycleState"] for i in groups["AutoScalingGroups"][0]["Instances"]}

    def policies(self, name="mx-1"):
        described = self.client("elb").describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"][0]
        return {b["InstancePort"]: b["PolicyNames"] for b in described["BackendServerDescriptions"]}


def expects(instance_id, content, parameters, command_id):
    """An instance that does what it is asked."""
    ports = parameters["Ports"][0].replace("none", "").split()
    verdict = {"contract": 1, "verb": parameters["Verb"][0], "epoch": int(parameters["Epoch"][0]), "class": "ok",
               "reason": "", "ports": dict.fromkeys(ports, "proxy")}  # fmt: skip
    return agents.Answer("Success", "Success", 0, json.dumps(verdict) + "\n")


@pytest.fixture
def stack(aws):
    """An account with the stack's table, queues and document, and agents that do what they are asked."""
    aws("dynamodb").create_table(
        TableName="ledger",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    urls = {name: aws("sqs").create_queue(QueueName=name)["QueueUrl"] for name in ("wakes", "asks")}
    aws("ssm").create_document(Name="configure-postfix", Content=json.dumps(DOCUMENT), DocumentType="Command")
    agents.executor = expects
    yield Stack(aws, SETTINGS, HandSettings("configure-postfix", "postscreen", "none", "ledger", "asks"), urls)
    assert agents.drain(5)
    agents.executor = None
