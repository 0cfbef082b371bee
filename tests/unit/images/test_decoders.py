"""The registry of decoders, by a toy format of several frames that joins it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from provenance.images import (
    PreparationSettings,
    Prepared,
    RecordedImage,
    Reread,
    decode,
    open_source,
    prepare,
    prepare_frames,
    read_again,
)
from provenance.images.decode import frames_of
from provenance.images.frames import BadInput, Decoder, Picture, Reading
from provenance.vocabulary import Rejection, RejectReason, SourceItem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = PreparationSettings(size=8)


def prepare_bytes(data: bytes, name: str, settings: PreparationSettings) -> Prepared | Rejection:
    return prepare(SourceItem(name, "", None, len(data), content=data), settings)


class ToyDecoder(Decoder):
    """``TOY`` and one byte of grey for each frame of 2 x 3 pixels; 255 is damage, and 254 a defect of the decoder."""

    name, version, suffixes = "toy", "1", (".toy.gz",)
    lacking = ""

    def __init__(self) -> None:
        self.given = 0

    def takes(self, head: bytes, name: str) -> bool:
        return head.startswith(b"TOY")

    def lacks(self) -> str:
        return self.lacking

    def frames(self, data: bytes, reading: Reading) -> Iterator[Picture]:
        for number, grey in enumerate(data[3:], start=1):
            if grey == 255:
                raise BadInput(RejectReason.TRUNCATED, "cut")
            if grey == 254:
                raise KeyError("a defect")
            self.given += 1
            yield Picture(np.full((2, 3), grey, np.uint8), "TOY", "L", number if len(data) > 4 else None)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ToyDecoder:
    decoder = ToyDecoder()
    monkeypatch.setattr(decode, "DECODERS", (decoder, *decode.DECODERS))
    return decoder


def test_frames_come_one_by_one_with_an_id_each(toy: ToyDecoder) -> None:
    data = b"TOY" + bytes([10, 20, 30])
    file_id = "sha256:" + hashlib.sha256(data).hexdigest()
    frames = frames_of(data)
    first = next(frames)
    assert toy.given == 1
    assert [first.image_id, *(frame.image_id for frame in frames)] == [f"{file_id}#{n}" for n in (1, 2, 3)]
    assert first.rgb().tolist() == [[[10] * 3] * 3] * 2
    assert (first.facts().width, first.facts().height, first.facts().file_format) == (3, 2, "TOY")
    assert first.decoder == "toy 1"
    (alone,) = frames_of(b"TOY\x07")
    assert alone.image_id == "sha256:" + hashlib.sha256(b"TOY\x07").hexdigest()


def test_frames_before_the_damage_are_kept_and_the_damage_is_told(toy: ToyDecoder) -> None:
    item = SourceItem("a.toy", "", None, 6, 0, 0, 0, content=b"TOY" + bytes([10, 20, 255]))
    *images, last = prepare_frames(item, SETTINGS)
    assert [type(image) for image in images] == [Prepared, Prepared]
    assert isinstance(last, Rejection)
    assert (last.reason, last.detail) == (RejectReason.TRUNCATED, "cut")
    for content, detail in ((b"TOY\xfe", "toy: 'a defect'"), (b"TOY", "toy: it holds no frame")):
        refused = prepare_bytes(content, "a.toy", SETTINGS)
        assert isinstance(refused, Rejection)
        assert (refused.reason, refused.detail) == (RejectReason.BROKEN, detail)


def test_what_a_decoder_lacks_is_told(toy: ToyDecoder) -> None:
    toy.lacking = "toys need batteries: pip install batteries"
    refused = prepare_bytes(b"TOY\x07", "a.toy", SETTINGS)
    assert isinstance(refused, Rejection)
    assert (refused.reason, refused.detail) == (RejectReason.UNSUPPORTED, toy.lacking)


def test_a_name_that_a_decoder_claims_is_let_through(toy: ToyDecoder, tmp_path: Path) -> None:
    (tmp_path / "a.toy.gz").write_bytes(b"TOY\x07")
    (tmp_path / "b.gz").write_bytes(b"TOY\x07")
    assert [type(item) for item in open_source(tmp_path)] == [SourceItem, Rejection]
    assert [type(item) for item in open_source(tmp_path / "a.toy.gz")] == [SourceItem]


def test_one_frame_is_read_again_by_its_id(toy: ToyDecoder, tmp_path: Path) -> None:
    data = b"TOY" + bytes([10, 20, 30])
    (tmp_path / "a.toy").write_bytes(data)
    place = SourceItem("a.toy", str(tmp_path / "a.toy"), None, 0, 0, 0, 0)
    file_id = "sha256:" + hashlib.sha256(data).hexdigest()
    found = read_again(RecordedImage(f"{file_id}#2", (place,)), SETTINGS)
    assert isinstance(found, Reread)
    assert (found.frame.image_id, found.frame.pixels[0, 0], toy.given) == (f"{file_id}#2", 20, 2)
    lost = read_again(RecordedImage(f"{file_id}#4", (place,)), SETTINGS)
    assert isinstance(lost, Rejection)
    assert "no frame" in lost.detail
