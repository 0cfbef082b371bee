"""Which inputs need not be read again: what the catalog knows of their places decides."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from provenance.ingest.record import told_apart

if TYPE_CHECKING:
    from tests.unit.catalog.conftest import Stage


def test_a_file_is_known_by_its_image_and_never_by_one_frame_of_several(stage: Stage) -> None:
    plain = stage.image("plain", items=[stage.item("plain.png")])
    frame = stage.image("frame", items=[stage.item("stack.tif")])
    frame = replace(frame, facts=replace(frame.facts, image_id=frame.facts.image_id + "#1"))
    stage.record([plain, frame])
    items = [stage.item("plain.png"), stage.item("stack.tif"), stage.item("new.png")]
    told = list(told_apart(items, stage.catalog, stage.dataset.dataset_id, stage.collection, lambda _name: None))
    assert [known for _, known in told] == [plain.facts.image_id, None, None]
    assert [item for item, _ in told] == items
