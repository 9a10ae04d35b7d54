"""The timeline of the audit's page: a lane per balancer and per instance, with a mark per command, and gaps; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import TypeVar

from console import moment
from console.history import Entry, Gap

One = TypeVar("One", Entry, Gap)


@dataclass(frozen=True)
class Span:
    """What the timeline shows of time; seconds since 1970."""

    begin: float
    end: float

    def percent(self, at: float) -> float:
        """Where a point in time stands."""
        return round(100 * (at - self.begin) / ((self.end - self.begin) or 1), 3)


def timeline(entries: tuple[Entry, ...], gaps: tuple[Gap, ...], at: float) -> str:
    """A lane for each balancer, and below it one for each of its instances; those behind none come last."""
    if not (entries or gaps):
        return "<p>no command of ours in this time</p>"
    begins, ends = [*(e.at for e in entries), *(g.begin for g in gaps)], [at, *(e.at for e in entries)]
    span = Span(min(begins), max(ends))
    what = f"{moment.show(span.begin)} to {moment.show(span.end)}; round: expect, square: look, dashed: a gap"
    lanes = [f"<p>{what}</p>"]
    names = {name for one in (*entries, *gaps) for name in one.balancers or ("",)}
    for name in sorted(names, key=lambda each: (not each, each)):
        own, missing = _behind(name, entries), _behind(name, gaps)
        lanes.append(_lane(name or "behind no load balancer", "lane", own, (), span, facts(own, missing)))
        for instance in sorted({one.instance for one in (*own, *missing)}):
            its, lacks = _of(instance, own), _of(instance, missing)
            lanes.append(_lane(instance, "lane host", its, lacks, span, facts(its, lacks)))
    return "".join(lanes)


def _behind(balancer: str, ones: Iterable[One]) -> tuple[One, ...]:
    return tuple(one for one in ones if balancer in (one.balancers or ("",)))


def _of(instance: str, ones: Iterable[One]) -> tuple[One, ...]:
    return tuple(one for one in ones if one.instance == instance)


def _lane(name: str, looks: str, entries: Iterable[Entry], gaps: Iterable[Gap], span: Span, filtered_by: str) -> str:
    track = "".join((*(_gap(g, span) for g in gaps), *(_mark(e, span) for e in entries)))
    return f'<div class="{looks}" {filtered_by}><b>{escape(name)}</b><div class="track">{track}</div></div>'


def _gap(gap: Gap, span: Span) -> str:
    left, right = span.percent(gap.begin), span.percent(gap.end)
    title = f"no evidence from {moment.show(gap.begin)} to {moment.show(gap.end)}"
    return f'<u style="left:{left}%;width:{right - left:.3f}%" title="{title}"></u>'


def _mark(e: Entry, span: Span) -> str:
    title = f"{moment.show(e.at)} {e.instance}: {e.verb} {e.ports}, {e.outcome} {e.reason} ({e.call or e.cause})"
    return f'<i class="{kind(e)} {escape(e.verb)}" style="left:{span.percent(e.at)}%" title="{escape(title)}"></i>'


def kind(e: Entry) -> str:
    """How an entry is to look."""
    return "failed" if e.is_failed else "ok" if e.is_evidence else "out"


def facts(entries: Iterable[Entry] = (), gaps: Iterable[Gap] = ()) -> str:
    """What the page's filters go by."""
    ones = (*entries, *gaps)
    names = sorted({name for one in ones for name in one.balancers})
    told = [word for e in entries for word in (e.cause, e.call, e.outcome, e.reason, e.command)]
    words = " ".join(dict.fromkeys((*names, *(one.instance for one in ones), *told)))
    return f'data-balancers="{escape(json.dumps(names))}" data-words="{escape(words.lower())}"'
