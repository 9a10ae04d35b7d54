"""CloudWatch Logs takes JSON filter patterns, page by page, and refuses what it does not understand."""

import json

import pytest

from local.strict import logs

WHERE = ("us-east-1", "123456789012")
LINES = [
    json.dumps(line)
    for line in ({"message": "on", "calls": []}, {"message": "on", "calls": ["AddTags"]}, {"message": "answered"})
]


@pytest.fixture
def found(aws):
    """Writes lines, a second apart, and gives the messages that a pattern finds, and in how many pages."""
    aws("logs").create_log_group(logGroupName="mind")

    def find(pattern, lines=LINES, **span):
        for number, line in enumerate(lines):
            logs.write("mind", line, 1000 + number, *WHERE)
        pages = list(aws("logs").get_paginator("filter_log_events").paginate(
            logGroupName="mind", filterPattern=pattern, **span
        ))  # fmt: skip
        return [event["message"] for page in pages for event in page["events"]], len(pages)

    return find


@pytest.mark.parametrize(
    ("pattern", "numbers"),
    [
        ('{ $.message = "answered" }', [2]),
        ('{ $.calls[0] = "*" }', [1]),
        ('{ ($.message = "answered") || ($.calls[0] = "*") }', [1, 2]),
        ('{ $.message = "o*" }', [0, 1]),
        ('{ $.calls = "*" }', []),
        ('{ $.gone = "*" }', []),
    ],
)
def test_a_json_pattern_finds_what_it_says(found, pattern, numbers):
    """User guide, filter patterns for JSON events: `||`, array indices, and `*` for any text."""
    assert found(pattern)[0] == [LINES[number] for number in numbers]


def test_a_line_that_is_no_json_is_found_by_none(found):
    assert found('{ $.message = "*" }', ["START RequestId", "[]", '"on"'])[0] == []


@pytest.mark.parametrize("pattern", ["on", '{ $.a = "x" && $.b = "y" }', "{ $.a = 1 }", "{ $.a NOT EXISTS }", ""])
def test_a_pattern_that_it_does_not_know_is_refused(found, pattern):
    """moto takes it for no pattern at all, and finds every line."""
    with pytest.raises(NotImplementedError):
        found(pattern)


def test_the_span_is_in_milliseconds_both_ends_included(found):
    assert len(found('{ $.message = "*" }', startTime=1_001_000, endTime=1_002_000)[0]) == 2


def test_a_page_may_be_empty_and_not_the_last(found):
    """FilterLogEvents: empty pages do not mean that pagination is finished."""
    lines = [json.dumps({"message": "on"})] * 2 * logs.PAGE + [json.dumps({"message": "answered"})]
    assert found('{ $.message = "answered" }', lines) == ([lines[-1]], 3)


def test_a_group_that_is_not_there_is_refused(aws, refused):
    assert refused(aws("logs").filter_log_events, logGroupName="gone")[0] == "ResourceNotFoundException"


def test_a_line_grows_older(found):
    logs_before = found('{ $.message = "answered" }')
    logs.age(100, *WHERE)
    assert found('{ $.message = "answered" }', (), endTime=902_000) == logs_before
