"""`make audit`: who was configured, when, why, with what result, in each form; and where evidence is missing."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console import audit, moment
from console.history import Choice, Entry, Gap, Told, gaps, join
from console.obstacle import Obstacle
from console.page import page
from smtp_fleet.evidence import Ask, Verb
from smtp_fleet.ssm import comment
from tests.console.deployed import run
from tests.console.test_retire import denied

NOW = 2_000_000_000.0


# ---- against a Region with a real history


def test_the_table_joins_each_command_with_its_cause_and_its_end(told):
    code, text, complaint = run(audit, told.client, width=220)
    assert (code, complaint) == (0, "")
    [instance] = told.states("mx")
    [row] = [line for line in text.splitlines() if instance in line]
    [invocation] = [i for i in told.history() if i["InstanceId"] == instance]
    assert row.split()[2:9] == [instance, "mx-1", "expect", "25", "launch", "ok", "25=proxy"]
    assert row.split()[-1] == invocation["CommandId"]
    assert "gap:" not in text


def test_json_has_every_command_oldest_first(told):
    entries = json.loads(run(audit, told.client, "--json")[1])["entries"]
    assert [(e["verb"], e["ports"], e["outcome"]) for e in entries][-1] == ("expect", "none", "ok")
    assert [e["command"] for e in entries] == [i["CommandId"] for i in told.history()]
    assert all(e["changed"] and e["seconds"] >= 0 and e["cause"] for e in entries)


def test_csv_is_read_back_by_any_reader(told):
    rows = list(csv.DictReader(io.StringIO(run(audit, told.client, "--csv")[1])))
    assert [row["command"] for row in rows] == [i["CommandId"] for i in told.history()]
    assert {row["balancers"] for row in rows} == {"mx-1", "mx-old"}


def test_the_page_has_a_row_and_a_mark_a_command(told, tmp_path):
    path = tmp_path / "audit.html"
    code, text, _ = run(audit, told.client, "--html", str(path))
    assert (code, text.strip()) == (0, f"{len(told.history())} commands in {path}")
    found = Page(path.read_text())
    ids = [i["CommandId"] for i in told.history()]
    assert [a["href"] for a in found.of("a")] == [
        f"https://us-east-1.console.aws.amazon.com/systems-manager/run-command/{i}?region=us-east-1" for i in ids
    ]
    assert len(found.of("i")) == 2 * len(ids), "one in the lane of the balancer, one in that of the instance"


@pytest.mark.parametrize(
    ("arguments", "balancers"),
    [
        (["--balancer", "mx-1"], {"mx-1"}),
        (["--balancer", "mx-old"], {"mx-old"}),
        (["--since", "1h"], {"mx-1", "mx-old"}),
        (["--until", "1h"], set()),
        (["--failed"], set()),
        (["--instance", "i-0"], set()),
    ],
)
def test_what_is_asked_for_is_told(told, arguments, balancers):
    entries = json.loads(run(audit, told.client, "--json", *arguments)[1])["entries"]
    assert {name for e in entries for name in e["balancers"]} == balancers


def test_an_instance_that_is_never_looked_at_again_is_a_gap(told):
    [instance] = told.states("mx")
    found = audit.read(told.client, "smtp-fleet", Choice(), audit.time.time() + 7300)
    assert [g.instance for g in found.gaps] == [instance], "the other one was let go"
    assert audit.read(told.client, "smtp-fleet", Choice(), audit.time.time() + 7000).gaps == ()


def test_it_reads_only(told):
    before = len(told.region.log)
    run(audit, told.client)
    made = [r.what for r in told.region.log[before:] if r.kind == "call" and r.who == "operator"]
    assert made
    assert [call.operation for call in made if call.is_write] == []
    assert {call.operation for call in made} <= audit.door.obstacle.ACTIONS.keys()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--since", "yesterday"], "'yesterday' is no point in time: write 30m, 2h, 7d, 2026-11-24 or"),
        (["--html", "/nonexistent/a.html"], "/nonexistent/a.html cannot be written: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(told, arguments, says):
    code, text, complaint = run(audit, told.client, *arguments)
    assert (code, text, complaint.count("\n")) == (1, "", 1)
    assert complaint.startswith(says)


def test_an_error_is_one_line():
    def client(service):
        raise denied("ListCommandInvocations", "AccessDeniedException")

    complaint = "not allowed to call ssm:ListCommandInvocations: run this with credentials that are\n"
    assert run(audit, client) == (1, "", complaint)


# ---- joining


def invocation(ask, cause="launch", status="Success", verdict=None, **changes):
    said = {"contract": 1, "verb": ask.verb.value, "epoch": ask.epoch, "class": "ok", "reason": "", "changed": True}
    said |= {"ports": dict.fromkeys(map(str, ask.ports), "proxy")} | (verdict or {})
    told = Told("c-1", "i-1", comment(ask, cause), NOW, NOW + 12.34, status, status, json.dumps(said) + "\n")
    return replace(told, **changes)


ASK = Ask(Verb.EXPECT, frozenset({25, 587}), 7)


def entry(**changes):
    [found] = join([invocation(ASK)], {"i-1": {"mx-1"}})
    return replace(found, **changes)


def test_an_entry_has_what_was_asked_why_and_what_came_of_it():
    assert entry() == Entry(
        at=NOW, instance="i-1", balancers=("mx-1",), verb="expect", ports="25,587", epoch=7, cause="launch",
        outcome="ok", reason="", speaks="25=proxy 587=proxy", changed=True, seconds=12.3, status="Success",
        command="c-1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "outcome", "failed", "evidence"),
    [
        ({"status": "InProgress", "output": "", "finished": 0.0}, "under way", False, False),
        ({"status": "TimedOut", "details": "DeliveryTimedOut", "output": ""}, "lost", True, False),
        ({"status": "Failed", "output": "Segmentation fault"}, "bug", True, False),
        ({"verdict": {"class": "refused", "reason": "no Postfix"}}, "refused", True, True),
        ({"verdict": {"epoch": 6}}, "lost", True, False),
    ],
)
def test_only_an_answer_to_this_very_ask_is_evidence(changes, outcome, failed, evidence):
    [found] = join([invocation(ASK, **changes)], {})
    assert (found.outcome, found.is_failed, found.is_evidence) == (outcome, failed, evidence)


@given(
    st.sampled_from(Verb),
    st.frozensets(st.integers(1, 65535), max_size=3),
    st.integers(0, 10**12),
    st.text(max_size=20),
)
def test_what_the_hand_writes_into_a_comment_is_read_back(verb, ports, epoch, cause):
    ask = Ask(verb, ports, epoch)
    [found] = join([invocation(ask, cause)], {})
    assert (found.verb, found.epoch, cause.startswith(found.cause)) == (verb.value, epoch, True)
    assert found.ports.replace("none", "") == ",".join(map(str, sorted(ports)))


@given(st.text(), st.text())
def test_whatever_others_write_the_join_does_not_break(words, output):
    assert join([invocation(ASK, comment=words, output=output)], {}) == () or words.startswith("smtp-fleet ")
    [found] = join([invocation(ASK, output=output)], {})
    assert isinstance(found.changed, bool)


@given(st.permutations(range(6)))
def test_entries_come_oldest_first(order):
    told = [invocation(ASK, requested=NOW + n, command=f"c-{n}") for n in order]
    assert [e.command for e in join(told, {})] == [f"c-{n}" for n in range(6)]


# ---- gaps

INTERVAL = 3600.0


def seen(*hours, speaks="25=proxy", **changes):
    return [entry(at=NOW + 3600 * hour, speaks=speaks, **changes) for hour in hours]


def test_two_check_intervals_without_evidence_are_a_gap():
    assert gaps(seen(0, 2, 4.1), NOW + 3600 * 5, INTERVAL, {}) == (Gap("i-1", NOW + 7200, NOW + 3600 * 4.1),)


@pytest.mark.parametrize(
    ("entries", "watched", "found"),
    [
        (seen(0), {"i-1": NOW}, 1),
        (seen(0), {}, 0),  # gone
        (seen(0, 1, 2, 3, 4), {"i-1": NOW}, 0),
        (seen(0, 1, 2, 3, 4, outcome="lost"), {"i-1": NOW}, 1),  # nothing of this proves anything
        ([], {"i-1": NOW}, 1),  # never looked at
        ([], {"i-1": NOW + 3600 * 4}, 0),  # just launched
        (seen(0, speaks="25=plain") + seen(4), {}, 0),  # let go, and switched on again
    ],
)
def test_what_is_a_gap_and_what_is_none(entries, watched, found):
    assert len(gaps(entries, NOW + 3600 * 5, INTERVAL, watched)) == found


@given(st.lists(st.floats(0, 100), max_size=12))
def test_gaps_are_exactly_the_long_spans_of_one_that_is_watched(hours):
    now = NOW + 3600 * 100
    times = sorted({NOW + 3600 * h for h in hours}) or [NOW]
    found = gaps([entry(at=at) for at in times] if hours else [], now, INTERVAL, {"i-1": NOW})
    long = [(a, b) for a, b in zip(times, [*times[1:], now], strict=True) if b - a > 2 * INTERVAL]
    assert [(g.begin, g.end) for g in found] == long


# ---- times, spreadsheets


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("30m", NOW - 1800), ("2h", NOW - 7200), ("7d", NOW - 7 * 86400), ("2033-05-18T03:33:20", NOW),
     ("2033-05-18T05:33:20+02:00", NOW), ("2033-05-18", NOW - 12800)],
)  # fmt: skip
def test_a_point_in_time_is_read(text, seconds):
    assert moment.read(text, NOW) == seconds


@pytest.mark.parametrize("text", ["2", "2w", "-1h", "tomorrow", "2026-13-01"])
def test_a_point_in_time_that_means_nothing_is_refused(text):
    with pytest.raises(Obstacle, match="is no point in time"):
        moment.read(text, NOW)


@pytest.mark.parametrize("evil", ["=1+1", "+1", "-1", "@x"])
def test_no_cell_is_a_formula(evil):
    [_, row] = csv.reader(io.StringIO(audit.as_csv((entry(reason=evil),))))
    assert row[9 - 1] == f"'{evil}"


# ---- the page

EVIL = """<script>alert(1)</script>"><img src=x onerror=alert(1)>' onmouseover='alert(1)"""


class Page(HTMLParser):
    """The elements of a page, each with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def test_no_text_becomes_markup_or_script():
    fields = ("instance", "verb", "ports", "cause", "outcome", "reason", "speaks", "status", "command")
    evil = entry(**dict.fromkeys(fields, EVIL), balancers=(EVIL,))
    found, harmless = (
        Page(page((one,), (Gap(one.instance, NOW, NOW + 9000),), region, NOW)).elements
        for one, region in ((evil, EVIL), (entry(outcome="refused"), "us-east-1"))
    )
    assert [tag for tag, _ in found] == [tag for tag, _ in harmless]
    assert [sorted(attributes) for _, attributes in found] == [sorted(attributes) for _, attributes in harmless]
    assert [a["href"].partition("?")[0].count("/") for t, a in found if t == "a"] == [5]


def test_the_page_asks_the_network_for_nothing():
    text = page((entry(),), (), "us-east-1", NOW)
    found = Page(text)
    assert not [(tag, a) for tag, a in found.elements if "src" in a or tag in ("link", "img", "iframe", "object")]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", text)
    [policy] = [a["content"] for a in found.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")


def test_a_gap_is_shown_as_one_and_listed():
    text = page((entry(),), (Gap("i-1", NOW, NOW + 9000),), "us-east-1", NOW + 9000)
    [span] = Page(text).of("u")
    assert span["style"] == "left:0.0%;width:100.000%"
    assert "<li>i-1: 2033-05-18 03:33:20Z to 2033-05-18 06:03:20Z</li>" in text


def test_a_page_of_nothing_says_so():
    assert "no command of ours in this time" in page((), (), "us-east-1", NOW)
