"""What is printed: how wide, what of a name is left, and what its words mean."""

from __future__ import annotations

import io
import sys

import pytest

from provenance.cli.output import explaining, print_facts, print_rejects, print_table, without_middle

COLUMNS = ("image", "label", "p", "nearest")
ROWS = [(f"a/very/long/folder/of/images/{n:04d}_{'x' * 60}.png", "not_established", 1 / 3, "b" * 50) for n in range(3)]


@pytest.mark.parametrize("width", [80, 100])
def test_a_table_fits_and_its_numbers_are_whole(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    print_table(COLUMNS, ROWS, names=("image", "nearest"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert sum("0.333333" in line and "not_established" in line for line in lines) == 3
    assert sum("\u2026" in line and ".png" in line for line in lines) == 3


def test_without_a_screen_names_have_a_hundred_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(COLUMNS, ROWS, names=("image", "nearest"))
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 100
    print_facts({"because": "word " * 50})
    assert len(capsys.readouterr().out.splitlines()) == 1  # a program reads it: one fact a line


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_a_table_that_can_not_fit_is_told_in_blocks(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("provenance.cli.output.sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    columns = [f"figure {n}" for n in range(12)]
    rows = [["\x1b[31m患者.png", *(f"{n}.123 [0.{n}, 0.99]" for n in range(11))]] * 2
    print_table(columns, rows, title="figures of \x1b[31m")
    print_table(("name", "n"), [("\x1b[31m患" * 20, 12345)], names=("name",))
    sys.stdout.seek(0)
    said = sys.stdout.read()
    lines = said.splitlines()
    assert max(map(len, lines)) <= 60
    assert sum("10.123 [0.10, 0.99]" in line for line in lines) == 2
    assert sum("12345" in line for line in lines) == 1
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("width", [60, 80])
def test_words_are_folded_and_no_number_is_broken(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [("a", "0.523 [0.401, 0.644]", 1_234_567, "3/4/5/6", "words " * 30, "1e-12")]
    print_table(("set", "AUC", "images", "TP/FP/FN/TN", "why", "p"), rows)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    for figure in ("0.523 [0.401, 0.644]", "1234567", "3/4/5/6", "1e-12"):
        assert sum(figure in line for line in lines) == 1
    assert sum(line.count("words") for line in lines) == 30


def test_names_that_fit_are_left_alone(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_table(COLUMNS, [("a.png", "used", 0.5, "b.png")], names=("image", "nearest"))
    assert "\u2026" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "width", "left"),
    [
        ("abcdefghij", 10, "abcdefghij"),
        ("abcdefghij", 9, "abcd\u2026ghij"),
        ("abcdefghij", 4, "a\u2026ij"),
        ("像像像像像", 6, "像\u2026像"),
    ],
)
def test_a_name_loses_its_middle(text: str, width: int, left: str) -> None:
    assert without_middle(text, width) == left


def test_long_facts_go_on_below_on_a_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_facts({"because": "word " * 20, "a": "b"})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[1].startswith(" " * 11 + "word")


def test_words_are_explained_where_that_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with explaining(wanted=True):
        print_facts({"release test": "AUC 0.7, p = 0.01"})
        print_table(("k_min",), [(3,)])
    said = capsys.readouterr().out.partition("what the words mean")[2]
    assert [line.strip() for line in said.splitlines() if line.startswith("  ") and line[2] != " "] == [
        *("p (probability, 0 to 1)", "k_min (groups)", "release test", "AUC (probability, 0 to 1)")
    ]
    assert "(docs/method.md, Release test)" in said
    with explaining(wanted=False):
        print_facts({"AUC": 1})
    assert "mean" not in capsys.readouterr().out


def test_many_rejects_of_one_kind_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    empty = [(f"{number}.png", "empty", "the file is empty") for number in range(1000)]
    print_rejects([*empty, ("cut.png", "truncated", "it ends early"), *((f"{n}.jpg", "empty", "-") for n in range(5))])
    said = capsys.readouterr().out
    assert "0.png and 999 more (all: --json)" in said
    assert "1.png" not in said
    assert all(name in said for name in ("cut.png", "0.jpg", "4.jpg"))
    print_rejects([])
    assert capsys.readouterr().out == ""
