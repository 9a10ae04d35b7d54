"""EC2 as it reports its instances, running once launched, terminated once gone, and as it bounds what is asked."""

from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses import EC2Response

from local.strict.overlay import lay
from local.strict.watch import announce

FILTER_VALUES = 200
BOUND = ("describe_instances", "describe_network_acls", "describe_network_interfaces", "describe_security_group_rules")
_describe = {name: getattr(EC2Response, name) for name in BOUND}
_entries = EC2Response.get_managed_prefix_list_entries
_run, _terminate = InstanceBackend.run_instances, InstanceBackend.terminate_instances

on_end: Callable[[Any, Any], None] | None = None  # Auto Scaling's part in the end of an instance


def _report(instance_id: str, state: str) -> None:
    # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
    announce("aws.ec2", "EC2 Instance State-change Notification", {"instance-id": instance_id, "state": state})


class _Reporting:
    def run_instances(self: Any, *args: Any, **kwargs: Any) -> Any:
        reservation = _run(self, *args, **kwargs)
        for instance in reservation.instances:
            _report(instance.id, "running")
        return reservation

    def terminate_instances(self: Any, instance_ids: list[str]) -> Any:
        # moto refuses an empty list, and so the end of an Auto Scaling group without instances.
        terminated = _terminate(self, instance_ids) if instance_ids else []
        for instance, before in terminated:
            if before.name != "terminated":
                _report(instance.id, "terminated")
                if on_end:
                    on_end(self, instance)
        return terminated


def _bounded(name: str) -> Callable[[Any], Any]:
    def described(self: Any) -> Any:
        # "The maximum number of filter values specified on a single call is 200" (EC2 API reference, error codes).
        if sum(len(each.get("Values") or []) for each in self.params.get("Filters") or []) > FILTER_VALUES:
            message = f"The maximum number of filter values specified on a single call is {FILTER_VALUES}"
            raise EC2ClientError("FilterLimitExceeded", message)
        return _describe[name](self)

    return described


class _Response:
    describe_instances = _bounded("describe_instances")
    describe_network_acls = _bounded("describe_network_acls")
    describe_network_interfaces = _bounded("describe_network_interfaces")
    describe_security_group_rules = _bounded("describe_security_group_rules")

    def get_managed_prefix_list_entries(self: Any) -> Any:
        prefix_list = self.params.get("PrefixListId")
        if prefix_list not in self.ec2_backend.managed_prefix_lists:
            raise EC2ClientError("InvalidPrefixListID.NotFound", f"The prefix list ID '{prefix_list}' does not exist")
        return _entries(self)


def apply() -> None:
    """Lays the reports and the bound over moto's EC2."""
    lay(_Reporting, EC2Backend)
    lay(_Response, EC2Response)
