"""The page of several answers from made-up values: its order, what is missing, no repetition, where words lead."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from provenance.findings import Findings, Statements
from provenance.glossary import term
from provenance.records import StoredCopySource
from provenance.report import JointContent, ReportContent, RulePart, Series, SourceShown, render_joint
from provenance.vocabulary import JOINT_RULE, Answer, Box, Established, Label, Outcome, Role, Subject
from tests.unit.report.test_page import EVIL, Reader, audit, case, content, hostile, picture

MACROS = (
    '{% macro summary() %}<dl><div><dt>copies</dt><dd>{{ own | printable }}</dd></div></dl>{% endmacro %}'
    "{% macro links() %}{% endmacro %}"
    "{% macro decided_by() %}by a rule{% endmacro %}"
    '{% macro sections() %}<section id="{{ at }}own" aria-labelledby="{{ at }}own-title">'
    '<{{ h }} id="{{ at }}own-title">Own</{{ h }}><p>{{ own | printable }}</p></section>{% endmacro %}'
)  # fmt: skip
COPIED = {"copy": 1, "part_copy": 1, "inconclusive": 0, "no_copy_seen": 1, "subjects": 3}


def source(*, part: bool, **more: Any) -> SourceShown:
    boxes = {"box": Box(0, 0.25, 0.5, 0.75), "source_box": Box(0.5, 0.25, 1, 0.75)} if part else {}
    values = {"rank": 1, "image_key": "s", "part": part, "agreement": None if part else 0.91, "share": 0.31, **boxes}
    values |= {"transformation": "mirrored", "established_by": Established.TAIL, "image_id": "sha256:" + "cd" * 32}
    return SourceShown(StoredCopySource(**(values | more)), picture(Role.USED, "source.png"))


def copies(**changes: Any) -> ReportContent:
    cases = (
        case(1, label=Label.COPY, p_value=0.011, q_value=0.022, sources=(source(part=False),)),
        case(2, label=Label.PART_COPY, sources=(source(part=True), source(part=True, established_by=None))),
        case(3, label=Label.NO_COPY_SEEN, sources=(source(part=False, established_by=None),)),
    )
    of_rule: dict[str, Any] = {"labels": (Label.COPY, Label.PART_COPY), "symbol": "agreement"}
    of_audit: dict[str, Any] = {"rule": "copies", "mu": None, "threshold": None, "counts": COPIED, "audit_id": "c" * 32}
    return content(**{"cases": cases, "part": RulePart(MACROS, "what copies say."), **of_rule, **of_audit, **changes})


def membership(**changes: Any) -> ReportContent:
    series = tuple(Series("score x", words, (0.1, 0.7)) for words in ("of used", "of not used"))
    values: dict[str, Any] = {"part": RulePart(MACROS, "What membership says."), "series": series, "symbol": "score x"}
    values |= {"rule": "calibrated", "subject": Subject.REAL, "mu": None, "threshold": None, "audit_id": "e" * 32}
    return content(**(values | changes))


def joint(**changes: Any) -> JointContent:
    values: dict[str, Any] = {
        "reason": "3 of 603 generated images are copies.",
        "answers": {
            Answer.COPIES: copies(),
            Answer.MEMBERSHIP: membership(),
            Answer.BASELINE: content(cases=(), audit_id="b" * 32),
        },
        "missing": {},
        "statements": Statements(("One is a copy.",), ("Leads.",), ("The rest: run `provenance sensitivity a`.",)),
        "weakening": ("Twins are there.",),
        "notes": ("Good to know.",),
        "looks": 2,
        "measured": {},
        "compare_command": "provenance audit gan-1 --compare a",
        "audit_command": "provenance audit gan-1",
        "ingest_commands": ("provenance ingest IMAGES --set cohort",),
        "policy_file": "{}",
    }
    found = Findings(outcome=Outcome.LEAK_ESTABLISHED, outcome_reason="Because.")
    whole = audit(rule=JOINT_RULE, subject=Subject.RELEASE, findings=found, mu=None, threshold=None, counts={})
    return JointContent(audit=changes.pop("audit", whole), **(values | changes))


def text_of(page: str) -> str:
    return " ".join(Reader(page).text.split())


def test_it_opens_with_the_outcome_and_says_answer_by_answer() -> None:
    text = text_of(render_joint(joint()))
    order = [
        *("Leak established", "3 of 603 generated images are copies.", "Looked at: 2 generated images"),
        *("What is known", "One is a copy.", "What is guessed", "Leads.", "What is not known", "The rest"),
        *("Which generated images are copies", "what copies say.", "Which real images were used"),
        *("What membership says.", "the published rule mu + alpha x sigma", "it has no error rate", "Notes"),
        *("These weaken a finding", "Twins are there.", "Also to know", "Good to know.", "What was audited"),
        *("Rejected inputs", "Changes since the audit", "How to reproduce", "Words and units"),
    ]
    at = 0
    for words in order:
        at = text.index(words, at)


def test_every_source_has_a_row_with_how_it_is_known() -> None:
    page = render_joint(joint())
    rows = [text_of(row) for row in re.findall(r"<tr>\s*<td data-name=\"generated\".*?</tr>", page, re.DOTALL)]
    assert len(rows) == 4
    assert all(words in rows[0] for words in ("copy", "source.png", "mirrored", "0.910", "0.011", "0.022", "tail"))
    assert all("region of 31 % of the area" in row and "part copy" in row for row in rows[1:3])
    assert "tail" in rows[1]
    assert "not established" in rows[2]
    assert "no copy seen" in rows[3]
    boxes = re.findall(r'<rect class="region" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"', page)
    assert boxes == [("0.00", "25.00", "50.00", "50.00"), ("50.00", "25.00", "50.00", "50.00")] * 2


def test_a_fact_has_no_p_value() -> None:
    shown = source(part=False, established_by=Established.IDENTITY, transformation="the same file")
    found = copies(cases=(case(1, label=Label.COPY, p_value=0.011, q_value=0.99, sources=(shown,)),))
    page = render_joint(joint(answers={Answer.COPIES: found}))
    assert "identity" in page
    assert "0.011" not in text_of(page)


def test_a_missing_answer_says_why() -> None:
    missing = {Answer.MEMBERSHIP: "it needs <images> known not used (`--not-used`)"}
    made = joint(answers={Answer.COPIES: copies()}, missing=missing)
    text = text_of(render_joint(made))
    assert "Not answered: it needs <images> known not used (--not-used)" in text
    assert "Not answered: it was not asked for" in text, "the baseline"
    assert "What membership says" not in text


def test_nothing_is_noted_that_a_section_says() -> None:
    made = joint(weakening=(), notes=("What membership says.", "Good to know."))
    text = text_of(render_joint(made))
    assert text.count("What membership says") == 2, "its own two places"
    assert "These weaken" not in text
    assert "Also to know" not in text
    assert "None beside what is said above." in text_of(render_joint(joint(weakening=(), notes=())))


def test_copies_that_are_not_shown_are_counted() -> None:
    many = copies(counts={**COPIED, "copy": 40})
    page = render_joint(joint(answers={Answer.COPIES: many}))
    assert "The first 2 of 41 copies and part copies; all: provenance export ffffffff --answer copies" in page
    none = copies(counts={**COPIED, "copy": 0, "part_copy": 0}, cases=copies().cases[2:])
    assert "No generated image is called a copy" in render_joint(joint(answers={Answer.COPIES: none}))
    assert "none was asked for" in render_joint(joint(answers={Answer.COPIES: copies(cases=())}))


def test_an_image_that_is_gone_leaves_a_word() -> None:
    gone = replace(source(part=True), picture=picture(Role.USED, "", None, missing="forgotten since", image_id=None))
    found = copies(cases=(case(1, label=Label.PART_COPY, sources=(gone,)), case(2, label=Label.COPY, sources=())))
    text = text_of(render_joint(joint(answers={Answer.COPIES: found})))
    assert all(words in text for words in ("no picture", "forgotten since", "name erased", "no source"))


@pytest.mark.parametrize("made", [joint, lambda: joint(measured={Answer.BASELINE: "Seen."})])
def test_names_lead_to_what_they_mean(made: Any) -> None:
    reader = Reader(re.sub(r'<svg class="figure.*?</svg>', "", render_joint(made()), flags=re.DOTALL))
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    led = [attributes for tag, attributes in reader.tags if tag == "a" and attributes.get("class") == "term"]
    assert led
    assert {(each["href"] or "").removeprefix("#") for each in led} <= set(ids)
    meaning = next(each["title"] for each in led if each["href"] == "#word-agreement")
    agreement = term("agreement")
    assert agreement is not None
    assert meaning == f"agreement ({agreement.unit}): {agreement.meaning}"
    assert {"word-p", "word-q", "word-copies", "word-threshold"} <= set(ids)


def test_names_from_outside_do_no_harm() -> None:
    evil = replace(source(part=True, transformation=EVIL), picture=picture(Role.USED, EVIL, None, missing=EVIL))
    bad = hostile()
    found = copies(
        cases=(case(1, label=Label.PART_COPY, sources=(evil,), subject=picture(Role.RELEASE, EVIL)),),
        part=RulePart(MACROS, EVIL),
        datasets=bad.datasets,
        known=bad.known,
    )
    page = render_joint(
        joint(
            reason=EVIL,
            answers={Answer.COPIES: found, Answer.BASELINE: bad},
            missing={Answer.MEMBERSHIP: EVIL},
            statements=Statements((EVIL,), (EVIL,), (EVIL,)),
            weakening=(EVIL,),
            notes=(EVIL + " too",),
            compare_command=EVIL,
            audit_command=EVIL,
            ingest_commands=(EVIL,),
            policy_file=EVIL,
        )
    )
    page.encode("utf-8")
    reader = Reader(page)
    assert not {tag for tag, _ in reader.tags} & {"script", "iframe", "object", "embed", "link", "base", "form"}
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert "{{ 7 * 7 }}" in reader.text
    assert "\u202e" not in page
    assert "://" not in page


def test_equal_content_gives_equal_pages_with_figures_for_any_screen() -> None:
    page = render_joint(joint())
    assert page == render_joint(joint())
    assert page.count('class="figure wide"') == page.count('class="figure narrow"') == 2
