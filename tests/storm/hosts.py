"""The hosts of a storm: each obeys the document as far as its health allows, and answers as the document does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from smtp_fleet.evidence import CONTRACT
from tests.account.ssm import Answer, Course

NONE: frozenset[int] = frozenset()
OK, TERMINATED = "ok", Answer("Failed", "Terminated")


@dataclass
class Host:
    """One machine's Postfix: on which ports it expects the header, and the highest epoch that it has begun.

    A sick one does nothing and answers with the class of its sickness; `theirs` is one that was edited by others, which
    we leave to them from then on. `next` is how the commands to come will go.
    """

    expects: frozenset[int] = NONE
    fence: int = 0
    sick: str = ""
    theirs: bool = False
    next: list[str] = field(default_factory=list)


class Hosts:
    """All hosts, by instance and root volume: with another root volume it is another host."""

    def __init__(self, volume_of: Callable[[str], str]) -> None:
        self.volume_of = volume_of
        self._hosts: dict[tuple[str, str], Host] = {}

    def __getitem__(self, instance: str) -> Host:
        return self._hosts.setdefault((instance, self.volume_of(instance)), Host())

    def recover(self) -> None:
        """All are well again, and the commands to come go well."""
        for host in self._hosts.values():
            host.sick = ""
            host.next.clear()

    def course(self, instance: str, parameters: dict[str, list[str]]) -> Course:
        """How a command goes on an instance: seconds until it arrives, seconds that it runs, and its end."""
        host = self[instance]
        how = host.next.pop(0) if host.next else host.sick or OK
        match how:
            case "undelivered":
                return Course(1_000, 0, lambda: TERMINATED)
            case "late":
                return Course(55, 4, lambda: host_answers(host, parameters, OK))
            case "slow":
                return Course(1, 200, lambda: host_answers(host, parameters, OK))
            case "killed before":
                return Course(1, 4, lambda: TERMINATED)
            case "killed after":
                return Course(1, 4, lambda: (host_answers(host, parameters, OK), TERMINATED)[1])
        return Course(1, 4, lambda: host_answers(host, parameters, how))


def host_answers(host: Host, parameters: dict[str, list[str]], how: str) -> Answer:
    """Carry a command out and answer: first the fence, then the work, then one line of what Postfix is."""
    verb, epoch = parameters["Verb"][0], int(parameters["Epoch"][0])
    asked = frozenset(map(int, parameters["Ports"][0].replace("none", "").split()))
    before = host.expects
    older = epoch < host.fence
    if not older:
        host.fence = epoch
        if verb == "expect" and how == OK:
            host.expects = asked
    host.theirs |= how == "edited" and verb == "expect" and not before <= asked
    if how == "silent":
        return Answer("Success", "Success")
    if how == "garbage":
        return Answer("Failed", "Failed", "sh: 1: Syntax error\n")
    shown = before | asked | {25}
    verdict = {
        "contract": CONTRACT,
        "verb": verb,
        "epoch": epoch,
        "class": "older-epoch" if older else how,
        "reason": "" if how == OK else f"the host is {how}",
        "stored": host.fence,
        "ports": {} if older else {str(port): "proxy" if port in host.expects else "plain" for port in sorted(shown)},
    }
    status = "Success" if verdict["class"] == OK else "Failed"
    return Answer(status, status, json.dumps(verdict) + "\n")
