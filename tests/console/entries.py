"""Entries of the command history: as Systems Manager tells them, and as the functions log the same."""

import json
from dataclasses import replace

from console.join import Line, Told, join
from smtp_fleet.evidence import Ask, Invocation, Verb
from smtp_fleet.ssm import comment

NOW = 2_000_000_000.0
ASK = Ask(Verb.EXPECT, frozenset({25, 587}), 7)


def told(ask=ASK, cause="launch", status="Success", verdict=None, instance="i-1", details=None, **changes):
    """A command on one instance; `verdict` changes what it printed, `output` replaces it."""
    said = {"contract": 1, "verb": ask.verb.value, "epoch": ask.epoch, "class": "ok", "reason": "", "changed": True}
    said |= {"ports": dict.fromkeys(map(str, ask.ports), "proxy")} | (verdict or {})
    output = changes.pop("output", json.dumps(said) + "\n")
    part = Invocation(instance, status, details or status, output, changes.pop("seconds", 12.3))
    return replace(Told("c-1", comment(ask, cause), NOW, part), **changes)


def sent(ask=ASK, cause="launch", at=NOW, instances=("i-1",), command="c-1"):
    """What the hand logs of a command."""
    said = {"message": "command sent", "command_id": command, "instance_ids": [*instances]}
    return Line(at, said | {"asked": comment(ask, cause)})


def answered(ask=ASK, cause="launch", at=NOW + 20, **changes):
    """What the mind logs of an answer."""
    said = {"message": "an instance answered", "instance_id": "i-1", "command_id": "c-1", "load_balancers": ["mx-1"]}
    said |= {"asked": comment(ask, cause), "sent_at": int(NOW), "status": "Success", "seconds": 12.3, "outcome": "ok"}
    return Line(at, said | {"answer": "", "detail": "", "speaks": "25=proxy 587=proxy", "changed": True} | changes)


def entry(**changes):
    """One entry, as asked of i-1 behind mx-1 when it was launched, unless said otherwise."""
    [found] = join([told()], [], {"i-1": {"mx-1"}})
    return replace(found, **changes)
