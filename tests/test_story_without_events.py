"""The acts of an operator while every event is lost: the sweep alone leads to the same end.

No machine runs here: what each instance was told last stands for its files. `make story STORY=unheard` plays more
on real Postfix and compares the files.
"""

import time
from pathlib import Path

import pytest

from local.instances import StandIns
from local.invoke import hastened
from local.region import Region
from local.story import TAG, Story
from local.template import Template

TEMPLATE = Path("template.yaml")
PARAMETERS = {"SettleSeconds": "1", "HookTimeoutSeconds": "300"}

LOST = ()
SWEEPS = 40
"""Sweeps at most, until an act has come to its end."""


class Play:
    """The acts on one Region: with events each waits for quiet, without it sweeps until nothing changes any more."""

    def __init__(self, region, hears):
        self.region, self.hears = region, hears
        self.instances = StandIns(region, agent_delay=0.2)
        self.story = Story(region, self.instances)
        self.elb, self.autoscaling = region.client("elb"), region.client("autoscaling")
        self.ends = {}
        if not hears:
            region.bus.fate = lambda event: LOST

    def act(self, name, do, is_over):
        do()
        for _ in range(SWEEPS):
            self.story.quiet()
            if is_over():
                break
            if self.hears:
                time.sleep(0.2)
            else:
                self.region.sweep()
        self.story.quiet()
        self.ends[name] = self.end()

    def end(self):
        """Policies, hooks, states and what each instance was told last: none of them names a moment or an instance."""
        names = sorted(b["LoadBalancerName"] for b in self.elb.describe_load_balancers()["LoadBalancerDescriptions"])
        groups = [
            g["AutoScalingGroupName"] for g in self.autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        ]
        told = {}
        for invocation in self.story.history():
            comment = invocation["Comment"].split(" epoch=")[0]
            if " expect " in comment:
                told[invocation["InstanceId"]] = (comment, invocation["Status"])
        return {
            "policies": {name: self.story.policies(name) for name in names},
            "hooks": {g: [(h["LifecycleHookName"], h["DefaultResult"]) for h in self.story.hooks(g)] for g in groups},
            "states": {group: sorted(self.story.states(group).values()) for group in groups},
            "told": sorted(told.values()),
        }

    def launched(self, group):
        return set(self.story.states(group).values()) == {"InService"}

    def sends(self, balancer):
        return bool(self.story.policies(balancer))

    def is_gone(self, balancer, group):
        return not self.sends(balancer) and not self.story.hooks(group)

    def tell(self):
        """On before there is anybody, a launch, off; then a fleet that takes traffic is switched on and off."""
        self.act("on", lambda: self.story.create_balancer("mx-1", TAG), lambda: self.sends("mx-1"))
        self.act("group", lambda: self.story.create_group("mx", "mx-1"), lambda: bool(self.story.hooks("mx")))
        self.act("launch", lambda: self.story.launch("mx"), lambda: self.launched("mx"))
        self.act("off", lambda: self.story.set_tag("mx-1", "disabled"), lambda: self.is_gone("mx-1", "mx"))
        self.act("plain", lambda: self.story.create_balancer("mx-2"), lambda: True)
        self.act("plain group", lambda: self.story.create_group("live", "mx-2"), lambda: True)
        self.act("live", lambda: self.story.launch("live"), lambda: self.launched("live"))
        self.act("cutover", lambda: self.story.set_tag("mx-2", "enabled"), lambda: self.sends("mx-2"))
        self.act("back", lambda: self.story.set_tag("mx-2", "disabled"), lambda: self.is_gone("mx-2", "live"))
        return self


def told(hears):
    quickly = hastened(Template(TEMPLATE, PARAMETERS, ""))
    with Region(TEMPLATE, PARAMETERS, quickly) as region:
        play = Play(region, hears)
        try:
            return play.tell().ends
        finally:
            play.instances.close()


@pytest.fixture(scope="module")
def ends():
    return {hears: told(hears) for hears in (True, False)}


ACTS = ("on", "group", "launch", "off", "plain", "plain group", "live", "cutover", "back")


@pytest.mark.parametrize("act", ACTS)
def test_without_any_event_each_act_ends_as_with_all(ends, act):
    assert ends[False][act] == ends[True][act]


def test_the_acts_had_an_effect(ends):
    seen = ends[True]
    sent = [{"InstancePort": 25, "PolicyNames": ["EnableProxyProtocol"]}]
    assert seen["launch"]["policies"]["mx-1"] == seen["cutover"]["policies"]["mx-2"] == sent
    assert seen["launch"]["hooks"] == {"mx": [("smtp-fleet", "ABANDON")]}
    assert seen["back"]["hooks"] == {"mx": [], "live": []}
    assert seen["back"]["told"] == [("smtp-fleet expect ports=none", "Success")] * 2
