"""The dashboard and the alarms read what the functions count, and what AWS measures of the stack itself."""

import ast
import json
import re
from pathlib import Path

import pytest

from local.template import Template
from smtp_fleet import gauges
from tests.test_runbooks import phrases
from tests.test_template import FUNCTIONS, TEMPLATE

ALARMS = TEMPLATE.resources("AWS::CloudWatch::Alarm")
[DASHBOARD] = TEMPLATE.resources("AWS::CloudWatch::Dashboard").values()
WIDGETS = json.loads(DASHBOARD["DashboardBody"])["widgets"]
MIND, HAND = (
    FUNCTIONS[name]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
    for name in ("ReconcileFleetFunction", "ConfigurePostfixFunction")
)
AWS_MEASURES = {  # developer guides of SQS and Lambda, "CloudWatch metrics"
    ("AWS/SQS", "QueueName"): {"ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible"},
    ("AWS/Lambda", "FunctionName"): {"Errors", "RecursiveInvocationsDropped"},
}


def counted():
    """Each metric that a function counts, with its service: named where it is counted, in a table there, or a gauge."""
    for path in Path("layers/smtp_fleet/smtp_fleet").glob("*.py"):
        module = ast.parse(path.read_text())
        tables = {ast.unparse(n.targets[0]): n.value for n in module.body if isinstance(n, ast.Assign)}
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._count":
                for name in _names(node.args[0], tables):
                    yield name, HAND if path.stem == "hand" else MIND
    yield from ((name, MIND) for name, _, _ in gauges.told(gauges.Tally(), 0, everything=True))


def _names(node, tables):
    """The names that an expression may come to."""
    for each in ast.walk(node):
        match each:
            case ast.Constant(value=str(name)):
                yield name
            case ast.Name(id=table) if isinstance(tables.get(table), ast.Dict):
                yield from (value.value for value in tables[table].values)


def shown():
    """Each metric of the dashboard; `.` and `...` stand for what the one before it has there."""
    for widget in WIDGETS:
        before = []
        for row in widget["properties"].get("metrics", []):
            names = [part for part in row if isinstance(part, str)]
            if names[:1] == ["..."]:
                names = before[: 5 - len(names)] + names[1:]
            if names:
                before = [old if new == "." else new for new, old in zip(names, before or names, strict=True)]
                yield tuple(before)


def watched():
    """Each metric of an alarm."""
    for alarm in ALARMS.values():
        for each in [alarm, *(m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m)]:
            if "MetricName" in each:
                [dimension] = each["Dimensions"]
                yield each["Namespace"], each["MetricName"], dimension["Name"], dimension["Value"]


def ours(metrics):
    return {(name, value) for namespace, name, dimension, value in metrics if namespace == "SmtpFleet"}


def test_the_dashboard_shows_all_that_is_counted_and_nothing_else():
    assert ours(shown()) == set(counted())


def test_what_is_counted_goes_into_the_namespace_that_is_read():
    told = {f["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"] for f in FUNCTIONS.values()}
    assert told == {namespace for namespace, *_ in (*shown(), *watched()) if not namespace.startswith("AWS/")}


def test_an_alarm_reads_what_is_counted():
    assert ours(watched()) <= set(counted())


def test_what_aws_measures_is_of_the_stack_s_own_queues_and_functions():
    kinds = {"QueueName": "AWS::SQS::Queue", "FunctionName": "AWS::Serverless::Function"}
    theirs = {metric for metric in (*shown(), *watched()) if metric[0] != "SmtpFleet"}
    assert theirs
    for namespace, name, dimension, value in theirs:
        assert name in AWS_MEASURES[namespace, dimension]
        assert value in {TEMPLATE.name(logical) for logical in TEMPLATE.resources(kinds[dimension], "Timeout")}


def test_every_alarm_is_on_the_dashboard():
    [widget] = [widget for widget in WIDGETS if widget["type"] == "alarm"]
    arns = {TEMPLATE.resolve({"Fn::GetAtt": [name, "Arn"]}) for name in ALARMS}
    assert set(widget["properties"]["alarms"]) == arns


def test_the_widgets_fill_their_rows_and_say_their_region():
    column, height = 0, 0
    for widget in WIDGETS:
        assert widget["height"] == height or column == 0
        column, height = (column + widget["width"]) % 24, widget["height"]
        if widget["type"] in ("metric", "log"):
            assert widget["properties"]["region"] == TEMPLATE.region
    assert column == 0


def test_a_formula_knows_its_terms():
    for rows in (widget["properties"].get("metrics", []) for widget in WIDGETS):
        options = [row[-1] for row in rows if isinstance(row[-1], dict)]
        terms = {term for o in options for term in re.findall("[a-z]+", o.get("expression", ""))}
        assert terms <= {o.get("id") for o in options}


def test_the_findings_are_read_where_the_mind_says_them():
    [query] = [widget["properties"]["query"] for widget in WIDGETS if widget["type"] == "log"]
    source, pattern = re.match(r"SOURCE '(.*?)' \| filter message like /(.*?)/", query).groups()
    assert source == TEMPLATE.name("ReconcileFleetLogs")
    assert {said for said in phrases() if re.match(pattern, said)} == {"finding", "finding is over"}


def test_two_regions_have_two_dashboards():
    """An account has one set of dashboards for all its Regions."""
    other = Template(Path("template.yaml"), region="eu-west-1").resources("AWS::CloudWatch::Dashboard")["Dashboard"]
    assert other["DashboardName"] != DASHBOARD["DashboardName"]
    assert re.fullmatch("[A-Za-z0-9_-]{1,255}", other["DashboardName"])


@pytest.mark.parametrize("topic", ["", "arn:aws:sns:us-east-1:123456789012:mail"])
def test_an_alarm_goes_to_the_topic_if_there_is_one(topic):
    alarms = Template(Path("template.yaml"), {"AlarmTopicArn": topic}).resources("AWS::CloudWatch::Alarm")
    assert {name: alarm.get("AlarmActions", []) for name, alarm in alarms.items()} == dict.fromkeys(
        ALARMS, [topic] if topic else []
    )


@pytest.mark.parametrize(
    ("hook", "wait", "late"), [(900, 600, False), (900, 601, True), (7200, 900, False), (7200, 901, True)]
)
def test_a_launch_is_late_before_its_hook_ends_it(hook, wait, late):
    alarms = Template(Path("template.yaml"), {"HookTimeoutSeconds": str(hook)}).resources("AWS::CloudWatch::Alarm")
    formula, metric = alarms["LaunchWaitsAlarm"]["Metrics"]
    [condition] = re.fullmatch(r"IF\((.*), 1, 0\)", formula["Expression"]).groups()
    assert eval(condition.replace(" OR ", " or "), {metric["Id"]: wait}) == late


def test_a_missed_sweep_is_told_by_what_each_sweep_counts_once():
    alarm = ALARMS["SweepMissedAlarm"]
    assert (alarm["Statistic"], alarm["TreatMissingData"]) == ("SampleCount", "breaching")
    assert alarm["MetricName"] in {name for name, _, _ in gauges.told(gauges.Tally(), 0, everything=True)}
    assert alarm["Period"] >= 2 * 60 * TEMPLATE.declared["CheckMinutes"]["MaxValue"]
