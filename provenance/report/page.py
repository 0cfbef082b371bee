"""The page: templates, and how numbers and names are written in them."""

from __future__ import annotations

import base64
import re
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from provenance import glossary
from provenance.report.figure import histogram
from provenance.report.guess import guess_figure
from provenance.report.heat import edges, heat_cells, strongest
from provenance.report.pvalues import p_value_figure
from provenance.report.roc import roc_figure
from provenance.report.sensitivity import power_figure
from provenance.report.tails import tail_figure
from provenance.vocabulary import Role, Subject

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from provenance.report.content import ReportContent

ROLE_WORDS = {Role.RELEASE: "generated", Role.USED: "used", Role.NOT_USED: "not used", Role.AGAINST: "unknown"}


def render(content: ReportContent) -> str:
    """The report as one HTML file. Equal content gives equal text.

    Every name that comes from outside is escaped; the page's content security policy forbids scripts and any
    request beside that.
    """
    page = environment().get_template("report.html.j2").render(values(content))
    return with_narrow_tables(with_meanings(page)).rstrip() + "\n"


def values(content: ReportContent, at: str = "") -> dict[str, Any]:
    """What the templates see of one audit.

    Args:
        content: Of the audit.
        at: What its ids begin with, where other audits stand on the same page; headings are one level lower there.
    """
    audit, euclidean, part = content.audit, content.audit.findings.euclidean, content.part
    drawn = histogram(
        content.series,
        audit.threshold,
        audit.mu,
        probabilities=content.by_probability,
        score=str(content.parameters.get("score", "")),
        title_id=f"{at}figure-title",
    )
    return {
        "report": content,
        "audit": audit,
        "part": environment().from_string(part.template) if part else None,
        "own": part.own if part else None,
        "counts": Counter(audit.counts),  # 0 of what an older audit did not count
        "generator": content.known[audit.dataset_id].generator,
        "euclidean": euclidean.sentence if euclidean else "",
        "histogram_figure": for_any_screen(drawn.draw),
        "bins": drawn.bins,
        "above": _above(content),
        "scale": _scale(content),
        "generated": audit.subject is Subject.GENERATED,
        "model": content.parameters.get("model") if content.by_probability else None,
        "Role": Role,
        "at": at,
        "h": "h3" if at else "h2",
        "whole": None,
        **{draw.__name__: for_any_screen(draw) for draw in FIGURES},
    }


FIGURES: tuple[Callable[..., str], ...] = (guess_figure, p_value_figure, power_figure, roc_figure, tail_figure)


def for_any_screen(draw: Callable[..., str]) -> Callable[..., Markup]:
    """A figure as templates take it, drawn twice: the style sheet shows the one that the screen has room for."""

    def both(*given: Any) -> Markup:
        drawn = {"wide": draw(*given), "narrow": draw(*given, narrow=True)}
        named = (each.replace('class="figure"', f'class="figure {name}"', 1) for name, each in drawn.items())
        return Markup("".join(named))  # noqa: S704 - drawn from numbers and our own words

    return both


_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)


def with_narrow_tables(page: str) -> str:
    """The page with tables whose cells know their columns: a narrow screen shows them below each other."""
    return _TABLE.sub(_stacked, page)


def _stacked(match: re.Match[str]) -> str:
    head, body, rows = match[0].partition("<tbody>")
    names = [re.sub("<[^>]*>", " ", name).strip() for name in re.findall(r"<th\b[^>]*>(.*?)</th>", head, re.DOTALL)]
    if not names:
        return match[0]
    if 'class="' in head[: head.index(">")]:
        head = head.replace('class="', 'class="stacked ', 1)
    else:
        head = head.replace("<table", '<table class="stacked"', 1)

    def named(row: re.Match[str]) -> str:
        place = iter(names)
        return re.sub(r"<t[dh]\b", lambda cell: f'{cell[0]} data-name="{next(place, "")}"', row[0])

    return head + body + re.sub(r"<tr\b.*?</tr>", named, rows, flags=re.DOTALL)


def with_meanings(page: str) -> str:
    """The page with what the glossary says of each title of a fact or column, on hover."""

    def titled(found: re.Match[str]) -> str:
        term = glossary.term(found["text"].strip())
        if term is None:
            return found[0]
        said = escape(f"{term.meaning} [{term.unit}]" if term.unit else term.meaning)
        return f'<{found["tag"]}{found["attributes"]} title="{said}">{found["text"]}</{found["tag"]}>'

    return re.sub(r'<(?P<tag>dt|th)(?P<attributes>(?: [a-z]+="[^"]*")*)>(?P<text>[^<]+)</(?P=tag)>', titled, page)


@cache
def environment() -> Environment:
    """Templates with the filters of all pages."""
    made = Environment(
        loader=PackageLoader("provenance.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "edges": edges,
        "heat_cells": heat_cells,
        "strongest": strongest,
        "coded": _coded,
        "printable": printable,
        "printable_lines": lambda text: "\n".join(map(printable, text.split("\n"))),
        "score": _data,
        "rounded": lambda value: _data(value, 3),
        "exactly": lambda value: _data(value, 9),  # decimals: those that decisions are made with
        "percent": lambda part, whole: f"{100 * part / whole:.1f} %" if whole else "-",
        "moment": _moment,
        "role": lambda role: ROLE_WORDS[role] if role else "role erased",
        "short": _short,
        "data_uri": lambda png: "data:image/png;base64," + base64.b64encode(png).decode("ascii"),
        "count": lambda number: f"{number:,}",
        "figure": lambda number: "-" if number is None else f"{number:.3g}",
    }
    return made


def printable(text: str) -> str:
    """The text with what has no glyph (control and direction marks, lone surrogates) shown as U+FFFD."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _coded(text: str) -> Markup:
    """A sentence whose commands stand between backticks."""
    pieces = printable(text).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(each) if n % 2 else each for n, each in enumerate(pieces))


def _data(value: float | None, decimals: int = 6) -> Markup:
    """A number; the element's value keeps all digits."""
    if value is None:
        return Markup('<span class="none">none</span>')
    return Markup('<data value="{}">{}</data>').format(repr(value), f"{value:.{decimals}f}")


def _moment(at: datetime) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(at.isoformat(), at.strftime("%Y-%m-%d %H:%M UTC"))


def _short(identity: str | None) -> Markup:
    """The first 12 digits of an id or digest, with the whole of it on hover and for copying by machine."""
    if identity is None:
        return Markup('<span class="none">forgotten</span>')
    whole = printable(identity)
    return Markup('<code title="{}">{}</code>').format(whole, whole.rpartition(":")[2][:12])


def _above(content: ReportContent) -> tuple[int, int] | None:
    """How many of the drawn scores lie above T, and how many there are."""
    threshold = content.audit.threshold
    if threshold is None:
        return None
    scores = [value for each in content.series for value in each.values]
    return sum(value > threshold for value in scores), len(scores)


def _scale(content: ReportContent) -> Any:
    """Gives a similarity's place on the cases' common scale, in percent from the left."""
    shown = [content.audit.threshold, *(value for each in content.series for value in each.values)]
    for case in content.cases:
        verdict = case.verdict
        similarities = () if content.by_probability else (verdict.s_used, verdict.s_not_used, verdict.s_against)
        shown += [verdict.score, *similarities]
    scores = [value for value in shown if value is not None]
    low, high = min(scores, default=0.0), max(scores, default=1.0)
    span = (high - low) or 1.0
    return lambda value: f"{100 * (value - low) / span:.2f}"
