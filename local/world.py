"""A small world in JSON for `make invoke`, read with one clear complaint: what there is, in which state, for whom.

`docs/local.md` describes it; `docs/world.example.json` is one; `local.stage` sets it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local.shape import NEEDED, Mistake, a_list_of, an_object_of, by, flag, one_of, or_null, parsed, text, whole, wrong
from local.strict.elb import POLICY_TYPES
from local.strict.given import STATES
from smtp_fleet.fleet import WAITING
from smtp_fleet.outcome import Outcome

CODES = {"ok": 0, "not-ready": 10, "broken": 11, "refused": 12, "edited": 13, "older-epoch": 14, "failed": 15}
"""The classes of the document's verdict, with their exit codes."""

World = dict[str, Any]


_ANY = text(r"(?s).*", "a text")
_BALANCER = text(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?", "1 to 32 letters, digits or hyphens")
_GROUP = text(r"[^:]{1,255}", "1 to 255 characters without a colon")
_INSTANCE = text(r"i-[0-9a-f]{8,17}", "an instance id like i-0123456789abcdef0")
# Of classic Elastic Load Balancing: TagKey and TagValue of the service model (botocore elb/2012-06-01), and 50 tags
# (User Guide for Classic Load Balancers, "Tag your Classic Load Balancer").
_TAG_KEY = text(r"(?s).{1,128}", "a key of 1 to 128 characters")
_TAGS = by(_TAG_KEY, text(r"(?s).{0,256}", "a text of at most 256 characters"), most=50)
_PORT = whole(1, 65535, "a port")
_PORT_NAME = text(r"[1-9][0-9]{0,4}", "a port in quotes")
_SECONDS = whole(0, 10**8, "seconds")
_SPEAKS = by(_PORT_NAME, one_of("plain", "proxy", "unknown"))
_LISTENER = an_object_of(
    port=(_PORT, NEEDED),
    instance_port=(_PORT, NEEDED),
    protocol=(one_of("TCP", "SSL", "HTTP", "HTTPS"), "TCP"),
    instance_protocol=(one_of("TCP", "SSL", "HTTP", "HTTPS"), "TCP"),
)
_POLICY = an_object_of(type=(one_of(*sorted(POLICY_TYPES)), NEEDED), attributes=(by(_ANY, _ANY), {}))
_HOOK = an_object_of(
    default_result=(one_of("ABANDON", "CONTINUE"), "ABANDON"), timeout=(whole(30, 7200, "seconds"), 900)
)
_POSTFIX = an_object_of(
    speaks=(_SPEAKS, {"25": "plain"}),
    can=(flag, None),
    **{"class": (one_of(*CODES, "lost"), None)},
    reason=(_ANY, "as the world says"),
)
_ROW = an_object_of(
    asked=(a_list_of(_PORT), NEEDED),
    command=(text(r"[0-9a-f-]{36}", "a command id of 36 digits and hyphens"), "00000000-0000-4000-8000-000000000000"),
    **{"class": (or_null(one_of(*(outcome.value for outcome in Outcome))), "ok")},
    speaks=(_SPEAKS, {}),
    admitted=(flag, False),
)
_WORLD = an_object_of(
    parameters=(by(_ANY, _ANY), {}),
    load_balancers=(
        by(
            _BALANCER,
            an_object_of(
                tags=(_TAGS, {}),
                listeners=(a_list_of(_LISTENER, least=1), NEEDED),
                policies=(by(text(r"[A-Za-z0-9-]{1,128}", "letters, digits and hyphens"), _POLICY), {}),
                instance_ports=(by(_PORT_NAME, a_list_of(_ANY)), {}),
                instances=(a_list_of(_INSTANCE), []),
            ),
        ),
        {},
    ),
    groups=(
        by(
            _GROUP,
            an_object_of(
                load_balancers=(a_list_of(_BALANCER), []),
                hooks=(by(text(r"[A-Za-z0-9_/-]{1,255}", "the name of a hook"), _HOOK), {}),
                instances=(by(_INSTANCE, one_of(*STATES)), {}),
            ),
        ),
        {},
    ),
    instances=(
        by(
            _INSTANCE,
            an_object_of(
                agent=(one_of("Online", "ConnectionLost", "none"), "Online"),
                postfix=(or_null(_POSTFIX), _POSTFIX({}, "")),
            ),
        ),
        {},
    ),
    ledger=(
        an_object_of(
            hooks=(by(_GROUP, _SECONDS), {}),
            off=(by(_BALANCER, by(_PORT_NAME, _SECONDS)), {}),
            machines=(by(_INSTANCE, _ROW), {}),
        ),
        {"hooks": {}, "off": {}, "machines": {}},
    ),
)


def read(path: Path, parameters: Mapping[str, Any]) -> World:
    """A world from a file, complete with defaults; `parameters` are those that the template declares."""
    try:
        return checked(parsed(path.read_text(), _without_repetition), parameters)
    except OSError as error:
        raise Mistake(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Mistake(f"{path}: expected JSON in UTF-8") from None
    except Mistake as error:
        raise Mistake(f"{path}: {error}") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise Mistake(f"{name}: expected once, but it is there {names.count(name)} times")
    return dict(pairs)


def checked(value: Any, parameters: Mapping[str, Any]) -> World:
    """The world, if each part of it is well formed and names only what is there; raises Mistake."""
    world: World = _WORLD(value, "")
    for name, given in world["parameters"].items():
        if name not in parameters:
            raise wrong(f"parameters.{name}", "a parameter of template.yaml", name)
        _check_parameter(parameters[name], given, f'parameters["{name}"]')
    for name, balancer in world["load_balancers"].items():
        _check_balancer(world, f'load_balancers["{name}"]', balancer)
    seen: dict[str, str] = {}
    for name, group in world["groups"].items():
        _check_group(world, f'groups["{name}"]', group, seen)
    _check_ledger(world)
    for instance, facts in world["instances"].items():
        postfix = facts["postfix"]
        if postfix and None not in (postfix["can"], postfix["class"]):
            raise Mistake(f'instances["{instance}"].postfix: expected can or class, not both')
    return world


def _check_parameter(declared: Mapping[str, Any], value: str, where: str) -> None:
    if pattern := declared.get("AllowedPattern"):
        text(pattern, f"a text that matches {pattern}")(value, where)
    if words := declared.get("AllowedValues"):
        one_of(*map(str, words))(value, where)
    if declared.get("Type") == "Number":
        number = int(text("[0-9]{1,9}", "a number in quotes")(value, where))
        least, most = declared.get("MinValue", 0), declared.get("MaxValue", 10**9)
        if not least <= number <= most:
            raise wrong(where, f"a number from {least} to {most}, in quotes", value)


def _known(world: World, kind: str, name: str, where: str) -> None:
    if name not in world[kind]:
        raise wrong(where, f"a name from {kind}", name)


def _check_balancer(world: World, where: str, balancer: World) -> None:
    fronts = [listener["port"] for listener in balancer["listeners"]]
    for number, front in enumerate(fronts):
        if front in fronts[:number]:
            raise wrong(f"{where}.listeners[{number}].port", "a port of its own", front)
    for name, policy in balancer["policies"].items():
        header = policy["type"] == "ProxyProtocolPolicyType"
        if header and policy["attributes"] not in ({"ProxyProtocol": "true"}, {"ProxyProtocol": "false"}):
            expected = '{"ProxyProtocol": "true"} or "false"'
            raise wrong(f'{where}.policies["{name}"].attributes', expected, policy["attributes"])
    for port, policies in balancer["instance_ports"].items():
        if int(port) not in {listener["instance_port"] for listener in balancer["listeners"]}:
            raise wrong(f"{where}.instance_ports", "the instance_port of a listener", port)
        for number, policy in enumerate(policies):
            if policy not in balancer["policies"]:
                raise wrong(f'{where}.instance_ports["{port}"][{number}]', "a name from its policies", policy)
            if "CookieStickiness" in balancer["policies"][policy]["type"]:
                raise wrong(f'{where}.instance_ports["{port}"][{number}]', "no policy for listeners", policy)
    for number, instance in enumerate(balancer["instances"]):
        _known(world, "instances", instance, f"{where}.instances[{number}]")


def _check_group(world: World, where: str, group: World, seen: dict[str, str]) -> None:
    for number, balancer in enumerate(group["load_balancers"]):
        _known(world, "load_balancers", balancer, f"{where}.load_balancers[{number}]")
    for instance, state in group["instances"].items():
        _known(world, "instances", instance, f"{where}.instances")
        if instance in seen:
            raise Mistake(f"{where}.instances: expected {instance} in one group, but {seen[instance]} has it too")
        if state in WAITING and not group["hooks"]:
            raise Mistake(f'{where}.instances["{instance}"]: expected a hook in {where}.hooks to wait at')
        seen[instance] = where


def _check_ledger(world: World) -> None:
    ledger = world["ledger"]
    for part, kind in (("hooks", "groups"), ("off", "load_balancers"), ("machines", "instances")):
        for name in ledger[part]:
            _known(world, kind, name, f"ledger.{part}")
