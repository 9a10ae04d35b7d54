"""The consuming side of SQS for event source mappings, on moto's queues without a poll over HTTP."""

import time
from typing import Any

from moto.sqs.models import sqs_backends

from local.strict.watch import one_at_a_time


def _backend(arn: str) -> tuple[Any, str]:
    region, account, name = arn.split(":")[3:6]
    return sqs_backends[account][region], name


def send(arn: str, body: str, delay: float = 0) -> str:
    """Puts a message on the queue and gives its id."""
    with one_at_a_time:
        backend, name = _backend(arn)
        message = backend.send_message(name, body)
        message.delayed_until = (time.time() + delay) * 1000 if delay else 0
        return str(message.id)


def receive(arn: str, count: int) -> list[dict[str, Any]]:
    """Takes visible messages, as Lambda shows them to functions; redrives those that came too often."""
    with one_at_a_time:
        backend, name = _backend(arn)
        timeout = backend.get_queue(name).visibility_timeout
        return [_record(arn, each) for each in backend.receive_message(name, count, 0, timeout, ["All"])]


def _record(arn: str, message: Any) -> dict[str, Any]:
    # https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    attributes = {
        "ApproximateReceiveCount": str(message.approximate_receive_count),
        "SentTimestamp": str(message.sent_timestamp),
        "SenderId": message.sender_id,
        "ApproximateFirstReceiveTimestamp": str(message.approximate_first_receive_timestamp),
    }
    record = {"messageId": message.id, "receiptHandle": message.receipt_handle, "body": message.body}
    record |= {"attributes": attributes, "messageAttributes": {}, "md5OfBody": message.body_md5}
    return record | {"eventSource": "aws:sqs", "eventSourceARN": arn, "awsRegion": arn.split(":")[3]}


def delete(arn: str, receipt_handle: str) -> None:
    """Removes a message that was received."""
    with one_at_a_time:
        backend, name = _backend(arn)
        backend.delete_message(name, receipt_handle)


def show(arn: str) -> None:
    """Ends the visibility timeout of every message that was received and not deleted."""
    with one_at_a_time:
        backend, name = _backend(arn)
        queue = backend.get_queue(name)
        for message in list(queue.pending_messages):
            backend.change_message_visibility(name, message.receipt_handle, 0)


def due(arn: str) -> list[float]:
    """When each message of the queue can next be received; the past for those that can be now."""
    with one_at_a_time:
        backend, name = _backend(arn)
        return sorted(max(each.visible_at, each.delayed_until) / 1000 for each in backend.get_queue(name)._messages)
