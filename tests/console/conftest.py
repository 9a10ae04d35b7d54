"""One story in a local Region, with stand-ins for instances: a fleet in service, and one taken off again."""

import pytest

from local.instances import StandIns
from local.region import Region
from local.story import PARAMETERS, TAG, Story
from tests.console.test_retire import TEMPLATE


def is_echo(event):
    """Whether it tells of a function's own call: on a slow machine that wakes the mind last, and would be the cause."""
    match event:
        case {"detail": {"userIdentity": {"arn": str(who)}}}:
            return not who.endswith("/operator")
    return False


@pytest.fixture(scope="module")
def told():
    """The story once it is told: `mx` behind mx-1 in service, `old` behind mx-old taken off; clients with its stack.

    Anew for each module: a Region does not outlive a test that has a strict account of its own.
    """
    with Region(TEMPLATE, PARAMETERS) as region:
        instances = StandIns(region, agent_delay=0.2)
        try:
            region.bus.fate = lambda event: () if is_echo(event) else (0,)
            story = Story(region, instances)
            for balancer, group in (("mx-1", "mx"), ("mx-old", "old")):
                story.create_balancer(balancer, TAG)
                story.create_group(group, balancer)
                story.launch(group)
            for group in ("mx", "old"):
                story.await_service(group)
            story.set_tag("mx-old", "disabled")
            story.client = region.client
            yield story
        finally:
            instances.close()
