"""The rows of the plan, one example each, and what holds of every plan of every small fleet."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtp_fleet import orphan
from smtp_fleet.actions import (
    Admit,
    DeleteHook,
    DeletePolicy,
    Forget,
    ForgetBalancer,
    ForgetOff,
    Hold,
    PutHook,
    RecordAttachment,
    RecordBalancer,
    RecordBreaker,
    RecordOff,
    Refuse,
    Reject,
    Send,
    SetPolicies,
)
from smtp_fleet.breaker import ONE_EACH, OPENS_AT
from smtp_fleet.evidence import Ask, Machine, Record, Verb
from smtp_fleet.fleet import Breaker, Fleet, Group, Hook, Listener, LoadBalancer, Member, Refusal
from smtp_fleet.outcome import Outcome
from smtp_fleet.plan import plan
from smtp_fleet.tag import Mode, Tags, wish
from tests.smtp_fleet.world import SETTINGS, SMTP, World

OURS, THEIRS = "EnableProxyProtocol", "BackendAuth"
NOW = 1_000_000
LONG_AGO = NOW - 10_000
EXPECT = Ask(Verb.EXPECT, frozenset({25}), NOW)
ATTACHING = RecordAttachment(25, 1, NOW)


def balancer(sends=False, **changes):
    policies = frozenset({OURS}) if sends else frozenset()
    return replace(LoadBalancer("mx-1", (SMTP,), policies, policies, {25: (OURS,)} if sends else {}), **changes)


def fleet(*balancers, tag="enabled", members=(), groups=(), off=LONG_AGO, recorded=True):
    wishes = {b.name: wish(Tags(tag), SETTINGS.mail_ports) for b in balancers}
    off_since = {(b.name, 25): off for b in balancers if not b.sends(25)} if off else {}
    known = frozenset(wishes) if recorded else frozenset()
    return Fleet(NOW, balancers, wishes, tuple(groups), tuple(members), off_since, recorded=known)


def group(result="ABANDON", since=LONG_AGO, **changes):
    return replace(Group("mx", frozenset({"mx-1"}), {}, Hook(result, 900), since), **changes)


def one(name="i-1", waits=True, **record):
    return Member(Record(Machine(name, "vol-1"), **record), "mx", waits, serves=not waits)


def told(*arguments, **keywords):
    return plan(fleet(*arguments, **keywords), SETTINGS)


def test_nobody_behind_it_is_attached_at_once():
    decision = told(balancer())
    assert decision.reason == "nobody behind it: attaching"
    assert decision.actions == (SetPolicies("mx-1", 25, (OURS,), sends=True, create=OURS), ATTACHING)


def test_policies_of_others_stay_and_a_fitting_one_of_any_name_is_reused():
    b = balancer(
        policies=frozenset({THEIRS, "k8s-proxyprotocol-enabled"}),
        proxy_policies=frozenset({"k8s-proxyprotocol-enabled"}),
        backend={25: (THEIRS,)},
    )
    assert told(b).actions[:-1] == (SetPolicies("mx-1", 25, (THEIRS, "k8s-proxyprotocol-enabled"), sends=True),)


def test_a_group_without_our_hook_gets_it_first():
    decision = told(balancer(), groups=[group(hook=None, hooked_since=0)])
    assert decision.reason == "waiting until every launch is held"
    assert decision.actions == (PutHook("mx", "ABANDON", 900, anew=True),)
    assert decision.not_yet


def test_a_hook_that_let_launches_pass_counts_from_when_it_no_longer_does():
    """AWS does not document that a new default result reaches a launch that waits already."""
    decision = told(balancer(), groups=[group("CONTINUE")], members=[one()])
    assert decision.actions == (PutHook("mx", "ABANDON", 900, anew=True),)


def test_the_policy_waits_for_the_settle_time_after_the_hook():
    decision = told(balancer(), groups=[group(since=NOW - 10)])
    assert (decision.actions, decision.not_yet, decision.again_in) == ((), True, 50)


def test_held_launches_are_no_obstacle():
    decision = told(balancer(), groups=[group()], members=[one()])
    assert decision.reason == "every launch is held: attaching"


LOOK = Ask(Verb.LOOK, frozenset({25}), NOW)
MX1 = Machine("i-1", "vol-1")


def serving(name="i-1", verb=None, ago=10, **record):
    """An instance in service, asked `ago` seconds before now and, unless told otherwise, answered in full."""
    if verb is None:
        return one(name, waits=False, **record)
    at = NOW - ago
    speaks = "proxy" if verb is Verb.EXPECT else "plain"
    answer = {"answered": at, "outcome": Outcome.OK, speaks: frozenset({25}), "first_asked_at": at} | record
    return one(name, waits=False, ask=Ask(verb, frozenset({25}), at), asked_at=at, **answer)


def test_a_live_fleet_is_looked_at_first_and_its_launches_pass():
    decision = told(balancer(), groups=[group("CONTINUE")], members=[one("i-1"), serving("i-2")])
    assert decision.reason == "asking whether they could"
    assert decision.actions == (Send(LOOK, (Machine("i-2", "vol-1"),)), Admit(MX1, "mx", 0))


def test_looked_at_before_the_balancer_was_off_is_not_looked_at():
    decision = told(balancer(), members=[serving(verb=Verb.LOOK, ago=30)], off=NOW - 20)
    assert decision.actions == (Send(LOOK, (MX1,)),)


def test_all_could_is_first_a_hook_that_holds_every_launch():
    decision = told(balancer(), groups=[group(hook=None)], members=[serving(verb=Verb.LOOK)])
    assert decision.actions == (PutHook("mx", "ABANDON", 900, anew=True),)


BEFORE = {"plain": frozenset(), "proxy": frozenset({25})}


def test_while_all_wait_for_the_hook_mail_is_not_deferred_for_one_that_expects_from_before():
    """The settle time is longer than the budget: such a cutover would be refused each time it is begun."""
    seen = [serving(verb=Verb.LOOK), serving("i-2", Verb.LOOK, **BEFORE)]
    decision = told(balancer(), groups=[group(since=NOW - 10)], members=seen)
    assert decision.reason == "waiting until every launch is held"
    assert decision.actions == (Send(Ask(Verb.EXPECT, frozenset(), NOW), (Machine("i-2", "vol-1"),)),)


@pytest.mark.parametrize(
    ("other", "off"), [(BEFORE, LONG_AGO), ({}, NOW - 30)], ids=["all expect", "the balancer may still send"]
)
def test_but_it_goes_on_expecting_where_that_ends_sooner_or_would_be_unsafe(other, off):
    seen = [serving(verb=Verb.LOOK, **other), serving("i-2", Verb.LOOK, **BEFORE)]
    decision = told(balancer(), groups=[group(since=NOW - 10)], members=seen, off=off)
    assert (decision.reason, decision.actions) == ("waiting until every launch is held", ())


def test_all_could_is_postfix_first():
    decision = told(balancer(), groups=[group()], members=[serving(verb=Verb.LOOK), serving("i-2", Verb.LOOK)])
    assert decision.reason == "Postfix first"
    assert decision.actions == (Send(EXPECT, (MX1, Machine("i-2", "vol-1"))),)
    assert decision.again_in == SETTINGS.cutover_budget + 1


def test_all_expect_is_balancer_second():
    decision = told(balancer(), groups=[group()], members=[serving(verb=Verb.EXPECT), serving("i-2", Verb.EXPECT)])
    assert decision.reason == "balancer second"
    assert decision.actions == (SetPolicies("mx-1", 25, (OURS,), sends=True, create=OURS), ATTACHING)


def test_one_that_could_not_is_a_refusal_and_nothing_was_changed():
    cannot = serving("i-2", Verb.LOOK, outcome=Outcome.REFUSED, reason="two listeners")
    decision = told(balancer(), groups=[group()], members=[serving(verb=Verb.LOOK), cannot])
    why = "i-2 cannot expect the header: two listeners"
    assert decision.actions == (Refuse(25, why, 1, NOW + 300),)
    assert decision.findings == (why,)


def test_a_spent_budget_is_a_refusal():
    late = [serving(verb=Verb.EXPECT, ago=46), serving("i-2", Verb.EXPECT, ago=46, outcome=None, proxy=frozenset())]
    decision = told(balancer(), groups=[group()], members=late)
    why = "the budget of 45 s is spent; not expecting yet: i-2"
    assert decision.actions == (Refuse(25, why, 1, NOW + 300),)


def test_the_budget_is_counted_from_when_an_instance_was_asked_first_whatever_the_epoch():
    """An epoch may lie a day ahead, where a host had stored such a one; and asking again gives no more time."""
    half = {"outcome": None, "proxy": frozenset()}
    first = serving(verb=Verb.EXPECT, ago=46)
    ahead = replace(first.record.ask, epoch=NOW + 80_000)
    record = replace(first.record, ask=ahead, answered=ahead.epoch, asked_at=NOW - 5)
    late = replace(serving("i-2", Verb.EXPECT, ago=5, **half).record, ask=ahead)
    f = fleet(balancer(), groups=[group()], members=[replace(first, record=record), replace(first, record=late)])
    assert acts(plan(f, SETTINGS), Refuse) != []


def test_where_all_expect_at_last_a_spent_budget_is_no_refusal():
    """To attach ends the deferrals sooner than to undo."""
    decision = told(balancer(), groups=[group()], members=[serving(verb=Verb.EXPECT, ago=600)])
    assert decision.reason == "balancer second"


def test_a_refusal_undoes_everybody_not_known_plain():
    expecting = serving(verb=Verb.EXPECT)
    asked_only = serving("i-2", Verb.EXPECT, outcome=None, proxy=frozenset(), told=frozenset({25}))
    f = fleet(balancer(), groups=[group("CONTINUE")], members=[expecting, asked_only, serving("i-3", Verb.LOOK)])
    refused = replace(f, refusals={25: Refusal("the budget is spent", 1, NOW + 200)})
    decision = plan(refused, SETTINGS)
    assert decision.reason == "refused: undoing a half-done cutover"
    assert decision.actions == (Send(Ask(Verb.EXPECT, frozenset(), NOW), (MX1, Machine("i-2", "vol-1"))),)
    soon = plan(replace(refused, off_since={("mx-1", 25): NOW - 10}), SETTINGS)
    assert (soon.actions, soon.again_in) == ((), 50)


def test_a_refusal_holds_for_a_while_and_longer_each_time():
    cannot = serving("i-1", Verb.LOOK, outcome=Outcome.REFUSED, reason="two listeners")
    f = fleet(balancer(), members=[cannot])
    held = plan(replace(f, refusals={25: Refusal("two listeners", 1, NOW + 1)}), SETTINGS)
    assert (held.reason, held.actions) == ("refused", ())
    over = plan(replace(f, refusals={25: Refusal("two listeners", 1, NOW - 5)}), SETTINGS)
    assert over.actions == (Send(LOOK, (MX1,)),)
    for times, wait in ((1, 600), (2, 1200), (3, 2400), (4, 3600), (40, 3600)):
        again = plan(replace(f, refusals={25: Refusal("two listeners", times, NOW - 20)}), SETTINGS)
        assert again.actions == (Refuse(25, "i-1 cannot expect the header: two listeners", times + 1, NOW + wait),)


def test_a_cutover_that_asks_waits_for_its_own_go():
    told_to_ask = replace(SETTINGS, live_cutover="ask")
    f = fleet(balancer(), groups=[group()], members=[serving(verb=Verb.LOOK)])
    ready = plan(f, told_to_ask)
    assert (ready.reason, ready.actions) == ("ready: waiting for go", (PutHook("mx", "CONTINUE", 900, anew=False),))
    [finding] = ready.findings
    code = finding.rpartition("Value=")[2]
    assert "ready: 1 of 1 could" in finding
    assert f"add-tags --load-balancer-names mx-1 --tags Key=smtp-proxy-protocol-go,Value={code}" in finding
    going = replace(f, wishes={"mx-1": wish(Tags("enabled", code), frozenset({25}))})
    assert plan(going, told_to_ask).reason == "Postfix first"
    other = replace(going, members=(serving(verb=Verb.LOOK), serving("i-2", Verb.LOOK)))
    assert plan(other, told_to_ask).reason == "ready: waiting for go"


def test_a_policy_that_vanished_by_hand_comes_back_only_on_a_fresh_look():
    before = serving(verb=Verb.EXPECT, ago=500)
    decision = told(balancer(), groups=[group()], members=[before], off=NOW - 1)
    assert decision.actions[-1:] == (Send(LOOK, (MX1,)),)
    looked = serving(verb=Verb.LOOK, ago=0, proxy=frozenset({25}), plain=frozenset())
    assert told(balancer(), groups=[group()], members=[looked], off=NOW - 1).reason == "balancer second"


def test_a_launch_behind_a_sending_balancer_is_asked_first():
    decision = told(balancer(sends=True), groups=[group()], members=[one()])
    assert decision.reason == "an instance does not expect the header yet"
    assert decision.actions == (Send(EXPECT, (Machine("i-1", "vol-1"),)),)


def test_it_is_not_asked_twice_while_the_ask_is_out():
    decision = told(balancer(sends=True), groups=[group()], members=[one(ask=EXPECT, asked_at=NOW)])
    assert (decision.actions, decision.not_yet) == ((), True)


def test_it_is_admitted_when_it_is_known_to_expect():
    known = one(ask=EXPECT, asked_at=NOW, answered=NOW, outcome=Outcome.OK, proxy=frozenset({25}))
    decision = told(balancer(sends=True), groups=[group()], members=[known])
    assert (decision.reason, decision.actions) == ("on", (Admit(Machine("i-1", "vol-1"), "mx", 0),))


def test_one_that_cannot_is_rejected_and_named_and_the_others_are_asked():
    cannot = one("i-1", ask=EXPECT, answered=NOW, outcome=Outcome.REFUSED, reason="two listeners")
    decision = told(balancer(sends=True), groups=[group()], members=[cannot, one("i-2")])
    assert decision.reason == "an instance cannot expect the header"
    assert decision.actions == (
        Send(EXPECT, (Machine("i-2", "vol-1"),)),
        RecordBreaker("mx", Breaker(("i-1",), NOW, "", "two listeners")),
        Reject(Machine("i-1", "vol-1"), "mx", "two listeners", Outcome.REFUSED),
    )
    assert decision.findings == ("i-1 cannot expect the header: two listeners",)


def test_a_bug_of_ours_costs_no_instance():
    bug = one("i-1", ask=EXPECT, asked_at=NOW, answered=NOW, outcome=Outcome.BUG, reason="no verdict: Failed")
    decision = told(balancer(sends=True), groups=[group()], members=[bug])
    assert decision.actions == (Hold(Machine("i-1", "vol-1"), "mx"),)
    assert decision.findings == ("i-1 cannot expect the header: no verdict: Failed",)


@pytest.mark.parametrize(("ago", "again"), [(SETTINGS.check_interval - 1, False), (SETTINGS.check_interval, True)])
def test_one_in_service_that_cannot_is_asked_again_each_check_interval(ago, again):
    """Somebody may have mended it meanwhile; until then it is sent what it does not expect."""
    refused = serving(verb=Verb.EXPECT, ago=ago, outcome=Outcome.REFUSED, proxy=frozenset())
    decision = told(balancer(sends=True), groups=[group()], members=[refused])
    assert [a.machines for a in decision.actions if isinstance(a, Send)] == ([(MX1,)] if again else [])


def test_a_lost_ask_is_repeated_with_the_same_epoch():
    lost = one(ask=replace(EXPECT, epoch=7), asked_at=NOW - 31, answered=7, outcome=Outcome.LOST)
    decision = told(balancer(sends=True), groups=[group()], members=[lost])
    assert decision.actions == (Send(replace(EXPECT, epoch=7), (Machine("i-1", "vol-1"),)),)
    assert (
        told(
            balancer(sends=True), groups=[group()], members=[replace(lost, record=replace(lost.record, asked_at=NOW))]
        ).again_in
        == 30
    )


def test_a_vanished_tag_is_a_finding_and_the_launches_stay_protected():
    decision = told(balancer(sends=True), tag=None, groups=[group()], members=[one()])
    assert decision.findings == ("load balancer mx-1: tag vanished while sending",)
    assert decision.actions == (Send(EXPECT, (Machine("i-1", "vol-1"),)),)


AGAINST = {
    "nothing": {},
    "a listener is HTTP": {"listeners": (Listener(25, "HTTP", 25, "HTTP"),)},
    "another listener shares the port": {"listeners": (SMTP, Listener(80, "TCP", 25, "TCP"))},
    "a cutover was refused": {},
    "an untagged balancer feeds it": {},
}


@pytest.mark.parametrize("refused", AGAINST)
@pytest.mark.parametrize("held_back", [{}, {"audit": True}, {"paused": True}, {"audit": True, "paused": True}])
@pytest.mark.parametrize("tag", ["enabled", "25 587", "587", "audit", "what?", None, "disabled"])
def test_sending_dominates_whatever_tag_audit_pause_and_refusal_say(tag, held_back, refused):
    """Who is not known to expect is asked and held, who is known to is let in, the policy stays; `disabled` ends it."""
    expecting = one("i-2", ask=EXPECT, asked_at=NOW, answered=NOW, outcome=Outcome.OK, proxy=frozenset({25}))
    f = fleet(balancer(True, **AGAINST[refused]), tag=tag, groups=[group("CONTINUE")], members=[one(), expecting])
    if refused == "a cutover was refused":
        f = replace(f, refusals={25: Refusal("i-9 cannot", 1, NOW + 300)})
    if refused == "an untagged balancer feeds it":
        web = balancer(name="web")
        f = replace(f, balancers=(*f.balancers, web), wishes=f.wishes | {"web": wish(Tags(None), frozenset({25}))})
    told_to = plan(f, replace(SETTINGS, **held_back)).actions
    if tag == "disabled" and not held_back:
        assert SetPolicies("mx-1", 25, (), sends=False) in told_to
        return
    assert PutHook("mx", "ABANDON", 900, anew=True) in told_to
    assert Send(EXPECT, (Machine("i-1", "vol-1"),)) in told_to
    assert [a for a in told_to if isinstance(a, Admit)] == [Admit(Machine("i-2", "vol-1"), "mx", 0)]
    assert not [a for a in told_to if isinstance(a, SetPolicies)]


def test_disabled_takes_the_balancer_off_first():
    b = balancer(sends=True, policies=frozenset({OURS, THEIRS}), backend={25: (THEIRS, OURS)})
    decision = told(b, tag="disabled", members=[one(waits=False, proxy=frozenset({25}))])
    assert decision.actions == (SetPolicies("mx-1", 25, (THEIRS,), sends=False),)


def test_disabled_lets_postfix_go_only_when_the_balancer_has_settled():
    expecting = one(waits=False, ask=replace(EXPECT, epoch=7), answered=7, outcome=Outcome.OK, proxy=frozenset({25}))
    soon = told(balancer(), tag="disabled", members=[expecting], off=NOW - 10)
    assert (soon.actions, soon.again_in) == ((), 50)
    later = told(balancer(), tag="disabled", members=[expecting])
    assert later.actions == (Send(Ask(Verb.EXPECT, frozenset(), NOW), (Machine("i-1", "vol-1"),)),)


@pytest.mark.parametrize(("ago", "again"), [(SETTINGS.check_interval - 1, False), (SETTINGS.check_interval, True)])
def test_what_could_not_be_let_go_is_asked_again_each_check_interval(ago, again):
    """A single answer that was no verdict would otherwise leave an instance deferring mail for ever."""
    let_go = Ask(Verb.EXPECT, frozenset(), NOW - ago)
    bug = one(waits=False, ask=let_go, asked_at=NOW - ago, answered=let_go.epoch, outcome=Outcome.BUG)
    sends = [Send(let_go, (bug.machine,))] if again else []
    decision = told(balancer(), tag="disabled", members=[bug], groups=[group("CONTINUE")])
    assert [action for action in decision.actions if isinstance(action, Send)] == sends
    left = replace(fleet(groups=[group()], members=[bug]), off_since={("group:mx", 0): LONG_AGO})
    assert [action for action in orphan.plan(left, SETTINGS).actions if isinstance(action, Send)] == sends


def test_disabled_ends_also_what_only_the_old_tag_named():
    """`disabled` names no port: what we asked machines about says which ports are ours to take off."""
    both = (SMTP, Listener(587, "TCP", 587, "TCP"))
    foreign = frozenset({"foreign"})
    b = balancer(listeners=both, policies=foreign, proxy_policies=foreign, backend={587: ("foreign",)})
    expecting = one(waits=False, ask=replace(EXPECT, ports=frozenset({25, 587})), proxy=frozenset({25, 587}))
    decision = told(b, tag="disabled", members=[expecting])
    assert acts(decision, SetPolicies) == [SetPolicies("mx-1", 587, (), sends=False)]
    assert acts(decision, Forget) == []
    silent = replace(b, backend={587: ()})
    later = replace(
        fleet(silent, tag="disabled", members=[expecting]), off_since={("mx-1", p): LONG_AGO for p in (25, 587)}
    )
    [send] = acts(plan(later, SETTINGS), Send)
    assert send.ask.ports == frozenset()


def test_a_port_that_the_tag_no_longer_names_is_let_go_once_it_is_silent():
    both = (SMTP, Listener(587, "TCP", 587, "TCP"))
    b = balancer(sends=True, listeners=both)
    expecting = one(waits=False, ask=replace(EXPECT, ports=frozenset({25, 587})), proxy=frozenset({25, 587}))
    f = replace(fleet(b, members=[expecting]), off_since={("mx-1", 587): LONG_AGO})
    [send] = acts(plan(f, SETTINGS), Send)
    assert send.ask.ports == {25}


def test_an_untagged_neighbour_does_not_keep_disabled_from_its_end():
    expecting = one(waits=False, ask=EXPECT, answered=NOW, outcome=Outcome.OK, proxy=frozenset({25}))
    f = fleet(balancer(), balancer(name="web"), tag="disabled", members=[expecting])
    f = replace(f, wishes=f.wishes | {"web": wish(Tags(), frozenset({25}))})
    [send] = acts(plan(f, SETTINGS), Send)
    assert send.ask.ports == frozenset()


def test_when_all_is_off_nothing_of_ours_is_left():
    mine = frozenset({OURS})
    was_ours = one(waits=False, ask=replace(EXPECT, ports=frozenset()), answered=NOW, outcome=Outcome.OK)
    decision = told(
        balancer(policies=mine, proxy_policies=mine), tag="disabled", groups=[group("CONTINUE")], members=[was_ours]
    )
    assert decision.reason == "off"
    ours = (DeleteHook("mx"), DeletePolicy("mx-1", OURS), Forget(Machine("i-1", "vol-1")))
    assert decision.actions == (*ours, *NO_ROWS)
    clean = fleet(balancer(), tag="disabled", groups=[group(hook=None)], members=[one(waits=False)], recorded=False)
    assert plan(replace(clean, off_since={}), SETTINGS).actions == ()


NO_ROWS = (ForgetOff("mx-1", 25), ForgetBalancer("mx-1"))


def test_a_balancer_without_a_mail_listener_any_more_keeps_nothing_of_ours_and_lets_its_launches_in():
    """As where its listener was deleted, and all were let go of."""
    web = balancer(listeners=(Listener(443, "TCP", 443, "TCP"),))
    waiting = told(web, groups=[group("CONTINUE")], members=[one(plain=frozenset({25}))])
    assert (waiting.reason, waiting.actions) == ("no mail listener", (Admit(Machine("i-1", "vol-1"), "mx", 0),))
    looked_at = one(waits=False, ask=replace(EXPECT, verb=Verb.LOOK), plain=frozenset({25}))
    gone = told(web, groups=[group("CONTINUE")], members=[looked_at])
    assert gone.actions == (DeleteHook("mx"), Forget(Machine("i-1", "vol-1")), *NO_ROWS)
    for held_back in ({"audit": True}, {"paused": True}):
        f = fleet(web, groups=[group("CONTINUE")], members=[looked_at])
        assert plan(f, replace(SETTINGS, **held_back)).actions == ()
    assert told(web, tag="audit", groups=[group("CONTINUE")], members=[looked_at]).actions == ()


def test_before_instances_come_to_expect_their_balancer_is_written_down():
    """By its tag alone it would be lost sight of once the tag vanishes; a look changes nothing."""
    for members, groups in (([], []), ([serving(verb=Verb.LOOK)], [group()]), ([serving(verb=Verb.EXPECT)], [group()])):
        f = fleet(balancer(), members=members, groups=groups, recorded=False)
        assert plan(f, SETTINGS).actions[0] == RecordBalancer("mx-1")
    launching = fleet(balancer(sends=True), balancer(name="web"), members=[one()], groups=[group()], recorded=False)
    launching = replace(launching, wishes=launching.wishes | {"web": wish(Tags(), frozenset({25}))})
    assert acts(plan(launching, SETTINGS), RecordBalancer) == [RecordBalancer("mx-1")]
    looked_at = fleet(balancer(), members=[serving()], groups=[group()], recorded=False)
    assert acts(plan(looked_at, SETTINGS), RecordBalancer) == []


def test_the_hook_and_what_is_known_stay_while_somebody_waits_at_it():
    """What is forgotten while there is a hook would be asked again, and forgotten again, for as long as one waits."""
    decision = told(balancer(), tag="disabled", groups=[group("CONTINUE")], members=[one(plain=frozenset({25}))])
    assert decision.actions == (Admit(Machine("i-1", "vol-1"), "mx", 0),)
    let_go = one("i-2", waits=False, ask=replace(EXPECT, ports=frozenset()), answered=NOW, outcome=Outcome.OK)
    admitted = one(plain=frozenset({25}), admitted=True, admitted_at=NOW)
    assert told(balancer(), tag="disabled", groups=[group("CONTINUE")], members=[admitted, let_go]).actions == ()


def test_what_others_have_edited_is_said_and_not_fought_for():
    theirs = one(
        waits=False,
        ask=replace(EXPECT, ports=frozenset()),
        answered=NOW,
        outcome=Outcome.EDITED,
        reason="edited by others",
        proxy=frozenset({25}),
    )
    decision = told(balancer(), tag="disabled", groups=[group("CONTINUE")], members=[theirs])
    assert decision.findings == ("i-1 was not let go: edited by others",)
    assert decision.actions == (DeleteHook("mx"), Forget(Machine("i-1", "vol-1")), *NO_ROWS)


@pytest.mark.parametrize("tag", ["audit", "what?"])
def test_audit_and_an_unclear_tag_change_nothing(tag):
    assert told(balancer(), tag=tag).actions == ()


@pytest.mark.parametrize("held_back", [{"audit": True}, {"paused": True}])
def test_audit_and_pause_of_the_stack_change_nothing_but_protect(held_back):
    silent, sending = fleet(balancer()), fleet(balancer(sends=True), groups=[group()], members=[one()], tag="disabled")
    assert plan(silent, replace(SETTINGS, **held_back)).actions == ()
    assert plan(sending, replace(SETTINGS, **held_back)).actions == (Send(EXPECT, (Machine("i-1", "vol-1"),)),)


def test_a_balancer_never_seen_off_is_written_down_before_it_can_settle():
    decision = told(balancer(), members=[one(waits=False)], off=0)
    assert decision.actions == (RecordOff("mx-1", 25),)
    assert decision.again_in == 1


def test_off_is_struck_out_when_somebody_else_switched_it_on():
    sending = balancer(sends=True)
    f = replace(fleet(sending), off_since={("mx-1", 25): LONG_AGO})
    assert plan(f, SETTINGS).actions == (ForgetOff("mx-1", 25),)


def test_contradicting_tags_change_no_direction():
    b1, b2 = balancer(), balancer(name="mx-2")
    f = replace(
        fleet(b1, b2),
        wishes={"mx-1": wish(Tags("enabled"), frozenset({25})), "mx-2": wish(Tags("disabled"), frozenset({25}))},
    )
    decision = plan(f, SETTINGS)
    assert decision.actions == ()
    assert decision.findings == ("tags on instance port 25 contradict each other: no direction is changed",)


@pytest.mark.parametrize(
    ("listeners", "words"),
    [
        ([Listener(25, "HTTP", 25, "HTTP")], "HTTP to HTTP"),
        ([Listener(25, "TCP", 25, "SSL")], "TCP behind"),
        (
            [SMTP, Listener(80, "TCP", 25, "TCP")],
            "listener 80 of mx-1, which is not a mail port, shares instance port 25",
        ),
    ],
)
def test_a_refusal_says_why_and_nothing_is_changed(listeners, words):
    decision = told(balancer(listeners=tuple(listeners)))
    assert decision.actions == ()
    assert decision.reason == "refused"
    assert words in decision.findings[0]


def test_an_untagged_balancer_on_the_same_instance_port_is_a_refusal():
    f = fleet(balancer(), balancer(name="web"))
    f = replace(f, wishes=f.wishes | {"web": wish(Tags(None), frozenset({25}))})
    assert plan(f, SETTINGS).findings == ("load balancer web, which is not tagged, also feeds instance port 25",)


def test_a_group_that_we_may_not_hook_is_a_refusal():
    f = fleet(balancer(), groups=[group(hook=None, hooked_since=0)])
    decision = plan(f, replace(SETTINGS, group_name_pattern="mail-*"))
    assert decision.actions == ()
    assert "group mx does not match GroupNamePattern mail-*" in decision.findings[0]


def test_a_target_group_on_the_same_instance_port_is_a_refusal():
    decision = told(balancer(), groups=[group("CONTINUE", target_ports={"net": 25, "web": 80})])
    assert decision.actions == ()
    assert decision.findings == ("target group net of group mx also feeds instance port 25",)


def test_two_ports_are_one_ask_and_one_admission():
    both = balancer(sends=True, listeners=(SMTP, Listener(587, "TCP", 587, "TCP")), backend={25: (OURS,), 587: (OURS,)})
    half = one(ask=EXPECT, answered=NOW, outcome=Outcome.OK, proxy=frozenset({25}))
    decision = told(both, tag="25 587", groups=[group()], members=[half])
    assert decision.actions == (Send(Ask(Verb.EXPECT, frozenset({25, 587}), NOW + 1), (Machine("i-1", "vol-1"),)),)


# What holds of every plan of every small fleet.

PORTS = st.frozensets(st.sampled_from([25, 587]))
RECORDS = st.builds(
    lambda ask, at, command, outcome, proxy, plain, admitted: Record(
        Machine("i", "vol"),
        ask,
        at,
        "",
        command,
        at,
        ask.epoch if ask and outcome else 0,
        outcome,
        "",
        0,
        proxy,
        plain - proxy,
        admitted,
    ),
    st.none() | st.builds(Ask, st.just(Verb.EXPECT), PORTS, st.sampled_from([NOW - 900, NOW])),
    st.sampled_from([NOW - 900, NOW]),
    st.sampled_from(["", "c"]),
    st.none() | st.sampled_from(Outcome),
    PORTS,
    PORTS,
    st.booleans(),
)


@st.composite
def fleets(draw):
    balancers, wishes, off = [], {}, {}
    for n in range(draw(st.integers(1, 2))):
        name, sends, theirs = f"mx-{n}", draw(PORTS), draw(st.booleans())
        listeners = draw(
            st.sampled_from(
                [(SMTP,), (SMTP, Listener(587, "SSL", 587, "TCP")), (Listener(25, "HTTP", 25, "HTTP"),), ()]
            )
        )
        proxy = frozenset({draw(st.sampled_from([OURS, "foreign"]))}) if sends or draw(st.booleans()) else frozenset()
        others = (THEIRS,) if theirs else ()
        backend = {p: (*others, *(proxy if p in sends else ())) for p in (25, 587) if theirs or p in sends}
        balancers.append(LoadBalancer(name, listeners, proxy | set(others), proxy, backend))
        told = Tags(draw(st.sampled_from([None, "enabled", "25 587", "audit", "disabled", "?"])))
        wishes[name] = wish(told, frozenset({25}))
        off |= {(name, p): draw(st.sampled_from([LONG_AGO, NOW - 10])) for p in draw(PORTS)}
    groups = [
        group(draw(st.sampled_from(["ABANDON", "CONTINUE"])), draw(st.sampled_from([0, LONG_AGO, NOW - 10])))
        for _ in range(draw(st.integers(0, 1)))
    ]
    members = []
    for n in range(draw(st.integers(0, 3))):
        record = replace(draw(RECORDS), machine=Machine(f"i-{n}", draw(st.sampled_from(["vol", ""]))))
        waits = draw(st.booleans())
        serves, launched_at = record.admitted or not waits or draw(st.booleans()), draw(st.sampled_from([0, NOW - 800]))
        members.append(Member(record, "mx", waits, serves, launched_at))
    given_up = draw(st.sampled_from([(), ("i-7",), ("i-7", "i-8", "i-9")]))
    breaker = Breaker(given_up, draw(st.sampled_from([NOW - 10, LONG_AGO])), draw(st.sampled_from(["", "lt-1 2"])))
    return Fleet(NOW, tuple(balancers), wishes, tuple(groups), tuple(members), off, breakers={"mx": breaker})


EVERY = settings(max_examples=800, deadline=None)
SETTLED = NOW - SETTINGS.settle


def feeds(b, port):
    return b.sends(port) or port in {x.instance_port for x in b.listeners}


def acts(decision, kind):
    return [action for action in decision.actions if isinstance(action, kind)]


@EVERY
@given(fleets())
def test_no_policy_of_others_is_ever_dropped(f):
    by_name = {b.name: b for b in f.balancers}
    for action in acts(plan(f, SETTINGS), SetPolicies):
        b = by_name[action.balancer]
        assert set(b.on(action.port)) - b.proxy_policies <= set(action.policies)
        assert len(set(action.policies)) == len(action.policies)


@EVERY
@given(fleets())
def test_a_policy_is_attached_only_where_every_instance_that_may_take_traffic_expects(f):
    for action in acts(plan(f, SETTINGS), SetPolicies):
        if action.sends:
            assert all(action.port in m.record.proxy for m in f.members if m.serves)
            if not any(b.sends(action.port) for b in f.balancers):
                off = [f.off_since.get((b.name, action.port), NOW) for b in f.balancers if feeds(b, action.port)]
                assert all(m.record.asked_at > max(off) and m.record.is_answered for m in f.members if m.serves)
            assert all(g.hook and g.hook.default_result == "ABANDON" and g.hooked_since for g in f.groups)


@EVERY
@given(fleets())
def test_while_anybody_sends_only_those_that_expect_there_are_admitted(f):
    sending = {port for port in f.ports(SETTINGS) if any(b.sends(port) for b in f.balancers)}
    by_machine = {m.machine: m for m in f.members}
    for action in acts(plan(f, SETTINGS), Admit):
        assert sending <= by_machine[action.machine].record.proxy


@EVERY
@given(fleets())
def test_nothing_that_can_end_expecting_is_asked_before_all_balancers_have_settled(f):
    by_machine = {m.machine: m for m in f.members}
    for action in acts(plan(f, SETTINGS), Send):
        for machine in action.machines if action.ask.verb is Verb.EXPECT else ():
            record = by_machine[machine].record
            for port in (record.proxy | (record.ask.ports if record.ask else frozenset())) - action.ask.ports:
                feeding = [b for b in f.balancers if b.sends(port) or port in {x.instance_port for x in b.listeners}]
                assert all(not b.sends(port) and f.off_since.get((b.name, port), NOW) <= SETTLED for b in feeding)


@EVERY
@given(fleets())
def test_a_launch_that_does_not_expect_is_let_in_only_after_settling(f):
    by_machine = {m.machine: m for m in f.members}
    for action in acts(plan(f, SETTINGS), Admit):
        for port in f.ports(SETTINGS):
            if port not in by_machine[action.machine].record.proxy:
                feeding = [b for b in f.balancers if port in {x.instance_port for x in b.listeners}]
                assert all(f.off_since.get((b.name, port), NOW) <= SETTLED for b in feeding)


@EVERY
@given(fleets())
def test_only_disabled_takes_a_policy_off_or_that_nobody_expects_and_launches_fail(f):
    for action in acts(plan(f, SETTINGS), SetPolicies):
        if not action.sends and f.wishes[action.balancer].mode is not Mode.DISABLED:
            assert len(f.breakers["mx"].given_up) == 3
            assert not any(action.port in m.record.proxy for m in f.members)
            assert f.wishes[action.balancer].mode is Mode.ENABLED


@EVERY
@given(fleets())
def test_an_open_breaker_lets_one_launch_an_hour_be_given_up_and_no_more(f):
    known = f.breakers["mx"] if f.groups and f.breakers["mx"].configuration == f.groups[0].configuration else None
    given_up = known.given_up if known else ()
    one_more = known is not None and known.at + ONE_EACH <= NOW
    rejected = {action.machine.instance_id for action in acts(plan(f, SETTINGS), Reject)} - set(given_up)
    assert len(rejected) <= max(OPENS_AT - len(given_up), int(one_more))


@EVERY
@given(fleets())
def test_an_untagged_silent_balancer_is_never_touched(f):
    untouched = {b.name for b in f.balancers if f.wishes[b.name].mode is Mode.ABSENT}
    assert not {action.balancer for action in acts(plan(f, SETTINGS), SetPolicies)} & untouched


@EVERY
@given(fleets())
def test_a_plan_depends_on_nothing_but_the_fleet(f):
    assert plan(f, SETTINGS) == plan(f, SETTINGS)


def settle(world):
    """Carry plans out, deliver everything, until a round plans nothing; at most 20 rounds."""
    for _ in range(20):
        decision = plan(world.fleet(), SETTINGS)
        for action in decision.actions:
            world.do(action)
        busy = bool(decision.actions or world.queue or world.answers or world.admissions)
        for deliver, waiting in (
            (world.run, world.queue),
            (world.answer, world.answers),
            (world.admit, world.admissions),
        ):
            while waiting:
                deliver(0)
        if not busy and not decision.again_in:
            return decision
        world.now += decision.again_in
    raise AssertionError(f"never quiet: {decision}")


@pytest.mark.parametrize("grouped", [True, False])
def test_one_balancer_ends_on_and_a_second_round_plans_nothing(grouped):
    world = World(tags={"mx-1": "enabled"}, balancers={"mx-1": balancer()})
    if grouped:
        world.groups["mx"] = Group("mx", frozenset({"mx-1"}))
    assert settle(world).reason == "on"
    world.groups.setdefault("mx", Group("mx", frozenset({"mx-1"})))
    settle(world)
    world.launch("i-1", "mx")
    assert settle(world) == replace(plan(world.fleet(), SETTINGS), reason="on", actions=())
    assert world.instances["i-1"].state == "InService"
    assert world.instances["i-1"].expects == {25}
    assert world.broken_law() == []
