"""Images on record are read again in one pass over each compressed archive, wherever they stand in it."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from provenance.images import RecordedImage, archives, in_reading_order, supplied
from provenance.images.source import open_source
from provenance.vocabulary import SourceItem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LIMIT = 2**20


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every archive that a decompression was begun of to read its members."""
    begun: list[Path] = []
    whole = archives._CompressedTarReader._members

    def noted(reader: archives._CompressedTarReader):  # type: ignore[no-untyped-def]
        begun.append(reader._path)
        return whole(reader)

    monkeypatch.setattr(archives._CompressedTarReader, "_members", noted)
    return begun


def tar(path: Path, names: list[str]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(data := content(path, name))
            made.addfile(info, io.BytesIO(data))
    path.write_bytes(gzip.compress(buffer.getvalue()) if path.suffix == ".tgz" else buffer.getvalue())
    return path


def content(path: Path, name: str) -> bytes:
    return f"{path.name} {name}".encode()


def recorded(path: Path) -> list[RecordedImage]:
    """What an ingest records of it, in the order of the images' ids."""
    items = [item for item in open_source(path) if isinstance(item, SourceItem)]
    bare = [SourceItem(i.name, i.source, i.member, i.size_bytes, i.modified_ns, i.changed_ns, i.inode) for i in items]
    images = [RecordedImage(hashlib.sha256(content(path, item.name)).hexdigest(), (item,)) for item in bare]
    return sorted(images, key=lambda image: image.image_id)


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    names = [f"{number}.png" for number in range(20)]
    random.Random(3).shuffle(names)
    return [tar(tmp_path / name, names) for name in ("one.tgz", "two.tgz", "plain.tar")]


def test_each_compressed_tar_is_passed_once_in_its_order(sources: list[Path], passes: list[Path]) -> None:
    images = [image for each in zip(*map(recorded, sources), strict=True) for image in each]
    passes.clear()

    ordered = list(in_reading_order(images, LIMIT))

    assert passes == sources[:2]
    assert sorted(image.image_id for image in ordered) == sorted(image.image_id for image in images)
    places = [image.places[0] for image in ordered]
    assert [place.source for place in places] == [str(sources[at]) for at in (2, 0, 1) for _ in range(20)]
    assert all(place.content is None for place in places[:20]), "a plain tar is read by offset"
    assert all(place.content == content(sources[place.source.endswith("two.tgz")], place.name) for place in places[20:])
    in_tar = [item.name for item in open_source(sources[0])]
    assert [place.name for place in places[20:40]] == in_tar


def test_what_an_archive_does_not_give_goes_on_as_it_was(sources: list[Path], tmp_path: Path) -> None:
    image, *others = recorded(sources[0])
    path, place = sources[0], image.places[0]
    elsewhere = SourceItem("copy.png", str(tmp_path / "copy.png"))
    missing = RecordedImage("a", (SourceItem("x", str(path), "x"),))
    moved = RecordedImage("b", (SourceItem("x", str(tmp_path / "gone.png")), place))
    nowhere = RecordedImage("c", ())
    plain = RecordedImage("d", (elsewhere,))

    found = {each.image_id: each for each in in_reading_order([missing, moved, nowhere, plain, *others], LIMIT)}

    assert (found["a"], found["c"], found["d"]) == (missing, nowhere, plain)
    assert found["b"].places[0].content == content(path, place.name), "a place that is gone comes last"
    path.write_bytes(path.read_bytes()[:60])
    assert {each.image_id for each in in_reading_order(others, LIMIT)} == {each.image_id for each in others}


@dataclass(frozen=True)
class Pair:
    images: tuple[RecordedImage, ...]

    def with_images(self, known: Mapping[str, RecordedImage]) -> Pair:
        return Pair(tuple(known[image.image_id] for image in self.images))


@pytest.mark.parametrize(("most", "expected"), [(20, 2), (10, 4), (1, 40)])
def test_orders_that_need_several_images_share_passes(
    sources: list[Path], passes: list[Path], most: int, expected: int
) -> None:
    orders = [Pair(each) for each in zip(*map(recorded, sources), strict=True)]
    passes.clear()

    ready = list(supplied(iter(orders), LIMIT, most=most))

    assert len(passes) == expected
    assert [[i.image_id for i in each.images] for each in ready] == [[i.image_id for i in o.images] for o in orders]
    assert all([image.places[0].content is None for image in each.images] == [False, False, True] for each in ready)


def test_orders_without_compressed_tars_are_not_waited_for(sources: list[Path]) -> None:
    orders = iter([Pair((image,)) for image in recorded(sources[2])])

    first = next(supplied(orders, LIMIT, most=20))

    assert len(list(orders)) == 19
    assert first.images[0].places[0].content is None
