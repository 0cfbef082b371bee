"""Comparable pixels: real images brought to the release's native resolution, in a space of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from provenance import Workspace
from provenance.embedding import load_backbone
from provenance.errors import ProvenanceError, SourceError, UsageError
from provenance.keeping.reconcile import reconcile
from provenance.vocabulary import Membership

if TYPE_CHECKING:
    from pathlib import Path

MakeWorkspace = Callable[..., Workspace]
SMALL = (20, 16)


@pytest.fixture
def workspace(make_workspace: MakeWorkspace, cohort: Path) -> Workspace:
    """12 used and 10 not used of 40x40 pixels; a release of the used ones at 20x16, and one at 40x40."""
    for path in sorted((cohort / "generated").iterdir()):
        path.unlink()
    for path in sorted((cohort / "real_used").iterdir()):
        Image.open(path).resize(SMALL, Image.Resampling.BILINEAR).save(cohort / "generated" / path.name)
    Image.new("RGB", (40, 40), (9, 200, 30)).save(cohort / "generated" / "larger.png")
    workspace = make_workspace()
    workspace.ingest(cohort / "real_used", set="used", membership=Membership.USED)
    workspace.ingest(cohort / "real_not_used", set="not-used", membership=Membership.NOT_USED)
    workspace.ingest(cohort / "generated", release="gan", generator="g")
    return workspace


def note_with(words: str, notes: tuple[str, ...]) -> str:
    return next((note for note in notes if words in note), "")


def test_an_audit_notices_other_sizes_and_judges_at_the_releases(workspace: Workspace) -> None:
    plain = workspace.audit("gan", subject="generated", used="used", not_used="not-used")
    note = note_with("--match-resolution", plain.notes)
    assert "20x16 pixels (12 of 13)" in note
    assert "22 of 22 real ones are not (most frequent: 40x40)" in note
    matched = workspace.audit("gan", subject="generated", used="used", not_used="not-used", match_resolution=True)
    assert not note_with("--match-resolution", matched.notes)
    assert "20x16" in note_with("first brought to", matched.notes)
    assert "1 of 13" in note_with("not 20x16", matched.notes)
    assert matched.audit.space_id != plain.audit.space_id
    resolution = {"matched": "20x16", "release": {"20x16": 12, "40x40": 1}, "reals": {"40x40": 22}}
    assert matched.audit.settings["resolution"] == resolution
    scores = workspace.verdicts(matched).set_index("name")["s_used"]
    assert scores.drop("larger.png").to_numpy() == pytest.approx(1.0, abs=1e-6), "the same pixels now"
    assert workspace.verdicts(plain).set_index("name")["s_used"].drop("larger.png").max() < 0.99999
    assert reconcile(workspace).is_clean
    # the matched space is there now, and what is said without --space still means images as they are
    assert workspace.audit("gan", subject="generated", used="used").audit.space_id == plain.audit.space_id
    assert len(workspace.neighbors("img_0100.png", within="used", top_k=2)) == 2
    by_name = workspace.audit(
        "gan", subject="generated", used="used", not_used="not-used", space=str(matched_name(workspace))
    )
    assert by_name.audit.verdict_digest == matched.audit.verdict_digest


def matched_name(workspace: Workspace) -> str:
    (found,) = (space for space in workspace.catalog.spaces() if space.matched_resolution == SMALL)
    assert found.backbone == f"{found.whole_backbone}@20x16"
    return found.backbone


def test_vectors_are_those_of_images_resized_beforehand(workspace: Workspace, cohort: Path) -> None:
    backbone = workspace.load_backbone()
    workspace.embed("used", backbone=backbone, match_resolution="gan")
    (matched,) = (space for space in workspace.catalog.spaces() if space.matched_resolution == SMALL)
    embeddings = {
        e.name: e.embedding
        for block in workspace.embeddings("used", space=matched.space_id)
        for e in block.itertuples()
    }
    for name in ("img_0003.png", "img_0007.png"):
        small = Image.open(cohort / "real_used" / name).convert("RGB").resize(SMALL, Image.Resampling.BILINEAR)
        pixels = np.asarray(small.resize((224, 224), Image.Resampling.BILINEAR))
        assert np.array_equal(embeddings[name], backbone.embed(pixels[None])[0, 0])


def test_sources_that_are_gone_are_a_clear_error_unless_nothing_is_missing(workspace: Workspace, cohort: Path) -> None:
    (cohort / "real_used" / "img_0004.png").rename(cohort / "away.png")
    with pytest.raises(SourceError, match=r"1 images of used can't be read again.*img_0004\.png") as raised:
        workspace.audit("gan", subject="generated", used="used", match_resolution=True)
    assert "relocate" in raised.value.hint
    (cohort / "away.png").rename(cohort / "real_used" / "img_0004.png")
    first = workspace.audit("gan", subject="generated", used="used", match_resolution=True)
    (cohort / "real_used").rename(cohort / "elsewhere")
    again = workspace.audit("gan", subject="generated", used="used", match_resolution=True)
    assert again.audit.verdict_digest == first.audit.verdict_digest


def test_names_and_calls_that_make_no_sense_are_refused(workspace: Workspace, tiny_backbone: Path) -> None:
    with pytest.raises(ProvenanceError, match="is a set, not a release"):
        workspace.embed("used", backbone=workspace.load_backbone(), match_resolution="used")
    with pytest.raises(UsageError, match="brought to 0x0"):
        load_backbone("resnet50@0")
    with pytest.raises(UsageError, match="the call for 32x32"):
        load_backbone("resnet50@64", match_resolution=(32, 32))
    plain = load_backbone(backbone_file=tiny_backbone).space
    square = load_backbone(backbone_file=tiny_backbone, match_resolution=(64, 64)).space
    assert square.backbone == f"{plain.backbone}@64"
    assert square.matched_to(None) == plain
    assert square.matched_to((64, 48)).backbone == f"{plain.backbone}@64x48"
