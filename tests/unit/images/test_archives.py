from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, cast

import pytest

from provenance.errors import SourceError
from provenance.images import archives, entries
from provenance.images.frames import BadInput
from provenance.images.source import _OPEN_ARCHIVES, _archives, open_source, read_item
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEMBERS = [
    ("b/2.png", b"second"),
    ("../../up.png", b"up"),
    ("a.png", b"first"),
    ("a.png", b"first again"),
    ("./c.png", b"dotted"),
    ("__MACOSX/a.png", b"litter"),
    (".hidden/a.png", b"hidden"),
    ("nested.zip", b"PK"),
    ("truth.csv", b"1,2"),
    ("a.png", b"first once more"),
]
NAMES = ["../../up.png", "a.png", "a.png", "a.png", "b/2.png", "c.png", "nested.zip", "truth.csv"]
IN_ORDER = ["b/2.png", "../../up.png", "a.png", "a.png", "c.png", "nested.zip", "truth.csv", "a.png"]
CONTENT = {
    "../../up.png": b"up",
    "a.png": b"first",
    "a.png (2)": b"first again",
    "a.png (3)": b"first once more",
    "b/2.png": b"second",
    "./c.png": b"dotted",
}


@pytest.fixture(autouse=True)
def _no_archive_left_open():
    yield
    _archives.close()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def zipped(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("folder")
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: list[tuple[str, bytes]], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": lambda data: bz2.compress(data, 1),  # in blocks of 100 kB
    ".tar.xz": lzma.compress,
}
pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def archive(folder: Path, suffix: str, members: list[tuple[str, bytes]] | None = None) -> Path:
    members = MEMBERS if members is None else members
    data = zipped(members) if suffix == ".zip" else tarred(members)
    return put(folder / f"set{suffix}", COMPRESSED.get(suffix, bytes)(data))


def items(path: Path) -> list[SourceItem]:
    return [one for one in open_source(path) if isinstance(one, SourceItem)]


def rejections(path: Path) -> list[Rejection]:
    return [one for one in open_source(path) if isinstance(one, Rejection)]


@pytest.mark.parametrize("suffix", [".zip", ".tar", *COMPRESSED])
def test_every_member_is_found_and_read_under_a_label_of_its_own(tmp_path, suffix):
    path = archive(tmp_path, suffix)
    source = open_source(path)

    found = list(source)

    is_stream = suffix in COMPRESSED
    assert source.kind == "archive"
    assert source.count() == (None if is_stream else len(NAMES))
    assert [one.name for one in found] == (IN_ORDER if is_stream else NAMES)
    assert {one.member: read_item(one) for one in found if isinstance(one, SourceItem)} == CONTENT
    assert [one.name for one in found if isinstance(one, Rejection)] == ["nested.zip", "truth.csv"]
    assert {one.source for one in found} == {str(path)}
    assert list(tmp_path.iterdir()) == [path], "nothing is written to disk"


@pytest.mark.parametrize("suffix", [".zip", ".tar", *COMPRESSED])
def test_members_are_read_again_in_any_order_without_their_bytes(tmp_path, suffix):
    found = [item_without_content(item) for item in items(archive(tmp_path, suffix))]

    for item in (*found, *reversed(found), *found):
        assert read_item(item) == CONTENT[str(item.member)]


def item_without_content(item: SourceItem) -> SourceItem:
    return SourceItem(
        item.name, item.source, item.member, item.size_bytes, item.modified_ns, item.changed_ns, item.inode
    )


class WindowsInfo(zipfile.ZipInfo):
    """A member with its name as bytes, and no word about their encoding."""

    def __init__(self, name: bytes, extra: bytes = b"", attributes: int = 0) -> None:
        super().__init__("x")
        self.raw, self.extra, self.external_attr = name, extra, attributes

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802 - zipfile's own hook
        return self.raw, 0


def named(folder: Path, *names: bytes | WindowsInfo) -> list[str]:
    path = folder / "named.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in names:
            made.writestr(name if isinstance(name, WindowsInfo) else WindowsInfo(name), b"1")
    found = items(path)
    assert all(read_item(item) == b"1" for item in found)
    return [item.name for item in found]


def test_a_zip_of_old_windows_tools_has_folders_and_litter_too(tmp_path):
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as made:
        for name in ("set\\", "set\\P0\\", "__MACOSX\\._1.png", "set\\Thumbs.db", "set\\.DS_Store"):
            made.writestr(name, b"")
        made.writestr(WindowsInfo(b"empty", attributes=0x10), b"")
        made.writestr("set\\P0\\1.png", b"1")
        made.writestr("..\\up.png", b"2")

    assert [(one.name, one.member) for one in open_source(path)] == [
        ("../up.png", "..\\up.png"),
        ("set/P0/1.png", "set\\P0\\1.png"),
    ], "the member stays as the archive has it: what older versions recorded is found again"
    assert [read_item(one) for one in items(path)] == [b"2", b"1"]


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("utf-8", ["Müller.png", "患者01.png"]),
        ("cp932", ["患者01.png", "画像/頭部CT.png", "脳.png", "ﾃﾞｰﾀ1.png"]),
        ("cp932", ["スライス1.png"]),
        ("cp437", ["Müller.png", "Größe.png", "Ärzte_Übung.png", "château.png"]),
        ("cp437", ["Köln/élève.png"]),
        ("cp437", ["naïve.png"]),
    ],
)
def test_names_without_a_flag_are_read_as_they_were_written(tmp_path, encoding, names):
    assert named(tmp_path, *(name.encode(encoding) for name in names)) == sorted(names, key=lambda n: n.split("/"))


def test_encodings_may_mix_and_a_unicode_field_counts_where_it_fits(tmp_path):
    raw = "Müller.png".encode("cp437")
    fields = [struct.pack("<BI", 1, zlib.crc32(raw) + wrong) + "Şişli.png".encode() for wrong in (0, 1)]
    extras = [struct.pack("<HH", 0x7075, len(field)) + field for field in fields]

    assert named(tmp_path, WindowsInfo(raw, extras[0])) == ["Şişli.png"]
    assert named(tmp_path, WindowsInfo(raw, extras[1])) == ["Müller.png"]
    assert named(tmp_path, "Müller.png".encode(), "Käse.png".encode("cp437")) == ["Käse.png", "Müller.png"]
    assert named(tmp_path, bytes(range(0x80, 0x100))) == [bytes(range(0x80, 0x100)).decode("cp437")]


def test_a_name_that_is_not_what_its_flag_says_keeps_no_archive_closed(tmp_path):
    data = bytearray(zipped([("患者.png", b"1"), ("Mueller.png", b"2"), ("c.png", b"3")]))
    for at in (data.index("患者".encode()), data.rindex("患者".encode())):
        data[at : at + 6] = "M\x81ller".encode("latin-1")[:6]

    found = items(put(tmp_path / "set.zip", bytes(data)))

    assert {one.name: read_item(one) for one in found} == {"Müller.png": b"1", "Mueller.png": b"2", "c.png": b"3"}
    data = bytearray(zipped([("a.png", b"1"), ("b.png", b"2")]))
    data[data.index(b"PK\x01\x02") + 6] = 255  # a version of the format that there is not
    assert [read_item(one) for one in items(put(tmp_path / "new.zip", bytes(data)))] == [b"1", b"2"]
    with pytest.raises(SourceError, match="can't open the archive"):
        open_source(put(tmp_path / "cut.zip", bytes(data[:-30])))


def test_the_names_of_a_tar_that_are_no_utf_8_are_read_too(tmp_path):
    for suffix in (".tar", ".tar.gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", encoding="cp932", format=tarfile.GNU_FORMAT) as made:
            for name in ("患者01.png", "a.png"):
                made.addfile(tarfile.TarInfo(name))
        path = put(tmp_path / f"set{suffix}", COMPRESSED.get(suffix, bytes)(buffer.getvalue()))
        assert sorted((one.name, one.member) for one in items(path)) == [(n, n) for n in ("a.png", "患者01.png")]


def test_labels_stay_apart_from_names_that_look_like_them(tmp_path):
    members = [("a", b"1"), ("a (2)", b"2"), ("a", b"3"), ("a (2)", b"4")]

    found = items(archive(tmp_path, ".zip", members))

    assert len({item.member for item in found}) == 4
    assert sorted(read_item(item) for item in found) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_the_kind_is_known_by_content_whatever_the_name(tmp_path, suffix):
    path = archive(tmp_path, suffix)
    plain = path.rename(tmp_path / "download")

    assert open_source(plain).kind == "archive"
    assert len(items(plain)) == len(CONTENT)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_member_above_the_limit_is_oversized(tmp_path, suffix):
    path = archive(tmp_path, suffix, [("big.png", bytes(2000)), ("small.png", bytes(10))])

    reasons: dict[str, RejectReason | int] = {}
    for one in open_source(path, max_file_bytes=1000):
        if isinstance(one, Rejection):
            reasons[one.name] = one.reason
            continue
        try:
            reasons[one.name] = len(read_item(one, max_file_bytes=1000))
        except BadInput as bad:
            reasons[one.name] = bad.reason

    assert reasons == {"big.png": RejectReason.OVERSIZED, "small.png": 10}


def test_an_encrypted_member_is_unreadable(tmp_path):
    data = bytearray(zipped([("a.png", b"secret"), ("b.png", b"open")]))
    central = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)  # the folder comes first
    data[central + 8] |= 1

    found = list(open_source(put(tmp_path / "set.zip", bytes(data))))

    assert [getattr(one, "reason", None) for one in found] == [RejectReason.UNREADABLE, None]
    assert "it is encrypted: unpack the archive with its password" in found[0].detail


def with_links(mode: Any) -> bytes:
    """A tar as tar itself writes it of files with several names, and links that lead nowhere or elsewhere."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as made:

        def add(name: str, data: bytes = b"", target: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.size, info.linkname = len(data), target
            info.type = tarfile.LNKTYPE if target else tarfile.REGTYPE
            made.addfile(info, io.BytesIO(data))

        add("a.png", b"first")
        add("early.png", target="late.png")
        add("same.png", target="./a.png")
        add("again.png", target="same.png")
        add(".hidden.png", b"hidden")
        add("shown.png", target=".hidden.png")
        add("table.csv", target="a.png")
        add("out.png", target="/etc/passwd")
        add("up.png", target="../a.png")
        add("late.png", b"late")
        add("a.png", b"second")
        add("own.png", target="own.png")
        add("newer.png", target="a.png")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_hard_links_to_members_give_the_bytes_that_stand_before_them(tmp_path, mode):
    path = put(tmp_path / "set.tar", with_links(mode))

    found = items(path)

    expected = {
        "a.png": b"first",
        "again.png": b"first",
        "same.png": b"first",
        "shown.png": b"hidden",
        "late.png": b"late",
        "a.png (2)": b"second",
        "newer.png": b"second",
    }
    assert {str(one.member): read_item(one) for one in found} == expected
    for one in (*found, *reversed(found)):
        assert read_item(item_without_content(one)) == expected[str(one.member)]
    refused = {one.name: one.detail for one in rejections(path)}
    assert sorted(refused) == ["early.png", "out.png", "own.png", "table.csv", "up.png"]
    assert "a hard link to /etc/passwd, which does not stand before it" in refused["out.png"]


def test_links_in_archives_are_not_followed(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, kind in (
            ("link.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
    zip_buffer = io.BytesIO()
    with zipfile.ZipFile(zip_buffer, "w") as made_zip:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        made_zip.writestr(link, "/etc/passwd")

    for path in (
        put(tmp_path / "set.tar", buffer.getvalue()),
        put(tmp_path / "set.tgz", gzip.compress(buffer.getvalue())),
        put(tmp_path / "set.zip", zip_buffer.getvalue()),
    ):
        assert items(path) == []
        assert {one.reason for one in rejections(path)} == {RejectReason.UNSUPPORTED}


def test_a_damaged_member_of_a_zip_is_rejected_alone(tmp_path):
    data = bytearray(zipped([("a.png", os.urandom(500)), ("b.png", os.urandom(500))]))
    data[data.index(b"a.png") + 100] ^= 0xFF

    first, second = items(put(tmp_path / "set.zip", bytes(data)))

    with pytest.raises(BadInput) as caught:
        read_item(first)
    assert caught.value.reason is RejectReason.BROKEN
    assert len(read_item(second)) == 500


def test_an_unknown_compression_in_a_zip_is_unsupported(tmp_path):
    data = bytearray(zipped([("a.png", b"1")]))
    local, central = data.index(b"a.png") - 30, data.rindex(b"a.png") - 46
    data[local + 8 : local + 10] = data[central + 10 : central + 12] = struct.pack("<H", 99)

    (item,) = items(put(tmp_path / "set.zip", bytes(data)))

    with pytest.raises(BadInput) as caught:
        read_item(item)
    assert caught.value.reason is RejectReason.UNSUPPORTED


@pytest.mark.parametrize("size", [-1536, -512, 2**63, 2**70])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_size_that_no_file_has_ends_a_tar_as_damage(tmp_path, size, compress):
    """A negative one would lead a reader back to where it was, for ever."""
    data = bytearray(tarred([("a.png", bytes(512)), ("b.png", bytes(512))]))
    header = data.index(b"b.png")
    data[header + 124 : header + 136] = (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])

    path = put(tmp_path / "set.tar", compress(bytes(data)))

    assert [item.name for item in items(path)] == ["a.png"]
    assert [one.name for one in rejections(path)] == [path.name]


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_of_gigabytes_fills_no_memory_and_what_stands_before_it_goes_in(tmp_path, kind):
    whole = tarred([("a.png", b"first")])
    first = whole[: whole.index(b"first") + tarfile.BLOCKSIZE]
    header = tarfile.TarInfo("long")
    header.type, header.size = kind, 256 * 1024**2
    path = tmp_path / "set.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(first + header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(256):
            file.write(bytes(1024**2))
    assert path.stat().st_size < 3_000_000

    tracemalloc.start()
    try:
        names, refused = [item.name for item in items(path)], [one.name for one in rejections(path)]
        assert tracemalloc.get_traced_memory()[1] < 30 * 1024**2
    finally:
        tracemalloc.stop()
    assert (names, refused) == (["a.png"], [path.name])


def test_a_size_that_no_database_holds_is_oversized_alone(tmp_path):
    data = bytearray(zipped([("a.png", b"12345"), ("b.png", b"open")]))
    central = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 1)
    assert data[central + 46 : central + 51] == b"a.png"
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    data[central + 51 : central + 51] = extra
    data[central + 24 : central + 28] = b"\xff" * 4
    data[central + 30 : central + 32] = struct.pack("<H", len(extra))
    end = data.rindex(b"PK\x05\x06")
    data[end + 12 : end + 16] = struct.pack("<I", struct.unpack_from("<I", data, end + 12)[0] + len(extra))

    large, fine = items(put(tmp_path / "set.zip", bytes(data)))

    assert large.size_bytes == 2**63 - 1
    with pytest.raises(BadInput, match="where the limit is"):
        read_item(large)
    assert read_item(fine) == b"open"


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_what_stands_before_the_damage_of_a_tar_goes_in(tmp_path, suffix):
    members = [(f"{number}.png", os.urandom(30_000)) for number in range(8)]
    whole = archive(tmp_path, suffix, members).read_bytes()
    path = put(tmp_path / f"cut{suffix}", whole[: len(whole) * 2 // 3])

    found = list(open_source(path))

    good = {}
    for one in found:
        if isinstance(one, SourceItem):
            try:
                good[one.name] = read_item(one)
            except BadInput as bad:
                assert bad.reason is RejectReason.TRUNCATED  # noqa: PT017 - the item after the good ones
    assert good == dict(members[: len(good)])
    assert len(good) >= 3
    assert isinstance(found[-1], Rejection)
    assert (found[-1].name, found[-1].member) == (path.name, None)
    assert found[-1].reason is RejectReason.TRUNCATED


def test_a_bad_header_in_the_middle_of_a_tar_is_told(tmp_path):
    data = bytearray(tarred([("a.png", bytes(1024)), ("b.png", bytes(1024)), ("c.png", b"")]))
    header_of_b = data.index(b"b.png")
    data[header_of_b + 150] ^= 0xFF

    for path in (put(tmp_path / "set.tar", bytes(data)), put(tmp_path / "set.tgz", gzip.compress(bytes(data)))):
        assert [item.name for item in items(path)] == ["a.png"]
        (damage,) = rejections(path)
        assert (damage.name, damage.reason) == (path.name, RejectReason.BROKEN)


def test_a_tar_without_its_end_mark_may_have_been_cut(tmp_path):
    data = tarred([("a.png", bytes(512))])
    data = data[: data.index(b"a.png") + 1024]

    path = put(tmp_path / "set.tar", data)

    assert [item.name for item in items(path)] == ["a.png"]
    assert [one.reason for one in rejections(path)] == [RejectReason.TRUNCATED]
    assert open_source(path).count() == 2


def test_a_wrong_checksum_of_the_compression_is_told(tmp_path):
    data = bytearray(gzip.compress(tarred([("a.png", bytes(512))])))
    data[-8:-4] = struct.pack("<I", 12345)

    assert [one.reason for one in rejections(put(tmp_path / "set.tgz", bytes(data)))] == [RejectReason.BROKEN]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("set.zip", zipped([("a.png", b"1" * 100)])[:-30]),
        ("set.zip", b"not a zip"),
        ("set.zip", b""),
        ("set.tar", b"not a tar" * 100),
        ("set.tar", b""),
        ("set.tar.gz", gzip.compress(b"x", mtime=0)[:12]),
    ],
)
def test_an_archive_that_cannot_be_opened_is_an_error(tmp_path, name, data):
    with pytest.raises(SourceError, match="can't open the archive") as caught:
        open_source(put(tmp_path / name, data))
    assert "unpack it" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "data", "kind", "advice"),
    [
        ("set.7z", b"7z\xbc\xaf\x27\x1c" + bytes(600), "a 7z archive", "Unpack it and give the folder"),
        ("set.rar", b"Rar!\x1a\x07" + bytes(range(256)) * 3, "a RAR archive", "Unpack it"),
        ("set.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(600), "compressed by Zstandard", "Unpack it"),
        ("download", b"7z\xbc\xaf\x27\x1c" + bytes(600), "a 7z archive", "Unpack it"),
        ("a.png.gz", gzip.compress(b"an image?" * 100, mtime=0), "one file compressed by gzip", "gzip -dk"),
        ("a.png.bz2", bz2.compress(b"an image?" * 100), "one file compressed by bzip2", "bzip2 -dk"),
        ("empty.xz", lzma.compress(b""), "one file compressed by xz", "xz -dk"),
        ("scan.nii.gz", gzip.compress(bytes(range(256)) * 4, mtime=0), "one file compressed by gzip", "gzip -dk"),
    ],
)
def test_a_kind_that_is_not_read_is_named_with_what_to_do(tmp_path, name, data, kind, advice):
    with pytest.raises(SourceError, match=kind) as caught:
        open_source(put(tmp_path / name, data))
    assert advice in caught.value.hint


def test_archives_inside_a_source_are_told_what_to_do_with_them(tmp_path):
    details = {one.name: one.detail for one in rejections(archive(tmp_path, ".zip", [("a.7z", b""), ("b.zip", b"")]))}

    assert "unpack it" in details["a.7z"]
    assert "a source of its own" in details["b.zip"]


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_an_archive_that_changed_since_it_was_listed_is_not_read(tmp_path, suffix):
    path = archive(tmp_path, suffix)
    item = item_without_content(items(path)[0])
    assert read_item(item)
    archive(tmp_path, suffix, [("a.png", b"other")])

    with pytest.raises(BadInput) as caught:
        read_item(item)
    assert caught.value.reason is RejectReason.UNREADABLE


def test_few_archives_stay_open(tmp_path):
    for number in range(_OPEN_ARCHIVES * 2):
        (item,) = items(put(tmp_path / f"{number}.zip", zipped([("a.png", b"%d" % number)])))
        assert read_item(item) == b"%d" % number

    assert len(_archives._readers) == _OPEN_ARCHIVES


def test_a_label_that_is_not_there_is_unreadable(tmp_path):
    for suffix in (".zip", ".tar", ".tar.gz"):
        item = items(archive(tmp_path, suffix))[0]
        other = SourceItem("x", item.source, "x", 1, item.modified_ns, item.changed_ns, item.inode)
        with pytest.raises(BadInput, match="no such member"):
            read_item(SourceItem("x", other.source, "x", item.size_bytes, other.modified_ns, 0, other.inode))


def tar_headers(*headers: tuple[bytes, bytes, int], compress: bool) -> bytes:
    """A good member, then headers of a type with what stands behind them, so many times, then another good member."""
    blocks = []
    for name, kind, body, times in (
        ("good.png", tarfile.REGTYPE, b"1", 1),
        *(("x", *each) for each in headers),
        ("behind.png", tarfile.REGTYPE, b"2", 1),
    ):
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, len(body)
        blocks.append((info.tobuf() + body + bytes(-len(body) % 512)) * times)
    data = b"".join(blocks) + bytes(1024)
    return gzip.compress(data, 1) if compress else data


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([(b"x", b"13 comment=x\n", 5000)], "a chain of headers without an end"),
        ([(b"L", b"name\0", 5000)], "a chain of headers without an end"),
        ([(b"g", b"13 comment=x\n", 5000)], "a chain of headers without an end"),
        ([(b"g", b"".join(b"13 k%06d=x\n" % n for n in range(1000)), 1)], "more than 100 headers for all members"),
        ([(b"x", bytes(2 * 1024**2), 1)], "headers of more than 1 MiB"),
    ],
)
def test_headers_of_a_tar_are_bounded_and_the_members_before_them_are_kept(tmp_path, compress, headers, said):
    started = time.process_time()
    found = list(open_source(put(tmp_path / "set.tar", tar_headers(*headers, compress=compress))))

    assert time.process_time() - started < 5
    assert [type(one).__name__ for one in found] == ["SourceItem", "Rejection"]
    assert said in cast("Rejection", found[1]).detail


def sparse(blocks: int) -> bytes:
    """A member of the old sparse format, whose map goes on in so many blocks of 21 places."""
    info = tarfile.TarInfo("sparse.png")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    block = (b"%011o\0%011o\0" % (0, 0)) * 21 + b"\1" + bytes(7)
    return bytes(header) + block * blocks + bytes(1024)


def test_a_sparse_map_is_bounded(tmp_path):
    good = tarred([("good.png", b"1")]).rstrip(b"\0")
    good += bytes(-len(good) % 512)
    found = list(open_source(put(tmp_path / "set.tar", good + sparse(20_000))))

    assert [one.name for one in found] == ["good.png", "set.tar"]
    assert "headers of more than 1 MiB" in cast("Rejection", found[1]).detail


def test_more_members_than_the_limit_are_refused_before_they_are_walked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_MEMBERS", 3)
    members = [(f"{n}.png", b"1") for n in range(3)]
    for suffix in (".zip", ".tar", ".tar.gz"):
        kept = put(tmp_path / f"kept{suffix}", archive(tmp_path, suffix, members[:2]).read_bytes())  # and a folder
        assert len(items(kept)) == 2
    for suffix in (".tar", ".tar.gz"):
        *good, refused = open_source(archive(tmp_path, suffix, members))
        assert [one.name for one in good] == ["0.png", "1.png"]
        assert "which is the limit: unpack it" in cast("Rejection", refused).detail
    with pytest.raises(SourceError, match="which is the limit: unpack it"):
        open_source(archive(tmp_path, ".zip", members))
    monkeypatch.setattr(archives, "_MOST_DIRECTORY_BYTES", 100)
    with pytest.raises(SourceError, match="which is the limit: unpack it"):
        open_source(archive(tmp_path, ".zip", members))
    monkeypatch.undo()
    large = archive(tmp_path, ".zip", [("a.png", bytes(2**25))])
    assert len(read_item(items(large)[0])) == 2**25


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ""])
def test_of_many_empty_files_the_others_are_counted(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(entries, "_MOST_EMPTY", 4)
    members = [("a.png", b"1"), *((f"e{n}.png", b"") for n in range(10)), ("table.csv", b""), ("z.png", b"2")]
    if suffix:
        path = archive(tmp_path, suffix, members)
    else:
        path = tmp_path / "folder"
        path.mkdir()
        for name, data in members:
            put(path / name, data)

    found = list(open_source(path))

    assert len(found) == 13, "nothing is dropped"
    assert [one.name for one in found if isinstance(one, SourceItem) and one.size_bytes] == ["a.png", "z.png"]
    skipped = [one for one in found if isinstance(one, Rejection)]
    assert {one.reason for one in skipped} == {RejectReason.SKIPPED}
    assert sum("empty ones that are rejected one by one" in one.detail for one in skipped) == 6


def test_archives_that_lie_about_their_kind_are_known_by_content(tmp_path):
    members = [("a.png", b"1"), ("b.png", b"2")]
    old = bytearray(tarred([("a.png", b"1"), ("b.png", b"2")], format=tarfile.USTAR_FORMAT))
    for at in (0, 512, 1536):  # as tar wrote them before there was a mark
        old[at + 257 : at + 512] = bytes(255)
        old[at + 148 : at + 156] = b" " * 8
        old[at + 148 : at + 156] = b"%06o\0 " % sum(old[at : at + 512])
    kinds = {"zip": zipped(members), "tar": tarred(members), "old": bytes(old), "gz": gzip.compress(tarred(members))}
    for kind, data in kinds.items():
        for name in ("set.zip", "set.tar", "set.tar.gz", "set.png", "set.7z", "set.iso", "set"):
            assert [one.name for one in items(put(tmp_path / name, data))] == ["a.png", "b.png"], (kind, name)


@pytest.mark.parametrize(
    ("suffix", "said"),
    [
        (".lzma", "LZMA"),
        (".tar.lz", "lzip"),
        (".zst", "Zstandard"),
        (".iso", "an image of a disc"),
        (".dmg", "a disc of a Mac"),
        (".rar", "RAR"),
        (".7z", "7z"),
        (".cab", "a cabinet"),
        (".Z", "compress"),
        (".cpio", "cpio"),
        (".deb", "Debian"),
    ],
)
def test_what_is_not_unpacked_here_is_named_as_what_it_is(tmp_path, suffix, said):
    path = put(tmp_path / f"set{suffix}", b"\x01" * 3000)

    with pytest.raises(SourceError, match=said) as caught:
        open_source(path)
    assert caught.value.hint == "Unpack it and give the folder."
    (found,) = open_source(tmp_path)
    assert isinstance(found, Rejection)
    assert (found.reason, said in found.detail, "unpack it" in found.detail) == (RejectReason.UNSUPPORTED, True, True)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_is_listed_once_however_often_it_is_opened_walked_and_read(tmp_path, suffix, monkeypatch):
    path, listings, labelled = archive(tmp_path, suffix), [], archives._labelled
    monkeypatch.setattr(archives, "_labelled", lambda members: listings.append(1) or labelled(members))
    first = items(path)
    assert items(path) == first
    assert [read_item(item) for item in first] == [read_item(item) for item in items(path)]
    assert len(listings) == 1
    time.sleep(0.01)
    archive(tmp_path, suffix, [*MEMBERS, ("z.png", b"later")])
    assert len(items(path)) == len(first) + 1
    assert len(listings) == 2
