"""Makes moto as strict as AWS, and every call on it observable; all use of moto's internals is in this package."""

from local.strict import autoscaling, cloudformation, ec2, elb, logs, ssm, tagging, warm_pool, watch
from local.strict.watch import Call, Happening, listen, observe

__all__ = ["Call", "Happening", "listen", "observe", "strict"]


def strict() -> None:
    """Applies the corrections to moto, once, for `mock_aws` and for moto's server alike; later calls change nothing."""
    for module in (watch, ec2, elb, tagging, autoscaling, warm_pool, ssm, cloudformation, logs):
        module.apply()
