"""Text of others (names of files and sets, reasons of libraries), as it is compared and as it can be shown.

A terminal, a spreadsheet and UTF-8 each carry less than a name may hold.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST = 0.6
_NOT_PLAIN = re.compile(r"[^\x20-\x7e\n]")
_FORMULA = re.compile("'*[-=+@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+|inf|nan)(e[-+]?\d+)?", re.IGNORECASE)


def composed(text: str) -> str:
    """Text as texts are compared: a Mac writes names with marks apart from their letters (NFD), people do not (NFC)."""
    return unicodedata.normalize("NFC", text)


def name_key(name: str) -> str:
    """A name as names are compared: composed, with ``/`` between its parts, however a system wrote it."""
    return composed(name.replace("\\", "/"))


def forms_of(text: str) -> tuple[str, ...]:
    """The ways in which a text may have been recorded: as it is, composed, decomposed; each once."""
    return tuple(dict.fromkeys((text, composed(text), unicodedata.normalize("NFD", text))))


def writable(text: str) -> str:
    r"""A recorded name as UTF-8 can carry it: bytes of a file name that are no UTF-8 become ``\udcXX``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(text: str, encoding: str | None = None) -> str:
    r"""A text as one line that does nothing to a terminal.

    Control, escape and direction marks, and what the encoding has no sign for, become escapes (``\x1b``, ``\n``).
    """
    if text.isascii() and text.isprintable():
        return text
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return plain.encode(encoding or "utf-8", "backslashreplace").decode(encoding or "utf-8")


def shown_lines(text: str, encoding: str | None = None) -> str:
    """``shown`` of each line of a text that has several; a tab that indents one is four blanks."""
    return "\n".join(
        shown(re.sub(r"^\t+", lambda tabs: 4 * len(tabs[0]) * " ", line), encoding) for line in text.split("\n")
    )


def shown_json(text: str, encoding: str | None = None) -> str:
    """A JSON document with JSON's own escapes for what ``shown`` takes out: what is read from it is the same."""

    def escaped(found: re.Match[str]) -> str:
        character = found[0]
        if character.isprintable() and character == character.encode(encoding or "utf-8", "replace").decode(
            encoding or "utf-8"
        ):
            return character
        return json.dumps(character)[1:-1]

    return text if text.isascii() and "\x7f" not in text else _NOT_PLAIN.sub(escaped, text)


def pasted(words: Iterable[str]) -> str:
    """Words as one line that can be pasted into bash; what has no glyph is written as an escape."""
    return " ".join(shlex.quote(word) if word.isprintable() else f"$'{''.join(map(_escaped, word))}'" for word in words)


def _escaped(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def meant(text: str) -> str:
    """A name that was typed where the system's encoding has no sign for it: its bytes are read as UTF-8."""
    try:
        return text.encode(sys.getfilesystemencoding(), "surrogateescape").decode("utf-8")
    except UnicodeError:
        return text


def inert(cell: str) -> str:
    """A cell of a CSV file as no spreadsheet runs it: an apostrophe stands before what would be a formula.

    That is text which begins with ``=``, ``+``, ``-``, ``@`` (their wide forms too), a tab or the end of a line;
    numbers are no formulas. ``as_named`` undoes it.
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def as_named(cell: str) -> str:
    """A cell as it was before ``inert``."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def unsaid(notes: Iterable[str], said: Iterable[str]) -> list[str]:
    """The notes that were not said yet: not word by word, nor for the most part by a sentence that stands in them."""
    texts = [" ".join(each.split()).rstrip(".") for each in said]

    def is_said(note: str) -> bool:
        words = " ".join(note.replace("`", "").split()).rstrip(".")
        return any(words in text or (len(text) > _MOST * len(words) and text in words) for text in texts)

    return [note for note in notes if not is_said(note)]
