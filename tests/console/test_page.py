"""The audit's page: a lane and a row for everything, no text that becomes markup, and nothing asked of the network."""

import re
from html.parser import HTMLParser

from console.history import Gap
from console.page import page
from tests.console.entries import NOW, entry

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
    text = page((entry(),), (Gap("i-1", NOW, NOW + 9000, ("mx-1",)),), "us-east-1", NOW + 9000)
    [span] = Page(text).of("u")
    assert span["style"] == "left:0.0%;width:100.000%"
    assert ">i-1: 2033-05-18 03:33:20Z to 2033-05-18 06:03:20Z</li>" in text


def test_one_of_which_nothing_was_ever_heard_has_its_lane_below_its_balancer():
    text = page((), (Gap("i-9", NOW, NOW + 9000, ("mx-9",)),), "us-east-1", NOW + 9000)
    assert re.findall(r'<div class="([\w ]+)"[^>]*><b>([^<]+)</b>', text) == [("lane", "mx-9"), ("lane host", "i-9")]
    assert len(Page(text).of("u")) == 1
    assert "<option>mx-9</option>" in text


def test_a_page_of_nothing_says_so():
    assert "no command of ours in this time" in page((), (), "us-east-1", NOW)
