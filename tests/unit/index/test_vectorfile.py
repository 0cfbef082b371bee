"""Vector files: named by content, verified on opening, made anew where damaged; loads from the index are verified."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest

from provenance.errors import VectorStoreError
from provenance.files import Outdated, unfinished
from provenance.index import (
    CollectionSpec,
    Points,
    clear,
    content_digest,
    ensure_vector_file,
    kept_arrays,
    load_vectors,
    point_id,
    prune,
    vector_digest,
)
from provenance.index import vectorfile as vectorfile_module
from provenance.index.memory import MemoryIndex
from tests.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FloatArray = npt.NDArray[np.float32]
COUNT, PARTS, DIMENSION = 40, 2, 16


@pytest.fixture
def vectors() -> FloatArray:
    return unit(np.random.default_rng(0).standard_normal((COUNT, PARTS, DIMENSION)))


def ensure(folder: Path, vectors: FloatArray, digest: str = "d", *, fetched: list[int] | None = None) -> FloatArray:
    def fetch(start: int, stop: int) -> FloatArray:
        if fetched is not None:
            fetched.append(start)
        return vectors[start:stop]

    digests = [vector_digest(vector) for vector in vectors]
    return ensure_vector_file(folder, digest, digests, fetch, parts=PARTS, dimension=DIMENSION)


def test_the_content_digest_depends_on_content_alone() -> None:
    members = [("sha256:b", "2"), ("sha256:a", "1")]
    digest = content_digest("space:1", members)
    assert digest == content_digest("space:1", reversed(members))
    others = [
        content_digest("space:2", members),
        content_digest("space:1", members[:1]),
        content_digest("space:1", [("sha256:b", "1"), ("sha256:a", "2")]),
        content_digest("space:1", []),
    ]
    assert len({digest, *others}) == 5


def test_a_file_is_made_once_and_read_only(tmp_path: Path, vectors: FloatArray) -> None:
    fetched: list[int] = []
    first = ensure(tmp_path / "new", vectors, fetched=fetched)
    second = ensure(tmp_path / "new", vectors, fetched=fetched)
    assert fetched == [0]
    for found in (first, second):
        assert found.tobytes() == vectors.tobytes()
        assert found.shape == vectors.shape
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 0
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["d.f32"]


def test_no_vectors_need_no_file(tmp_path: Path, vectors: FloatArray) -> None:
    assert ensure(tmp_path, vectors[:0]).shape == (0, PARTS, DIMENSION)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["one bit", "shorter", "longer", "empty"])
def test_damage_is_found_and_the_file_made_anew(tmp_path: Path, vectors: FloatArray, damage: str) -> None:
    ensure(tmp_path, vectors)
    file = tmp_path / "d.f32"
    content = bytearray(file.read_bytes())
    content[777] ^= 1
    damaged: dict[str, bytes | bytearray] = {
        "one bit": content,
        "shorter": content[:-4],
        "longer": content + b"\0" * 4,
        "empty": b"",
    }
    file.write_bytes(damaged[damage])
    fetched: list[int] = []
    assert ensure(tmp_path, vectors, fetched=fetched).tobytes() == vectors.tobytes()
    assert fetched == [0]


def test_a_wrong_vector_never_gets_into_a_file(tmp_path: Path, vectors: FloatArray) -> None:
    digests = [vector_digest(vector) for vector in vectors]
    wrong = vectors.copy()
    wrong[17] = wrong[16]
    with pytest.raises(VectorStoreError, match="row 17"):
        ensure_vector_file(
            tmp_path, "d", digests, lambda start, stop: wrong[start:stop], parts=PARTS, dimension=DIMENSION
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("damaged", [[0], [4], [39], [38, 13, 21]])
def test_damage_is_found_in_every_block(
    tmp_path: Path, vectors: FloatArray, monkeypatch: pytest.MonkeyPatch, threads: int, damaged: list[int]
) -> None:
    monkeypatch.setattr(vectorfile_module, "_BLOCK_ROWS", 5)
    digests = [vector_digest(vector) for vector in vectors]
    shape = {"parts": PARTS, "dimension": DIMENSION, "threads": threads}
    right = ensure_vector_file(tmp_path, "d", digests, lambda start, stop: vectors[start:stop], **shape)
    assert right.tobytes() == vectors.tobytes()
    wrong = vectors.copy()
    wrong[damaged, 1, 15] *= -1
    with pytest.raises(VectorStoreError, match=f"row {min(damaged)} is damaged"):
        ensure_vector_file(tmp_path, "e", digests, lambda start, stop: wrong[start:stop], **shape)
    wrong.tofile(tmp_path / "d.f32")
    again = ensure_vector_file(tmp_path, "d", digests, lambda start, stop: vectors[start:stop], **shape)
    assert again.tobytes() == vectors.tobytes()


@pytest.mark.parametrize("in_flight", [1, 4])
def test_blocks_are_fetched_at_once_and_written_in_order(
    tmp_path: Path, vectors: FloatArray, monkeypatch: pytest.MonkeyPatch, in_flight: int
) -> None:
    monkeypatch.setattr(vectorfile_module, "_BLOCK_BYTES", 3 * vectors[0].nbytes)
    digests = [vector_digest(vector) for vector in vectors]
    meeting = threading.Barrier(in_flight)

    def fetch(start: int, stop: int) -> FloatArray:
        if start < 3 * in_flight:
            meeting.wait(timeout=30)  # nobody goes on before as many are under way
        assert stop - start <= 3
        return vectors[start:stop]

    def broken(start: int, stop: int) -> FloatArray:
        if start >= 12:
            raise VectorStoreError("the server is gone")
        return vectors[start:stop]

    shape = {"parts": PARTS, "dimension": DIMENSION, "in_flight": in_flight}
    found = ensure_vector_file(tmp_path, "d", digests, fetch, **shape)
    assert found.tobytes() == vectors.tobytes()
    with pytest.raises(VectorStoreError, match="server is gone"):
        ensure_vector_file(tmp_path, "e", digests, broken, **shape)
    assert [file.name for file in tmp_path.iterdir()] == ["d.f32"]


def test_an_unusable_folder_is_a_clear_error(tmp_path: Path, vectors: FloatArray) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(VectorStoreError, match="vector file"):
        ensure(tmp_path / "file", vectors)


def test_prune_keeps_the_most_recently_used(tmp_path: Path, vectors: FloatArray) -> None:
    size = vectors.nbytes
    for age, name in enumerate(["newest", "middle", "oldest"]):
        ensure(tmp_path, vectors, name)
        os.utime(tmp_path / f"{name}.f32", (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "x-1.unfinished").write_bytes(b"left by a process that died")
    opened = ensure(tmp_path, vectors, "middle")  # used just now
    with unfinished(tmp_path / "x.f32") as stream:
        stream.write(b"being written")
        assert {file.name for file in prune(tmp_path, 2 * size)} == {"oldest.f32"}
        assert {file.name for file in prune(tmp_path, 2 * size - 1)} == {"newest.f32"}
        prune(tmp_path, 0)
        assert opened.tobytes() == vectors.tobytes()  # still readable for who has it open
        assert [file.suffix for file in tmp_path.iterdir()] == [".unfinished"]
    assert [file.name for file in tmp_path.iterdir()] == ["x.f32"]
    with pytest.raises(Outdated), unfinished(tmp_path / "y.f32"):
        clear(tmp_path)
    assert list(tmp_path.iterdir()) == []
    clear(tmp_path / "absent")


def test_vectors_of_several_collections_come_in_the_order_asked_for(vectors: FloatArray) -> None:
    index, located = filled(vectors)
    order = [*np.random.default_rng(1).permutation(COUNT).tolist(), 3, 3]
    found = load_vectors(index, [located[row] for row in order], parts=PARTS, dimension=DIMENSION)
    assert found.tobytes() == vectors[order].tobytes()
    assert load_vectors(index, [], parts=PARTS, dimension=DIMENSION).shape == (0, PARTS, DIMENSION)


def test_the_first_missing_or_damaged_point_is_named(vectors: FloatArray) -> None:
    index, located = filled(vectors)
    key, point, _ = located[5]
    index.delete(key, [point])
    with pytest.raises(VectorStoreError, match=f"{point} in collection {key} is missing") as raised:
        load_vectors(index, located, parts=PARTS, dimension=DIMENSION)
    assert "reconcile" in raised.value.hint
    key, point, _ = located[2]
    index.upsert(key, Points([point], vectors[9:10], [{}]))
    with pytest.raises(VectorStoreError, match=f"{point} in collection {key} is damaged"):
        load_vectors(index, located, parts=PARTS, dimension=DIMENSION)


def test_vectors_of_another_shape_are_refused(vectors: FloatArray) -> None:
    index, located = filled(vectors)
    with pytest.raises(VectorStoreError, match="another shape"):
        load_vectors(index, located, parts=1, dimension=DIMENSION)


def filled(vectors: FloatArray) -> tuple[MemoryIndex, list[tuple[str, str, str]]]:
    index = MemoryIndex()
    located = [
        (f"set-{row % 2}", point_id(f"sha256:{row}", "space:test"), vector_digest(vector))
        for row, vector in enumerate(vectors)
    ]
    for key in ("set-0", "set-1"):
        index.create(CollectionSpec(key, DIMENSION, PARTS))
        rows = [row for row in range(COUNT) if located[row][0] == key]
        index.upsert(key, Points([located[row][1] for row in rows], vectors[rows], [{}] * len(rows)))
    return index, located


def test_a_file_that_is_cleared_while_it_is_written_is_made_again(tmp_path: Path, vectors: FloatArray) -> None:
    """Somebody forgets an image that is not among these; the disk is neither full nor damaged."""
    fetched: list[int] = []

    def fetch(start: int, stop: int) -> FloatArray:
        fetched.append(start)
        if len(fetched) < 3:
            clear(tmp_path)
        return vectors[start:stop]

    digests = [vector_digest(vector) for vector in vectors]
    found = ensure_vector_file(tmp_path, "d", digests, fetch, parts=PARTS, dimension=DIMENSION)
    assert (found.tobytes(), fetched) == (vectors.tobytes(), [0, 0, 0])
    assert [file.name for file in tmp_path.iterdir()] == ["d.f32"]

    def kept(is_current: Callable[[], bool]) -> list[str]:
        assert kept_arrays(tmp_path, "made", lambda: {"a": vectors}, is_current)["a"].tobytes() == vectors.tobytes()
        return sorted(file.name for file in tmp_path.iterdir())

    assert kept(lambda: False) == ["d.f32"]
    # a forgetting that comes after the question clears what answered it
    assert kept(lambda: clear(tmp_path) is None) == []
    assert kept(lambda: True) == ["made.made"]
    assert kept(lambda: False) == ["made.made"]
