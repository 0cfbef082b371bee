"""From names to groups."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Literal

import pytest

from provenance.errors import UsageError
from provenance.groups import GroupMatches, group_rule

if TYPE_CHECKING:
    from pathlib import Path

Form = Literal["NFC", "NFD"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_is_read_as_spreadsheets_of_any_country_write_it(mark: str, tmp_path: Path) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("name|group|note\na.png|P1|x\nb.png|P2|y, z\n".replace("|", mark).replace("y, z", '"y, z"'))
    rule = group_rule(str(table))
    assert [rule(name) for name in ("a.png", "deep/b.png", "c.png")] == ["P1", "P2", None]


def test_a_table_may_leave_extensions_out_and_keep_its_cells_from_spreadsheets(tmp_path: Path) -> None:
    (tmp_path / "groups.csv").write_text("name,group\nb/scan,P1\n1.2.840,P2\n'=1+1.png,'@P3\n")
    rule = group_rule(str(tmp_path / "groups.csv"))
    names = ("b/scan.png", "scan.png", "1.2.840.dcm", "1.2.840.113", "=1+1.png", "deep/=1+1.png")
    assert [rule(name) for name in names] == ["P1", None, "P2", None, "@P3", "@P3"]


def test_matches_are_counted_and_none_at_all_is_refused_unless_wanted() -> None:
    matches = GroupMatches()
    matches.require_some(force=False)  # nothing was asked
    rule = group_rule("(P.)_")
    assert [matches.ask(rule, name) for name in ("x.png", "y.png")] == [None, None]
    with pytest.raises(UsageError, match=r"matched 0 of 2 names, 0 groups; the first without a group: 'x\.png'"):
        matches.require_some(force=False)
    matches.require_some(force=True)
    assert [matches.ask(rule, name) for name in ("P1_a.png", "P1_b.png")] == ["P1", "P1"]
    assert str(matches).startswith("--group-from matched 2 of 4 names, 1 group;")


@pytest.mark.parametrize("file", ["NFC", "NFD"])
@pytest.mark.parametrize("table", ["NFC", "NFD"])
def test_a_name_has_its_group_composed_or_not(tmp_path: Path, file: Form, table: Form) -> None:
    name = unicodedata.normalize(file, "Zoë/Müller_1.png")
    rows = "name,group\nMüller_1.png,Müller\nset\\P2\\a.png,P2\n"
    (tmp_path / "groups.csv").write_text(unicodedata.normalize(table, rows), encoding="utf-8")

    by_table, by_expression = (
        group_rule(given) for given in (str(tmp_path / "groups.csv"), unicodedata.normalize(table, "(Müller)"))
    )

    assert by_table(name) == by_expression(name) == "Müller"
    assert by_table("set/P2/a.png") == by_table("set\\P2\\a.png") == "P2"


def test_an_expression_may_speak_of_either_slash() -> None:
    for expression in ("(P[0-9]+)/", r"(P[0-9]+)\\", r"(P[0-9]+)[/\\]"):
        assert group_rule(expression)("set\\P2\\a.png") == "P2"
