"""Text of others: harmless on a terminal of any encoding, the same document as JSON, the same words in a shell."""

from __future__ import annotations

import json
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.text import as_named, inert, meant, pasted, shown, shown_json, shown_lines

ENCODINGS = ("utf-8", "ascii", "latin-1", "cp1252", "shift_jis")
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)


@pytest.mark.parametrize(
    ("text", "encoding", "as_shown"),
    [
        ("\x1b]0;pwned\x07\x1b[31mred", "utf-8", r"\x1b]0;pwned\x07\x1b[31mred"),
        ("a\nerror: b\r", "utf-8", r"a\nerror: b\r"),
        ("evil\u202egnp.exe", "utf-8", r"evil\u202egnp.exe"),
        ("c1 \x9b31m", "latin-1", r"c1 \x9b31m"),
        ("患者 émile", "utf-8", "患者 émile"),
        ("患者 émile", "latin-1", r"\u60a3\u8005 émile"),
        ("患者 émile", "ascii", r"\u60a3\u8005 \xe9mile"),
        ("bad\udcff", "utf-8", r"bad\udcff"),
    ],
)
def test_what_a_terminal_would_obey_or_can_not_show_is_an_escape(text: str, encoding: str, as_shown: str) -> None:
    assert shown(text, encoding) == as_shown


@given(ANY_TEXT, st.sampled_from(ENCODINGS))
def test_any_name_is_one_printable_line_in_any_encoding(text: str, encoding: str) -> None:
    line = shown(text, encoding)
    assert line.isprintable()
    assert line.encode(encoding).decode(encoding) == line
    assert shown(line, encoding) == line
    assert shown_lines(f"{text}\n{text}", encoding).count("\n") == 2 * text.count("\n") + 1


@given(ANY_TEXT, st.sampled_from(ENCODINGS))
def test_json_reads_the_same_and_does_nothing_to_a_terminal(text: str, encoding: str) -> None:
    document = json.dumps({text: [text, 1.5]}, indent=2, ensure_ascii=False)
    safe = shown_json(document, encoding)
    assert json.loads(safe.encode(encoding).decode(encoding)) == {text: [text, 1.5]}
    assert all(line.isprintable() for line in safe.split("\n"))


@pytest.mark.parametrize("name", ["with blank", "it's", "$(ls)", "\x1b[31m'\\", "a\nb", "患者", "bad\udcff", "-x", ""])
def test_a_pasted_word_is_the_word(name: str) -> None:
    line = pasted(["printf", "%s", name])
    assert line.isprintable()
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout == name.encode("utf-8", "surrogateescape")


def test_a_name_typed_where_the_system_has_no_sign_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.getfilesystemencoding", lambda: "ascii")
    assert meant("患者.png".encode().decode("ascii", "surrogateescape")) == "患者.png"
    assert meant("bad\udcff") == "bad\udcff"
    assert meant("患者") == "患者"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ('=HYPERLINK("x","y")', '\'=HYPERLINK("x","y")'),
        ("+1.png", "'+1.png"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("'=1", "''=1"),
        *((text, text) for text in ("-0.25", "+1", "-1e-05", "-inf", "1e5", "a=b", "'quoted", "", "001", "患者")),
    ],
)
def test_a_spreadsheet_runs_no_cell_and_numbers_stay(cell: str, written: str) -> None:
    assert inert(cell) == written


@given(ANY_TEXT | st.from_regex(r"'*[=+@\t-].*"))
def test_a_cell_is_read_as_it_was(cell: str) -> None:
    assert as_named(inert(cell)) == cell


def test_a_list_that_is_indented_by_tabs_is_still_one() -> None:
    assert shown_lines("one of\n\tcsv,\n\t\ta\tb") == "one of\n    csv,\n        a\\tb"
