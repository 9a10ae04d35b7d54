"""A deployed stack in the place of CloudFormation, and what a command prints."""

import io
from argparse import ArgumentParser
from types import SimpleNamespace

from rich.console import Console


class CloudFormation:
    """Answers for one stack of the template, deployed in a local Region."""

    meta = SimpleNamespace(region_name="us-east-1")

    def __init__(self, template, parameters, urls):
        self._template, self._urls = template, urls
        self._told = {name: str(each.get("Default", "")) for name, each in template.declared.items()} | parameters

    def describe_stacks(self, StackName):
        parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in self._told.items()]
        return {"Stacks": [{"StackName": StackName, "StackId": StackName, "Parameters": parameters}]}

    def describe_stack_resources(self, StackName):
        names = {name: self._template.name(name) for name in self._template.body["Resources"]} | self._urls
        return {"StackResources": [{"LogicalResourceId": k, "PhysicalResourceId": v} for k, v in names.items()]}


def client_of(region, parameters):
    """Clients on a local Region in which the stack can be described, too."""
    queues = region.client("sqs").list_queues()["QueueUrls"]
    names = {name: region.template.name(name) for name in region.template.resources("AWS::SQS::Queue")}
    urls = {name: url for name, called in names.items() for url in queues if url.endswith(f"/{called}")}
    deployed = CloudFormation(region.template, parameters, urls)
    return lambda service: deployed if service == "cloudformation" else region.client(service)


class Screen:
    """A terminal's out and err, as text; `width` is its columns."""

    def __init__(self, width=160):
        plain = {"markup": False, "highlight": False, "no_color": True, "width": width}
        self._out, self._err = io.StringIO(), io.StringIO()
        self.out, self.err = Console(file=self._out, **plain), Console(file=self._err, **plain)

    @property
    def text(self):
        return self._out.getvalue()

    @property
    def complaint(self):
        return self._err.getvalue()


def run(command, client, *arguments, width=160):
    """The exit code, what was printed, and what was complained about."""
    parser, screen = ArgumentParser(), Screen(width)
    command.add_arguments(parser)
    code = command.main(parser.parse_args(arguments), client, screen.out, screen.err)
    return code, screen.text, screen.complaint
