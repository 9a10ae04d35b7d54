"""A live fleet under a load of mail is switched on and off in place: nothing bounces, nothing is lost or doubled."""

from pathlib import Path

import pytest

from local.instances import Instances
from local.region import Region
from local.senders import Senders, queued
from local.story import PARAMETERS, Story

SENDERS = 10
OURS = "EnableProxyProtocol"


@pytest.fixture(scope="module")
def told():
    """Three instances of real Postfix behind HAProxy, tagged and untagged while senders keep at it."""
    with Region(Path("template.yaml"), PARAMETERS) as region:
        instances = Instances(region)
        try:
            story = Story(region, instances)
            story.create_balancer("mx-1")
            story.create_group("mx", "mx-1")
            for _ in range(3):
                instance, _ = story.launch("mx")
                story.await_service("mx")
                instances.balancers.await_server("mx-1", instance)
            with Senders(instances.network, instances.balancers.address("mx-1"), SENDERS) as senders:
                senders.await_delivered(2 * SENDERS)
                story.set_tag("mx-1", "enabled")
                on = story.policies("mx-1")
                senders.await_delivered(2 * SENDERS)
                story.set_tag("mx-1", "disabled")
                off = story.policies("mx-1")
                senders.await_delivered(2 * SENDERS)
            logs = {i: machine.mail_log() for i, machine in instances.machines.items()}
            yield {"tally": senders.tally, "on": on, "off": off, "logs": logs}
        finally:
            instances.close()


def test_it_was_switched_on_and_off(told):
    assert told["on"] == [{"InstancePort": 25, "PolicyNames": [OURS]}]
    assert told["off"] == []
    assert any("client=unknown[198.51.100.20]" in log for log in told["logs"].values())


def test_nothing_bounced(told):
    assert told["tally"].bounced == []


def test_nothing_was_lost_and_nothing_doubled(told):
    tally = told["tally"]
    assert tally.unfinished == []
    assert queued(told["logs"]) == dict.fromkeys(tally.delivered, 1)
