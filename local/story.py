"""The main job on the local Region: each step does what an operator does and gives back what is to be seen.

`make demo` tells it, the test suite holds it to what it says.
"""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Callable
from typing import Any

from local.instances import Instances, StandIns
from local.region import Region
from local.strict import Call

CLIENT = "198.51.100.10"
"""The address of a mail client somewhere on the Internet (TEST-NET-2, RFC 5737)."""

TAG = {"Key": "smtp-proxy-protocol", "Value": "enabled"}
PARAMETERS = {"SettleSeconds": "3", "HookTimeoutSeconds": "300"}


class Story:
    """The acts of one operator on a Region, with real machines or with stand-ins."""

    def __init__(self, region: Region, instances: Instances | StandIns) -> None:
        self.region = region
        self.instances = instances
        self._elb, self._autoscaling = region.client("elb"), region.client("autoscaling")

    def create_balancer(self, name: str, *tags: dict[str, str]) -> list[dict[str, Any]]:
        """Create a classic balancer for port 25; gives its backend server policies once all is quiet."""
        listener = {"Protocol": "TCP", "LoadBalancerPort": 25, "InstanceProtocol": "TCP", "InstancePort": 25}
        extra = {"Tags": list(tags)} if tags else {}
        self._elb.create_load_balancer(
            LoadBalancerName=name, Listeners=[listener], AvailabilityZones=["us-east-1a"], **extra
        )
        self.quiet()
        return self.policies(name)

    def policies(self, name: str) -> list[dict[str, Any]]:
        """What describe-load-balancers shows of a balancer's backend server policies."""
        [described] = self._elb.describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"]
        return list(described["BackendServerDescriptions"])

    def create_group(self, name: str, balancer: str) -> list[dict[str, Any]]:
        """Create an empty Auto Scaling group behind a balancer; gives its lifecycle hooks once all is quiet."""
        template = self.region.client("ec2").create_launch_template(
            LaunchTemplateName=name, LaunchTemplateData={"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"}
        )
        self._autoscaling.create_auto_scaling_group(
            AutoScalingGroupName=name, MinSize=0, MaxSize=10, DesiredCapacity=0, AvailabilityZones=["us-east-1a"],
            LaunchTemplate={"LaunchTemplateId": template["LaunchTemplate"]["LaunchTemplateId"]},
            LoadBalancerNames=[balancer],
        )  # fmt: skip
        self.quiet()
        return self.hooks(name)

    def launch(self, group: str) -> tuple[str, str]:
        """Scale a group out by one; gives the new instance and its lifecycle state at once."""
        before = self.states(group)
        self._autoscaling.set_desired_capacity(AutoScalingGroupName=group, DesiredCapacity=len(before) + 1)
        [new] = self.states(group).items() - before.items()
        return new

    def states(self, group: str) -> dict[str, str]:
        """The lifecycle state of each instance of a group."""
        [found] = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
        return {i["InstanceId"]: i["LifecycleState"] for i in found["Instances"]}

    def await_service(self, group: str, say: Callable[[str], None] = lambda line: None) -> dict[str, str]:
        """The states of a group once all its instances are in service and reachable; each change of them is said."""
        seen: dict[str, str] = {}
        for _ in self._until(60, f"{group} in service"):
            states = self.states(group)
            for instance in states.items() - seen.items():
                say(f"{instance[0]} {instance[1]}")
            seen = states
            if set(states.values()) == {"InService"}:
                break
        self.quiet()
        return seen

    def send_mail(self, balancer: str, instance: str) -> str:
        """Send one mail from the client's address through a balancer; gives the mail log's line about the client."""
        assert isinstance(self.instances, Instances)
        machine, network = self.instances.machines[instance], self.instances.network
        network.add_address(CLIENT)
        self.instances.balancers.await_server(balancer, instance)
        sender = f"{time.time_ns()}@example.org"
        mail = f"From: {sender}\r\nTo: postmaster@example.net\r\n\r\nHello.\r\n"
        with _Through(network, (self.instances.balancers.address(balancer), 25)) as smtp:
            smtp.sendmail(sender, ["postmaster@example.net"], mail)
        log = machine.await_log(f"from=<{sender}>")
        [queue_id] = re.findall(rf" ([0-9A-F]+): from=<{sender}>", log)
        return next(line for line in log.splitlines() if f" {queue_id}: client=" in line)

    def history(self) -> list[dict[str, Any]]:
        """The SSM command history of our document, oldest first."""
        name = self.region.template.name("ConfigurePostfixDocument")
        told = self.region.client("ssm").list_command_invocations(
            Details=True, Filters=[{"key": "DocumentName", "value": name}]
        )
        return sorted(told["CommandInvocations"], key=lambda i: i["RequestedDateTime"])

    def set_tag(self, name: str, value: str) -> None:
        """Change a balancer's tag, and wait until all is quiet."""
        self._elb.add_tags(LoadBalancerNames=[name], Tags=[{"Key": TAG["Key"], "Value": value}])
        self.quiet()

    def hooks(self, group: str) -> list[dict[str, Any]]:
        """The lifecycle hooks of a group."""
        return list(self._autoscaling.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"])

    def second_round(self) -> list[Call]:
        """Sweep once more; gives the calls of the functions that changed anything but the lease."""
        before = len(self.region.log)
        self.region.sweep()
        self.quiet()
        calls = [r.what for r in self.region.log[before:] if r.kind == "call" and r.who in self.region.functions]
        return [call for call in calls if call.is_write and not _is_housekeeping(call)]

    def quiet(self) -> None:
        """Wait until nothing is under way, planned waits of up to ten seconds included."""
        if not self.region.quiet(timeout=90, ahead=10):
            raise TimeoutError("the Region did not come to rest within 90 s")

    def _until(self, timeout: float, what: str) -> Any:
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            yield
            time.sleep(0.1)
        raise TimeoutError(f"waited {timeout:g} s for {what}")


class _Through(smtplib.SMTP):
    """SMTP from the client's address inside the network."""

    def __init__(self, network: Any, to: tuple[str, int]) -> None:
        self._network, self._to = network, to
        super().__init__(*to, timeout=30)

    def _get_socket(self, host: str, port: int, timeout: float) -> Any:
        return self._network.connect(self._to, CLIENT, timeout)


def _is_housekeeping(call: Call) -> bool:
    """The lease, what is seen around a fleet, messages that were handled: to note these is no change."""
    row = str(call.params.get("Item") or call.params.get("Key"))
    return call.service == "sqs" or (call.service == "dynamodb" and ("lease" in row or "around/" in row))
