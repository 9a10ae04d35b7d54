"""Each sample event points at what it should; what no rule of ours sends is refused by name."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_fleet.events import UnknownEvent, Where, wake, where

EVENTS = Path("events")
GROUP = frozenset({"mail servers/mx"})


def sample(name):
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("create-load-balancer", Where("CreateLoadBalancer", balancers=frozenset({"mx-1"}))),
        ("create-load-balancer-untagged", Where("CreateLoadBalancer", balancers=frozenset({"web-1"}))),
        ("add-tags", Where("AddTags", balancers=frozenset({"mx-1"}), retagged=frozenset({"mx-1"}))),
        ("create-load-balancer-listeners", Where("CreateLoadBalancerListeners", balancers=frozenset({"mx-1"}))),
        ("set-load-balancer-policies", Where("SetLoadBalancerPoliciesForBackendServer", frozenset({"mx-1"}))),
        ("create-auto-scaling-group", Where("CreateAutoScalingGroup", frozenset({"mx-1"}), GROUP)),
        ("detach-load-balancers", Where("DetachLoadBalancers", frozenset({"mx-1"}), GROUP)),
        ("instance-launch-lifecycle-action", Where("launch", groups=GROUP)),
        ("instance-launch-successful", Where("launch", groups=GROUP)),
        ("command-invocation-ended", Where("answer", instances=frozenset({"i-0123456789abcdef0"}))),
        ("sweep", Where("sweep", everything=True)),
    ],
)
def test_a_sample_points_where_it_should(name, expected):
    assert replace(where(sample(name)), by=frozenset()) == expected


def test_a_call_is_told_with_its_principal_and_its_time():
    event = sample("set-load-balancer-policies")
    identity, time = event["detail"]["userIdentity"], event["detail"]["eventTime"]
    assert where(event).by == {f"SetLoadBalancerPoliciesForBackendServer by {identity['arn']} at {time}"}
    event["detail"]["userIdentity"] = {"type": "AWSService", "invokedBy": "autoscaling.amazonaws.com"}
    [call] = where(event).by
    assert " by autoscaling.amazonaws.com at " in call
    assert where(wake(where(event))).by == {call}


@pytest.mark.parametrize("identity", [None, "root", {}, {"arn": 7}, {"arn": "arn:aws:iam::1:user/x\nlevel=ERROR"}])
def test_a_principal_that_is_none_is_not_told(identity):
    event = sample("set-load-balancer-policies")
    event["detail"]["userIdentity"] = identity
    assert where(event).by == frozenset()
    forged = wake(where(event))
    forged["detail"]["by"] = ["x by y", 7, "SetTags by $(id) at 2026"]
    assert where(forged).by == frozenset()


def test_every_sample_that_wakes_is_tested_above():
    [mark] = [m for m in test_a_sample_points_where_it_should.pytestmark if m.name == "parametrize"]
    assert {name for name, _ in mark.args[1]} == {path.stem for path in EVENTS.glob("*.json")}


@pytest.mark.parametrize("name", ["create-load-balancer-v2", "add-tags-v2"])
def test_a_v2_call_names_no_classic_balancer(name):
    with pytest.raises(UnknownEvent, match="names no classic load balancer"):
        where(sample(f"ignored/{name}"))


@pytest.mark.parametrize("name", ["mx-1; reboot", "a" * 33, "", "mx\n1", 7, None])
def test_a_forged_balancer_name_goes_no_further(name):
    event = sample("create-load-balancer")
    event["detail"]["requestParameters"]["loadBalancerName"] = name
    with pytest.raises(UnknownEvent):
        where(event)


def test_a_cause_can_carry_nothing_but_letters():
    event = sample("create-load-balancer")
    event["detail"]["eventName"] = 'Create"; x=`id`\n'
    assert where(event).cause == "Createxid"


def test_a_wake_to_oneself_points_at_the_same_balancers():
    there = Where("launch", balancers=frozenset({"mx-1", "mx-2"}))
    assert where(wake(there)) == there
    assert where(wake(Where("sweep", everything=True))).everything


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                [
                    "source",
                    "detail",
                    "detail-type",
                    "eventName",
                    "requestParameters",
                    "loadBalancerNames",
                    "trafficSources",
                ]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_a_place_to_look_or_a_clear_refusal(event):
    with suppress(UnknownEvent):
        assert isinstance(where(event), Where)
