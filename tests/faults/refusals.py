"""How a command must fail: an exit code of its own, one line of error, a hint, and no traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from children import Ended

SOURCE, EMBEDDING, STORE, CATALOG, CONFLICT = 3, 4, 5, 6, 8


def refused(ended: Ended, code: int, *words: str) -> None:
    """Asserts that a command ended with an error meant for people that holds all of ``words``."""
    assert ended.code == code, f"{ended.code}: {ended.stderr}"
    assert "Traceback" not in ended.stderr
    lines = [line for line in ended.stderr.splitlines() if line.startswith(("error: ", "hint: "))]
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"], ended.stderr
    assert len(lines[1]) > len("hint: "), "a hint that says nothing"
    for word in words:
        assert word in "\n".join(lines), f"{word!r} is not in {lines}"
