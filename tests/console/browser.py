"""The audit's page in a real browser: its script runs, its filters filter, and the network is asked for nothing.

Not part of the suite, for it needs Chromium: `make browser`.
"""

import json
import re
import subprocess

import pytest

from console.history import Gap
from console.page import page
from tests.console.test_audit import EVIL, NOW, entry

ENTRIES = (
    entry(command="c-1"),
    entry(command="c-2", instance="i-2", balancers=("mx-2",), outcome="refused", reason=EVIL),
    entry(command="c-3", instance="i-3", balancers=(), cause="drift"),
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Opens the page with what stands behind `#`; gives its document, and the addresses that were asked for."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "audit.html").write_text(page(ENTRIES, (Gap("i-1", NOW, NOW + 9000),), "us-east-1", NOW + 9000))

    def open_it(asked="", *flags):
        log = folder / "net.json"
        told = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        told += ["--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking", f"--log-net-log={log}"]
        told += [*flags, "--dump-dom", f"file://{folder}/audit.html#{asked}"]
        ran = subprocess.run(told, capture_output=True, text=True, timeout=120, check=True)
        urls = re.findall(r'"url":"(https?:[^"]+)"', log.read_text()) if log.exists() else None
        return ran.stdout, urls

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
    _, urls = opened()
    assert urls is not None
    assert [url for url in urls if "amazonaws" in url or "localhost" in url] == []


def test_a_name_does_not_run_as_a_script(opened):
    document, _ = opened()
    assert document.count("<script>") == 1
    assert "<img" not in document
    assert json.dumps("alert(1)").strip('"') in document, "it is there, as text"
