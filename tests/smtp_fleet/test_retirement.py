"""The stack goes only when nothing of it is left, and CloudFormation always gets an answer."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from smtp_fleet import retirement
from smtp_fleet.autoscaling import Groups
from smtp_fleet.elb import LoadBalancers
from smtp_fleet.settings import GuardSettings
from tests.smtp_fleet.test_changes_of_others import Hosts, machine, register

TOLD = GuardSettings("smtp-proxy-protocol", frozenset({25}), "EnableProxyProtocol", "ledger")


@pytest.fixture
def hosts(stack):
    return Hosts(stack)


def seen(stack):
    balancers = LoadBalancers(stack.client("elb"), stack.client("resourcegroupstaggingapi"))
    recorded = stack.ledger.index().balancers
    return retirement.observe(balancers, Groups(stack.client("autoscaling")), recorded, TOLD)


def test_what_sends_and_what_is_hooked_is_named(stack):
    stack.balancer()
    stack.balancer("web", tag=None)
    stack.group()
    assert seen(stack) == ()
    stack.wake("mx-1")
    stack.now += 60
    stack.wake("mx-1")
    assert seen(stack) == (
        "load balancer mx-1 sends the header on instance port 25",
        "group mx has the stack's lifecycle hook",
    )


def test_a_policy_of_ours_counts_though_its_tag_is_gone(stack):
    stack.balancer()
    stack.wake("mx-1")
    stack.client("elb").remove_tags(LoadBalancerNames=["mx-1"], Tags=[{"Key": TOLD.tag_key}])
    assert seen(stack) == ("load balancer mx-1 sends the header on instance port 25",)


def test_instances_that_may_expect_what_nobody_sends_count_until_they_are_let_go(hosts):
    """A cutover that was cut off in the middle: nothing on the balancer tells of it any more."""
    stack = hosts.stack
    stack.balancer()
    register(stack, machine(stack))
    hosts.reach("Postfix first")
    stack.client("elb").remove_tags(LoadBalancerNames=["mx-1"], Tags=[{"Key": TOLD.tag_key}])
    assert seen(stack) == ("load balancer mx-1 may have instances behind it that expect the header",)
    hosts.steps()
    assert seen(stack) == ()


@pytest.fixture
def cloudformation():
    """An address that CloudFormation waits at, and what it was told there."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/answer?signed=yes", told
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("against", "status"), [((), "SUCCESS"), (("load balancer mx-1 sends",), "FAILED")])
def test_cloudformation_is_told(cloudformation, against, status):
    url, told = cloudformation
    request = {"ResponseURL": url, "StackId": "s", "RequestId": "r", "LogicalResourceId": "RetirementGuard"}
    retirement.answer(request, against)
    [answer] = told
    assert (answer["Status"], answer["StackId"], answer["RequestId"]) == (status, "s", "r")
    assert all(reason in answer["Reason"] for reason in against)
