"""No value outside its pattern reaches the host."""

import pytest

from local.agent import run_document

GOOD = {"Verb": "look", "Ports": "25", "Epoch": "1", "FrontEnd": "keep", "TrustedClients": "none", "WaitSeconds": "0"}
INJECTIONS = ["'; touch /tmp/x; '", "$(touch /tmp/x)", "`touch /tmp/x`", "{{ Ports }}", "{{ssm:x}}", "a\nb", "", " "]


class Untouchable:
    """A host on which nothing may happen."""

    def popen(self, *_, **__):
        raise AssertionError("something ran")

    run = popen


def refused(content, **values):
    outcome = run_document(content, GOOD | values, Untouchable(), instance_id="i-1", command_id="c", region="r")
    return outcome.status == "Failed" and "does not match the allowed pattern" in outcome.stderr


@pytest.mark.parametrize("value", INJECTIONS)
@pytest.mark.parametrize("name", GOOD)
def test_injections_are_refused(content, name, value):
    assert refused(content, **{name: value})
    assert refused(content, **{name: GOOD[name] + value + "\n"})


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "Verb": ["Look", "look ", "expect25", "restart"],
        "Ports": ["0", "025", "25,587", "25  587", " 25", "25 ", "none 25", "123456", " ".join(["25"] * 17)],
        "Epoch": ["0", "-1", "01", "1.5", "1" * 17],
        "FrontEnd": ["smtpd", "keep keep"],
        "TrustedClients": [
            "all",
            "0.0.0.0/0 ",
            "10.0.0.0/8,10.0.0.0/8",
            "10.0.0.0/1234",
            "!10.0.0.1",
            "hash:/x",
            "g.h",
        ],
        "WaitSeconds": ["1000", "-1", "1s"],
    }.items(),
)
def test_near_misses_are_refused(content, name, values):
    for value in values:
        assert refused(content, **{name: value}), value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Ports", "none"),
        ("Ports", " ".join(["65535"] * 16)),
        ("Epoch", "1764000000"),
        ("TrustedClients", "10.0.0.0/8 2001:db8::/32 192.0.2.1"),
        ("WaitSeconds", "200"),
    ],
)
def test_good_values_are_let_through(content, name, value):
    with pytest.raises(AssertionError, match="something ran"):
        refused(content, **{name: value})


def test_every_parameter_is_fenced(content):
    assert set(content["parameters"]) == set(GOOD)
    for parameter in content["parameters"].values():
        assert parameter["type"] == "String"
        assert parameter["allowedPattern"].startswith("^")
        assert parameter["allowedPattern"].endswith("$")
        assert isinstance(parameter.get("default", ""), str)
