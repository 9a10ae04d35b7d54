"""What is done to a live fleet while mail flows: each act changes something, waits for the end and checks its state.

An act that is to end where it began has to leave each file byte for byte as it was. Each is played with all events, and
with none: then only sweeps wake the mind, and the end is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Any

from local.cutover import BALANCER, FILES, Killer, LiveFleet
from local.story import TAG
from local.strict import Call, ssm

_NO_RELOAD = """\
#!/bin/sh
case "$* $(cat /etc/postfix/master.cf)" in *reload*"smtp-fleet begin"*) exit 1 ;; esac
exec postfix.real "$@"
"""


@dataclass(frozen=True)
class Act:
    """One act: its title, and how it is played."""

    title: str
    play: Callable[[LiveFleet], None]


def switch_on(fleet: LiveFleet) -> None:
    """Tag it `enabled`, with a session in DATA and an idle one open meanwhile."""
    with fleet.sessions():
        fleet.tag("enabled")
        fleet.come_to(lambda: fleet.is_on, "the fleet to be on")


def switch_off(fleet: LiveFleet) -> None:
    """Tag it `disabled`, with a session in DATA and an idle one open meanwhile."""
    with fleet.sessions():
        _switch_off(fleet)


def strip_the_tag(fleet: LiveFleet) -> None:
    """Take the tag away while the balancer sends: it goes on sending, and its launches stay held."""
    fleet.region.client("elb").remove_tags(LoadBalancerNames=[BALANCER], Tags=[{"Key": TAG["Key"]}])
    found = f"load balancer {BALANCER}: tag vanished while sending"
    fleet.come_to(lambda: fleet.has_said(found) and fleet.is_on, "the fleet to be on without its tag, and named")
    fleet.tag("enabled")
    fleet.come_to(lambda: fleet.has_said(f"{found} (is over)") and fleet.is_on, "the fleet to be on as before")


def overwrite(fleet: LiveFleet) -> None:
    """Put the stock master.cf on one instance while the balancer sends; sweeps repair it."""
    instance, machine = next(iter(fleet.instances.machines.items()))
    machine.write(FILES[1], fleet.stock[instance][FILES[1]])
    machine.run(["postfix", "reload"]).check_returncode()
    fleet.await_deferred(1)
    fleet.come_to(lambda: fleet.is_on, "the instance to be repaired", sweep=True)


def fail_to_apply(fleet: LiveFleet) -> None:
    """Let one Postfix refuse to reload with the new files: the cutover is refused, and undone on the others."""
    machine = next(iter(fleet.instances.machines.values()))
    machine.run(["mv", "/usr/sbin/postfix", "/usr/sbin/postfix.real"]).check_returncode()
    machine.write("/usr/sbin/postfix", _NO_RELOAD.encode())
    machine.run(["chmod", "0755", "/usr/sbin/postfix"]).check_returncode()
    try:
        fleet.tag("enabled")
        _come_to_refusal(fleet)
    finally:
        machine.run(["mv", "/usr/sbin/postfix.real", "/usr/sbin/postfix"]).check_returncode()


def straggle(fleet: LiveFleet) -> None:
    """Let one instance carry its command out only when all has been undone: it is refused there, by its epoch."""
    late, refused, let_go = next(iter(fleet.instances.machines)), Event(), Event()
    execute, waited = fleet.region.executor, list[str]()
    assert execute is not None

    def straggling(instance: str, content: dict[str, Any], parameters: dict[str, list[str]], id_: str) -> ssm.Answer:
        if instance != late or parameters["Verb"] != ["expect"]:
            return execute(instance, content, parameters, id_)
        if not waited:
            waited.append(id_)
            refused.wait(120)
            return execute(instance, content, parameters, id_)
        answer = execute(instance, content, parameters, id_)
        let_go.set()
        return answer

    fleet.region.executor = straggling
    try:
        fleet.tag("enabled")
        fleet.await_that(let_go.is_set, "the late one to be let go before it was ever told to expect")
        refused.set()
        _come_to_refusal(fleet)
    finally:
        refused.set()
        fleet.region.executor = execute


def kill_the_mind(fleet: LiveFleet) -> None:
    """Kill the mind when it has asked one of three, and between policy and read-back: on the way on, and off."""
    sets = _of("SetLoadBalancerPoliciesForBackendServer")
    with Killer(fleet, _asks(), sets) as killer:
        fleet.tag("enabled")
        killer.await_kills(2)
        fleet.come_to(lambda: fleet.is_on, "the fleet to be on")
    with Killer(fleet, sets, _asks()) as killer:
        fleet.tag("disabled")
        killer.await_kills(2)
        fleet.come_to(lambda: fleet.is_plain, "the fleet to be as it was before")


ACTS: Mapping[str, Act] = {
    "on": Act("Switched on in place", switch_on),
    "stripped": Act("The tag is stripped while the balancer sends", strip_the_tag),
    "overwritten": Act("master.cf is overwritten on one instance while the balancer sends", overwrite),
    "off": Act("Switched off in place", switch_off),
    "fails": Act("One instance fails to apply: refused, and undone", fail_to_apply),
    "straggler": Act("One instance is over the budget: refused, and undone", straggle),
    "killed": Act("On and off, and the mind is killed twice on either way", kill_the_mind),
}


def _switch_off(fleet: LiveFleet) -> None:
    fleet.tag("disabled")
    fleet.come_to(lambda: fleet.is_plain, "the fleet to be as it was before")


def _come_to_refusal(fleet: LiveFleet) -> None:
    """Refused, the fleet takes mail as before; with the tag off, its hook goes as well."""

    def undone() -> bool:
        return fleet.has_said("cutover refused") and not fleet.story.policies(BALANCER) and fleet.files() == fleet.stock

    fleet.come_to(undone, "the cutover to be refused and undone")
    _switch_off(fleet)


def _asks() -> Callable[[Call], bool]:
    """The first message that asks an instance to expect, or to let go: the other instances are not asked yet."""
    written = list[Call]()

    def asks(call: Call) -> bool:
        if call.service == "dynamodb" and call.is_write and "'expect'" in str(call.params):
            written.append(call)
        return bool(written) and call.operation == "SendMessage"

    return asks


def _of(operation: str) -> Callable[[Call], bool]:
    return lambda call: call.operation == operation
