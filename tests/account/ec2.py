"""EC2 instances: their state, launch time and root volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from local.strict import Happening
from tests.account.network import HOSTS, SUBNET, Network
from tests.account.wire import Refused, page

if TYPE_CHECKING:
    from tests.account.account import Account

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclass
class Instance:
    """An instance."""

    instance_id: str
    volume: str
    launched_at: float
    state: str = "running"


class EC2(Network):
    """The instances of the account; who ends is told to Auto Scaling."""

    operations = (
        "CreateLaunchTemplate",
        "DescribeInstances",
        "RunInstances",
        "TerminateInstances",
        *Network.operations,
    )

    def __init__(self, account: Account) -> None:
        self._account = account
        self._serial, self._volumes, self._templates = count(1), count(1), count(1)
        self.instances: dict[str, Instance] = {}

    def create_launch_template(self, *, LaunchTemplateName: str, LaunchTemplateData: Any) -> Any:
        number = next(self._templates)
        return {"LaunchTemplate": {"LaunchTemplateId": f"lt-{number:017x}", "LaunchTemplateName": LaunchTemplateName}}

    def run_instances(self, *, ImageId: str, MinCount: int, MaxCount: int) -> Any:
        return {"Instances": [{"InstanceId": self.run().instance_id} for _ in range(MaxCount)]}

    def terminate_instances(self, *, InstanceIds: list[str]) -> Any:
        for unknown in [i for i in InstanceIds if i not in self.instances]:
            raise Refused("InvalidInstanceID.NotFound", f"The instance ID '{unknown}' does not exist")
        for instance in InstanceIds:
            self.end(instance)
        return {"TerminatingInstances": [{"InstanceId": i} for i in InstanceIds]}

    def describe_instances(self, *, Filters: list[dict[str, Any]], MaxResults: int = 1000, NextToken: str = "") -> Any:
        now, lag = self._account.clock.now, self._account.pace.described
        found = [self.instances[i] for i in _wanted(Filters) if i in self.instances]
        shown, token = page([i for i in found if i.launched_at + lag <= now], MaxResults, NextToken)
        told = {"Reservations": [{"Instances": [_described(i, i.launched_at + 2 * lag <= now)]} for i in shown]}
        return told | ({"NextToken": token} if token else {})

    # ---- what happens to instances

    def run(self) -> Instance:
        """A new instance, running."""
        instance_id = f"i-{next(self._serial):017x}"
        instance = Instance(instance_id, self._volume(), self._account.clock.now)
        self.instances[instance_id] = instance
        self._report(instance)
        return instance

    def end(self, instance_id: str) -> None:
        """Terminate an instance; a terminated one is shown for an hour."""
        instance = self.instances[instance_id]
        if instance.state == "terminated":
            return
        self.change(instance_id, "terminated")
        clock = self._account.clock
        clock.at(clock.now + 3600, lambda: self.instances.pop(instance_id, None))
        self._account.autoscaling.ended(instance_id)

    def change(self, instance_id: str, state: str) -> None:
        """Stop, start or terminate an instance."""
        instance = self.instances[instance_id]
        if instance.state != state:
            instance.state = state
            self._report(instance)

    def replace_root(self, instance_id: str) -> None:
        """Give an instance another root volume."""
        self.instances[instance_id].volume = self._volume()

    def is_running(self, instance_id: str) -> bool:
        """Whether an instance runs."""
        found = self.instances.get(instance_id)
        return found is not None and found.state == "running"

    def _volume(self) -> str:
        return f"vol-{next(self._volumes):017x}"

    def _report(self, instance: Instance) -> None:
        detail = {"instance-id": instance.instance_id, "state": instance.state}
        self._account.happens(Happening("aws.ec2", "EC2 Instance State-change Notification", detail))


def _wanted(filters: list[dict[str, Any]]) -> Iterable[str]:
    [told] = filters
    assert told["Name"] == "instance-id"
    if len(told["Values"]) > 200:
        raise Refused("FilterLimitExceeded", "The maximum number of filter values specified on a single call is 200")
    return sorted(set(told["Values"]))


def _described(instance: Instance, attached: bool) -> dict[str, Any]:
    root = {"DeviceName": "/dev/sda1", "Ebs": {"VolumeId": instance.volume}}
    return {
        "InstanceId": instance.instance_id,
        "RootDeviceName": "/dev/sda1",
        "BlockDeviceMappings": [root] if attached and instance.state != "terminated" else [],
        "SecurityGroups": [{"GroupId": HOSTS}],
        "NetworkInterfaces": [{"SubnetId": SUBNET, "Groups": [{"GroupId": HOSTS}]}],
        "LaunchTime": datetime.fromtimestamp(int(instance.launched_at), UTC),
        "State": {"Code": CODES[instance.state], "Name": instance.state},
    }
