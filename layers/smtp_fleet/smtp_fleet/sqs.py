"""The two queues: asks and admissions for the hand, and wakes that the mind sends to itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

LONGEST_DELAY = 900
"""Seconds that SQS can hold a message back at most (SendMessage, DelaySeconds)."""


def bodies(event: dict[str, Any]) -> dict[str, Any]:
    """The messages of one invocation by their ids; a body that is no JSON is left as text, for its reader to refuse."""
    found: dict[str, Any] = {}
    for record in event["Records"]:
        try:
            found[record["messageId"]] = json.loads(record["body"])
        except ValueError:
            found[record["messageId"]] = record["body"]
    return found


def received_before(event: dict[str, Any]) -> frozenset[str]:
    """The ids of those messages of one invocation that were received before (message attributes, SQS)."""
    return frozenset(
        record["messageId"]
        for record in event["Records"]
        if record.get("attributes", {}).get("ApproximateReceiveCount", "1") != "1"
    )


def failures(ids: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """The answer that leaves these messages, and only these, to the queue's retry (ReportBatchItemFailures)."""
    return {"batchItemFailures": [{"itemIdentifier": i} for i in sorted(ids)]}


class Queue:
    """A queue of JSON messages, at `url`."""

    def __init__(self, client: Any, url: str) -> None:
        self._sqs = client
        self.url = url

    def send(self, messages: Iterable[dict[str, Any]], delay: int = 0) -> None:
        """Send messages, one body each, to be received after `delay` seconds."""
        for message in messages:
            self._sqs.send_message(
                QueueUrl=self.url, MessageBody=json.dumps(message), DelaySeconds=min(delay, LONGEST_DELAY)
            )
