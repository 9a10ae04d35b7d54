"""Reads a SAM template and resolves what a Region needs of it; what it does not understand is an error, not a guess."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms."""


def _short_form(loader: Any, tag: str, node: Any) -> dict[str, Any]:
    builders = {yaml.ScalarNode: loader.construct_scalar, yaml.SequenceNode: loader.construct_sequence}
    build = builders.get(type(node), loader.construct_mapping)
    value = build(node) if isinstance(node, yaml.ScalarNode) else build(node, deep=True)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _short_form)
_NOTHING = object()


def _merged(under: Any, over: Any) -> Any:
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    return under | {key: _merged(under[key], value) if key in under else value for key, value in over.items()}


class Template:
    """A template with its parameters' values, deployed as a stack at an endpoint."""

    def __init__(
        self,
        path: Path,
        parameters: Mapping[str, str] = {},
        endpoint: str = "http://127.0.0.1",
        stack: str = "smtp-fleet",
        region: str = "us-east-1",
        account: str = "123456789012",
    ) -> None:
        self.folder, self.stack, self.region, self.account = path.resolve().parent, stack, region, account
        self.endpoint, self.body = endpoint, yaml.load(path.read_text(), _Loader)
        self.declared: dict[str, Any] = self.body.get("Parameters", {})
        if unknown := set(parameters) - set(self.declared):
            raise KeyError(f"{path.name} has no parameter {', '.join(sorted(unknown))}")
        self._parameters = {name: parameters.get(name, each.get("Default")) for name, each in self.declared.items()}
        self._lists = {name for name, each in self.declared.items() if "List" in each["Type"]}
        self._pseudo = {
            "AWS::AccountId": account, "AWS::NoValue": _NOTHING, "AWS::Partition": "aws", "AWS::Region": region,
            "AWS::StackName": stack, "AWS::URLSuffix": "amazonaws.com",
        }  # fmt: skip

    def resources(self, kind: str, *keys: str) -> dict[str, dict[str, Any]]:
        """The resources of a type that the conditions allow, resolved, by logical id; of the given properties only."""
        found = {}
        for name, resource in self.body["Resources"].items():
            if resource["Type"] == kind and self._allowed(resource):
                properties = resource.get("Properties", {})
                if kind == "AWS::Serverless::Function":
                    properties = _merged(self.body.get("Globals", {}).get("Function", {}), properties)
                found[name] = self.resolve({key: each for key, each in properties.items() if key in keys or not keys})
        return found

    @property
    def parameters(self) -> dict[str, str]:
        """What the stack is told, defaults included."""
        return {name: str(value) for name, value in self._parameters.items() if value is not None}

    @property
    def physical(self) -> dict[str, str]:
        """The name or URL of each resource that the conditions allow, by its logical id."""
        allowed = (name for name, resource in self.body["Resources"].items() if self._allowed(resource))
        return {name: str(self._ref(name)) for name in allowed}

    def _allowed(self, resource: dict[str, Any]) -> bool:
        return "Condition" not in resource or self._condition(resource["Condition"])

    def resolve(self, value: Any) -> Any:
        """The value without intrinsic functions."""
        if isinstance(value, list):
            return [each for each in map(self.resolve, value) if each is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and ((only := next(iter(value))) == "Ref" or str(only).startswith("Fn::")):
            return self._intrinsic(only, value[only])
        return {key: new for key, each in value.items() if (new := self.resolve(each)) is not _NOTHING}

    def _intrinsic(self, name: str, value: Any) -> Any:
        match name:
            case "Ref":
                return self._ref(value)
            case "Fn::GetAtt":
                return self._attribute(*(value.split(".", 1) if isinstance(value, str) else value))
            case "Fn::Sub":
                return self._substitute(*(value if isinstance(value, list) else (value, {})))
            case "Fn::Join":
                return value[0].join(self.resolve(value[1]))
            case "Fn::If":
                return self.resolve(value[1] if self._condition(value[0]) else value[2])
            case "Fn::Transform" if value["Name"] == "AWS::Include":
                return yaml.safe_load((self.folder / self.resolve(value["Parameters"]["Location"])).read_text())
        raise NotImplementedError(f"{name} of {value}")

    def _ref(self, name: str) -> Any:
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self._parameters:
            value = self._parameters[name]
            if value is None:
                raise KeyError(f"the parameter {name} has no default and no value")
            return [each.strip() for each in value.split(",")] if name in self._lists else str(value)
        match self._type(name):
            case "AWS::SQS::Queue":
                return f"{self.endpoint}/{self.account}/{self.name(name)}"
            case "AWS::Serverless::LayerVersion":
                return str(self.folder / self.body["Resources"][name]["Properties"]["ContentUri"])
        return self.name(name)

    def _type(self, name: str) -> str:
        if name not in self.body["Resources"]:
            raise KeyError(f"the template has no parameter or resource {name}")
        return str(self.body["Resources"][name]["Type"])

    def name(self, logical: str) -> str:
        """The physical name of a resource: its own, or made of the stack's."""
        own = {"QueueName", "TableName", "FunctionName", "LogGroupName", "Name"}
        properties = self.body["Resources"][logical].get("Properties", {})
        return next((str(self.resolve(properties[key])) for key in own & set(properties)), f"{self.stack}-{logical}")

    def _attribute(self, logical: str, attribute: str) -> str:
        kind, name = self._type(logical), self.name(logical)
        at = f"{self.region}:{self.account}"
        arns = {
            "AWS::SQS::Queue": f"arn:aws:sqs:{at}:{name}",
            "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{at}:table/{name}",
            "AWS::Events::Rule": f"arn:aws:events:{at}:rule/{name}",
            "AWS::Serverless::Function": f"arn:aws:lambda:{at}:function:{name}",
            "AWS::CloudWatch::Alarm": f"arn:aws:cloudwatch:{at}:alarm:{name}",
        }
        if attribute == "QueueName":
            return name
        if attribute != "Arn" or kind not in arns:
            raise NotImplementedError(f"Fn::GetAtt {logical}.{attribute} of {kind}")
        return arns[kind]

    def _substitute(self, text: str, names: dict[str, Any]) -> str:
        def value(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in names:
                return str(self.resolve(names[name]))
            return str(self._attribute(*name.split(".", 1)) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)

    def _condition(self, value: Any) -> bool:
        if isinstance(value, str):
            return self._condition(self.body["Conditions"][value])
        (name, inner), *more = value.items()
        match name:
            case "Condition" if not more:
                return self._condition(inner)
            case "Fn::Equals":
                return bool(self.resolve(inner[0]) == self.resolve(inner[1]))
            case "Fn::Not":
                return not self._condition(inner[0])
            case "Fn::And":
                return all(map(self._condition, inner))
            case "Fn::Or":
                return any(map(self._condition, inner))
        raise NotImplementedError(f"the condition {name}")
