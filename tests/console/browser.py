"""The audit's page in a real browser: its script runs, its filters filter, and the network is asked for nothing.

Not part of the suite, for it needs Chromium: `make browser`.
"""

import re
import subprocess

import pytest

from console.history import Gap
from console.page import page
from tests.console.entries import NOW, entry
from tests.console.test_page import EVIL

ENTRIES = (
    entry(command="c-1"),
    entry(command="c-2", instance="i-2", balancers=("mx-2",), outcome="refused", reason=EVIL),
    entry(command="c-3", instance="i-3", balancers=(), cause="drift"),
)


PAGE = page(ENTRIES, (Gap("i-1", NOW, NOW + 9000),), "us-east-1", NOW + 9000)
OWN = re.compile(r"https?://([a-z0-9-]+\.)*(google\.com|googleapis\.com|gvt1\.com)/")
"""What Chromium asks for by itself, whatever page is open."""


@pytest.fixture
def opened(tmp_path):
    """Opens a page, this one by default, with what stands behind `#`; gives its document, and what it asked for."""

    def open_it(asked="", text=PAGE):
        (tmp_path / "audit.html").write_text(text)
        log = tmp_path / "net.json"
        told = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
        told += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}", "--dump-dom"]
        told.append(f"file://{tmp_path}/audit.html#{asked}")
        ran = subprocess.run(told, capture_output=True, text=True, timeout=120, check=True)
        urls = re.findall(r'"url":"(https?:[^"]+)"', log.read_text())
        return ran.stdout, {url for url in urls if not OWN.match(url)}

    return open_it


def shown(document):
    """The commands that are not hidden."""
    rows = re.findall(r"<tr class[^>]*>.*?</tr>", document, re.DOTALL)
    return [re.search(r">(c-\d)</a>", row)[1] for row in rows if ' hidden=""' not in row.partition(">")[0]]


@pytest.mark.parametrize(
    ("asked", "commands"),
    [
        ("", ["c-1", "c-2", "c-3"]),
        ("failed", ["c-2"]),
        ("balancer=mx-1", ["c-1"]),
        ("text=DRIFT", ["c-3"]),
        ("balancer=mx-1&failed", []),
    ],
)
def test_the_filters_filter(opened, asked, commands):
    document, _ = opened(asked)
    assert shown(document) == commands
    assert f"<output>{len(commands)} commands</output>" in document


def test_the_network_is_asked_for_nothing(opened):
    assert opened()[1] == set()
    there = "https://elsewhere.example/x.png"
    assert opened(text=f'<img src="{there}">')[1] == {there}, "else the log would not show it"


def test_a_name_does_not_run_as_a_script(opened):
    document, _ = opened()
    assert document.count("<script>") == 1
    assert "<img" not in document
    assert "alert(1)" in document, "it is there, as text"
