"""The audit's page in a real browser: rows, filters, timeline, narrow and wide, and the network is asked for nothing.

Not part of the suite, for it needs Chromium: `make browser`.
"""

import json
import re
import subprocess
from html import unescape

import pytest

from console.history import Gap
from console.page import page
from local.session import FORGEABLE, Session, region_with_instances
from local.story import TAG
from tests.console.entries import NOW, entry
from tests.console.test_page import EVIL

LONG = "arn:aws:sts::123456789012:assumed-role/a-role-of-the-team/somebody.of.the.team@example.org"
ENTRIES = (
    entry(command="c-1"),
    entry(command="c-2", instance="i-2", balancers=("mx-2",), outcome="refused", reason=EVIL),
    entry(command="c-3", instance="i-3", balancers=(), cause="drift"),
    entry(
        at=NOW + 4500,
        command="5a10bffa-39af-4162-9a2c-6bc95c773abc",
        instance="i-3b41e2d2a051c8610",
        balancers=("a-name-of-thirty-two-characters1", "a-name-of-thirty-two-characters2"),
        cause="SetLoadBalancerPoliciesForBackendServer",
        call=f"SetLoadBalancerPoliciesForBackendServer by {LONG} at 2033-05-18T03:33:00Z",
        reason="a reason " + "as long as an instance may give one " * 5,
    ),
)
PAGE = page(ENTRIES, (Gap("i-1", NOW, NOW + 9000, ("mx-1",)),), "us-east-1", NOW + 9000)
OWN = re.compile(r"https?://([a-z0-9-]+\.)*(google\.com|googleapis\.com|gvt1\.com)/")
"""What Chromium asks for by itself, whatever page is open."""


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """One for all: Chromium takes a second to make it."""
    return tmp_path_factory.mktemp("profile")


@pytest.fixture
def opened(tmp_path, profile):
    """Opens a page, this one by default, with what stands behind `#`; gives its document, and what it asked for."""

    def open_it(asked="", text=PAGE, name="audit.html"):
        (tmp_path / name).write_text(text)
        log = tmp_path / "net.json"
        told = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
        told += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={log}", "--allow-file-access-from-files"]
        told += ["--virtual-time-budget=2000", "--dump-dom", f"file://{tmp_path}/{name}#{asked}"]
        ran = subprocess.run(told, capture_output=True, text=True, timeout=120, check=True)
        urls = re.findall(r'"url":"(https?:[^"]+)"', log.read_text())
        return ran.stdout, {url for url in urls if not OWN.match(url)}

    return open_it


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The page of a history in a local Region, as the console wrote it, and its entries: two launches, one given up."""
    path = tmp_path_factory.mktemp("real") / "audit.html"
    with region_with_instances(stand_ins=True) as story:
        for name in ("mx", "relay"):
            story.create_balancer(f"{name}-1", TAG)
            story.create_group(name, f"{name}-1")
        instance, _ = story.launch("relay")
        story.instances.refusing[instance] = FORGEABLE
        story.launch("mx")
        for name in ("mx", "relay"):
            story.await_service(name)
        typing = Session(story.region)
        typing.type(f"audit --html {path}")
        return path.read_text(), json.loads(typing.type("audit --json").text.plain)["entries"]


def shown(document):
    """The commands that are not hidden."""
    rows = re.findall(r"<tr class[^>]*>.*?</tr>", document, re.DOTALL)
    return [
        re.search(r">([0-9a-f-]{36}|c-\d)</a>", row)[1] for row in rows if ' hidden=""' not in row.partition(">")[0]
    ]


def lanes(document):
    """The lanes that are not hidden, with the number of their marks and gaps."""
    found = re.findall(r'<div class="lane[^"]*"([^>]*)><b>([^<]+)</b>(.*?)</div></div>', document)
    return {name: track.count("<i ") + track.count("<u ") for more, name, track in found if 'hidden=""' not in more}


@pytest.mark.parametrize(
    ("asked", "commands"),
    [
        ("", [0, 1, 2, 3]),
        ("failed", [1]),
        ("balancer=mx-1", [0]),
        ("text=DRIFT", [2]),
        ("text=somebody.of", [3]),
        ("balancer=mx-1&failed", []),
    ],
)
def test_the_filters_filter(opened, asked, commands):
    document, _ = opened(asked)
    assert shown(document) == [ENTRIES[number].command for number in commands]
    assert f"<output>{len(commands)} commands</output>" in document


def test_a_filter_leaves_the_lanes_that_it_asks_for(opened):
    everything = {"mx-1": 1, "i-1": 2, "mx-2": 1, "i-2": 1, "behind no load balancer": 1, "i-3": 1}
    everything |= {"a-name-of-thirty-two-characters1": 1, "a-name-of-thirty-two-characters2": 1}
    assert lanes(opened()[0]) == everything | {"i-3b41e2d2a051c8610": 1}
    assert lanes(opened("balancer=mx-1")[0]) == {"mx-1": 1, "i-1": 2}


def test_a_real_history_has_its_rows_its_lanes_and_its_failures(opened, real):
    text, entries = real
    assert sorted(e["outcome"] for e in entries) == ["ok", "ok", "refused"], "it is replaced by one that can"
    document, asked = opened(text=text)
    assert (shown(document), asked) == ([e["command"] for e in entries], set())
    assert {name: marks for name, marks in lanes(document).items() if name.endswith("-1")} == {"mx-1": 1, "relay-1": 2}
    [refused] = [e for e in entries if e["outcome"] == "refused"]
    assert shown(opened("failed", text)[0]) == [refused["command"]]
    assert lanes(opened(f"text={refused['instance']}", text)[0]) == {"relay-1": 2, refused["instance"]: 1}


PROBE = """<iframe id="f" style="width:WIDTHpx;height:900px;border:0" src="page.html"></iframe><pre id="told"></pre>
<script>
const frame = document.getElementById('f');
frame.onload = () => {
  const inner = frame.contentDocument, view = frame.contentWindow;
  const each = [...inner.body.querySelectorAll('*')].filter(e => !e.closest('script') && e.getClientRects().length);
  const box = e => e.getBoundingClientRect();
  const texts = each.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  const tracks = [...inner.querySelectorAll('.track')];
  document.getElementById('told').textContent = JSON.stringify({
    scrolls: inner.documentElement.scrollWidth - inner.documentElement.clientWidth,
    beyond: each.filter(e => box(e).right > inner.documentElement.clientWidth).length,
    cut: texts.filter(e => e.scrollWidth > e.clientWidth + 1 && view.getComputedStyle(e).display !== 'inline').length,
    smallest: Math.min(...texts.map(e => parseFloat(view.getComputedStyle(e).fontSize))),
    stacked: view.getComputedStyle(inner.querySelector('thead')).display === 'none',
    narrowest: Math.min(...tracks.map(e => box(e).width)),
    astray: tracks.flatMap(t => [...t.children].filter(m => box(m).left < box(t).left - 6
      || box(m).right > box(t).right + 6)).length,
  });
};
</script>"""


@pytest.mark.parametrize(("width", "stacked"), [(1280, False), (400, True)])
@pytest.mark.parametrize("which", ["worst", "real"])
def test_it_is_readable(opened, real, tmp_path, width, stacked, which):
    """Nothing is cut or off the page, no text is small, and the timeline has room; in a frame, as wide as a screen."""
    (tmp_path / "page.html").write_text(PAGE if which == "worst" else real[0])
    document, _ = opened(text=PROBE.replace("WIDTH", str(width)), name="probe.html")
    told = json.loads(unescape(re.search(r'<pre id="told">([^<]+)</pre>', document)[1]))
    assert {told[fault] for fault in ("scrolls", "beyond", "cut", "astray")} == {0}
    assert told["stacked"] is stacked
    assert told["smallest"] >= 12
    assert told["narrowest"] >= 300


def test_the_network_is_asked_for_nothing(opened):
    assert opened()[1] == set()
    there = "https://elsewhere.example/x.png"
    assert opened(text=f'<img src="{there}">')[1] == {there}, "else the log would not show it"


def test_a_name_does_not_run_as_a_script(opened):
    document, _ = opened()
    assert document.count("<script>") == 1
    assert "<img" not in document
    assert "alert(1)" in document, "it is there, as text"
