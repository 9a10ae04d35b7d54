"""docs/runbooks.md tells of each phrase that the functions can log, of each alarm, and of no other."""

import ast
import re
from pathlib import Path

from tests.test_template import TEMPLATE

SOURCE = {path: path.read_text() for path in Path("layers/smtp_fleet/smtp_fleet").glob("*.py")}
SOURCE |= {path: path.read_text() for path in Path("functions").glob("*/app.py")}
TEXT = Path("docs/runbooks.md").read_text()
SPOKEN = ("reason", "why", "phrase", "_SAID")
"""The names under which the code holds a phrase before it says it."""


WORDS = ("on", "off", "refused", "admitted", "rejected", "finding")
"""The phrases of one word."""


def phrases():
    """Every constant phrase: what is said, and the reasons of rows and plans, wherever they stand."""
    return {phrase for text in SOURCE.values() for node in ast.walk(ast.parse(text)) for phrase in _of(node)}


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
        case ast.IfExp(body=one, orelse=other):
            yield from (*_texts(one), *_texts(other))
        case ast.Dict(values=values):
            yield from (text for value in values for text in _texts(value))
        case ast.JoinedStr(values=[ast.FormattedValue(), ast.Constant(value=str(text))]):
            yield text.removeprefix(": ")


def rows(heading):
    """The first cells of the table below a heading."""
    [section] = re.findall(rf"^## {heading}$(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return {line.split("`")[1] for line in lines}


def test_each_phrase_has_its_row_and_each_row_its_phrase():
    assert rows("What the log says") == phrases() - {""}


def test_each_finding_is_one_that_the_code_can_find():
    package = " ".join(re.sub(r'"\s*\n\s*f?"', "", text) for text in SOURCE.values())
    assert [words for words in rows("What is found") if words not in package] == []


def test_each_alarm_has_its_runbook_and_says_where():
    alarms = TEMPLATE.resources("AWS::CloudWatch::Alarm")
    assert rows("Alarms") == alarms.keys()
    assert [name for name, alarm in alarms.items() if "docs/runbooks.md" not in alarm["AlarmDescription"]] == []
