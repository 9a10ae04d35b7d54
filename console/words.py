"""What the functions would do, and how long ago something was, in words for an operator."""

from __future__ import annotations

from smtp_fleet.actions import (
    Action,
    Admit,
    DeleteHook,
    DeletePolicy,
    Hold,
    PutHook,
    Refuse,
    Reject,
    Send,
    SetPolicies,
)
from smtp_fleet.evidence import Verb
from smtp_fleet.fleet import HOOK_NAME


def action(one: Action) -> str:
    """What an action changes on balancers, groups or instances; empty for a note in the ledger."""
    match one:
        case PutHook(group, result, timeout, _):
            return f"put lifecycle hook {HOOK_NAME} on group {group}: {result} after {timeout} s"
        case DeleteHook(group):
            return f"delete lifecycle hook {HOOK_NAME} of group {group}"
        case SetPolicies(balancer, port, policies, sends, create):
            made = f"create policy {create}, and " if create else ""
            what = "send the header" if sends else "send no header"
            return f"{made}set [{', '.join(policies)}] on instance port {port} of {balancer}: {what}"
        case DeletePolicy(balancer, policy):
            return f"delete policy {policy} of {balancer}, which is on no port"
        case Send(ask, machines):
            names, ports = ", ".join(m.instance_id for m in machines), " ".join(map(str, sorted(ask.ports)))
            if ask.verb is Verb.LOOK:
                return f"ask {names} by Run Command whether Postfix could expect the header on {ports} (read-only)"
            if not ask.ports:
                return f"have {names} put Postfix back as it was (Run Command)"
            return f"have {names} expect the header on {ports} (Run Command; reload, no restart)"
        case Admit(machine, group, _):
            return f"let {machine.instance_id} of group {group} into service"
        case Hold(machine, group):
            return f"hold launch {machine.instance_id} of group {group} at the hook for longer"
        case Reject(machine, group, reason):
            return f"give up launch {machine.instance_id} of group {group}: {reason}"
        case Refuse(port, why, _, _):
            return f"refuse the cutover of instance port {port}: {why}"
    return ""


def ago(seconds: int) -> str:
    """A span of time, in its largest unit that is not less than two."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"
