"""docs/operate.md tells of each alarm, and of each phrase, finding and answer that the code can print, and of no other.

Of each it says what it means, how to see it, what to do, and how to undo it by hand, with commands that are commands.
"""

import ast
import re
import shlex
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from tests.test_template import DOCUMENT, TEMPLATE

SOURCE = {path: path.read_text() for path in Path("layers/smtp_fleet/smtp_fleet").glob("*.py")}
SOURCE |= {path: path.read_text() for path in Path("functions").glob("*/app.py")}
SCRIPT = DOCUMENT["mainSteps"][0]["inputs"]["runCommand"][0]
TEXT = Path("docs/operate.md").read_text()
SPOKEN = ("reason", "why", "phrase", "_SAID")
"""The names under which the code holds a phrase before it says it."""


WORDS = ("on", "off", "refused", "admitted", "rejected", "finding")
"""The phrases of one word."""

FINDING = ("breaker", "cutover", "drift", "launch", "mend", "refusals", "rows", "tag", "view")
"""The modules that find something odd, and word it."""


@cache
def phrases():
    """Every constant phrase: what is said, and the reasons of rows and plans, wherever they stand."""
    return frozenset(phrase for text in SOURCE.values() for node in ast.walk(ast.parse(text)) for phrase in _of(node))


def _of(node):
    match node:
        case ast.Call(func=ast.Name(id="Answer")):
            pass  # what an instance answered, not what we say
        case ast.Call(func=ast.Attribute(attr="_wait"), args=[_, told]):
            yield from _texts(told)
        case ast.Call(func=ast.Name(id="Row" | "Plan" | "say") | ast.Attribute(attr="_say"), args=[told, *_]):
            yield from _texts(told)
        case ast.Call(func=ast.Name(id="standing_down") | ast.Attribute(attr="undoing"), args=[_, told, *_]):
            yield from _texts(told)
        case ast.Call(keywords=keywords):
            yield from (text for k in keywords if k.arg == "reason" for text in _texts(k.value))
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in SPOKEN:
            yield from _texts(value)
        case ast.Assign(targets=[ast.Tuple(elts=[ast.Name(id=name), *_])], value=ast.Tuple(elts=[value, *_])):
            yield from _texts(value) if name in SPOKEN else ()
        case ast.FunctionDef(args=ast.arguments(args=[*_, ast.arg(arg="why")], defaults=[*_, default])):
            yield from _texts(default)


def _texts(node):
    """The constants that an expression may come to; composed ones are told by their parts."""
    match node:
        case ast.Constant(value=str(text)) if " " in text or text in WORDS:
            yield text
        case ast.IfExp(body=one, orelse=other) | ast.BoolOp(values=[one, other]):
            yield from (*_texts(one), *_texts(other))
        case ast.Dict(values=values):
            yield from (text for value in values for text in _texts(value))
        case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(text))]):
            yield text.removeprefix(": ")


def findings():
    """Every finding as the parts of it that are constant, of which one at least has three words."""
    for name in FINDING:
        module = ast.parse(SOURCE[Path(f"layers/smtp_fleet/smtp_fleet/{name}.py")])
        answered = list(_answered(module))
        for node in ast.walk(module):
            match node:
                case ast.JoinedStr(values=values) if node not in answered:
                    parts = [value.value for value in values if isinstance(value, ast.Constant)]
                case ast.Call(func=ast.Name(id="refusing"), args=[_, ast.Constant(value=text)]):
                    parts = [text]
                case _:
                    continue
            worded = [part for part in parts if re.search(r"[\w;]+ [\w;]+ [\w;]+", part)]
            command_or_aside = any(part.startswith(("aws ", " (")) for part in worded)
            if worded and not command_or_aside and not phrases().intersection(part.strip(": ") for part in worded):
                yield tuple(parts)


ENDS = r"\b(?:refuse|(?:give_up|finish) [a-z-]+) '(.+?)'"


def answers():
    """Every reason that the script prints, and those of answers that are none."""
    yield from re.findall(ENDS, SCRIPT)
    for text in SOURCE.values():
        for told in _answered(ast.parse(text)):
            parts = told.values if isinstance(told, ast.JoinedStr) else [told]
            if isinstance(parts[0], ast.Constant):
                yield parts[0].value.rstrip(": ")


def _answered(module):
    """The reasons of answers that the code makes up where an instance gave none."""
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Answer":
            yield from (k.value for k in node.keywords if k.arg == "reason")


def sections(level, text=TEXT):
    """What stands under each heading of a level, by the heading."""
    parts = re.split(rf"^{level} (.*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


CHAPTERS = sections("##")


def rows(text):
    """The first cells of the tables in a text, each once."""
    cells = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert len(cells) == len(set(cells))
    return set(cells)


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_each_phrase_has_its_row_and_each_row_its_phrase():
    assert rows(CHAPTERS["What the log says"]) == phrases() - {""}


def test_each_finding_has_its_row_and_each_row_its_finding():
    told, found = rows(CHAPTERS["What is found"]), list(findings())
    assert [parts for parts in found if not any(words in part for words in told for part in parts)] == []
    assert [words for words in told if not any(words in part for parts in found for part in parts)] == []


def test_each_answer_of_an_instance_has_its_row_and_each_row_its_answer():
    assert rows(CHAPTERS["What an instance answers"]) == set(answers())


def test_no_end_of_the_script_is_overlooked():
    """Two pass on what they were told."""
    others = re.findall(r"\b(?:refuse|give_up|finish) [^(].*", re.sub(ENDS, "", SCRIPT))
    assert others == ['finish refused "$@"', "finish \"$@\" 'put back as it was'"]


def test_each_alarm_has_its_runbook_and_a_link_to_it():
    alarms = TEMPLATE.resources("AWS::CloudWatch::Alarm")
    assert list(sections("###", CHAPTERS["Alarms"])) == list(alarms)
    for name, alarm in alarms.items():
        page, _, anchor = alarm["AlarmDescription"].rpartition("Runbook: ")[2].partition("#")
        assert anchor == name.lower()
        assert anchor in anchors(Path(page))


def test_each_runbook_says_what_it_means_how_to_see_it_what_to_do_and_how_to_undo_it():
    for text in sections("###", CHAPTERS["Alarms"]).values():
        assert re.findall(r"^- \*\*(.+?)\*\*: \S", text, re.M) == ["Means", "See", "Do", "By hand"]
    for chapter in ("What the log says", "What is found", "What an instance answers"):
        assert rows(CHAPTERS[chapter].partition("\n### ")[0]) == set()  # each row is in a part
        for text in sections("###", CHAPTERS[chapter]).values():
            assert re.findall(r"\*\*(See|By hand)\*\*:\s+\S", text) == ["See", "By hand"]
            assert all(len(row.strip("|").split("|")) == 3 for row in text.splitlines() if row.startswith("|"))


PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            name, _, anchor = target.partition("#")
            there = page.parent / name if name else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


def commands(page):
    """The AWS commands of a page: in blocks, and between backticks."""
    text = re.sub(r" *\\\n *", " ", page.read_text())
    inline = [re.sub(r"\s+", " ", code) for code in re.findall(r"(?<!`)`(aws [^`]+)`(?!`)", text)]
    return inline + re.findall(r"^ +(aws .+)$", text, re.M)


SIMPLER = {"authorize-security-group-ingress": {"--protocol", "--port", "--source-group"}}
"""What the stock CLI adds to an operation (its examples of `ec2 authorize-security-group-ingress`)."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_aws_command_is_one_of_the_stock_cli(page):
    """Its service, operation and options are those of the API's model, or the CLI's own."""
    session = botocore.session.get_session()
    for command in commands(page):
        _, service, operation, *words = shlex.split(command.replace("$(", "").replace(")", ""), comments=True)
        model = session.get_service_model(service.removesuffix("api"))  # s3api is the API of s3
        known = {xform_name(name, "-"): name for name in model.operation_names}
        assert operation in known, command
        shape = model.operation_model(known[operation]).input_shape
        options = {f"--{xform_name(name, '-')}" for name in shape.members}
        options |= {f"--no-{option[2:]}" for option in options} | {"--query", "--output", "--max-items", "--region"}
        options |= SIMPLER.get(operation, set())
        assert {word for word in words if word.startswith("--")} <= options, command
