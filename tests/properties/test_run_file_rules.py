"""The challenge's rules, written down once more as an oracle: whatever bytes come, both say the same."""

from __future__ import annotations

import re

from hypothesis import assume, given, reject
from hypothesis import strategies as st

from provenance.exports import RunFileMistake, check_run

ids = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters=',\n\r\ufeff"'), min_size=1, max_size=8).filter(
        lambda text: text == text.strip()
    ),
    min_size=1,
    max_size=6,
    unique=True,
)
fragments = st.sampled_from([b",", b"\n", b"\r", b"0", b"1", b" ", b"a", b"b", b"\xef\xbb\xbf", b"\xff", b".png", b'"'])
rows_of_two_ids = st.sampled_from([b"a,0\n", b"a,1\n", b"b,0\n", b"b,1", b"b,1\n", b"\n"])


def obeys_the_rules(data: bytes, wanted: list[str]) -> bool:
    """No header; id, comma, 0 or 1 on each line; every id once."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    rows = [re.fullmatch(r"([^,]*),[01]", line) for line in text.removesuffix("\n").split("\n")]
    return all(rows) and sorted(row.group(1) for row in rows if row) == sorted(wanted)


@given(st.one_of(st.lists(fragments, max_size=14), st.lists(rows_of_two_ids, max_size=4)))
def test_valid_is_what_obeys_the_rules(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert check_run(data, ["a", "b"]).valid == obeys_the_rules(data, ["a", "b"])


@given(ids, st.data())
def test_a_file_with_every_id_once_is_valid_in_any_order(wanted: list[str], data: st.DataObject) -> None:
    order = data.draw(st.permutations(wanted))
    values = data.draw(st.lists(st.sampled_from("01"), min_size=len(order), max_size=len(order)))
    content = "".join(f"{image},{value}\n" for image, value in zip(order, values, strict=True)).encode()
    assert check_run(content, wanted).problems == ()
    assert obeys_the_rules(content, wanted)
    assert check_run(content.removesuffix(b"\n"), wanted).valid


@given(ids, st.data())
def test_one_mistake_is_found_where_it_is(wanted: list[str], data: st.DataObject) -> None:
    lines = [f"{image},1" for image in wanted]
    at = data.draw(st.integers(0, len(lines) - 1))
    mistake = data.draw(st.sampled_from(RunFileMistake))
    line: int | None = at + 1
    if mistake is RunFileMistake.EMPTY_LINE:
        lines.insert(at, "")
    elif mistake is RunFileMistake.FIELDS:
        lines[at] += ",1"
    elif mistake is RunFileMistake.VALUE:
        lines[at] = wanted[at] + "," + data.draw(st.sampled_from(["2", "-1", "true", "", " 1", "1 ", "0.0", "01"]))
    elif mistake is RunFileMistake.DUPLICATE_ID:
        lines.append(f"{wanted[at]},{data.draw(st.sampled_from('01'))}")
        line = len(lines)
    elif mistake is RunFileMistake.MISSING_ID:
        del lines[at]
        line = None
        assume(lines)  # a file without a line is empty: another mistake
    elif mistake is RunFileMistake.UNKNOWN_ID:
        lines.insert(at, "".join(wanted) + "?,0")
    else:
        reject()  # of the file as a whole, not of a line
    content = "".join(text + "\n" for text in lines).encode()
    assert [(p.line, p.mistake) for p in check_run(content, wanted).problems] == [(line, mistake)]
