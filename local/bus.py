"""Routes events by the template's rules to their queues, and remembers what it did."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from local.strict import sqs
from local.strict.patterns import matches


@dataclass(frozen=True)
class Rule:
    """A rule of the template: a pattern or a schedule, and the queues that it feeds."""

    name: str
    pattern: dict[str, Any] | None
    schedule: str | None
    targets: tuple[tuple[str, str | None], ...]  # (queue ARN, constant input)


def rules_of(template: Any) -> list[Rule]:
    """The enabled rules of a template; every target must be a queue."""
    found = []
    for name, rule in template.resources("AWS::Events::Rule").items():
        for target in rule["Targets"]:
            if odd := set(target) - {"Id", "Arn", "Input", "DeadLetterConfig", "RetryPolicy"}:
                raise NotImplementedError(f"{name}: a target with {', '.join(sorted(odd))}")
            if ":sqs:" not in target["Arn"]:
                raise NotImplementedError(f"{name}: the target {target['Arn']} is not a queue")
        targets = tuple((target["Arn"], target.get("Input")) for target in rule["Targets"])
        if rule.get("State", "ENABLED") == "ENABLED":
            found.append(Rule(name, rule.get("EventPattern"), rule.get("ScheduleExpression"), targets))
    return found


class Bus:
    """The default event bus of the Region."""

    def __init__(self, rules: list[Rule]) -> None:
        self.rules = rules
        # What becomes of an event: one delivery per delay in seconds. () loses it, (0, 0) repeats it, (3,) delays it.
        self.fate: Callable[[dict[str, Any]], Iterable[float]] = lambda event: (0,)

    def publish(self, event: dict[str, Any]) -> tuple[str, ...]:
        """Sends the event to the queues of the rules that take it, and gives their names."""
        taken = [rule for rule in self.rules if rule.pattern and matches(rule.pattern, event)]
        for delay in self.fate(event) if taken else ():
            self._deliver(taken, event, delay)
        return tuple(rule.name for rule in taken)

    def fire(self, rule: Rule, event: dict[str, Any]) -> None:
        """Sends a scheduled event to the rule's queues."""
        self._deliver([rule], event, 0)

    def _deliver(self, rules: list[Rule], event: dict[str, Any], delay: float) -> None:
        for rule in rules:
            for arn, constant in rule.targets:
                sqs.send(arn, constant if constant is not None else json.dumps(event), delay)
