"""Refuses to delete the stack while a load balancer sends the header, a hook is on a group or a host may expect."""

import gc
import os
from functools import partial
from typing import Any

import boto3
from aws_lambda_powertools import Logger
from botocore.config import Config

from smtp_fleet import autoscaling, elb, ledger, report, retirement, settings

logger = Logger()
say = report.saying(logger)
told = settings.read(settings.GuardSettings, os.environ)
client = partial(boto3.client, config=Config(retries={"mode": "standard", "max_attempts": 5}))
gc.disable()  # clients stay: looking through them for garbage is a tenth of a start
balancers = elb.LoadBalancers(client("elb"), client("resourcegroupstaggingapi"))
groups = autoscaling.Groups(client("autoscaling"))
rows = ledger.Ledger(client("dynamodb"), told.ledger_table)
gc.freeze()
gc.enable()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> None:
    """Answer CloudFormation, whatever happens: it would wait an hour for an answer that does not come."""
    against: tuple[str, ...] = ()
    try:
        if event["RequestType"] == "Delete":
            against = retirement.observe(balancers, groups, rows.index().balancers, told)
            say("the stack may be deleted" if not against else "the stack may not be deleted", obstacles=list(against))
    except Exception as error:
        say("broken: the stack is not deleted", error=error)
        against = (f"could not see what is left ({type(error).__name__})",)
    retirement.answer(event, against)
