"""What is kept of the headers of medical images: by image, its series as a keyed hash, gone with the image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.vocabulary import ImageHeader, TechnicalHeader

if TYPE_CHECKING:
    from tests.unit.catalog.conftest import Stage

TECHNICAL = TechnicalHeader("dicom 1", "40,400", "1.2.840.10008.1.2.1", "", "CT", -12.5, 5.0, 0.5, 0.75)


def test_headers_are_kept_by_image_and_go_with_it(stage: Stage) -> None:
    headers = [ImageHeader("P", "1.2", series, TECHNICAL) for series in ("1.2.3", "1.2.3", "")]
    images = [replace(stage.image(number), header=header) for number, header in enumerate(headers)]
    stage.record([*images, stage.image(3)])
    stage.record([replace(images[0], header=replace(headers[0], technical=TechnicalHeader("dicom 2")))])
    keys = [stage.key(number) for number in range(4)]
    kept = stage.catalog.image_headers([*keys, "nobody"])
    assert [key in kept for key in keys] == [True, True, True, False]
    assert {header.technical for header in kept.values()} == {TECHNICAL}
    first, second, third = (kept[key].series_key for key in keys[:3])
    assert first == second
    assert first not in (None, "1.2.3")
    assert third is None
    stage.catalog.forget_image(keys[0])
    stage.catalog.finish_forget(keys[0])
    assert set(stage.catalog.image_headers(keys)) == set(keys[1:3])
