"""An AWS Region on this machine: strict moto, the template's rules, queues and functions, and the events in between."""

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any
from uuid import uuid4

import boto3

from local import cloudtrail
from local.bus import Bus, Rule, rules_of
from local.functions import Function, environment_of, log_group_of
from local.queues import EventSource, Pulse
from local.strict import Call, Happening, autoscaling, cloudformation, listen, logs, observe, sqs, ssm
from local.strict.server import serve
from local.template import Template

OPERATOR = "AKIAOPERATOR00000000"
SECRET = "secret"
_ITSELF = "AKIAREGIONITSELF0000"


@dataclass(frozen=True)
class Record:
    """One line of what happened: a call, an event with the rules that took it, a log line or an invocation."""

    at: float
    kind: str
    who: str  # "operator", a function's logical id, or "aws"
    what: Any


class Region:
    """Deploys the template and keeps the Region going while its context lasts."""

    def __init__(self, template: Path, parameters: Mapping[str, str] = {},
                 overrides: Mapping[str, Mapping[str, Any]] = {}) -> None:  # fmt: skip
        self._path, self._parameters, self._overrides = template, parameters, overrides
        self.log: list[Record] = []
        self.on_launch: Callable[[str], None] | None = None  # these three must return soon
        self.on_terminate: Callable[[str], None] | None = None
        self.on_elb_change: Callable[[], None] | None = None
        self.on_record: Callable[[Record], None] | None = None  # and so must this
        self.functions: dict[str, Function] = {}
        self._sources: list[EventSource] = []
        self._names = {OPERATOR: "operator", _ITSELF: "aws"}
        self._pulse, self._news = Pulse(), Queue[Any]()
        self._broken: Exception | None = None
        self.client = cache(self._client)

    def __enter__(self) -> "Region":
        with ExitStack() as stack:
            self.endpoint = stack.enter_context(serve())
            self.template = Template(self._path, self._parameters, self.endpoint)
            self._deploy()
            stack.callback(self._stop)
            stack.enter_context(observe(self._post))
            stack.enter_context(listen(self._post))
            self._events = Thread(target=self._handle_news, daemon=True)
            self._events.start()
            for source in self._sources:
                source.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _stop(self) -> None:
        for source in self._sources:
            source.close()
        for function in self.functions.values():
            function.close()
        for source in self._sources:
            source.join()
        self._news.put(None)
        self._events.join()
        ssm.executor = None

    def _client(self, service: str, of_the_operator: bool = True) -> Any:
        """A client of the operator on the Region, or one whose calls are the Region's own doing."""
        keys = {"aws_access_key_id": OPERATOR if of_the_operator else _ITSELF, "aws_secret_access_key": SECRET}
        return boto3.client(service, region_name=self.template.region, endpoint_url=self.endpoint, **keys)

    def _deploy(self) -> None:
        queues = self._resources("AWS::SQS::Queue")
        for name, queue in sorted(queues.items(), key=lambda each: "RedrivePolicy" in each[1]):  # its target first
            attributes = {key: _text(value) for key, value in queue.items() if key not in {"QueueName", "Tags"}}
            self.client("sqs").create_queue(QueueName=self.template.name(name), Attributes=attributes)
        kept = ("KeySchema", "AttributeDefinitions", "BillingMode", "GlobalSecondaryIndexes", "ProvisionedThroughput")
        for name, table in self._resources("AWS::DynamoDB::Table", *kept).items():
            self.client("dynamodb").create_table(TableName=self.template.name(name), **table)
        for name, document in self._resources("AWS::SSM::Document", "Content", "DocumentType").items():
            document["Content"] = json.dumps(document["Content"])
            self.client("ssm").create_document(Name=self.template.name(name), **document)
        where = (self.template.region, self.template.account)
        for name in self._resources("AWS::Logs::LogGroup"):
            logs.create(self.template.name(name), *where)
        cloudformation.deploy(self.template.stack, self.template.parameters, self.template.physical, *where)
        self.bus = Bus(rules_of(self.template))
        for number, (name, properties) in enumerate(self._resources("AWS::Serverless::Function", *FUNCTION).items()):
            self._deploy_function(name, properties, f"ASIAFUNCTION{number:08}")

    def _resources(self, kind: str, *keys: str) -> dict[str, dict[str, Any]]:
        found = self.template.resources(kind, *keys)
        return {name: properties | self._overrides.get(name, {}) for name, properties in found.items()}

    def _deploy_function(self, name: str, properties: dict[str, Any], key: str) -> None:
        self._names[key] = name
        folder, called = self.template.folder / properties["CodeUri"], self.template.name(name)
        self.functions[name] = function = Function(
            name=name,
            arn=self.template.resolve({"Fn::GetAtt": f"{name}.Arn"}),
            folder=folder,
            handler=properties["Handler"],
            timeout=float(properties.get("Timeout", 3)),
            variables=environment_of(called, properties, folder, self.template.region, key, self.endpoint),
            on_line=partial(self._line, log_group_of(called, properties)),
            allows_recursion=properties.get("RecursiveLoop") == "Allow",
        )
        for label, source in properties.get("Events", {}).items():
            if source["Type"] != "SQS":
                raise NotImplementedError(f"{name}.{label}: an event source of type {source['Type']}")
            asked = source["Properties"]
            self._sources.append(EventSource(
                queue=asked["Queue"], function=function, pulse=self._pulse,
                on_invocation=lambda name, what: self._record("invocation", name, what),
                size=asked.get("BatchSize", 10), window=asked.get("MaximumBatchingWindowInSeconds", 0),
                reports_failures="ReportBatchItemFailures" in asked.get("FunctionResponseTypes", []),
                concurrency=asked.get("ScalingConfig", {}).get("MaximumConcurrency", 2),
            ))  # fmt: skip

    def _line(self, group: str, who: str, line: dict[str, Any]) -> None:
        self._record("log", who, line)
        logs.write(group, json.dumps(line), time.time(), self.template.region, self.template.account)

    def _record(self, kind: str, who: str, what: Any) -> None:
        record = Record(time.time(), kind, who, what)
        self.log.append(record)
        if self.on_record:
            self.on_record(record)

    def _post(self, news: Call | Happening) -> None:
        if isinstance(news, Call) and news.operation.startswith("SendMessage") and not news.error:
            for message_id in re.findall(r'"MessageId":\s*"([^"]+)"', str(news.result)):
                for source in self._sources:
                    source.sent(message_id, news.trace)
        self._news.put(news)

    def _handle_news(self) -> None:
        while True:
            expiry = autoscaling.next_expiry()
            try:
                news = self._news.get(timeout=None if expiry is None else max(0, expiry - time.time()))
            except Empty:
                autoscaling.expire()
                continue
            if news is None:
                return
            try:
                self._handle_call(news) if isinstance(news, Call) else self._handle_happening(news)
            except Exception as broken:  # of a callback: told to whoever waits next
                self._broken = self._broken or broken
            self._news.task_done()
            self._pulse.beat()

    def _handle_call(self, call: Call) -> None:
        who = self._names.get(call.caller, call.caller)
        self._record("call", who, call)
        facts = call.service, call.operation, call.params, call.error
        principal = self.template.name(who) if who in self.functions else who
        if event := cloudtrail.event(*facts, at=_moment(), id_=str(uuid4()), who=principal):
            self.publish(event)
            if call.service == "elb" and not call.error and self.on_elb_change:
                self.on_elb_change()

    def _handle_happening(self, happening: Happening) -> None:
        detail = happening.detail
        if happening.source == "aws.ec2" and detail["state"] == "running" and self.on_launch:
            self.on_launch(detail["instance-id"])
        if happening.source == "aws.ec2" and detail["state"] == "terminated" and self.on_terminate:
            self.on_terminate(detail["instance-id"])
        self.publish(self._event(happening.source, happening.detail_type, detail, happening.resources))
        if happening.source == "aws.autoscaling" and self.on_elb_change:
            self.on_elb_change()

    def _event(self, source: str, detail_type: str, detail: Any, resources: tuple[str, ...] = ()) -> dict[str, Any]:
        event = {"version": "0", "id": str(uuid4()), "account": self.template.account, "region": self.template.region}
        event |= {"source": source, "detail-type": detail_type, "time": _moment(), "resources": list(resources)}
        return event | {"detail": detail}

    def publish(self, event: dict[str, Any]) -> None:
        """Puts an event on the bus, whatever its source."""
        self._record("event", "aws", (event, self.bus.publish(event)))
        self._pulse.beat()

    def sweep(self) -> None:
        """Fires the scheduled rules."""
        for rule in self.bus.rules:
            if rule.schedule:
                self.fire(rule)

    def fire(self, rule: Rule, event: dict[str, Any] | None = None) -> None:
        """Fires one scheduled rule, with the event that its schedule sends if none is given."""
        arn = f"arn:aws:events:{self.template.region}:{self.template.account}:rule/{rule.name}"
        event = event or self._event("aws.events", "Scheduled Event", {}, (arn,))
        self.bus.fire(rule, event)
        self._record("event", "aws", (event, (rule.name,)))
        self._pulse.beat()

    def quiet(self, timeout: float, ahead: float = 0) -> bool:
        """Waits until nothing is under way, nor due within `ahead` seconds; False if the time is up first."""
        end = time.monotonic() + timeout
        while True:
            since = self._pulse.beats
            if self._broken:
                raise self._broken
            if self._is_quiet(time.time() + ahead) and since == self._pulse.beats:
                return True
            if time.monotonic() >= end:
                return False
            self._pulse.wait(since, 0.05)

    def _is_quiet(self, until: float) -> bool:
        idle = not ssm.under_way() and all(source.is_idle(until) for source in self._sources)
        return idle and not self._news.unfinished_tasks

    def planned(self) -> list[tuple[str, float]]:
        """The messages that cannot be received yet: for which function, and in how many seconds."""
        waits = [(source.function.name, at - time.time()) for source in self._sources for at in sqs.due(source.queue)]
        return [(name, seconds) for name, seconds in waits if seconds > 0]

    def calls(self, *operations: str, who: str | None = None) -> list[Call]:
        """The calls so far, of these operations or of all, by anyone or by one caller."""
        found = [each for each in list(self.log) if each.kind == "call" and who in {None, each.who}]
        return [each.what for each in found if not operations or each.what.operation in operations]

    def register_agent(self, instance_id: str, ping_status: str = "Online") -> None:
        """Makes the instance a managed node."""
        ssm.register_agent(instance_id, ping_status, self.template.region, self.template.account)

    @property
    def executor(self) -> ssm.Executor | None:
        """Runs the document on an instance; nothing is delivered without one."""
        return ssm.executor

    @executor.setter
    def executor(self, executor: ssm.Executor | None) -> None:
        ssm.executor = executor


FUNCTION = ("CodeUri", "Handler", "Timeout", "MemorySize", "Environment", "Events", "Layers", "LoggingConfig",
            "RecursiveLoop")  # fmt: skip


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _moment() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
