"""Deploying: Region by Region, by settings that the template takes; and what the application repository is told."""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import botocore.session
import pytest
import re2
from botocore.validate import ParamValidator

from tests.test_template import TEMPLATE

CONFIG = tomllib.loads(Path("samconfig.toml").read_text())
ENVIRONMENTS = {name: told["deploy"]["parameters"] for name, told in CONFIG.items() if name != "version"}
SAM = """#!/bin/bash
echo "$@" >> calls
[[ "$*" != *"$BROKEN"* ]]
"""


@pytest.fixture
def deploy(tmp_path):
    """Runs `make deploy` with a `sam` that only notes how it was called, and fails where BROKEN is in its arguments."""
    for name in ("Makefile", "samconfig.toml"):
        shutil.copy(name, tmp_path)
    (tmp_path / "requirements").mkdir()
    shutil.copy("requirements/sam.txt", tmp_path / "requirements")
    (tmp_path / ".venv-sam/bin").mkdir(parents=True)
    (tmp_path / ".venv-sam/bin/sam").write_text(SAM)
    (tmp_path / ".venv-sam/bin/sam").chmod(0o755)
    (tmp_path / ".venv-sam/.done").touch()

    def run(*variables, broken="nothing"):
        environment = {"PATH": os.environ["PATH"], "BROKEN": broken}
        command = ["make", "--no-print-directory", "deploy", *variables]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        calls = (tmp_path / "calls").read_text().splitlines()
        return done, [call.removeprefix("deploy ") for call in calls if call.startswith("deploy ")]

    return run


def test_each_region_is_deployed_in_turn_by_its_own_settings_if_it_has_some(deploy):
    done, calls = deploy("ENV=production", "REGIONS=us-east-1 eu-west-1")
    assert done.returncode == 0
    assert calls == [
        "--config-env production --region us-east-1",
        "--config-env production-eu-west-1 --region eu-west-1",
    ]


def test_the_first_region_that_fails_is_named_and_the_next_is_not_tried(deploy):
    done, calls = deploy("REGIONS=us-east-1 eu-west-1 ap-south-1", broken="eu-west-1")
    assert done.returncode != 0
    assert calls == ["--config-env default --region us-east-1", "--config-env default --region eu-west-1"]
    assert "stopped: eu-west-1 failed; deployed before it: us-east-1\n" in done.stderr


def test_without_regions_the_configured_one_is_deployed_and_questions_are_asked_on_request(deploy):
    assert deploy()[1] == ["--config-env default"]
    assert deploy("GUIDED=1", "ENV=mine")[1][1:] == ["--config-env mine --guided"]


def test_nothing_is_deployed_that_does_not_build(deploy):
    done, calls = deploy("REGIONS=us-east-1", broken="build")
    assert (done.returncode != 0, calls) == (True, [])


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_sets_what_the_template_takes(name):
    """SAM splits each of the overrides at spaces, as a shell would."""
    told = ENVIRONMENTS[name]
    assert told["capabilities"] == "CAPABILITY_IAM"
    for override in told.get("parameter_overrides", []):
        [(parameter, _, value)] = [word.partition("=") for word in shlex.split(override)]
        declared = TEMPLATE.declared[parameter]
        assert re2.fullmatch(declared.get("AllowedPattern", ".*"), value)
        assert value in [str(v) for v in declared.get("AllowedValues", [value])]
        assert declared["Type"] != "Number" or int(value) >= declared.get("MinValue", 0)


def test_the_application_repository_is_told_what_it_takes():
    """The patterns are those of its API, CreateApplication."""
    told = TEMPLATE.body["Metadata"]["AWS::ServerlessRepo::Application"]
    assert re.fullmatch("[a-zA-Z0-9-]{1,140}", told["Name"])
    assert 1 <= len(told["Description"]) <= 256
    assert re.fullmatch("[a-z0-9](([a-z0-9]|-(?!-))*[a-z0-9])?", told["Author"])
    assert all(re.fullmatch(r"[a-zA-Z0-9+_:/@-]{1,127}", label) for label in told["Labels"][:10])
    assert len(told["Labels"]) <= 10
    assert "Apache License" in Path(told["LicenseUrl"]).read_text()
    assert Path(told["ReadmeUrl"]).read_text().startswith("# SMTP Fleet")
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert (told["SemanticVersion"], told["SpdxLicenseId"]) == (project["version"], project["license"])


def test_no_resource_is_of_a_type_that_the_application_repository_refuses():
    """It takes `AWS::CloudFormation::CustomResource`, and no `Custom::Name`."""
    assert [name for name, r in TEMPLATE.body["Resources"].items() if r["Type"].startswith("Custom::")] == []


def test_the_documents_of_the_page_on_regions_are_what_the_apis_take():
    page = Path("docs/regions.md").read_text()
    policy, batch = map(json.loads, re.findall(r"^```json\n(.*?)^```", page, re.M | re.S))
    route53 = botocore.session.get_session().get_service_model("route53").operation_model("ChangeResourceRecordSets")
    report = ParamValidator().validate({"HostedZoneId": "Z", "ChangeBatch": batch}, route53.input_shape)
    assert not report.has_errors(), report.generate_report()
    records = [change["ResourceRecordSet"] for change in batch["Changes"]]
    assert len({record["Name"] for record in records}) == 1
    assert len({record["SetIdentifier"] for record in records}) == len(records) > 1
    [statement] = policy["Statement"]
    assert statement["Condition"]["StringEquals"].keys() == {"aws:PrincipalOrgID"}
