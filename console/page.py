"""The audit as one HTML page: a timeline per balancer and instance, filters, and every command linked; no network.

Nothing that a tag, a name, a reason or an output says can become markup or script: all text is escaped here, and the
page's own policy runs no script but the one below.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from html import escape
from pathlib import Path
from urllib.parse import quote

from console import moment
from console.history import Entry, Gap
from console.timeline import facts, kind, timeline

STYLE, SCRIPT = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))


def page(entries: tuple[Entry, ...], gaps: tuple[Gap, ...], region: str, at: float) -> str:
    """The whole page, as of `at` (seconds since 1970)."""
    digest = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    balancers = sorted({name for one in (*entries, *gaps) for name in one.balancers})
    options = "".join(f"<option>{escape(name)}</option>" for name in balancers)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>SMTP Fleet audit</title><style>{STYLE}</style></head><body>
<h1>SMTP Fleet: who was configured, when, why, and with what result</h1>
<p>Region {escape(region)}, as of {moment.show(at)}; all times are UTC</p>
<form><input name="text" type="search" placeholder="instance, cause, reason, command" aria-label="search">
<select name="balancer" aria-label="load balancer"><option value="">every load balancer</option>{options}</select>
<label><input name="failed" type="checkbox"> failed only</label><output></output></form>
<h2>Timeline</h2>{timeline(entries, gaps, at)}
<h2>Gaps in the evidence</h2>{_gaps(gaps)}
<h2>Commands</h2>{_table(entries, region)}
<script>{SCRIPT}</script></body></html>
"""


def _gaps(gaps: tuple[Gap, ...]) -> str:
    if not gaps:
        return "<p>none</p>"
    spans = ((g, f"{g.instance}: {moment.show(g.begin)} to {moment.show(g.end)}") for g in gaps)
    return f"<ul>{''.join(f'<li {facts(gaps=(g,))}>{escape(text)}</li>' for g, text in spans)}</ul>"


HEADS = ("time", "instance", "behind", "asked", "cause", "answer", "is", "seconds", "command")


def _table(entries: tuple[Entry, ...], region: str) -> str:
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(_row(e, region) for e in entries)}</tbody></table>"


def _row(e: Entry, region: str) -> str:
    outcome = f"{e.outcome}, changed" if e.changed else e.outcome
    answer = f"{outcome}: {e.reason}" if e.reason else outcome
    asked = (moment.show(e.at), e.instance, " ".join(e.balancers), f"{e.verb} {e.ports}", e.who)
    texts = (*asked, answer, e.speaks, f"{e.seconds:.1f}")
    titles = {"cause": e.call, "answer": e.status}
    cells = "".join(_cell(head, text, titles.get(head, "")) for head, text in zip(HEADS, texts, strict=False))
    link = f'<a href="{escape(console_url(e.command, region))}" rel="noreferrer">{escape(e.command)}</a>'
    return f'<tr class="{kind(e)}" {facts((e,))}>{cells}<td data-head="command"><code>{link}</code></td></tr>'


def _cell(head: str, text: str, title: str) -> str:
    return f'<td class="{head}" data-head="{head}" title="{escape(title)}">{escape(text)}</td>'


def console_url(command: str, region: str) -> str:
    """Where the AWS console shows a command."""
    where = quote(region, safe="")
    path = f"systems-manager/run-command/{quote(command, safe='')}"
    return f"https://{where}.console.aws.amazon.com/{path}?region={where}"
