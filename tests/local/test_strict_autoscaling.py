"""Auto Scaling holds launches as AWS does."""

import pytest

from local.strict import autoscaling, listen

HOOK = {"LifecycleHookName": "smtp-fleet", "DefaultResult": "ABANDON", "HeartbeatTimeout": 60}


@pytest.fixture
def group(aws):
    """Reads the group: its instances' states, and who is registered with the balancer."""

    class Group:
        def __init__(self):
            self.client, self.elb = aws("autoscaling"), aws("elb")

        @property
        def states(self):
            (group,) = self.client.describe_auto_scaling_groups()["AutoScalingGroups"]
            return {each["InstanceId"]: each["LifecycleState"] for each in group["Instances"]}

        def registered(self, name="mx"):
            (balancer,) = self.elb.describe_load_balancers(LoadBalancerNames=[name])["LoadBalancerDescriptions"]
            return {each["InstanceId"] for each in balancer["Instances"]}

        def complete(self, result="CONTINUE", hook="smtp-fleet", name="mail", **who):
            self.client.complete_lifecycle_action(
                LifecycleHookName=hook, AutoScalingGroupName=name, LifecycleActionResult=result, **who
            )

    return Group()


def test_without_a_hook_instances_are_in_service_and_registered(launch, group, aws):
    """The group registers what is in service; each has a root volume (Auto Scaling and EC2 user guides)."""
    launch(2)
    assert set(group.states.values()) == {"InService"}
    assert group.registered() == set(group.states)
    (description,) = group.client.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert description["LoadBalancerNames"] == ["mx"]
    (machine, *_) = aws("ec2").describe_instances()["Reservations"][0]["Instances"]
    volumes = {each["DeviceName"]: each["Ebs"]["VolumeId"] for each in machine["BlockDeviceMappings"]}
    assert volumes[machine["RootDeviceName"]].startswith("vol-")


def test_a_hook_holds_launches_away_from_the_balancer(launch, group):
    """Pending:Wait until completed; registration follows InService (Auto Scaling user guide, lifecycle hooks)."""
    launch(2, hooks=[HOOK])
    assert set(group.states.values()) == {"Pending:Wait"}
    assert group.registered() == set()
    first, second = group.states
    described = group.client.describe_auto_scaling_instances(InstanceIds=[first])["AutoScalingInstances"]
    assert [each["LifecycleState"] for each in described] == ["Pending:Wait"]
    group.complete(InstanceId=first)
    assert group.states == {first: "InService", second: "Pending:Wait"}
    assert group.registered() == {first}


def test_events_tell_of_the_launch(launch, group):
    """The lifecycle action with its token, then the launch, by the recorded event shapes of Auto Scaling."""
    events = []
    with listen(events.append):
        launch(1, hooks=[HOOK])
        (instance,) = group.states
        lifecycle = [each for each in events if each.source == "aws.autoscaling"]
        assert [each.detail_type for each in lifecycle] == ["EC2 Instance-launch Lifecycle Action"]
        detail = lifecycle[0].detail
        assert (detail["EC2InstanceId"], detail["LifecycleHookName"]) == (instance, "smtp-fleet")
        group.complete(LifecycleActionToken=detail["LifecycleActionToken"])
        assert events[-1].detail_type == "EC2 Instance Launch Successful"
        assert group.states == {instance: "InService"}
        group.client.set_desired_capacity(AutoScalingGroupName="mail", DesiredCapacity=0)
    assert [each.detail_type for each in events[-2:]] == [
        "EC2 Instance State-change Notification",
        "EC2 Instance Terminate Successful",
    ]
    assert events[-1].detail["EC2InstanceId"] == instance


def test_a_completed_launch_passes_through_proceed(launch, group):
    """Pending:Proceed comes before InService, and is not registered yet (Auto Scaling user guide, lifecycle)."""
    launch(1, hooks=[HOOK])
    (instance,) = group.states
    autoscaling.hold_at_proceed(True)
    group.complete(InstanceId=instance)
    assert (group.states, group.registered()) == ({instance: "Pending:Proceed"}, set())
    autoscaling.hold_at_proceed(False)
    assert (group.states, group.registered()) == ({instance: "InService"}, {instance})


def test_two_hooks_hold_until_both_are_completed(launch, group):
    """Each hook is an action of its own; the instance waits for all of them (Auto Scaling user guide)."""
    launch(1, hooks=[HOOK, {"LifecycleHookName": "other"}])
    (instance,) = group.states
    group.complete(InstanceId=instance)
    assert group.states == {instance: "Pending:Wait"}
    group.complete(InstanceId=instance, hook="other")
    assert group.states == {instance: "InService"}


def test_an_abandoned_launch_is_terminated_and_replaced(launch, group, aws, refused):
    """ABANDON terminates the instance, and the group launches another one (Auto Scaling user guide)."""
    launch(1, hooks=[HOOK])
    (instance,) = group.states
    group.complete("ABANDON", InstanceId=instance)
    machines = aws("ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
    assert machines[0]["State"]["Name"] == "terminated"
    assert [*group.states.values()] == ["Pending:Wait"]
    assert instance not in group.states
    assert refused(group.complete, InstanceId=instance) == ("ValidationError", 400)


@pytest.mark.parametrize("who", [{"InstanceId": "i-0"}, {"LifecycleActionToken": "0" * 36}, {}])
def test_without_an_action_there_is_nothing_to_complete(launch, group, refused, who):
    """ValidationError "No active Lifecycle Action found": unknown, done or expired look the same."""
    launch(1, hooks=[HOOK])
    (instance,) = group.states
    assert refused(group.complete, **who) == ("ValidationError", 400)
    assert refused(group.complete, hook="other", InstanceId=instance) == ("ValidationError", 400)
    assert refused(group.complete, name="other", InstanceId=instance) == ("ValidationError", 400)
    group.complete(InstanceId=instance)
    with pytest.raises(Exception, match="No active Lifecycle Action found"):
        group.complete(InstanceId=instance)


@pytest.mark.parametrize(("default", "kept"), [("CONTINUE", True), ("ABANDON", False)])
def test_an_expired_hook_applies_its_default_result(launch, group, default, kept):
    """After the heartbeat timeout the default result decides; heartbeats restart it (PutLifecycleHook)."""
    launch(1, hooks=[HOOK | {"DefaultResult": default}])
    (instance,) = group.states
    deadline = autoscaling.next_expiry()
    group.client.record_lifecycle_action_heartbeat(
        LifecycleHookName="smtp-fleet", AutoScalingGroupName="mail", InstanceId=instance
    )
    autoscaling.expire(deadline)
    assert group.states == {instance: "Pending:Wait"}
    autoscaling.expire(autoscaling.next_expiry())
    assert (instance in group.registered()) == kept
    assert (instance in group.states) == kept


def test_deleting_a_hook_abandons_who_waits(launch, group):
    """DeleteLifecycleHook first completes outstanding actions, with ABANDON for launches (API reference)."""
    launch(1, hooks=[HOOK])
    (instance,) = group.states
    group.client.delete_lifecycle_hook(LifecycleHookName="smtp-fleet", AutoScalingGroupName="mail")
    assert instance not in group.states
    assert [*group.states.values()] == ["InService"]


def test_a_hook_is_described_as_it_was_put(launch, group, refused):
    """Defaults: 3600 s and ABANDON; a second put changes only what it names; 30 to 7200 s (PutLifecycleHook)."""
    launch(1)
    who = {"AutoScalingGroupName": "mail", "LifecycleHookName": "smtp-fleet"}
    put, launching = group.client.put_lifecycle_hook, {"LifecycleTransition": autoscaling.LAUNCHING}
    assert refused(put, **who) == ("ValidationError", 400)
    assert refused(put, **who | launching | {"AutoScalingGroupName": "x"}) == ("ValidationError", 400)
    put(**who, **launching)
    put(**who, HeartbeatTimeout=900)
    put(**who, DefaultResult="CONTINUE")
    assert refused(put, **who, HeartbeatTimeout=20) == ("ValidationError", 400)
    assert refused(put, **who, DefaultResult="continue") == ("ValidationError", 400)
    (hook,) = group.client.describe_lifecycle_hooks(AutoScalingGroupName="mail")["LifecycleHooks"]
    wanted = {"DefaultResult": "CONTINUE", "HeartbeatTimeout": 900, "GlobalTimeout": 90000}
    assert hook == who | launching | wanted
    assert set(group.states.values()) == {"InService"}  # a hook does not hold who is already there


def test_fifty_instances_a_call(launch, group, refused):
    """DescribeAutoScalingInstances takes and returns at most 50, and ignores unknown ids (API reference)."""
    ids = [f"i-{number:017x}" for number in range(51)]
    assert refused(group.client.describe_auto_scaling_instances, InstanceIds=ids) == ("ValidationError", 400)
    assert group.client.describe_auto_scaling_instances(InstanceIds=ids[:50])["AutoScalingInstances"] == []
    launch(3)
    first = group.client.describe_auto_scaling_instances(MaxRecords=2)
    second = group.client.describe_auto_scaling_instances(NextToken=first["NextToken"])
    assert [len(page["AutoScalingInstances"]) for page in (first, second)] == [2, 1]


def test_standby_and_detached_balancers_lose_the_instance(launch, group):
    """EnterStandby and DetachLoadBalancers deregister, only from the balancer that is named (API reference)."""
    launch(2, balancers=("mx", "other"))
    first, second = group.states
    group.client.enter_standby(AutoScalingGroupName="mail", InstanceIds=[first], ShouldDecrementDesiredCapacity=True)
    assert (group.states[first], group.registered()) == ("Standby", {second})
    group.client.detach_load_balancers(AutoScalingGroupName="mail", LoadBalancerNames=["other"])
    assert (group.registered("other"), group.registered()) == (set(), {second})
    group.client.exit_standby(AutoScalingGroupName="mail", InstanceIds=[first])
    assert group.registered() == {first, second}


def test_two_groups_share_a_balancer(launch, group, aws):
    """Each group registers its own instances; none takes away the other's (Auto Scaling user guide)."""
    launch(1)
    launch(1, name="more", balancers=())
    group.client.attach_load_balancers(AutoScalingGroupName="more", LoadBalancerNames=["mx"])
    assert len(group.registered()) == 2
    group.client.set_desired_capacity(AutoScalingGroupName="mail", DesiredCapacity=0)
    assert len(group.registered()) == 1


def test_a_hook_that_is_not_there_cannot_be_deleted(launch, group, refused):
    """DeleteLifecycleHook of a missing hook or group is a ValidationError: the model (botocore
    autoscaling/2011-01-01) names no code of its own for it."""
    launch(1, hooks=[HOOK])
    delete = group.client.delete_lifecycle_hook
    assert refused(delete, LifecycleHookName="other", AutoScalingGroupName="mail") == ("ValidationError", 400)
    assert refused(delete, LifecycleHookName="smtp-fleet", AutoScalingGroupName="gone") == ("ValidationError", 400)
    assert [*group.states.values()] == ["Pending:Wait"]


def test_hooks_are_described_of_a_group_that_is_there(launch, group, refused):
    """DescribeLifecycleHooks of a missing group is a ValidationError; at most 50 names (botocore
    autoscaling/2011-01-01, LifecycleHookNames); a name that is not there is simply not told."""
    launch(0)
    describe = group.client.describe_lifecycle_hooks
    assert refused(describe, AutoScalingGroupName="gone") == ("ValidationError", 400)
    names = [f"h-{number}" for number in range(51)]
    assert refused(describe, AutoScalingGroupName="mail", LifecycleHookNames=names) == ("ValidationError", 400)
    assert describe(AutoScalingGroupName="mail", LifecycleHookNames=names[:50])["LifecycleHooks"] == []


@pytest.mark.parametrize(
    "wrong",
    [{"LifecycleHookName": "smtp fleet"}, {"LifecycleHookName": "x" * 256}, {"LifecycleTransition": "launch"}],
)
def test_a_hook_has_a_good_name_and_a_transition_that_there_is(launch, group, refused, wrong):
    """AsciiStringMaxLen255, and the two transitions (botocore autoscaling/2011-01-01, PutLifecycleHook)."""
    launch(0)
    right = {"LifecycleHookName": "smtp-fleet", "LifecycleTransition": autoscaling.LAUNCHING}
    put = {"AutoScalingGroupName": "mail", **right, **wrong}
    assert refused(group.client.put_lifecycle_hook, **put) == ("ValidationError", 400)
    assert group.client.describe_lifecycle_hooks(AutoScalingGroupName="mail")["LifecycleHooks"] == []


def test_a_group_has_fifty_hooks_at_most(launch, group, refused):
    """LimitExceeded beyond 50 lifecycle hooks a group (Auto Scaling quotas; botocore, LimitExceededFault)."""
    launch(0)
    put = {"AutoScalingGroupName": "mail", "LifecycleTransition": autoscaling.LAUNCHING}
    for number in range(50):
        group.client.put_lifecycle_hook(LifecycleHookName=f"h-{number}", **put)
    assert refused(group.client.put_lifecycle_hook, LifecycleHookName="h-50", **put) == ("LimitExceeded", 400)
    group.client.put_lifecycle_hook(LifecycleHookName="h-49", **put)  # is there already


def test_a_page_of_groups_is_a_hundred_at_most(launch, group, refused):
    """MaxRecords: "The maximum value is 100"; InvalidNextToken (botocore, DescribeAutoScalingGroups)."""
    launch(1)
    describe = group.client.describe_auto_scaling_groups
    assert refused(describe, MaxRecords=101) == ("ValidationError", 400)
    assert refused(describe, NextToken="bad") == ("InvalidNextToken", 400)
    assert refused(group.client.describe_auto_scaling_instances, NextToken="bad") == ("InvalidNextToken", 400)
    assert len(describe(MaxRecords=100)["AutoScalingGroups"]) == 1


def test_a_launch_is_continued_or_abandoned_and_nothing_else(launch, group, refused):
    """LifecycleActionResult is CONTINUE or ABANDON (API reference, CompleteLifecycleAction)."""
    launch(1, hooks=[HOOK])
    (instance,) = group.states
    assert refused(group.complete, result="continue", InstanceId=instance) == ("ValidationError", 400)
    assert group.states == {instance: "Pending:Wait"}


def test_a_heartbeat_begins_the_timeout_anew_for_who_still_waits(launch, group, refused):
    """RecordLifecycleActionHeartbeat: the heartbeat timeout from now on, by token or instance; with no action it is
    the ValidationError of CompleteLifecycleAction (API reference)."""
    launch(1, hooks=[HOOK])
    (instance,) = group.states
    hold = group.client.record_lifecycle_action_heartbeat
    who = {"LifecycleHookName": "smtp-fleet", "AutoScalingGroupName": "mail"}
    before = autoscaling.next_expiry()
    hold(**who, InstanceId=instance)
    assert before < autoscaling.next_expiry() < before + 60
    for wrong in ({"InstanceId": "i-0"}, {"LifecycleActionToken": "0" * 36}, {}):
        assert refused(hold, **who, **wrong) == ("ValidationError", 400)
    assert refused(hold, **who | {"LifecycleHookName": "other"}, InstanceId=instance) == ("ValidationError", 400)
    group.complete(InstanceId=instance)
    assert refused(hold, **who, InstanceId=instance) == ("ValidationError", 400)
