"""The template is read as CloudFormation reads it, as far as a Region needs."""

import pytest

from local.bus import rules_of
from local.template import Template


@pytest.fixture
def template(tmp_path):
    def read(text, **parameters):
        (tmp_path / "t.yaml").write_text(text)
        (tmp_path / "part.yaml").write_text("schemaVersion: '2.2'\n")
        return Template(tmp_path / "t.yaml", parameters, "http://127.0.0.1:1")

    return read


BASE = """
Parameters:
  Name: {Type: String, Default: x}
  Ports: {Type: CommaDelimitedList, Default: "25, 587"}
  Needed: {Type: String}
Conditions:
  IsX: !Equals [!Ref Name, x]
  IsNotX: !Not [!Condition IsX]
  Both: !And [!Condition IsX, !Condition IsNotX]
  Either: !Or [!Condition IsX, !Condition IsNotX]
Globals: {Function: {Timeout: 3, Environment: {Variables: {A: 1, B: 2}}}}
Resources:
  Queue: {Type: AWS::SQS::Queue}
  Named: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "${AWS::StackName}-${Name}"}}
  Never: {Type: AWS::SQS::Queue, Condition: IsNotX}
  Table: {Type: AWS::DynamoDB::Table}
  Role: {Type: AWS::IAM::Role}
  F: {Type: AWS::Serverless::Function, Properties: {Timeout: 9, Environment: {Variables: {B: !Ref Name}}}}
"""


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ({"Ref": "Name"}, "x"),
        ({"Ref": "Ports"}, ["25", "587"]),
        ({"Ref": "Queue"}, "http://127.0.0.1:1/123456789012/smtp-fleet-Queue"),
        ({"Ref": "Named"}, "http://127.0.0.1:1/123456789012/smtp-fleet-x"),
        ({"Ref": "Table"}, "smtp-fleet-Table"),
        ({"Fn::GetAtt": "Named.Arn"}, "arn:aws:sqs:us-east-1:123456789012:smtp-fleet-x"),
        ({"Fn::GetAtt": ["Named", "QueueName"]}, "smtp-fleet-x"),
        ({"Fn::Sub": "${AWS::Region}/${Table.Arn}/${!kept}"},
         "us-east-1/arn:aws:dynamodb:us-east-1:123456789012:table/smtp-fleet-Table/${kept}"),
        ({"Fn::Sub": ["${a}-${Name}", {"a": {"Ref": "AWS::AccountId"}}]}, "123456789012-x"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Name"}]]}, "a-x"),
        ({"Fn::If": ["IsX", 1, 2]}, 1),
        ({"Fn::If": ["Both", 1, 2]}, 2),
        ({"Fn::If": ["Either", 1, 2]}, 1),
        ({"a": {"Fn::If": ["IsNotX", 1, {"Ref": "AWS::NoValue"}]}, "b": [{"Ref": "AWS::NoValue"}]}, {"b": []}),
        ({"Fn::Transform": {"Name": "AWS::Include", "Parameters": {"Location": "part.yaml"}}},
         {"schemaVersion": "2.2"}),
    ],
)  # fmt: skip
def test_intrinsic_functions(template, value, meaning):
    assert template(BASE).resolve(value) == meaning


@pytest.mark.parametrize(
    "value",
    [{"Fn::Base64": "x"}, {"Fn::GetAtt": "Role.Arn"}, {"Ref": "Nobody"}, {"Ref": "Needed"}, {"Fn::Sub": "${Nobody}"}],
)
def test_what_is_not_understood_is_an_error(template, value):
    with pytest.raises((NotImplementedError, KeyError), match=r"Fn::|Nobody|Needed"):
        template(BASE).resolve(value)


def test_a_parameter_that_does_not_exist_is_an_error(template):
    with pytest.raises(KeyError, match="Other"):
        template(BASE, Other="x")


def test_conditions_and_globals_shape_the_resources(template):
    """A false condition leaves a resource out; a function's own properties win over Globals, maps are merged."""
    read = template(BASE, Name="x")
    assert set(read.resources("AWS::SQS::Queue")) == {"Queue", "Named"}
    assert set(template(BASE, Name="y").resources("AWS::SQS::Queue")) == {"Queue", "Named", "Never"}
    function = {"Timeout": 9, "Environment": {"Variables": {"A": 1, "B": "x"}}}
    assert read.resources("AWS::Serverless::Function") == {"F": function}


@pytest.mark.parametrize(
    "target", ["{Id: a, Arn: 'arn:aws:lambda:x'}", "{Id: a, Arn: !GetAtt Queue.Arn, InputPath: $.detail}"]
)
def test_only_queues_are_targets(template, target):
    rule = f"{{Type: AWS::Events::Rule, Properties: {{ScheduleExpression: rate(1 day), Targets: [{target}]}}}}"
    with pytest.raises(NotImplementedError, match=r"lambda|InputPath"):
        rules_of(template(f"{BASE}  R: {rule}\n"))
