"""Brings each fleet of tagged load balancers to what its tags ask for, in the safe order."""

import gc
import os
import time
from functools import cache, partial
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config

from smtp_fleet import around, autoscaling, ec2, elb, ledger, mind, observe, report, settings, sqs, ssm

logger = Logger()
metrics = Metrics()
say, count = report.saying(logger), report.counting(metrics)
told = settings.read(settings.MindSettings, os.environ)
client = cache(partial(boto3.client, config=Config(retries={"mode": "standard", "max_attempts": 5})))
gc.disable()  # clients stay: looking through them for garbage is a tenth of a start
aws = observe.Gateways(
    balancers=elb.LoadBalancers(client("elb"), client("resourcegroupstaggingapi")),
    groups=autoscaling.Groups(client("autoscaling"), client("elbv2")),
    instances=ec2.Instances(client("ec2")),
    answers=ssm.Answers(client("ssm")),
    ledger=ledger.Ledger(client("dynamodb"), told.ledger_table),
    wakes=sqs.Queue(client("sqs"), told.wakes_queue_url),
    asks=sqs.Queue(client("sqs"), told.asks_queue_url),
    around=around.Around(client("ec2")),
)
gc.freeze()
gc.enable()


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a batch of wakes, and name those that must be tried again."""
    woken = mind.Mind(told, aws, lambda: int(time.time()), say, count, report.seconds_left(context))
    return sqs.failures(woken.wake(sqs.bodies(event), holder=context.aws_request_id))
