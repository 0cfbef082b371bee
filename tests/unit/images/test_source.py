from __future__ import annotations

import os
import unicodedata
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from provenance.errors import SourceError
from provenance.images.entries import is_unchanged, item_from
from provenance.images.frames import BadInput
from provenance.images.source import items_at, layout_of, open_source, read_item
from provenance.vocabulary import Rejection, RejectReason, SourceItem


def put(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def found(path: Path) -> list[tuple[str, str]]:
    """Name and kind of everything the source gives; counts are checked on the way."""
    source = open_source(path)
    result = [(one.name, one.reason.value if isinstance(one, Rejection) else "item") for one in source]
    assert source.count() == len(result)
    assert result == [(one.name, one.reason.value if isinstance(one, Rejection) else "item") for one in source]
    return result


def test_a_folder_is_read_below_and_in_order_of_its_path_parts(tmp_path):
    for name in ("b/2.png", "b/10.jpg", "b.png", "a/z/1.tif", "a-1/0.png", "no_suffix", "scan.dcm", "c.unknown"):
        put(tmp_path / name)

    names = [name for name, kind in found(tmp_path) if kind == "item"]

    expected = ["a/z/1.tif", "a-1/0.png", "b/10.jpg", "b/2.png", "b.png", "c.unknown", "no_suffix", "scan.dcm"]
    assert names == expected == sorted(expected, key=lambda name: name.split("/"))


def test_an_item_states_what_the_directory_states(tmp_path):
    path = put(tmp_path / "sub" / "a.png", b"12345")

    (item,) = open_source(tmp_path)

    status = path.stat()
    assert item == SourceItem(
        "sub/a.png", str(path), None, 5, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, content=None
    )


@pytest.mark.parametrize("seconds", [292 * 10**9, -292 * 10**9, 2**62, 2**63 // 10**9, -1])
def test_times_that_no_database_holds_are_brought_into_range(tmp_path, seconds):
    path = put(tmp_path / "a.png", b"12345")
    status = path.stat()
    far = SimpleNamespace(
        st_mtime_ns=seconds * 10**9, st_ctime_ns=-seconds * 10**9, st_ino=2**64 - 1, st_size=5, st_mode=status.st_mode
    )

    item = item_from(far, path, "a.png", member=None, size_bytes=5)

    assert all(-(2**63) <= number < 2**63 for number in (item.modified_ns, item.changed_ns, item.inode))
    assert is_unchanged(item, far, 5)
    far.st_mtime_ns += 1
    assert not is_unchanged(item, far, 5)
    assert item_from(far, path, "a.png", member=None, size_bytes=2**70).size_bytes == 2**63 - 1


def test_names_that_no_index_holds_are_rejected_alone_and_stay_apart(tmp_path):
    long = "x" * 3000
    names = [f"{long}{number}.png" for number in (1, 2)] + ["名" * 700 + ".png", "fine.png"]
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as made:
        for name in names:
            made.writestr(name, b"1")

    rejected = [one for one in open_source(tmp_path / "set.zip") if isinstance(one, Rejection)]

    assert [name for name, kind in found(tmp_path / "set.zip") if kind == "item"] == ["fine.png"]
    assert len({one.name for one in rejected}) == len({one.member for one in rejected}) == 3
    for one in rejected:
        assert sum(len(text.encode()) for text in (one.name, one.source, one.member or "")) < 2600
        assert "too long" in one.detail


def test_what_a_zip_of_old_windows_tools_becomes_when_it_is_unpacked(tmp_path):
    for name in ("__MACOSX\\set\\._a.png", "set\\.DS_Store", "set\\Thumbs.db", "set\\a.png", "..\\b.png"):
        put(tmp_path / name)

    assert [name for name, _ in found(tmp_path)] == ["..\\b.png", "set\\a.png"]


def test_hidden_files_and_litter_are_left_out(tmp_path):
    for name in (".DS_Store", "._a.png", ".git/a.png", "__MACOSX/a.png", "Thumbs.db", "sub/desktop.ini"):
        put(tmp_path / name)

    assert found(tmp_path) == []


def test_files_that_are_no_images_by_name_are_rejected_one_by_one(tmp_path):
    for name in ("a.png", "b.CSV", "c.json", "d.zip", "e.tar.gz", "f.nii.gz", "g.pdf", "h.gz"):
        put(tmp_path / name)

    assert found(tmp_path) == [
        ("a.png", "item"),
        ("b.CSV", "skipped"),
        ("c.json", "skipped"),
        ("d.zip", "unsupported"),
        ("e.tar.gz", "unsupported"),
        ("f.nii.gz", "item"),  # its content says what it is
        ("g.pdf", "skipped"),
        ("h.gz", "unsupported"),
    ]


def test_links_are_followed_but_not_in_circles(tmp_path):
    inside = tmp_path / "inside"
    put(inside / "real" / "a.png")
    put(tmp_path / "outside" / "b.png")
    (inside / "linked").symlink_to(tmp_path / "outside")
    (inside / "real" / "up").symlink_to(inside)
    (inside / "self").symlink_to(inside / "self")
    (inside / "gone").symlink_to(tmp_path / "nowhere")

    assert found(inside) == [
        ("gone", "unreadable"),
        ("linked/b.png", "item"),
        ("real/a.png", "item"),
        ("self", "unreadable"),
    ]


def test_two_folders_that_link_to_each_other_end(tmp_path):
    put(tmp_path / "a" / "1.png")
    put(tmp_path / "b" / "2.png")
    (tmp_path / "a" / "to_b").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "to_a").symlink_to(tmp_path / "a")

    assert ("a/to_b/2.png", "item") in found(tmp_path)


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")

    assert found(tmp_path) == [("pipe.png", "unsupported")]
    with pytest.raises(SourceError, match="pipe"):
        open_source(tmp_path / "pipe.png")


def test_a_name_that_is_not_unicode_is_rejected_in_printable_words(tmp_path):
    put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")))

    (rejection,) = open_source(tmp_path)

    assert isinstance(rejection, Rejection)
    assert rejection.reason is RejectReason.UNREADABLE
    rejection.name.encode()
    rejection.source.encode()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_rejected(tmp_path):
    put(tmp_path / "closed" / "a.png")
    (tmp_path / "closed").chmod(0)

    assert found(tmp_path) == [("closed", "unreadable")]


def test_one_file_is_a_source_whatever_its_suffix(tmp_path):
    path = put(tmp_path / "image.weird")

    source = open_source(path)

    assert (source.kind, source.path) == ("file", path)
    assert found(path) == [("image.weird", "item")]


def test_a_list_counts_paths_from_its_own_folder(tmp_path):
    put(tmp_path / "images" / "a.png")
    put(tmp_path / "images" / "b.png")
    lines = [
        "# a comment",
        "",
        "../images/b.png",
        f"  {tmp_path}/images/a.png ",
        "../images/b.png",
        "../missing.png",
        "..",
        "x\0y",
    ]
    listing = put(tmp_path / "lists" / "set.lst", "\n".join(lines).encode("utf-8-sig"))

    assert open_source(listing).kind == "list"
    assert found(listing) == [
        ("..", "unsupported"),
        ("../images/b.png", "item"),
        ("../missing.png", "unreadable"),
        (f"{tmp_path}/images/a.png", "item"),
        ("x\\x00y", "unreadable"),
    ]
    assert [one.source for one in open_source(listing)][1] == str(tmp_path / "images" / "b.png")


def test_a_list_in_composed_letters_finds_the_files_of_a_mac(tmp_path):
    name = "Müller.png"
    apart = put(tmp_path / unicodedata.normalize("NFD", name))
    (tmp_path / "list.txt").write_text(f"{name}\n", encoding="utf-8")

    (item,) = open_source(tmp_path / "list.txt")

    assert (item.name, item.source) == (name, str(apart))


def test_a_csv_list_has_a_path_column(tmp_path):
    put(tmp_path / "a, b.png")
    listing = put(tmp_path / "set.csv", b'patient,Path\r\np1,"a, b.png"\r\np2,\r\np3\r\n')

    assert found(listing) == [("a, b.png", "item")]


def test_a_csv_without_that_column_says_so(tmp_path):
    with pytest.raises(SourceError, match="no column named path") as caught:
        open_source(put(tmp_path / "set.csv", b"file\na.png\n"))
    assert caught.value.exit_code == 3
    assert "path" in caught.value.hint


def test_a_list_that_is_no_text_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="can't read the list") as caught:
        open_source(put(tmp_path / "set.txt", b"\xff\xfe\x00"))
    assert caught.value.hint


@pytest.mark.parametrize("name", ["missing", "missing/below", "nul\0byte"])
def test_a_missing_source_is_an_error_with_a_hint(tmp_path, name):
    with pytest.raises(SourceError, match="can't read") as caught:
        open_source(tmp_path / name)
    assert caught.value.hint


def test_a_folder_that_is_gone_when_it_is_read_is_an_error(tmp_path):
    (tmp_path / "set").mkdir()
    source = open_source(tmp_path / "set")
    (tmp_path / "set").rmdir()

    with pytest.raises(SourceError, match="can't read"):
        list(source)


def test_the_layouts_folders_are_found_in_order_and_what_is_beside_them_is_told(tmp_path):
    for name in ("generated", "real_used", "something_else", ".git", "Real_Unknown"):
        (tmp_path / name).mkdir()
    put(tmp_path / "truth.csv")
    put(tmp_path / "real_not_used")  # a file

    layout = layout_of(tmp_path)

    assert list(layout.folders.items()) == [
        ("real_used", tmp_path / "real_used"),
        ("generated", tmp_path / "generated"),
    ]
    assert str(layout) == (
        "not there: real_not_used/, real_unknown/; ignored: Real_Unknown/, real_not_used, something_else/, truth.csv"
    )
    for name in ("real_not_used", "real_unknown"):
        whole = tmp_path / "whole" / name
        whole.mkdir(parents=True)
    for name in ("real_used", "generated"):
        (tmp_path / "whole" / name).mkdir()
    assert str(layout_of(tmp_path / "whole")) == ""


def test_a_folder_without_a_set_is_no_layout(tmp_path):
    for name in ("generated", "used", "train"):
        (tmp_path / "deeper" / name).mkdir(parents=True)

    with pytest.raises(SourceError, match=r"no set of real images.*real_unknown; there is generated/, train/, used/"):
        layout_of(tmp_path / "deeper")
    with pytest.raises(SourceError, match="there is deeper/") as caught:
        layout_of(tmp_path)
    assert "ingest each by itself" in caught.value.hint
    (tmp_path / "deeper" / "real_used").mkdir()
    with pytest.raises(SourceError) as caught:
        layout_of(tmp_path)
    assert caught.value.hint == f"Give {tmp_path / 'deeper'}."
    for number in range(30):
        put(tmp_path / "many" / f"{number:02}.png")
    with pytest.raises(SourceError, match=r"09\.png and 20 more"):
        layout_of(tmp_path / "many")
    with pytest.raises(SourceError, match="can't read"):
        layout_of(tmp_path / "nowhere")


def test_reading_gives_the_bytes(tmp_path):
    data = os.urandom(100_000)
    put(tmp_path / "a.png", data)

    (item,) = open_source(tmp_path)

    assert read_item(item) == data
    assert read_item(item, max_file_bytes=100_000) == data


def read_failure(item: SourceItem | Rejection, **options) -> RejectReason:
    assert isinstance(item, SourceItem)
    with pytest.raises(BadInput) as caught:
        read_item(item, **options)
    return caught.value.reason


def test_a_file_above_the_limit_is_not_read(tmp_path):
    put(tmp_path / "a.png", bytes(101))
    (item,) = open_source(tmp_path)

    assert read_failure(item, max_file_bytes=100) is RejectReason.OVERSIZED


def test_a_file_that_changed_since_it_was_listed_is_not_taken(tmp_path):
    path = put(tmp_path / "a.png", b"first")
    (item,) = open_source(tmp_path)
    path.write_bytes(b"second")
    assert read_failure(item) is RejectReason.UNREADABLE

    (item,) = open_source(tmp_path)
    os.utime(path, ns=(0, item.modified_ns + 1))
    assert read_failure(item) is RejectReason.UNREADABLE

    (item,) = open_source(tmp_path)
    Image.new("L", (1, 1)).save(tmp_path / "other.png")
    (tmp_path / "other.png").replace(path)
    assert read_failure(item) is RejectReason.UNREADABLE


def test_a_file_that_is_gone_or_a_pipe_now_is_unreadable(tmp_path):
    path = put(tmp_path / "a.png")
    (item,) = open_source(tmp_path)
    path.unlink()
    assert read_failure(item) is RejectReason.UNREADABLE

    os.mkfifo(path)
    assert read_failure(item) is RejectReason.UNREADABLE


def test_paths_below_a_folder_are_what_the_folder_gives(tmp_path):
    root = (tmp_path / "root").resolve()
    for name in ("a.png", "sub/b.png", "sub/deep/c.png", "sub/.hidden.png", ".git/d.png", "notes.txt"):
        put(root / name)
    elsewhere = put(tmp_path / "e.png")
    everything = list(open_source(root))
    asked = [root / "a.png", root / "notes.txt", root / "sub", root / ".git" / "d.png", root / "gone.png", elsewhere]
    assert sorted(items_at(root, asked), key=lambda one: one.name) == sorted(everything, key=lambda one: one.name)
    assert [one.name for one in items_at(root, [root / "sub" / "deep" / "c.png", root])] == ["sub/deep/c.png"]
