"""Sets a world up in a Region without waking anybody, and answers in the place of its hosts."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from threading import Lock
from typing import Any

from local.region import Region
from local.strict import ssm
from local.strict.given import in_state, instance_ids
from local.world import CODES, World
from smtp_fleet.evidence import Ask, Machine, Record, Verb
from smtp_fleet.fleet import WAITING
from smtp_fleet.ledger import Ledger
from smtp_fleet.outcome import Outcome


def build(region: Region, world: World) -> None:
    """Make the Region hold this world, without waking anybody, and answer for its instances."""
    region.bus.fate = lambda event: ()
    grouped = {instance for group in world["groups"].values() for instance in group["instances"]}
    if alone := [instance for instance in world["instances"] if instance not in grouped]:
        with instance_ids(*alone):
            region.client("ec2").run_instances(ImageId=_IMAGE, MinCount=len(alone), MaxCount=len(alone))
    for name, balancer in world["load_balancers"].items():
        _build_balancer(region.client("elb"), name, balancer)
    for number, (name, group) in enumerate(world["groups"].items()):
        _build_group(region, f"launch-{number}", name, group)
    for name, balancer in world["load_balancers"].items():
        if balancer["instances"]:
            ids = [{"InstanceId": instance} for instance in balancer["instances"]]
            region.client("elb").register_instances_with_load_balancer(LoadBalancerName=name, Instances=ids)
    for instance, facts in world["instances"].items():
        if facts["agent"] != "none":
            region.register_agent(instance, facts["agent"])
    _build_ledger(region, world["ledger"])
    region.executor = Hosts(world["instances"]).answer
    if not region.quiet(30):
        raise TimeoutError("the world was not built within 30 s")
    region.bus.fate = lambda event: (0,)


_IMAGE = "ami-12c6146b"


def _build_balancer(elb: Any, name: str, balancer: World) -> None:
    listeners = [
        {
            "LoadBalancerPort": each["port"],
            "Protocol": each["protocol"],
            "InstancePort": each["instance_port"],
            "InstanceProtocol": each["instance_protocol"],
        }
        for each in balancer["listeners"]
    ]
    tags = [{"Key": key, "Value": value} for key, value in balancer["tags"].items()]
    extra = {"Tags": tags} if tags else {}
    elb.create_load_balancer(LoadBalancerName=name, Listeners=listeners, AvailabilityZones=["us-east-1a"], **extra)
    for policy, facts in balancer["policies"].items():
        attributes = [{"AttributeName": key, "AttributeValue": each} for key, each in facts["attributes"].items()]
        elb.create_load_balancer_policy(
            LoadBalancerName=name, PolicyName=policy, PolicyTypeName=facts["type"], PolicyAttributes=attributes
        )
    for port, policies in balancer["instance_ports"].items():
        elb.set_load_balancer_policies_for_backend_server(
            LoadBalancerName=name, InstancePort=int(port), PolicyNames=policies
        )


def _build_group(region: Region, template: str, name: str, group: World) -> None:
    autoscaling = region.client("autoscaling")
    content = {"ImageId": _IMAGE, "InstanceType": "t3.micro"}
    region.client("ec2").create_launch_template(LaunchTemplateName=template, LaunchTemplateData=content)
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name, MinSize=0, MaxSize=max(10, len(group["instances"])), DesiredCapacity=0,
        LaunchTemplate={"LaunchTemplateName": template}, AvailabilityZones=["us-east-1a"],
        LoadBalancerNames=group["load_balancers"],
    )  # fmt: skip
    waiting = [instance for instance, state in group["instances"].items() if state in WAITING]
    others = [instance for instance in group["instances"] if instance not in waiting]
    with instance_ids(*others, *waiting):  # those that do not wait were launched before there was a hook
        autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=len(others))
        for hook, facts in group["hooks"].items():
            autoscaling.put_lifecycle_hook(
                AutoScalingGroupName=name, LifecycleHookName=hook, DefaultResult=facts["default_result"],
                HeartbeatTimeout=facts["timeout"], LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
            )  # fmt: skip
        autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=len(group["instances"]))
    in_state(name, group["instances"], region.template.region, region.template.account)


def _build_ledger(region: Region, rows: World) -> None:
    ledger, now = Ledger(region.client("dynamodb"), region.template.name("Ledger")), int(time.time())
    for group, ago in rows["hooks"].items():
        ledger.record_hook(group, now - ago)
    for balancer, ports in rows["off"].items():
        for port, ago in ports.items():
            ledger.record_off(balancer, int(port), now - ago)
    for instance, row in rows["machines"].items():
        [reservation] = region.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
        [disk] = reservation["Instances"][0]["BlockDeviceMappings"]
        nothing = Record(Machine(instance, disk["Ebs"]["VolumeId"]))
        ledger.write(nothing, _record(nothing.machine, row, now - 600))


def _record(machine: Machine, row: World, then: int) -> Record:
    speaks = {
        word: frozenset(int(port) for port, said in row["speaks"].items() if said == word)
        for word in ("proxy", "plain")
    }
    outcome = Outcome(row["class"]) if row["class"] else None
    ask = Ask(Verb.EXPECT, frozenset(row["asked"]), then)
    return Record(
        machine, ask, asked_at=then, cause="world", command_id=row["command"], sent_at=then, outcome=outcome,
        answered=then if outcome else 0, admitted=row["admitted"], **speaks,
    )  # fmt: skip


class Hosts:
    """The instances of a world, in the place of hosts: each answers the document as the world says."""

    def __init__(self, instances: Mapping[str, World]) -> None:
        self._postfix = {instance: facts["postfix"] for instance, facts in instances.items()}
        self._speaks = {i: dict(postfix["speaks"]) if postfix else {} for i, postfix in self._postfix.items()}
        self._answering = Lock()

    def answer(self, instance: str, _: Any, parameters: Mapping[str, list[str]], command: str) -> ssm.Answer:
        """What a command comes to on an instance."""
        [verb], [ports], [epoch] = (parameters[name] for name in ("Verb", "Ports", "Epoch"))
        asked = ports.replace("none", "").split()
        kind, reason = _outcome(self._postfix.get(instance))
        if kind == "lost":
            return ssm.Answer("TimedOut", "DeliveryTimedOut", -1)
        with self._answering:
            told, changed = self._obey(instance, asked) if (kind, verb) == ("ok", "expect") else ({}, False)
            told |= {port: self._speaks[instance].get(port, "plain") for port in asked}
        verdict = {"contract": 1, "verb": verb, "epoch": int(epoch), "class": kind, "reason": reason}
        verdict |= {"detail": "", "changed": changed, "ports": told}
        status = "Failed" if CODES[kind] else "Success"
        return ssm.Answer(status, status, CODES[kind], json.dumps(verdict) + "\n", "")

    def _obey(self, instance: str, asked: list[str]) -> tuple[dict[str, str], bool]:
        """Expect on exactly the ports asked for; gives the ports let go of, and whether anything changed."""
        before = self._speaks[instance]
        let_go = {port: "plain" for port, speaks in before.items() if speaks == "proxy" and port not in asked}
        self._speaks[instance] = before | let_go | dict.fromkeys(asked, "proxy")
        return let_go, before != self._speaks[instance]


def _outcome(postfix: World | None) -> tuple[str, str]:
    if postfix is None:
        return "broken", "Postfix is not installed"
    return postfix["class"] or ("refused" if postfix["can"] is False else "ok"), postfix["reason"]
