"""The names of archive members, as people wrote them.

A zip says by a flag that a name is UTF-8. Without it, older tools wrote whatever their system spoke. The rule, for
names with other bytes than ASCII: the Unicode name that some tools store beside it, if its checksum fits; else UTF-8,
where the bytes are valid UTF-8; else Shift-JIS (code page 932), where all such names of the archive give Japanese
writing, and most of it stands together or code page 437 would give other signs than letters; else code page 437,
which the format prescribes. A tar's names are UTF-8; where one is not, the same rule is applied to it alone.
"""

from __future__ import annotations

import struct
import unicodedata
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Iterable, Sequence

_UTF8_FLAG = 0x800
_UNICODE_PATH = 0x7075
_JAPANESE = ("HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "CJK UNIFIED", "IDEOGRAPHIC")
_NEUTRAL = ("FULLWIDTH", "CIRCLED", "HALFWIDTH")


def zip_names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """The name of each member, in their order, with ``/`` between its parts whatever tool wrote it."""
    told = [_told(info) for info in infos]
    bare = [_bytes_of(info) for info, name in zip(infos, told, strict=True) if name is None]
    guessed = iter(decoded(bare))
    names = (name if name is not None else next(guessed) for name in told)
    return [name.partition("\0")[0].replace("\\", "/") for name in names]


def tar_name(name: str) -> str:
    """The name of a tar's member, given as Python reads it: bytes that are no UTF-8 as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return decoded([name.encode("utf-8", "surrogateescape")])[0]
    return name


def decoded(names: Sequence[bytes]) -> list[str]:
    """Names whose encoding nobody states, by the rule above."""
    others = [name for name in names if not _is_in(name, "utf-8")]
    rest = "cp932" if others and _is_japanese(others) else "cp437"
    return [name.decode("utf-8" if _is_in(name, "utf-8") else rest) for name in names]


def _told(info: zipfile.ZipInfo) -> str | None:
    """The name where the archive says what it is; ``None``: its encoding has to be guessed."""
    if info.flag_bits & _UTF8_FLAG or info.orig_filename.isascii():
        return info.orig_filename
    return _unicode_path(info.extra, _bytes_of(info))


def _bytes_of(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("cp437")  # as zipfile has read it: one character a byte


def _unicode_path(extra: bytes, name: bytes) -> str | None:
    """What Info-ZIP's Unicode path field says (APPNOTE 4.6.9), if it is about this name."""
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == _UNICODE_PATH and field[:1] == b"\1" and field[1:5] == struct.pack("<I", zlib.crc32(name)):
            return field[5:].decode() if _is_in(field[5:], "utf-8") else None
    return None


def _is_in(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _is_japanese(names: Iterable[bytes]) -> bool:
    """Whether all names are Japanese in Shift-JIS rather than European in code page 437.

    There, an accented letter and the one behind it often make a sign of Shift-JIS too; but it stands alone in a word.
    """
    japanese = in_words = 0
    are_letters = True
    for name in names:
        if not _is_in(name, "cp932"):
            return False
        text = name.decode("cp932")
        kinds = [char if char.isascii() else unicodedata.name(char, "") for char in text]
        if not all(kind.isascii() and (len(kind) == 1 or kind.startswith(_JAPANESE + _NEUTRAL)) for kind in kinds):
            return False
        for before, kind, after in zip(["", *kinds], kinds, [*kinds[1:], ""], strict=False):
            if kind.startswith(_JAPANESE):
                beside = before.startswith(_JAPANESE) or after.startswith(_JAPANESE)
                is_alone = not beside and any(len(each) == 1 and each.isalpha() for each in (before, after))
                japanese, in_words = japanese + (not is_alone), in_words + is_alone
        are_letters = are_letters and all(char.isascii() or char.isalpha() for char in name.decode("cp437"))
    return japanese > in_words or not are_letters
