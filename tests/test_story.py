"""The story of the demo, for real: template rules, functions under AWS's runtime client, HAProxy and Postfix."""

import json
import os
import signal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from local.instances import Instances
from local.machine import await_until
from local.region import Region
from local.story import PARAMETERS, TAG, Story
from local.strict import observe, sqs
from local.strict.ssm import Answer
from smtp_fleet.gauges import Tally
from smtp_fleet.gauges import told as told_by_a_sweep
from tests.test_template import FUNCTIONS, statements

TEMPLATE = Path("template.yaml")
OURS = "EnableProxyProtocol"


@pytest.fixture(scope="module")
def story():
    with Region(TEMPLATE, PARAMETERS) as region:
        instances = Instances(region, agent_delay=7)  # longer than the hand's first look
        try:
            yield Story(region, instances)
        finally:
            instances.close()


@pytest.fixture(scope="module")
def told(story):
    """The whole story, once; each test below looks at one thing in it."""
    seen = {"before": story.create_balancer("plain-1")}
    story.create_group("plain", "plain-1")
    seen["plain instance"], _ = story.launch("plain")
    story.await_service("plain")
    seen["mail before"] = story.send_mail("plain-1", seen["plain instance"])
    plain = story.instances.machines[seen["plain instance"]]
    paths = ("/etc/postfix/main.cf", "/etc/postfix/master.cf")
    seen["stock files"] = {path: plain.read(path).decode().replace(plain.name, "NAME") for path in paths}
    seen["policies"] = story.create_balancer("mx-1", TAG)
    [seen["hook"]] = story.create_group("mx", "mx-1")
    attach_a_target_group(story, "mx", 8080)
    keep_a_warm_pool(story, "mx")
    seen["rule"] = let_a_prefix_list_in(story)
    seen["instance"], seen["state at launch"] = story.launch("mx")
    seen["states"] = story.await_service("mx")
    seen["mail after"] = story.send_mail("mx-1", seen["instance"])
    repeat_the_admission(story)
    seen["changes of a second round"] = story.second_round()
    seen["untagged, later"] = story.policies("plain-1")
    seen["hooks put"] = {call.params["AutoScalingGroupName"] for call in story.region.calls("PutLifecycleHook")}
    seen["history"] = story.history()
    seen["order"] = [call.operation for call in story.region.calls("SendCommand", "CompleteLifecycleAction")]
    seen["held"] = launch_that_says_nothing(story, "mx")
    create_a_policy_of_others(story, "mx-1")
    seen["guard before"] = delete_stack(story)
    story.set_tag("mx-1", "disabled")
    seen["guard after"] = delete_stack(story)
    story.set_tag("plain-1", "enabled")
    seen["policies after the cutover"] = story.policies("plain-1")
    seen["mail after the cutover"] = story.send_mail("plain-1", seen["plain instance"])
    return seen


def delete_stack(story):
    """What the guard answers to CloudFormation when the stack is to be deleted."""
    told = []

    class CloudFormation(BaseHTTPRequestHandler):
        def do_PUT(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), CloudFormation) as server:
        Thread(target=server.handle_request).start()
        request = {
            "RequestType": "Delete",
            "ResponseURL": f"http://127.0.0.1:{server.server_port}/",
            "StackId": "stack",
            "RequestId": "request",
            "LogicalResourceId": "RetirementGuard",
        }
        story.region.functions["GuardStackFunction"].invoke(request, "")
    [answer] = told
    return answer


def attach_a_target_group(story, group, port):
    """A network load balancer may feed the same instances on another port."""
    vpc = story.region.client("ec2").describe_vpcs()["Vpcs"][0]["VpcId"]
    made = story.region.client("elbv2").create_target_group(Name="web", Protocol="TCP", Port=port, VpcId=vpc)
    arns = [made["TargetGroups"][0]["TargetGroupArn"]]
    story.region.client("autoscaling").attach_load_balancer_target_groups(
        AutoScalingGroupName=group, TargetGroupARNs=arns
    )
    story.quiet()


def keep_a_warm_pool(story, group):
    """Its instances are told by a call of its own."""
    story.region.client("autoscaling").put_warm_pool(AutoScalingGroupName=group, MinSize=0)
    story.quiet()


def let_a_prefix_list_in(story):
    """Somebody opens the mail port of the instances to the networks of a partner; gives the rule's id."""
    ec2 = story.region.client("ec2")
    made = ec2.create_managed_prefix_list(
        PrefixListName="partner", MaxEntries=1, AddressFamily="IPv4", Entries=[{"Cidr": "192.0.2.0/24"}]
    )
    [group] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
    entry = {"PrefixListId": made["PrefixList"]["PrefixListId"]}
    rule = {"IpProtocol": "tcp", "FromPort": 25, "ToPort": 25, "PrefixListIds": [entry]}
    told = ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule])
    return told["SecurityGroupRules"][0]["SecurityGroupRuleId"]


def create_a_policy_of_others(story, balancer):
    """Where ours is not the only policy, its type is no longer told by its name."""
    story.region.client("elb").create_load_balancer_policy(
        LoadBalancerName=balancer, PolicyName="theirs", PolicyTypeName="SSLNegotiationPolicyType", PolicyAttributes=[]
    )
    story.quiet()


def repeat_the_admission(story):
    """SQS delivers at least once: the admission comes a second time."""
    sent = [call.params for call in story.region.calls("SendMessage", who="ReconcileFleetFunction")]
    [admission] = [params for params in sent if '"admit"' in params["MessageBody"]]
    story.region.client("sqs").send_message(QueueUrl=admission["QueueUrl"], MessageBody=admission["MessageBody"])
    story.quiet()


def launch_that_says_nothing(story, group):
    """Its document ends without a verdict, and the hand that sent the command dies before it writes that down."""
    region, known, killed = story.region, story.states(group), []
    hand, real = region.functions["ConfigurePostfixFunction"], region.executor

    def die(call):
        if call.operation == "SendCommand" and not killed:
            killed.append(call)
            for pid in hand.pids:
                os.kill(pid, signal.SIGKILL)

    def executor(instance, *asked):
        return real(instance, *asked) if instance in known else Answer("Failed", "Failed", 1, "Segmentation fault")

    region.executor = executor
    with observe(die):
        new, _ = story.launch(group)
        await_until(
            lambda: any(dead(record) for record in region.log), "the command to be sent, and its sender to die", 60
        )
    sqs.show(region.template.resolve({"Fn::GetAtt": "AsksQueue.Arn"}))  # rather than wait for the visibility timeout
    for _ in range(2):  # the first goes round while the message is looked at again, the second finds what came of it
        region.sweep()
        story.quiet()
    region.executor = real
    state = story.states(group)[new]
    region.client("autoscaling").terminate_instance_in_auto_scaling_group(
        InstanceId=new, ShouldDecrementDesiredCapacity=True
    )
    story.quiet()
    return {"instance": new, "state": state}


def dead(record):
    """Whether an invocation of the hand died."""
    return record.kind == "invocation" and record.who == "ConfigurePostfixFunction" and bool(record.what["error"])


@pytest.fixture(scope="module")
def steps(story, told):
    """What the mind said of the live fleet, in order."""
    said = [
        record.what for record in story.region.log if record.kind == "log" and record.who == "ReconcileFleetFunction"
    ]
    return [line["message"] for line in said if line.get("load_balancers") == ["plain-1"] and "actions" in line]


def test_before_the_log_shows_the_balancer(story, told):
    assert f"client=unknown[{story.instances.balancers.address('plain-1')}]" in told["mail before"]


def test_the_policy_is_on_the_instance_port(told):
    assert told["policies"] == [{"InstancePort": 25, "PolicyNames": [OURS]}]


def test_the_untagged_balancer_is_untouched(told):
    assert told["before"] == told["untagged, later"] == []
    assert told["hooks put"] == {"mx"}


def test_the_launch_waits_for_our_hook_and_is_let_go(told):
    assert (told["hook"]["LifecycleHookName"], told["hook"]["DefaultResult"]) == ("smtp-fleet", "ABANDON")
    assert told["state at launch"] == "Pending:Wait"
    assert told["states"] == {told["instance"]: "InService"}


def test_after_the_log_shows_the_client(told):
    assert "client=unknown[198.51.100.10]" in told["mail after"]


def test_it_was_let_go_only_after_postfix_was_proven(told):
    # The last one is the admission that came a second time.
    assert told["order"] == ["SendCommand", "CompleteLifecycleAction", "CompleteLifecycleAction"]
    [invocation] = told["history"]
    verdict = json.loads(invocation["CommandPlugins"][0]["Output"].splitlines()[0])
    assert (verdict["class"], verdict["ports"], verdict["changed"]) == ("ok", {"25": "proxy"}, True)
    assert invocation["InstanceId"] == told["instance"]
    assert invocation["Comment"].startswith("smtp-fleet expect ports=25 epoch=")


def test_a_launch_without_a_verdict_is_held_and_its_command_is_not_sent_twice(story, told):
    assert told["held"]["state"] == "Pending:Wait"
    sent = [
        call for call in story.region.calls("SendCommand") if told["held"]["instance"] in call.params["InstanceIds"]
    ]
    held = story.region.calls("RecordLifecycleActionHeartbeat")
    assert (len(sent), {call.params["InstanceId"] for call in held}) == (1, {told["held"]["instance"]})


def test_a_second_round_changes_nothing(told):
    assert told["changes of a second round"] == []


def test_the_stack_cannot_be_deleted_while_a_balancer_sends(told):
    assert told["guard before"]["Status"] == "FAILED"
    reason = told["guard before"]["Reason"]
    assert "load balancer mx-1 sends the header on instance port 25" in reason
    assert "group mx has the stack's lifecycle hook" in reason
    assert told["guard after"]["Status"] == "SUCCESS"


def test_switched_off_nothing_of_ours_is_left(story, told):
    assert story.policies("mx-1") == []
    [described] = story.region.client("elb").describe_load_balancers(LoadBalancerNames=["mx-1"])[
        "LoadBalancerDescriptions"
    ]
    assert described["Policies"]["OtherPolicies"] == ["theirs"]
    assert story.hooks("mx") == []
    machine = story.instances.machines[told["instance"]]
    for path, stock in told["stock files"].items():
        assert machine.read(path).decode().replace(machine.name, "NAME") == stock
    table = story.region.template.name("Ledger")
    rows = [row["id"]["S"] for row in story.region.client("dynamodb").scan(TableName=table)["Items"]]
    assert [row for row in rows if "mx-1" in row or told["instance"] in row] == []


def test_a_live_fleet_is_switched_over(steps, told):
    """An instance that takes traffic is looked at, then expects, and only then its balancer sends."""
    order = [
        "asking whether they could",
        "waiting until every launch is held",
        "Postfix first",
        "balancer second",
        "on",
    ]
    assert [step for step in dict.fromkeys(steps) if step in order] == order
    assert told["policies after the cutover"] == [{"InstancePort": 25, "PolicyNames": [OURS]}]
    assert "client=unknown[198.51.100.10]" in told["mail after the cutover"]


def test_the_sweep_says_who_else_reaches_the_mail_port_and_what_doubles_mail(story, told):
    lines = [record.what for record in story.region.log if record.kind == "log"]
    found = {line["finding"]: line["mend"] for line in lines if line.get("message") == "finding" and "mend" in line}
    [way] = [what for what in found if told["rule"] in what]
    assert "can reach port 25 past the balancer" in way
    assert any("revoke-security-group-ingress" in command and told["rule"] in command for command in found[way])
    assert any(what.startswith("load balancer mx-1 hangs up after 60 s") for what in found)
    assert not any("plain-1" in what for what in found), "it does not send yet"


def test_each_function_is_granted_exactly_the_calls_that_it_makes(story, told):
    """Operations and actions have the same names for the calls used; resources and conditions are for review."""
    prefix = {"elb": "elasticloadbalancing", "elbv2": "elasticloadbalancing", "resourcegroupstaggingapi": "tag"}
    for name in FUNCTIONS:
        made = {
            f"{prefix.get(call.service, call.service)}:{call.operation}"
            for call in story.region.calls(who=name)
            if not call.operation.startswith(("ReceiveMessage", "DeleteMessage"))  # the event source mapping's
        }
        granted = {action for function, _, actions in statements() if function == name for action in actions}
        assert made == granted, name


def test_each_sweep_counts_each_gauge_once(story, told):
    """As CloudWatch would read it: the embedded metric format, in the log of the function that ran."""
    lines = [record.what for record in story.region.log if record.kind == "log" and "BalancersTagged" in record.what]
    gauges = {name for name, _, _ in told_by_a_sweep(Tally(), 0, everything=True)}
    assert lines
    for line in lines:
        assert {name: len(line[name]) for name in gauges} == dict.fromkeys(gauges, 1)
        assert line["service"] == "reconcile_fleet"
    assert max(line["BalancersRight"][0] for line in lines) == 1


def test_nothing_is_left_in_the_dead_letter_queues(story, told):
    for name in ("WakesDeadLetters", "AsksDeadLetters"):
        url = story.region.template.resolve({"Ref": name})
        answer = story.region.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        assert answer["Attributes"]["ApproximateNumberOfMessages"] == "0"


def test_no_function_said_that_anything_broke(story, told):
    lines = [record.what for record in story.region.log if record.kind == "log"]
    assert [line for line in lines if line.get("level") in ("ERROR", "WARNING")] == []
    said = {line.get("message") for line in lines}
    assert {"nobody behind it: attaching", "on", "waiting for the agent", "command sent", "admitted"} <= said
