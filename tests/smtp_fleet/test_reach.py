"""Who can reach a mail port past the balancer: every rule that lets another in is a way, and nothing else is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtp_fleet.around import rule as told
from smtp_fleet.mend import Knobs, mends
from smtp_fleet.reach import Rule, Source, Surroundings, ways

OWN = "sg-balancer"
HERE = Surroundings(
    host_groups={"i-1": frozenset({"sg-mx"}), "i-2": frozenset({"sg-mx", "sg-other"})},
    balancer_groups=frozenset({OWN}),
    balancer_interfaces=frozenset({"eni-elb"}),
    carriers={OWN: frozenset({"eni-elb"}), "sg-app": frozenset({"i-9"})},
    prefix_lists={"pl-1": ("192.0.2.0/24",), "pl-0": ()},
)
BALANCER = Rule("sgr-own", "sg-mx", "tcp", 25, 25, Source.GROUP, OWN)


def rule(source, value, *, first=25, last=25, protocol="tcp", group="sg-mx"):
    return Rule("sgr-1", group, protocol, first, last, source, value)


def found(*rules, port=25, **changes):
    return ways(replace(HERE, rules=(BALANCER, *rules), **changes), port)


def test_the_balancers_own_group_is_no_way_past_it():
    assert found() == ()


@pytest.mark.parametrize(
    ("source", "value", "who", "exactly"),
    [
        (Source.IPV4, "0.0.0.0/0", "everybody (0.0.0.0/0)", ""),
        (Source.IPV6, "::/0", "everybody (::/0)", ""),
        (Source.IPV4, "10.0.0.0/16", "10.0.0.0/16", ""),
        (Source.IPV6, "2001:db8::/32", "2001:db8::/32", ""),
        (Source.PREFIX_LIST, "pl-1", "prefix list pl-1", "; in the list: 192.0.2.0/24"),
        (Source.PREFIX_LIST, "pl-2", "prefix list pl-2, which could not be read,", ""),
        (Source.GROUP, "sg-app", "security group sg-app", "; the group is on: i-9"),
        (Source.GROUP, "sg-empty", "security group sg-empty", "; nobody carries the group now"),
        (Source.GROUP, "sg-mx", "security group sg-mx", "; nobody carries the group now"),
    ],
)
def test_each_way_names_who_the_rule_and_its_closing(source, value, who, exactly):
    [way] = found(rule(source, value))
    assert (way.who, way.rule, way.group, way.instances) == (who, "sgr-1", "sg-mx", ("i-1", "i-2"))
    assert way.detail == f"to i-1, i-2{exactly}"
    assert way.commands == ("aws ec2 revoke-security-group-ingress --group-id sg-mx --security-group-rule-ids sgr-1",)


def test_an_empty_prefix_list_lets_nobody_in():
    assert found(rule(Source.PREFIX_LIST, "pl-0")) == ()


def test_who_else_carries_the_balancers_group_is_a_way():
    [way] = found(carriers={OWN: frozenset({"eni-elb", "i-7"})})
    assert way.who == "whoever else carries the balancer's own group sg-balancer"
    assert way.detail.endswith("the group is on: i-7")
    assert not any("revoke" in command for command in way.commands), "closing it would stop the mail"


def test_another_classic_balancer_is_no_way_for_it_connects_to_its_own_instances_only():
    """Fleets may share a security group, and each balancer's rule in it."""
    others = {"sg-elb-2": frozenset({"eni-elb-2"})}
    around = {"carriers": others, "balancer_interfaces": frozenset({"eni-elb", "eni-elb-2"})}
    assert found(rule(Source.GROUP, "sg-elb-2"), **around) == ()
    [way] = found(
        rule(Source.GROUP, "sg-elb-2"), **around | {"carriers": {"sg-elb-2": frozenset({"eni-elb-2", "i-7"})}}
    )
    assert way.detail.endswith("the group is on: i-7")


def test_a_rule_by_which_alone_the_balancer_comes_in_is_replaced_before_it_is_taken_away():
    [way] = ways(replace(HERE, rules=(rule(Source.IPV4, "0.0.0.0/0"),)), 25)
    assert [command.split()[2] for command in way.commands] == [
        "authorize-security-group-ingress",
        "revoke-security-group-ingress",
    ]
    assert "--group-id sg-mx --protocol tcp --port 25 --source-group sg-balancer" in way.commands[0]


def test_nothing_is_to_be_closed_while_the_balancers_own_way_is_not_known():
    [way] = ways(replace(HERE, balancer_groups=frozenset(), rules=(rule(Source.IPV4, "0.0.0.0/0"),)), 25)
    assert (way.who, way.commands) == ("everybody (0.0.0.0/0)", ())


def test_only_the_instances_that_carry_the_group_are_concerned():
    [way] = found(rule(Source.IPV4, "0.0.0.0/0", group="sg-other"))
    assert way.instances == ("i-2",)
    assert found(rule(Source.IPV4, "0.0.0.0/0", group="sg-unused")) == ()


def test_a_rule_that_lets_in_more_says_so():
    [way] = found(rule(Source.IPV4, "10.0.0.0/8", first=0, last=65535))
    assert "; the rule lets in ports 0-65535" in way.detail
    [way] = found(rule(Source.IPV4, "10.0.0.0/8", protocol="-1", first=-1, last=-1))
    assert "; the rule lets in everything" in way.detail


@given(
    st.sampled_from(["tcp", "6", "udp", "17", "icmp", "-1"]),
    st.integers(1, 65535),
    st.integers(1, 65535),
    st.integers(1, 65535),
)
def test_a_way_is_there_exactly_where_tcp_to_the_port_is_let_in(protocol, one, other, port):
    first, last = sorted((one, other))
    lets_in = protocol == "-1" or (protocol in ("tcp", "6") and first <= port <= last)
    assert (
        bool(
            ways(
                replace(HERE, rules=(rule(Source.IPV4, "10.0.0.0/8", first=first, last=last, protocol=protocol),)), port
            )
        )
        == lets_in
    )


@given(st.permutations([Source.IPV4, Source.IPV6, Source.PREFIX_LIST, Source.GROUP]))
def test_no_rule_hides_another(order):
    values = {Source.IPV4: "0.0.0.0/0", Source.IPV6: "::/0", Source.PREFIX_LIST: "pl-1", Source.GROUP: "sg-app"}
    rules = [replace(rule(source, values[source]), id=f"sgr-{source.name}") for source in order]
    assert {way.rule for way in found(*rules)} == {r.id for r in rules}


@pytest.mark.parametrize(
    ("answer", "source", "value"),
    [
        ({"CidrIpv4": "10.0.0.0/8"}, Source.IPV4, "10.0.0.0/8"),
        ({"CidrIpv6": "::/0"}, Source.IPV6, "::/0"),
        ({"PrefixListId": "pl-1"}, Source.PREFIX_LIST, "pl-1"),
        ({"ReferencedGroupInfo": {"GroupId": "sg-2", "UserId": "1"}}, Source.GROUP, "sg-2"),
    ],
)
def test_a_rule_of_the_api_is_read(answer, source, value):
    given = {"SecurityGroupRuleId": "sgr-1", "GroupId": "sg-mx", "IpProtocol": "tcp", "FromPort": 25, "ToPort": 25}
    assert told(given | answer) == rule(source, value)


def test_a_short_idle_timeout_and_no_draining_are_to_be_mended():
    short, none, well = (
        mends((25,), replace(HERE, rules=(BALANCER,)), {"mx-1": knobs})
        for knobs in (Knobs(599, True), Knobs(600, False), Knobs(600, True))
    )
    assert [m.what.split(":")[0] for m in short] == ["load balancer mx-1 hangs up after 599 s of silence"]
    assert [m.what.split(":")[0] for m in none] == ["load balancer mx-1 does not drain"]
    assert well == ()


def test_a_network_acl_is_a_note_on_each_way():
    around = replace(HERE, rules=(rule(Source.IPV4, "0.0.0.0/0"),), acl_notes=("network ACL acl-1 is not the default",))
    [mend] = mends((25,), around, {})
    assert mend.detail.endswith("; network ACL acl-1 is not the default")


def test_what_is_to_be_mended_is_called_the_same_whoever_comes_and_goes():
    """A finding is said once a change: instances that come and go are none."""
    here, later = (
        [mend.what for mend in mends((25,), replace(HERE, rules=rules, host_groups=hosts, carriers=carriers), {})]
        for rules in [(rule(Source.GROUP, "sg-app"), replace(rule(Source.GROUP, OWN), id="sgr-2"))]
        for hosts, carriers in (
            (HERE.host_groups, {OWN: frozenset({"i-7"}), "sg-app": frozenset({"i-9"})}),
            ({"i-3": frozenset({"sg-mx"})}, {OWN: frozenset({"i-8", "i-9"}), "sg-app": frozenset()}),
        )
    )
    assert here == later
    assert len(here) == 2
