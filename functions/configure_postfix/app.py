"""Sends the fleet's asks to its instances by SSM Run Command and completes the launches that it admits."""

import gc
import os
import time
from functools import partial
from typing import Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from botocore.config import Config

from smtp_fleet import autoscaling, hand, ledger, report, settings, sqs, ssm

logger = Logger()
metrics = Metrics()
say, count = report.saying(logger), report.counting(metrics)
told = settings.read(settings.HandSettings, os.environ)
client = partial(boto3.client, config=Config(retries={"mode": "standard", "max_attempts": 5}))
gc.disable()  # clients stay: looking through them for garbage is a tenth of a start
commands = ssm.Commands(client("ssm"), told)
groups = autoscaling.Groups(client("autoscaling"))
rows = ledger.Ledger(client("dynamodb"), told.ledger_table)
asks = sqs.Queue(client("sqs"), told.asks_queue_url)
gc.freeze()
gc.enable()


@metrics.log_metrics
@logger.inject_lambda_context
def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Handle a batch of asks and admissions, and name those that must be tried again."""
    working = hand.Hand(
        commands, groups, rows, asks, lambda: int(time.time()), say, count, report.seconds_left(context)
    )
    return sqs.failures(working.work(sqs.bodies(event), again=sqs.received_before(event)))
