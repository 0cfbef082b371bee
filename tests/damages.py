"""Damages to the files of a store: what a disk, a copy or a hostile hand does to them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

PAGE = 4096


def _written(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(content)


def _one_bit(file: Path, at: int, chance: random.Random) -> None:
    with file.open("rb") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
    _written(file, at, bytes([byte ^ 1 << chance.randrange(8)]))


def _four_bytes(file: Path, at: int, chance: random.Random) -> None:
    _written(file, at, chance.randbytes(4))


def _eight_of_ff(file: Path, at: int, _chance: random.Random) -> None:
    _written(file, at, b"\xff" * 8)


def _zeroed_page(file: Path, at: int, _chance: random.Random) -> None:
    start = at - at % PAGE
    _written(file, start, bytes(min(PAGE, file.stat().st_size - start)))


def _cut(file: Path, at: int, _chance: random.Random) -> None:
    with file.open("r+b") as stream:
        stream.truncate(at)


def _gone(file: Path, _at: int, _chance: random.Random) -> None:
    file.unlink()


DAMAGES: dict[str, Callable[[Path, int, random.Random], None]] = {
    "one bit": _one_bit,
    "4 bytes": _four_bytes,
    "8 x 0xff": _eight_of_ff,
    "zeroed page": _zeroed_page,
    "cut": _cut,
    "gone": _gone,
}


def files_of(store: Path) -> list[Path]:
    """Every file of a store that holds anything, relative to it."""
    return [file.relative_to(store) for file in sorted(store.rglob("*")) if file.is_file() and file.name != "lock"]


def damage(file: Path, how: str, chance: random.Random) -> int:
    """Damages a file at a random place of what is in it, and gives the place."""
    status = file.stat()
    at = chance.randrange(max(1, min(status.st_size, 512 * status.st_blocks)))
    DAMAGES[how](file, at, chance)
    return at


def copied(file: Path, target: Path) -> None:
    """Copies a file without its holes: nearly all of the engine's files is empty."""
    size = file.stat().st_size
    with file.open("rb") as read, target.open("wb") as written:
        written.truncate(size)
        for at in range(0, min(size, 512 * file.stat().st_blocks + PAGE), PAGE):
            written.seek(at)
            written.write(read.read(min(PAGE, size - at)))


def copied_store(store: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(store, target, copy_function=lambda source, place: copied(Path(source), Path(place)))
    return target
