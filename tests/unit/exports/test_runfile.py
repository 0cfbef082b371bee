"""Each mistake in a run file has a message of its own, with its line; one mistake gives one problem."""

from __future__ import annotations

import unicodedata
import zipfile
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from provenance.errors import ConflictError, SourceError
from provenance.exports import RunFileMistake, check_run, check_run_file, id_of_name, ids_at

if TYPE_CHECKING:
    from pathlib import Path

IDS = ["real_unknown_0001", "real_unknown_0002", "real_unknown_0003"]
GOOD = b"real_unknown_0001,0\nreal_unknown_0002,1\nreal_unknown_0003,0\n"


def found(data: bytes) -> list[tuple[int | None, str]]:
    return [(problem.line, problem.mistake.value) for problem in check_run(data, IDS).problems]


def lines(*texts: str) -> bytes:
    return "".join(text + "\n" for text in texts).encode()


@pytest.mark.parametrize(
    ("data", "problems", "said"),
    [
        (GOOD, [], ""),
        (GOOD.removesuffix(b"\n"), [], ""),
        (GOOD + b"\n", [(4, "empty_line")], "the line is empty"),
        (GOOD + b" \t\n", [(4, "empty_line")], "the line is blank"),
        (GOOD.replace(b"\n", b"\n\n", 1), [(2, "empty_line")], "the line is empty"),
        (GOOD.replace(b"0002,1", b"0002"), [(2, "fields")], "1 field where 2 are needed"),
        (GOOD.replace(b"0002,1", b"0002,1,0.7"), [(2, "fields")], "3 fields where 2 are needed"),
        (GOOD + b"real_unknown_0004,0\n", [(4, "unknown_id")], "unknown id 'real_unknown_0004'"),
        (GOOD.replace(b"0002,", b"0002.png,"), [(2, "unknown_id")], "without its extension or folder"),
        (GOOD.replace(b"real_unknown_0002", b'"real_unknown_0002"'), [(2, "unknown_id")], "without quotes"),
        (GOOD.replace(b"0002,", b"0002 ,"), [(2, "unknown_id")], "without spaces"),
        (GOOD + b"real_unknown_0002,1\n", [(4, "duplicate_id")], "it stands on line 2 already"),
        (GOOD.replace(b"real_unknown_0002,1\n", b""), [(None, "missing_id")], "missing id 'real_unknown_0002'"),
        (GOOD.replace(b"0002,1", b"0002,2"), [(2, "value")], "value '2' is not 0 or 1"),
        (GOOD.replace(b"0002,1", b"0002,1.0"), [(2, "value")], "value '1.0' is not 0 or 1"),
        (GOOD.replace(b"0002,1", b"0002,"), [(2, "value")], "no value after the comma"),
        (GOOD.replace(b"0002,1", b"0002, 1"), [(2, "value")], "spaces around it"),
        (GOOD.replace(b"0002,1", "0002,１".encode()), [(2, "value")], "is not 0 or 1"),
        (GOOD.replace(b"\n", b"\r\n"), [(1, "line_end")], "3 lines, this one first, end with CR LF"),
        (GOOD.replace(b"\n", b"\r"), [(1, "line_end")], "carriage return"),
        (b"\xef\xbb\xbf" + GOOD, [(1, "byte_order_mark")], "without one"),
        (GOOD.decode().encode("utf-16"), [(1, "encoding")], "UTF-16"),
        (GOOD.replace(b"0002", b"0002\xe9"), [(2, "encoding"), (2, "unknown_id"), (None, "missing_id")], "no UTF-8"),
        (b"image,label\n" + GOOD, [(1, "unknown_id"), (1, "value")], "has no header"),
        (b"", [(None, "empty_file"), *[(None, "missing_id")] * 3], "the file is empty"),
    ],
)
def test_every_mistake_is_named_with_its_line(data: bytes, problems: list[tuple[int | None, str]], said: str) -> None:
    assert found(data) == problems
    assert said in " ".join(problem.message for problem in check_run(data, IDS).problems)


def test_all_mistakes_are_reported_by_line() -> None:
    data = lines("x,0", "", "real_unknown_0003,7", "real_unknown_0003,1", "real_unknown_0001;1") + b"a,b,c\r\n"
    assert found(data) == [
        (1, "unknown_id"),
        (2, "empty_line"),
        (3, "value"),
        (4, "duplicate_id"),
        (5, "fields"),
        (6, "line_end"),
        (6, "fields"),
        (None, "missing_id"),
        (None, "missing_id"),
    ]


def test_an_id_is_the_same_composed_or_not() -> None:
    composed, apart = (unicodedata.normalize(form, "Müller_1") for form in ("NFC", "NFD"))
    for ids, rows in ((composed, apart), (apart, composed)):
        assert check_run(f"{rows},1\n".encode(), [ids]).valid
    twice = check_run(f"{composed},1\n{apart},1\n".encode(), [apart])
    assert [problem.mistake for problem in twice.problems] == [RunFileMistake.DUPLICATE_ID]


def test_messages_differ() -> None:
    assert len({mistake.value for mistake in RunFileMistake}) == len(RunFileMistake) == 10


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("real_unknown_0001.png", "real_unknown_0001"),
        ("real_unknown/real_unknown_0001.PNG", "real_unknown_0001"),
        ("deep\\er\\x.jpeg", "x"),
        ("1.2.840.113619.2.55", "1.2.840.113619.2.55"),
        ("slice.v2.tiff", "slice.v2"),
        (".png", ".png"),
        ("plain", "plain"),
    ],
)
def test_id_is_the_name_without_folder_and_extension(name: str, identity: str) -> None:
    assert id_of_name(name) == identity


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "real_unknown"
    (folder / "more").mkdir(parents=True)
    for place in (folder / f"{IDS[0]}.png", folder / f"{IDS[1]}.jpg", folder / "more" / f"{IDS[2]}.png"):
        Image.new("L", (8, 8), 90).save(place)
    (folder / "labels.csv").write_text("no,image\n")
    (folder / ".DS_Store").write_bytes(b"\0")
    return folder


def test_ids_come_from_a_folder_an_archive_or_a_list(images: Path, tmp_path: Path) -> None:
    assert sorted(ids_at(images)) == IDS
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for file in sorted(images.rglob("*.*g")):
            archive.write(file, file.name)
    assert sorted(ids_at(tmp_path / "images.zip")) == IDS
    text = "\ufeffid,split\r\n# the test set\r\n\r\n" + "".join(f"test/{image}.png,a\r\n" for image in IDS)
    (tmp_path / "ids.csv").write_bytes(text.encode())
    assert ids_at(tmp_path / "ids.csv") == IDS
    (tmp_path / "ids").write_text("\n".join(IDS))
    assert ids_at(tmp_path / "ids") == IDS


def test_ids_that_can_not_be_had_are_errors(images: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 9).save(images / "more" / f"{IDS[0]}.bmp")
    with pytest.raises(ConflictError, match="the id 'real_unknown_0001' twice"):
        ids_at(images)
    with pytest.raises(SourceError, match="nowhere"):
        ids_at(tmp_path / "nowhere")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(SourceError, match="holds no id"):
        ids_at(tmp_path / "empty.txt")
    (tmp_path / "picture.txt").write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    with pytest.raises(SourceError, match="no UTF-8 text"):
        ids_at(tmp_path / "picture.txt")
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    with pytest.raises(SourceError, match="can't be read"):
        check_run_file(tmp_path / "no-run.csv", tmp_path / "ids.txt")
    with pytest.raises(SourceError, match="can't be read"):
        check_run_file(tmp_path, tmp_path / "ids.txt")
