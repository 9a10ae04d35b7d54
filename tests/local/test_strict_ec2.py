"""EC2 bounds what is asked of it."""


def test_two_hundred_filter_values_a_call(aws, refused):
    """FilterLimitExceeded over 200 filter values, of all filters together (EC2 API reference, error codes)."""
    ids = [f"i-{number:017x}" for number in range(201)]
    describe = aws("ec2").describe_instances
    assert refused(describe, Filters=[{"Name": "instance-id", "Values": ids}]) == ("FilterLimitExceeded", 400)
    both = [{"Name": "instance-id", "Values": ids[:200]}, {"Name": "instance-state-name", "Values": ["running"]}]
    assert refused(describe, Filters=both) == ("FilterLimitExceeded", 400)
    assert describe(Filters=[{"Name": "instance-id", "Values": ids[:200]}])["Reservations"] == []
