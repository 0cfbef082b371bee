"""Labels as people write them: columns, words, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenance.errors import SourceError, UsageError
from provenance.truth import read_truth, truth_of_mapping

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "truth.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize("header", ["name,used", "Name , LABEL", "label_source,name,label", "\ufeffname,used"])
def test_columns_are_found_by_name(tmp_path: Path, header: str) -> None:
    extra = "x," if header.startswith("label_source") else ""
    rows = read_truth(written(tmp_path, f"{header}\n{extra}a.png,1\n\n{extra}b.png,0\n"))
    assert [(row.key, row.is_id, row.used) for row in rows] == [("a.png", False, True), ("b.png", False, False)]
    assert rows[1].place == "truth.csv, line 4"


def test_an_id_counts_before_a_name_and_a_set_is_kept(tmp_path: Path) -> None:
    rows = read_truth(written(tmp_path, "name,image_id,set,used\na.png,sha256:ab,s,1\nb.png,,t,0\n"))
    assert [(row.key, row.is_id, row.set_name) for row in rows] == [("sha256:ab", True, "s"), ("b.png", False, "t")]


WORDS = {"used": True, "not_used": False, "Not-Used": False, "not used": False, " 1 ": True, "0": False, "TRUE": True}


@pytest.mark.parametrize(("word", "used"), WORDS.items())
def test_words_of_truth(tmp_path: Path, word: str, used: bool) -> None:
    assert read_truth(written(tmp_path, f"name,label\na,{word}\n"))[0].used is used
    assert truth_of_mapping({"a": word})[0].used is used


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,used\na,1\n", "lacks a column image_id or name"),
        ("name,truth\na,1\n", "lacks a column label or used"),
        ("name,used,label\na,1,1\n", "a column label and a column used"),
        ("", "lacks a column"),
        ("name,used\n", "holds no row"),
        ("name,used\na,maybe\n", "line 2: 'maybe' is no label"),
        ("name,used\na\n", "line 2: no label"),
        ("name,used\na,nan\n", "line 2: 'nan' is no label"),
        ("name,used\n,1\n", "neither an image_id nor a name"),
        (b"name,used\n\xff,1\n", "can't be read"),
        (b"name,used\na\x00,1\nb,2\n", "truth.csv"),
    ],
)
def test_what_is_no_table_of_truth_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(SourceError, match=said.replace("'", ".")) as refused:
        read_truth(written(tmp_path, text))
    assert refused.value.hint


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(SourceError, match="can't be read"):
            read_truth(place)


@given(st.text(), st.one_of(st.none(), st.integers(2, 9), st.floats(), st.just("yes or no")))
def test_a_mapping_holds_truth_or_is_refused(key: str, value: object) -> None:
    if value in (0.0, 1.0):
        return
    with pytest.raises(UsageError):
        truth_of_mapping({key: value})
    with pytest.raises(UsageError):
        truth_of_mapping({})
