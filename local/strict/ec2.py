"""EC2 as it reports its instances: running once launched, terminated once gone."""

from collections.abc import Callable
from typing import Any

from moto.ec2.models import EC2Backend
from moto.ec2.models.instances import InstanceBackend

from local.strict.overlay import lay
from local.strict.watch import announce

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


def apply() -> None:
    """Lays the reports over moto's EC2."""
    lay(_Reporting, EC2Backend)
