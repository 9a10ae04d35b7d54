"""The audit as one HTML page: a timeline per balancer and instance, filters, and every command linked; no network.

Nothing that a tag, a name, a reason or an output says can become markup or script: all text is escaped here, and the
page's own policy runs no script but the one below.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from urllib.parse import quote

from console import moment
from console.history import Entry, Gap

STYLE = """
:root{color-scheme:light dark;--ink:#1d2329;--dim:#5f6b76;--line:#dde2e7;--back:#fff;--ok:#1a7f4b;--bad:#c0312b;
--out:#a66f00;--gap:#c0312b33}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--dim:#97a3ae;--line:#333b44;--back:#14181d;--ok:#4cc38a;
--bad:#ff7b72;--out:#e0a93b;--gap:#ff7b7244}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem;max-width:1240px;color:var(--ink);background:var(--back);
font:15px/1.45 system-ui,sans-serif}
h1{font-size:1.3rem;margin:0}h2{font-size:1rem;margin:1.6rem 0 .4rem}p{margin:.2rem 0;color:var(--dim)}
form{display:flex;flex-wrap:wrap;gap:.6rem;margin:1rem 0}
form{align-items:center}input[type=search]{flex:0 1 22rem}
input,select{font:inherit;color:inherit;background:var(--back);border:1px solid var(--line);border-radius:4px;
padding:.3rem .5rem;max-width:100%}
label{display:flex;align-items:center;gap:.4rem}
.lane{display:grid;grid-template-columns:14rem 1fr;gap:.8rem;align-items:center;padding:.15rem 0;
border-top:1px solid var(--line)}
.lane b{font-weight:500;overflow-wrap:anywhere}.lane.host b{padding-left:1rem;font-weight:400}
.track{position:relative;height:1.4rem}
.track i{position:absolute;top:.35rem;width:.7rem;height:.7rem;margin-left:-.35rem;border-radius:50%;
background:var(--ok)}
.track i.look{border-radius:2px}.track i.failed{background:var(--bad);z-index:1}.track i.out{background:var(--out)}
.track u{position:absolute;top:.2rem;height:1rem;background:var(--gap);border:1px dashed var(--bad)}
table{width:100%;border-collapse:collapse}th{text-align:left;font-weight:500;color:var(--dim)}
td,th{padding:.3rem .6rem .3rem 0;border-top:1px solid var(--line);vertical-align:top}
td.instance,td.answer,td:last-child{overflow-wrap:anywhere}td.time{white-space:nowrap}td.instance{min-width:11.5rem}
tr.failed td.answer{color:var(--bad)}tr.out td.answer{color:var(--out)}a{color:inherit}code{font-size:.85em}
[hidden]{display:none!important}
@media(max-width:760px){body{padding:.7rem}.lane{grid-template-columns:1fr;gap:0}thead{display:none}
tr{display:block;border-top:2px solid var(--line);padding:.4rem 0}
td{display:grid;grid-template-columns:6rem 1fr;overflow-wrap:anywhere;border:0;padding:.1rem 0}
td::before{content:attr(data-head);color:var(--dim)}td:empty{display:none}}
"""

SCRIPT = """
const form = document.querySelector('form'), rows = [...document.querySelectorAll('[data-instance]')];
function choose() {
  const text = form.text.value.toLowerCase(), balancer = form.balancer.value, failed = form.failed.checked;
  let shown = 0;
  for (const row of rows) {
    const fits = (!balancer || JSON.parse(row.dataset.balancers).includes(balancer))
      && (row.tagName !== 'TR' || !failed || row.classList.contains('failed'))
      && (!text || row.dataset.words.includes(text));
    row.hidden = !fits;
    if (fits && row.tagName === 'TR') shown += 1;
  }
  document.querySelector('output').textContent = shown + ' commands';
}
const asked = new URLSearchParams(location.hash.slice(1));
form.text.value = asked.get('text') || '';
form.balancer.value = asked.get('balancer') || '';
form.failed.checked = asked.has('failed');
form.addEventListener('input', choose);
form.addEventListener('submit', event => event.preventDefault());
choose();
"""


def page(entries: tuple[Entry, ...], gaps: tuple[Gap, ...], region: str, at: float) -> str:
    """The whole page, as of `at` (seconds since 1970)."""
    digest = b64encode(sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    balancers = sorted({name for entry in entries for name in entry.balancers})
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
<h2>Timeline</h2>{_timeline(entries, gaps, at)}
<h2>Gaps in the evidence</h2>{_gaps(gaps)}
<h2>Commands</h2>{_table(entries, region)}
<script>{SCRIPT}</script></body></html>
"""


def _timeline(entries: tuple[Entry, ...], gaps: tuple[Gap, ...], at: float) -> str:
    """A lane for each balancer, and below it one for each of its instances; those behind none come last."""
    if not entries:
        return "<p>no command of ours in this time</p>"
    begin = min([e.at for e in entries] + [g.begin for g in gaps])
    end = max([at] + [e.at for e in entries])
    lanes = [f"<p>{moment.show(begin)} to {moment.show(end)}; round: expect, square: look, dashed: a gap</p>"]
    for name in sorted({n for e in entries for n in e.balancers or ("",)}):
        own = tuple(e for e in entries if name in (e.balancers or ("",)))
        lanes.append(_lane(name or "behind no load balancer now", "lane", own, (), begin, end))
        for instance in sorted({e.instance for e in own}):
            mine = tuple(e for e in own if e.instance == instance)
            lanes.append(_lane(instance, "lane host", mine, [g for g in gaps if g.instance == instance], begin, end))
    return "".join(lanes)


def _lane(name: str, kind: str, entries: tuple[Entry, ...], gaps: Iterable[Gap], begin: float, end: float) -> str:
    def percent(moment_: float) -> float:
        return round(100 * (moment_ - begin) / ((end - begin) or 1), 3)

    spans = "".join(
        f'<u style="left:{percent(g.begin)}%;width:{percent(g.end) - percent(g.begin):.3f}%" '
        f'title="no evidence from {moment.show(g.begin)} to {moment.show(g.end)}"></u>'
        for g in gaps
    )
    marks = "".join(
        f'<i class="{_kind(e)} {escape(e.verb)}" style="left:{percent(e.at)}%" title="{_title(e)}"></i>'
        for e in entries
    )
    return f'<div class="{kind}" {_facts(entries)}><b>{escape(name)}</b><div class="track">{spans}{marks}</div></div>'


def _title(e: Entry) -> str:
    return escape(f"{moment.show(e.at)} {e.instance}: {e.verb} {e.ports}, {e.outcome} {e.reason} ({e.cause})")


def _kind(e: Entry) -> str:
    return "failed" if e.is_failed else "ok" if e.is_evidence else "out"


def _facts(entries: tuple[Entry, ...]) -> str:
    """What the filters go by."""
    names = sorted({name for e in entries for name in e.balancers})
    listed = json.dumps(names)
    told = [(e.instance, e.cause, e.outcome, e.reason, e.command, *e.balancers) for e in entries]
    words = " ".join(word for each in told for word in each).lower()
    instance = escape(entries[0].instance)
    return f'data-instance="{instance}" data-balancers="{escape(listed)}" data-words="{escape(words)}"'


def _gaps(gaps: tuple[Gap, ...]) -> str:
    if not gaps:
        return "<p>none</p>"
    lines = (f"<li>{escape(g.instance)}: {moment.show(g.begin)} to {moment.show(g.end)}</li>" for g in gaps)
    return f"<ul>{''.join(lines)}</ul>"


HEADS = ("time", "instance", "behind", "asked", "cause", "answer", "is", "changed", "seconds", "command")


def _table(entries: tuple[Entry, ...], region: str) -> str:
    heads = "".join(f"<th>{head}</th>" for head in HEADS)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(_row(e, region) for e in entries)}</tbody></table>"


def _row(e: Entry, region: str) -> str:
    answer = f"{e.outcome}: {e.reason}" if e.reason else e.outcome
    texts = (moment.show(e.at), e.instance, " ".join(e.balancers), f"{e.verb} {e.ports}", e.cause, answer, e.speaks)
    texts = (*texts, "yes" if e.changed else "", f"{e.seconds:.1f}")
    cells = "".join(
        f'<td class="{head}" data-head="{head}">{escape(text)}</td>' for head, text in zip(HEADS, texts, strict=False)
    )
    link = f'<a href="{escape(console_url(e.command, region))}" rel="noreferrer">{escape(e.command)}</a>'
    return f'<tr class="{_kind(e)}" {_facts((e,))}>{cells}<td data-head="command"><code>{link}</code></td></tr>'


def console_url(command: str, region: str) -> str:
    """Where the AWS console shows a command."""
    where = quote(region, safe="")
    path = f"systems-manager/run-command/{quote(command, safe='')}"
    return f"https://{where}.console.aws.amazon.com/{path}?region={where}"
