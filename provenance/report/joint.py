"""The page of an audit of several answers: outcome, what is known, guessed and not known, then answer by answer."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from provenance.glossary import GLOSSARY, terms_in
from provenance.report.page import FIGURES, environment, on_page, values
from provenance.text import unsaid
from provenance.vocabulary import Answer, Role, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.glossary import Term
    from provenance.report.content import JointContent

_SECTIONS = {
    Answer.COPIES: ("Copies", "Which generated images are copies of real ones, whole or in part?"),
    Answer.MEMBERSHIP: ("Membership", "Which real images were used, and does the release leak as a whole?"),
    Answer.BASELINE: ("Baseline", "What does the published rule mu + alpha x sigma say? It has no error control."),
}
_WORTH = {
    "known": ("What is known", "Facts, and findings with a stated error rate."),
    "guessed": ("What is guessed", "Rests on a model, or has no error rate."),
    "unknown": ("What is not known", "Could not be told from these images."),
}
_CLAIMS = {Role.USED: "claimed used", Role.NOT_USED: "known not used", Role.AGAINST: "of unknown use"}
_LABEL = re.compile(r"(<(?:dt|th)\b[^>]*>)([^<>]+)(?=</)")
_TABLE = re.compile(r"<table\b.*?</table>", re.DOTALL)
_WORDS = "<!-- words -->"


class _Section(NamedTuple):
    name: str
    title: str
    question: str
    missing: str
    body: Markup


def render_joint(content: JointContent) -> str:
    """The report of an audit of several answers as one HTML file; it promises what ``render`` does.

    What a section says is not said again among the notes. Names of figures lead to their meaning, which the glossary
    alone states.
    """
    sections = [_section(content, answer) for answer in Answer]
    said = [html.unescape(re.sub("<[^>]*>", "", "".join(section.body for section in sections)))]
    said += [each for name in _WORTH for each in getattr(content.statements, name)]
    page = (
        environment()
        .get_template("joint.html.j2")
        .render(
            values(content.first)
            | {
                "audit": content.audit,
                "whole": content.audit,
                "content": content,
                "sections": sections,
                "looked_at": _looked_at(content),
                "worth": [(name, *words, getattr(content.statements, name)) for name, words in _WORTH.items()],
                "weakening": unsaid(content.weakening, said),
                "notes": unsaid(content.notes, said),
            }
        )
    )
    page, terms = _explained(_TABLE.sub(_stacked, page))
    words = environment().get_template("words.html.j2").render(terms=[(_anchor(term), term) for term in terms])
    return page.replace(_WORDS, words).rstrip() + "\n"


def _section(content: JointContent, answer: Answer) -> _Section:
    if answer not in content.answers:
        missing = content.missing.get(answer, "it was not asked for")
        return _Section(answer.value, *_SECTIONS[answer], missing, Markup())
    seen = values(content.answers[answer], f"{answer.value}-")
    drawn = {"histogram_figure": seen["histogram_figure"], **{each.__name__: on_page(each) for each in FIGURES}}
    more: dict[str, Any] = {name: _for_any_screen(draw) for name, draw in drawn.items()}
    more |= {"answer": answer.value, "whole": content.audit, "measured": content.measured.get(answer, "")}
    body = environment().get_template("answer.html.j2").render(seen | more)
    return _Section(answer.value, *_SECTIONS[answer], "", Markup(body))  # noqa: S704 - of a template that escapes


def _for_any_screen(draw: Callable[..., Markup]) -> Callable[..., Markup]:
    """The figure twice: the style sheet shows one of them."""

    def both(*given: Any) -> Markup:
        drawn = {"wide": draw(*given), "narrow": draw(*given, narrow=True)}
        # as plain text: older versions of Markup escape what they are to look for
        named = (str(each).replace('class="figure"', f'class="figure {name}"', 1) for name, each in drawn.items())
        return Markup("".join(named))  # noqa: S704 - of what was drawn

    return both


def _looked_at(content: JointContent) -> str:
    sets = content.first.datasets
    generated = sum(row.dataset.image_count for row in sets if row.dataset.role is Role.RELEASE)
    counts = {role: sum(row.dataset.image_count for row in sets if row.dataset.role is role) for role in _CLAIMS}
    named = [f"{counts[role]:,} {words}" for role, words in _CLAIMS.items() if counts[role]]
    beside = [each.audit.counts["subjects"] for each in content.answers.values() if each.audit.subject is Subject.REAL]
    judged = f"; whether it was used is asked of {beside[0]:,} of these" if beside else ""
    return f"{generated:,} generated images and {sum(counts.values()):,} real ones ({', '.join(named)}){judged}."


def _stacked(match: re.Match[str]) -> str:
    """A table whose cells know their columns, so that a narrow screen shows them below each other."""
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


def _explained(page: str) -> tuple[str, list[Term]]:
    """The page with its labels (``dt`` and ``th`` of plain words) leading to what they mean, and the terms that are."""
    found: dict[str, Term] = {}

    def lead(match: re.Match[str]) -> str:
        terms = terms_in(html.unescape(match[2]))
        if not terms:
            return match[0]
        found.update({each.name: each for each in terms})
        meaning = "; ".join(f"{each.name}{f' ({each.unit})' if each.unit else ''}: {each.meaning}" for each in terms)
        return f'{match[1]}<a class="term" href="#{_anchor(terms[0])}" title="{html.escape(meaning)}">{match[2]}</a>'

    page = _LABEL.sub(lead, page)
    return page, [term for term in GLOSSARY if term.name in found]


def _anchor(term: Term) -> str:
    return "word-" + re.sub(r"[^A-Za-z0-9_-]+", "-", term.name)
