"""A Region runs a template: events, rules, queues, functions, calls, redrive, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads
from types import SimpleNamespace

import pytest

from local.machine import await_until
from local.region import Region
from local.strict import autoscaling, ssm

ROOT = Path(__file__).parents[2]

TEMPLATE = """
Parameters:
  Prefix: {Type: String, Default: seen}
Globals:
  Function:
    Handler: app.handler
    Timeout: 20
    Layers: [!Ref Package]
    Environment: {Variables: {TABLE: !Ref Ledger}}
Resources:
  Package: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layer/}}
  Ledger:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
  Document:
    Type: AWS::SSM::Document
    Properties:
      DocumentType: Command
      Content: {Fn::Transform: {Name: AWS::Include, Parameters: {Location: document.yaml}}}
  Dead: {Type: AWS::SQS::Queue}
  Wakes:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 30
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 2}
  Asks: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 30}}
  Tagged:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [aws.elasticloadbalancing], detail: {eventName: [AddTags], errorCode: [{exists: false}]}}
      Targets: [{Id: wakes, Arn: !GetAtt Wakes.Arn}]
  Launched:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {detail-type: [EC2 Instance-launch Lifecycle Action, EC2 Instance Launch Successful]}
      Targets: [{Id: asks, Arn: !GetAtt Asks.Arn}]
  Answered:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [aws.ssm], detail: {document-name: [!Ref Document], status: [Success]}}
      Targets: [{Id: asks, Arn: !GetAtt Asks.Arn}]
  Sweep:
    Type: AWS::Events::Rule
    Properties:
      ScheduleExpression: rate(5 minutes)
      Targets: [{Id: wakes, Arn: !GetAtt Wakes.Arn, Input: '{"do": "sweep"}'}]
  Mind:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/mind/
      Environment: {Variables: {ASKS: !Ref Asks, WAKES: !Ref Wakes, PREFIX: !Sub "${Prefix}-"}}
      Events:
        Wakes: {Type: SQS, Properties: {Queue: !GetAtt Wakes.Arn, BatchSize: 10, MaximumBatchingWindowInSeconds: 0,
                FunctionResponseTypes: [ReportBatchItemFailures], ScalingConfig: {MaximumConcurrency: 2}}}
  Hand:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/hand/
      Events:
        Asks: {Type: SQS, Properties: {Queue: !GetAtt Asks.Arn, BatchSize: 100, MaximumBatchingWindowInSeconds: 1}}
"""

MIND = """
import json, os, time
from package import WORD

def send(queue, body, delay=0):
    import boto3
    boto3.client("sqs").send_message(QueueUrl=os.environ[queue], MessageBody=body, DelaySeconds=delay)

def handler(event, context):
    failed = []
    for record in event["Records"]:
        wake = json.loads(record["body"])
        print(json.dumps({"wake": wake, "word": WORD, "left": context.get_remaining_time_in_millis()}))
        match wake.get("do") or wake.get("detail", {}).get("eventName"):
            case "fail":
                failed.append({"itemIdentifier": record["messageId"]})
            case "misreport":
                failed.append({"itemIdentifier": "nobody"})
            case "raise":
                raise ValueError("broken")
            case "hang":
                time.sleep(60)
            case "die":
                os._exit(3)
            case "later":
                send("ASKS", "later", delay=1)
            case "loop":
                send("WAKES", record["body"])
            case "AddTags":
                (name,) = wake["detail"]["requestParameters"]["loadBalancerNames"]
                import boto3
                item = {"id": {"S": os.environ["PREFIX"] + name}}
                boto3.client("dynamodb").put_item(TableName=os.environ["TABLE"], Item=item)
    return {"batchItemFailures": failed}
"""
HAND = "def handler(event, context):\n    print(len(event['Records']), 'asks')\n"
LISTENER = {"Protocol": "TCP", "LoadBalancerPort": 25, "InstancePort": 25}


@pytest.fixture
def template(tmp_path):
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    for name, text in {"mind": MIND, "hand": HAND}.items():
        folder = tmp_path / "functions" / name
        folder.mkdir(parents=True)
        (folder / "app.py").write_text(text)
    (tmp_path / "layer").mkdir()
    (tmp_path / "layer" / "package.py").write_text("WORD = 'layer'\n")
    step = {"action": "aws:runShellScript", "name": "s", "inputs": {"runCommand": ["true"]}}
    (tmp_path / "document.yaml").write_text(json.dumps({"schemaVersion": "2.2", "mainSteps": [step]}))
    return tmp_path / "template.yaml"


@pytest.fixture
def region(template):
    with Region(template) as region:
        yield region


def wake(region, **body):
    return region.client("sqs").send_message(
        QueueUrl=region.template.resolve({"Ref": "Wakes"}), MessageBody=json.dumps(body)
    )


def lines(region, who="Mind"):
    return [each.what for each in region.log if (each.kind, each.who) == ("log", who)]


def invocations(region, who="Mind"):
    return [each.what for each in region.log if (each.kind, each.who) == ("invocation", who)]


def waiting(region, queue):
    url = region.template.resolve({"Ref": queue})
    attributes = region.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return int(attributes["ApproximateNumberOfMessages"])


def test_a_call_becomes_an_event_a_message_an_invocation_and_a_call(region):
    elb = region.client("elb")
    elb.create_load_balancer(LoadBalancerName="mx", Listeners=[LISTENER], AvailabilityZones=["us-east-1a"])
    elb.add_tags(LoadBalancerNames=["mx"], Tags=[{"Key": "k", "Value": "v"}])
    with pytest.raises(elb.exceptions.AccessPointNotFoundException):
        elb.add_tags(LoadBalancerNames=["gone"], Tags=[{"Key": "k", "Value": "v"}])
    assert region.quiet(20)
    assert region.client("dynamodb").scan(TableName="smtp-fleet-Ledger")["Items"] == [{"id": {"S": "seen-mx"}}]
    events = [each.what for each in region.log if each.kind == "event"]
    assert [(event["detail"]["eventName"], rules) for event, rules in events] == [
        ("CreateLoadBalancer", ()),
        ("AddTags", ("Tagged",)),
        ("AddTags", ()),
    ]
    assert events[2][0]["detail"]["errorCode"] == "LoadBalancerNotFound"
    assert [each.operation for each in region.calls(who="Mind")] == ["PutItem"]
    (line,) = lines(region)
    assert (line["word"], line["wake"]["detail"]["requestParameters"]["tags"]) == (
        "layer",
        [{"key": "k", "value": "v"}],
    )
    assert 0 < line["left"] <= 20000


def test_what_fails_comes_again_and_ends_as_a_dead_letter(template):
    """Two receives, then the dead-letter queue; the messages that did not fail are not repeated."""
    with Region(template, overrides={"Wakes": {"VisibilityTimeout": 1}}) as region:
        region.functions["Mind"].invoke({"Records": []}, "")  # warm: a cold start may outlast the visibility
        wake(region, do="fail")
        wake(region, do="nothing")
        assert region.quiet(20, ahead=2)
        assert [each["wake"]["do"] for each in lines(region)].count("fail") == 2
        assert [each["wake"]["do"] for each in lines(region)].count("nothing") == 1
        assert (waiting(region, "Dead"), waiting(region, "Wakes")) == (1, 0)


@pytest.mark.parametrize(
    ("do", "error", "alive"),
    [
        ("raise", "ValueError: broken", 1),
        ("die", "Runtime exited", 0),
        ("hang", "Task timed out after 1.00", 0),
        ("misreport", "None", 1),
    ],
)
def test_a_function_that_breaks_keeps_its_message(template, do, error, alive):
    """An error, a death, a timeout and an unknown item return the batch to the queue; what hangs is killed."""
    once = {"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:smtp-fleet-Dead", "maxReceiveCount": 1}
    overrides = {"Mind": {"Timeout": 1}, "Wakes": {"VisibilityTimeout": 1, "RedrivePolicy": once}}
    with Region(template, overrides=overrides) as region:
        wake(region, do=do)
        assert region.quiet(20, ahead=2)
        assert [str(each["error"]).startswith(error) for each in invocations(region)] == [True]
        assert waiting(region, "Dead") == 1
        assert len(region.functions["Mind"].pids) == alive


def test_the_lines_of_an_invocation_come_before_its_answer(region):
    """Who has the answer can read the log, however slow its reader."""
    mind, told = region.functions["Mind"], []
    mind.on_line = lambda name, line: Event().wait(0.3) or told.append(line["wake"])
    mind.invoke({"Records": [{"messageId": "1", "body": '{"do": "nothing"}'}]}, "")
    assert told == [{"do": "nothing"}]


def test_what_a_function_prints_is_in_its_log_group(template):
    """In the group that the template gives it, and without one in the group that Lambda makes."""
    with Region(template, overrides={"Mind": {"LoggingConfig": {"LogFormat": "JSON", "LogGroup": "kept"}}}) as region:
        wake(region, do="later")
        assert region.quiet(20, ahead=3)
        logs = region.client("logs")
        [line] = logs.filter_log_events(logGroupName="kept", filterPattern='{ $.word = "layer" }')["events"]
        assert json.loads(line["message"]) == lines(region)[0]
        assert abs(line["timestamp"] / 1000 - time.time()) < 60
        group = f"/aws/lambda/{region.template.name('Hand')}"
        said = logs.filter_log_events(logGroupName=group, filterPattern='{ $.message = "1 asks" }')["events"]
        assert len(said) == 1


def test_the_stack_is_described_as_it_is_deployed(template):
    """With every parameter, defaults included, and each resource's physical id: for a queue its URL."""
    with Region(template) as region:
        cloudformation = region.client("cloudformation")
        [stack] = cloudformation.describe_stacks(StackName="smtp-fleet")["Stacks"]
        assert stack["Parameters"] == [{"ParameterKey": "Prefix", "ParameterValue": "seen"}]
        told = cloudformation.describe_stack_resources(StackName="smtp-fleet")["StackResources"]
        names = {each["LogicalResourceId"]: each["PhysicalResourceId"] for each in told}
        assert names["Ledger"] in region.client("dynamodb").list_tables()["TableNames"]
        assert names["Dead"] in region.client("sqs").list_queues()["QueueUrls"]


def test_a_delayed_message_comes_when_it_is_due(region):
    """`quiet` looks as far ahead as it is told to."""
    wake(region, do="later")
    assert region.quiet(20)
    assert invocations(region, "Hand") == []
    assert region.quiet(20, ahead=2)
    assert [each["message"] for each in lines(region, "Hand")] == ["1 asks"]


def test_messages_within_the_window_come_as_one_batch(region):
    """A batch is handed over when it is full or its window ends (Lambda, MaximumBatchingWindowInSeconds)."""
    url = region.template.resolve({"Ref": "Asks"})
    for number in range(30):
        region.client("sqs").send_message(QueueUrl=url, MessageBody=str(number))
    assert region.quiet(20)
    assert [each["records"] for each in invocations(region, "Hand")] == [30]


def test_a_recursive_loop_is_stopped_unless_allowed(region):
    """Lambda stops chains of invocations through its own queue after about 16 (RecursiveLoop: Terminate)."""
    wake(region, do="loop")
    assert region.quiet(20)
    errors = [each["error"] for each in invocations(region)]
    assert (errors.count(None), errors.count("stopped as a recursive loop")) == (16, 1)
    region.functions["Mind"].allows_recursion = True
    wake(region, do="loop")
    region.quiet(1)
    assert len(invocations(region)) > 17 + 17


def test_the_sweep_and_the_seam_for_events(region):
    """Scheduled rules fire on demand with their constant input; events can be lost, repeated or delayed."""
    region.sweep()
    assert region.quiet(20)
    assert [each["wake"] for each in lines(region)] == [{"do": "sweep"}]
    elb = region.client("elb")
    elb.create_load_balancer(LoadBalancerName="mx", Listeners=[LISTENER], AvailabilityZones=["us-east-1a"])
    for fate in ((), (0, 0), (1,)):
        region.bus.fate = lambda event, fate=fate: fate
        elb.add_tags(LoadBalancerNames=["mx"], Tags=[{"Key": "k"}])
        assert region.quiet(20)
    assert len(lines(region)) == 1 + 2
    assert region.quiet(20, ahead=2)
    assert len(lines(region)) == 1 + 2 + 1


def test_a_launch_and_its_command_are_events_too(region):
    """A held launch boots a machine, registers, runs a command, is completed; each step is an event."""
    booted, halted, changes = [], [], []
    region.on_terminate = halted.append
    region.on_launch = lambda instance: (booted.append(instance), region.register_agent(instance))
    region.on_elb_change = lambda: changes.append(1)
    go = Event()
    region.executor = lambda *_: go.wait(20) and ssm.Answer("Success", "Success", 0, "{}")
    launch(region)
    assert region.quiet(20)
    region.client("ssm").send_command(InstanceIds=booted, DocumentName="smtp-fleet-Document")
    assert not region.quiet(0.2)
    go.set()
    assert region.quiet(20)
    region.client("autoscaling").complete_lifecycle_action(
        LifecycleHookName="h", AutoScalingGroupName="mail", InstanceId=booted[0], LifecycleActionResult="CONTINUE"
    )
    assert region.quiet(20)
    taken = [
        (event["detail-type"], rules) for event, rules in (e.what for e in region.log if e.kind == "event") if rules
    ]
    assert taken == [
        ("EC2 Instance-launch Lifecycle Action", ("Launched",)),
        ("EC2 Command Invocation Status-change Notification", ("Answered",)),
        ("EC2 Instance Launch Successful", ("Launched",)),
    ]
    assert changes
    region.client("autoscaling").set_desired_capacity(AutoScalingGroupName="mail", DesiredCapacity=0)
    assert region.quiet(20)
    assert len(booted) == 1
    assert halted == booted


def test_a_hook_runs_out_by_itself(region, monkeypatch):
    """When the heartbeat timeout is over the default result applies, with nobody asking."""
    with monkeypatch.context() as earlier:  # the shortest timeout is 30 s: begin it 29.5 s ago
        earlier.setattr(autoscaling, "time", SimpleNamespace(time=lambda now=time.time: now() - 29.5))
        launch(region, HeartbeatTimeout=30, DefaultResult="CONTINUE")
    arrived, end = [], time.monotonic() + 10
    while not arrived and time.monotonic() < end:
        region.quiet(0.2)
        arrived = [e for e in region.log if e.kind == "event" and "Successful" in e.what[0]["detail-type"]]
    assert [rules for _, rules in (each.what for each in arrived)] == [("Launched",)]


def launch(region, **hook):
    data = {"ImageId": "ami-12c6146b", "InstanceType": "t3.micro"}
    region.client("ec2").create_launch_template(LaunchTemplateName="mail", LaunchTemplateData=data)
    hook |= {"LifecycleHookName": "h", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"}
    region.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName="mail", MinSize=0, MaxSize=1, DesiredCapacity=1, AvailabilityZones=["us-east-1a"],
        LaunchTemplate={"LaunchTemplateName": "mail"}, LifecycleHookSpecificationList=[hook],
    )  # fmt: skip


def test_what_a_callback_breaks_is_told(region):
    """An error of the world around the Region reaches whoever waits for quiet, instead of hanging it."""
    region.on_elb_change = lambda: 1 / 0
    region.client("elb").delete_load_balancer(LoadBalancerName="mx")
    with pytest.raises(ZeroDivisionError):
        region.quiet(20)


def test_properties_can_be_overridden(template):
    """A story may shorten what AWS makes long; nothing else of the template changes."""
    overrides = {"Mind": {"RecursiveLoop": "Allow", "Timeout": 7}, "Asks": {"VisibilityTimeout": 33}}
    with Region(template, {"Prefix": "other"}, overrides) as region:
        mind = region.functions["Mind"]
        assert (mind.allows_recursion, mind.timeout, mind.variables["PREFIX"]) == (True, 7, "other-")
        url = region.template.resolve({"Ref": "Asks"})
        attributes = region.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["VisibilityTimeout"] == "33"


def test_what_moto_lacks_is_an_error_that_is_not_tried_again(region):
    """A call that nobody imitates fails once and loudly, instead of being retried as an HTTP 500."""
    with pytest.raises(Exception, match="NotImplemented"):
        region.client("elb").describe_load_balancer_policy_types()
    region.client("elb").describe_load_balancers()
    await_until(lambda: region.calls("DescribeLoadBalancers"), "the calls before it to be heard of")
    assert len(region.calls("DescribeLoadBalancerPolicyTypes")) == 1


def gone(pids):
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.02)
    return False


def test_nothing_is_left_after_the_end(template):
    before = set(enumerate_threads())
    with Region(template) as region:
        wake(region, do="nothing")
        assert region.quiet(20)
        pids = region.functions["Mind"].pids
    assert "event source" not in {each.name for each in enumerate_threads()}
    assert pids
    assert gone(pids)
    for thread in set(enumerate_threads()) - before:
        thread.join(5)
        assert not thread.is_alive()


def test_nothing_is_left_when_the_owner_is_killed(template):
    """A function at work dies with the process that owns the Region, whatever kills that one."""
    owner = textwrap.dedent(f"""
        import json, sys
        from pathlib import Path
        from local.region import Region
        with Region(Path({str(template)!r})) as region:
            url = region.template.resolve({{"Ref": "Wakes"}})
            region.client("sqs").send_message(QueueUrl=url, MessageBody='{{"do": "hang"}}')
            while not any(each.kind == "log" for each in region.log):
                region.quiet(0.05)
            print(*region.functions["Mind"].pids, flush=True)
            sys.stdin.read()
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", owner], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        pids = [int(each) for each in process.stdout.readline().split()]
        assert pids
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
        os.kill(process.pid, signal.SIGKILL)
    assert gone(pids)
