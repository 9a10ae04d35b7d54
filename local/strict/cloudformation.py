"""CloudFormation that knows the stack which a Region is: what it was told, and what its resources are called."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.responses import CloudFormationResponse
from moto.core.responses import ActionResult

from local.strict.overlay import lay

_describe, _resources = CloudFormationResponse.describe_stacks, CloudFormationResponse.describe_stack_resources
_delete = CloudFormationResponse.delete_stack


def deploy(name: str, parameters: Mapping[str, str], resources: Mapping[str, str], region: str, account: str) -> None:
    """Have a stack be described, with the physical id of each resource; what it is made of is the Region's business."""
    stack = {"StackName": name, "StackStatus": "CREATE_COMPLETE", "CreationTime": datetime.now(UTC), "Tags": {}}
    stack["StackId"] = f"arn:aws:cloudformation:{region}:{account}:stack/{name}/{name}"
    stack["Parameters"] = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    told = [{"LogicalResourceId": key, "PhysicalResourceId": value} for key, value in resources.items()]
    _stacks(cloudformation_backends[account][region]).append((stack, told))


def _stacks(backend: Any) -> list[tuple[dict[str, Any], list[dict[str, str]]]]:
    return backend.__dict__.setdefault("deployed", [])  # goes with the backend when moto is reset


def _deployed(response: Any) -> tuple[dict[str, Any], list[dict[str, str]]] | None:
    asked = response._get_param("StackName")
    every = _stacks(response.cloudformation_backend)
    return next((each for each in every if asked in (each[0]["StackName"], each[0]["StackId"])), None)


class _Response:
    def describe_stacks(self: Any) -> Any:
        found = _deployed(self)
        return ActionResult({"Stacks": [found[0]]}) if found else _describe(self)

    def describe_stack_resources(self: Any) -> Any:
        found = _deployed(self)
        return ActionResult({"StackResources": found[1]}) if found else _resources(self)

    def delete_stack(self: Any) -> Any:
        if _deployed(self):
            raise NotImplementedError("the stack is the Region itself, and ends with it")
        return _delete(self)


def apply() -> None:
    """Lays the deployed stacks over moto's CloudFormation."""
    lay(_Response, CloudFormationResponse)
