"""docs/session.md is what a terminal shows today: the story is played anew, and typed in anew, on stand-ins."""

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from local import session
from local.session import Session, Shown, page, play, region_with_instances


@pytest.fixture(scope="module")
def told():
    """All that was told and shown, and the session, still open."""
    seen = []
    with region_with_instances(stand_ins=True) as story:
        typing = Session(story.region)
        play(story, lambda command: seen.append(typing.type(command)), seen.append)
        yield seen, typing


MASKS = (
    (r"\b(i|sg|sgr)-[0-9a-f]{17}\b", r"\1-#"),
    (r"\b\d\d-\d\d \d\d:\d\d:\d\d\b", "TIME"),
    (r"\b\d+ (s|min|h) ago\b", "# ago"),
    (r"\b\d+(\.\d)?\s+[0-9a-f]{8}\b", "# ID"),
    (r"\b[0-9a-f]{8}(?=\s*$)", "ID"),
    (r"\b(answer|PutLifecycleHook)\b", "CAUSE"),
)
"""What differs from run to run: ids, times and durations, and which of two events that come together is a cause."""


def words(text):
    """Every word, and how often; where a terminal breaks a cell differs from run to run, too."""
    for pattern, mask in MASKS:
        text = re.sub(pattern, mask, text, flags=re.MULTILINE)
    return Counter(text.split())


def test_the_document_is_what_a_terminal_shows(told):
    recorded, played = words(Path("docs/session.md").read_text()), words(page(told[0]))
    assert (recorded - played, played - recorded) == (Counter(), Counter()), "make session records it anew"


def test_a_terminal_is_shown_colours_and_where_a_command_is(told):
    [status] = [each for each in told[0] if isinstance(each, Shown) and each.typed.endswith(" status")]
    styles = [span.style for span in status.text.spans]
    red, green, yellow = 1, 2, 3  # ECMA-48, Select Graphic Rendition
    assert {style.color.number for style in styles if style.color} >= {red, green, yellow}
    [where] = {(style.link or "").rpartition("/")[0] for style in styles} - {""}
    assert where == "https://us-east-1.console.aws.amazon.com/systems-manager/run-command"
    assert max(map(len, status.text.plain.splitlines()[:4])) <= session.COLUMNS


@pytest.mark.parametrize(("command", "code"), [("plan", 2), ("status", 2), ("audit", 0)])
def test_into_a_pipe_goes_text_alone(told, command, code):
    piped, itself = (
        subprocess.run(
            [sys.executable, "-m", "console", command, *more],
            env=told[1].environment,
            capture_output=True,
            timeout=120,
            check=False,
        )
        for more in ([], ["--json"])
    )
    assert (piped.returncode, piped.stderr, itself.returncode) == (code, b"", code)
    assert b"\x1b" not in piped.stdout
    assert itself.stdout.decode().startswith(("{\n", "[\n"))


def test_the_picture_asks_nobody_for_a_font(told):
    shown = next(each for each in told[0] if isinstance(each, Shown))
    svg = session.picture(shown)
    assert "mx-1" in svg
    assert set(re.findall(r"https?://[^\"'\s)]+", svg)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}


def test_each_command_that_mends_is_one_and_mends(told):
    """Typed as it is printed, into the stock CLI: afterwards nothing is to be mended."""
    aws = str(Path(sys.executable).with_name("aws"))
    commands = dict.fromkeys(command for mend in mends(told) for command in mend["commands"])
    assert len(commands) == 7
    for command in commands:
        assert shlex.split(command)[0] == "aws"
        argv = [aws, *shlex.split(command)[1:]]
        subprocess.run(argv, env=told[1].environment, check=True, capture_output=True, timeout=120)
    assert mends(told) == []


def mends(told):
    return json.loads(told[1].type("status --json").text.plain)["mends"]
