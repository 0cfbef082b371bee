"""The one table of words: it says something of each, links to sections that are there, and is the docs' page."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from provenance.glossary import GLOSSARY, Term, as_markdown, term, terms_in
from provenance.vocabulary import Label, Outcome, Role

DOCS = Path(__file__).parents[2] / "docs"


def test_every_name_stands_once_and_says_something() -> None:
    names = Counter(form for each in GLOSSARY for form in (each.name, *each.forms))
    assert {name for name, count in names.items() if count > 1} == set()
    assert all(re.search(r"[.?]$", each.meaning) for each in GLOSSARY)


def test_formulas_are_where_the_glossary_says() -> None:
    headings = re.findall(r"^#+ (.*)$", (DOCS / "method.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert {each.section for each in GLOSSARY if each.section} <= set(headings)


@pytest.mark.parametrize("word", [*Label, *Role])
def test_every_label_and_role_is_explained(word: str) -> None:
    assert term(word) is not None


def test_words_are_found_whole_and_in_any_of_their_forms() -> None:
    assert [each.name for each in terms_in("T = 0.5, p = 0.03")] == ["p", "threshold"]
    assert terms_in("Tp pT S_us, p_, -p x-p") == []
    assert [each.name for each in terms_in("1 part copy")] == ["part_copy"]
    assert Outcome.INCONCLUSIVE in {each.name for each in terms_in("3 inconclusive")}


def test_a_section_is_linked_as_markdown_names_it() -> None:
    assert Term("x", "", "y", "The rule mu-alpha-sigma").anchor == "the-rule-mu-alpha-sigma"


def test_the_page_of_the_docs_is_this_table() -> None:
    assert (DOCS / "reference" / "glossary.md").read_text(encoding="utf-8") == as_markdown()
