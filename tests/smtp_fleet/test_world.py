"""The small world writes in the order in which the mind does: a crash in the model is one that can happen."""

from dataclasses import replace
from unittest.mock import MagicMock

import pytest

from smtp_fleet.act import Actor
from smtp_fleet.actions import Admit, DeleteHook, Plan, PutHook, Send, SetPolicies
from smtp_fleet.evidence import Ask, Machine, Verb
from tests.smtp_fleet.search import sending

MACHINE = Machine("i-0", "vol-0")
NOT_IN_THE_MODEL = {"ledger.expect_hook", "ledger.forget_hook"}
"""The index of hooks: the model knows all groups."""

MEANS = {
    "ledger.forget_off": ["forget_off"],
    "ledger.record_off": ["record_off"],
    "ledger.record_hook": ["record_hook"],
    "ledger.void_hook": ["void_hook"],
    "groups.put_hook": ["put_hook"],
    "groups.delete_hook": ["delete_hook"],
}
SEND = Send(Ask(Verb.EXPECT, frozenset(), 2_000_000), (MACHINE,))
ON = SetPolicies("mx-1", 25, ("EnableProxyProtocol",), sends=True, create="EnableProxyProtocol")
OFF = SetPolicies("mx-1", 25, (), sends=False)


@pytest.mark.parametrize(
    ("action", "more"),
    [
        (ON, {"balancers.apply": ["create_policy", "set_policies"]}),
        (OFF, {"balancers.apply": ["set_policies"]}),
        (SEND, {"ledger.write": ["write ask"], "asks.send": ["message ask"]}),
        (Admit(MACHINE, "mx", 0), {"ledger.write": ["mark admitted"], "asks.send": ["message admit"]}),
        (PutHook("mx", "ABANDON", 900, anew=True), {}),
        (DeleteHook("mx"), {}),
    ],
)
def test_the_single_writes_of_an_action_are_those_of_the_mind(action, more):
    world, aws = sending(live=True), MagicMock()
    fleet = world.fleet()
    fleet = replace(fleet, members=tuple(replace(m, record=replace(m.record, admitted=False)) for m in fleet.members))
    Actor(aws, lambda: world.now, lambda *_: None, lambda: 100).act(fleet, Plan("", (action,)), "")
    called = [name for name, _, _ in aws.mock_calls if name not in NOT_IN_THE_MODEL and name.count(".") == 1]
    assert [name for call in called for name in (MEANS | more)[call]] == [name for name, _ in world.writes(action)]
