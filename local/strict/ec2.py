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
_describe = EC2Response.describe_instances
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
        terminated = _terminate(self, instance_ids)
        for instance, before in terminated:
            if before.name != "terminated":
                _report(instance.id, "terminated")
                if on_end:
                    on_end(self, instance)
        return terminated


class _Response:
    def describe_instances(self: Any) -> Any:
        # "The maximum number of filter values specified on a single call is 200" (EC2 API reference, error codes).
        if sum(len(each.get("Values") or []) for each in self.params.get("Filters") or []) > FILTER_VALUES:
            message = f"The maximum number of filter values specified on a single call is {FILTER_VALUES}"
            raise EC2ClientError("FilterLimitExceeded", message)
        return _describe(self)


def apply() -> None:
    """Lays the reports and the bound over moto's EC2."""
    lay(_Reporting, EC2Backend)
    lay(_Response, EC2Response)
