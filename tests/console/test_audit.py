"""`make audit`: who was configured, when, why, with what result, in each form; and where evidence is missing."""

import csv
import io
import json

import pytest

from console import audit, moment
from console.history import Choice
from console.obstacle import Obstacle
from local.strict import logs, ssm
from tests.console.entries import NOW, entry
from tests.console.screen import run
from tests.console.test_page import Page
from tests.console.test_retire import denied

# ---- against a Region with a real history


def test_the_table_joins_each_command_with_its_cause_and_its_end(told):
    code, text, complaint = run(audit, told.client, width=220)
    assert (code, complaint) == (0, "")
    [instance] = told.states("mx")
    [row] = [line for line in text.splitlines() if instance in line]
    [invocation] = [i for i in told.history() if i["InstanceId"] == instance]
    assert row.split()[2:10] == [instance, "mx-1", "expect", "25", "launch", "ok,", "changed", "25=proxy"]
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


@pytest.fixture
def a_month_later(told):
    """All that happened is 31 days ago: Systems Manager has forgotten it, the log has not."""
    where, month = (told.region.template.region, told.region.template.account), 31 * 86_400
    for kept in (ssm, logs):
        kept.age(month, *where)
    yield
    for kept in (ssm, logs):
        kept.age(-month, *where)


def test_what_systems_manager_has_forgotten_is_told_from_the_log(told, request):
    before = json.loads(run(audit, told.client, "--json")[1])["entries"]
    request.getfixturevalue("a_month_later")
    assert told.history() == []
    after = json.loads(run(audit, told.client, "--json")[1])["entries"]
    assert after
    same = [key for key in before[0] if key != "at"]
    assert [[e[key] for key in same] for e in after] == [[e[key] for key in same] for e in before]
    assert [round(e["at"] - f["at"] - 31 * 86_400) in (0, 1) for e, f in zip(before, after, strict=True)]
    assert json.loads(run(audit, told.client, "--json", "--since", "30d")[1])["entries"] == []


def test_each_command_has_the_call_that_caused_it(told):
    entries = json.loads(run(audit, told.client, "--json")[1])["entries"]
    assert {e["cause"] for e in entries} == {"launch", "AddTags"}
    for e in entries:
        who = "arn:aws:sts::123456789012:assumed-role/operator/operator"
        assert e["call"].startswith(f"AddTags by {who} at ") if e["cause"] == "AddTags" else e["call"] == ""
        assert e["balancers"] in (["mx-1"], ["mx-old"])


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
    assert row[10 - 1] == f"'{evil}"
