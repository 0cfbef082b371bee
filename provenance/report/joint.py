"""The page of an audit of several answers: outcome, what is known, guessed and not known, then answer by answer."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from provenance.glossary import GLOSSARY, terms_in
from provenance.report.page import environment, values, with_narrow_tables
from provenance.text import unsaid
from provenance.vocabulary import Answer, Role, Subject

if TYPE_CHECKING:
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
    page, terms = _explained(with_narrow_tables(page))
    words = environment().get_template("words.html.j2").render(terms=[(_anchor(term), term) for term in terms])
    return page.replace(_WORDS, words).rstrip() + "\n"


def _section(content: JointContent, answer: Answer) -> _Section:
    if answer not in content.answers:
        missing = content.missing.get(answer, "it was not asked for")
        return _Section(answer.value, *_SECTIONS[answer], missing, Markup())
    seen = values(content.answers[answer], f"{answer.value}-")
    more: dict[str, Any] = {"answer": answer.value, "whole": content.audit}
    more |= {"measured": content.measured.get(answer, "")}
    body = environment().get_template("answer.html.j2").render(seen | more)
    return _Section(answer.value, *_SECTIONS[answer], "", Markup(body))  # noqa: S704 - of a template that escapes


def _looked_at(content: JointContent) -> str:
    sets = content.first.datasets
    generated = sum(row.dataset.image_count for row in sets if row.dataset.role is Role.RELEASE)
    counts = {role: sum(row.dataset.image_count for row in sets if row.dataset.role is role) for role in _CLAIMS}
    named = [f"{counts[role]:,} {words}" for role, words in _CLAIMS.items() if counts[role]]
    beside = [each.audit.counts["subjects"] for each in content.answers.values() if each.audit.subject is Subject.REAL]
    judged = f"; whether it was used is asked of {beside[0]:,} of these" if beside else ""
    return f"{generated:,} generated images and {sum(counts.values()):,} real ones ({', '.join(named)}){judged}."


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
