"""Sets that can't be held against each other: of another kind, of another modality, twins, or against the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from provenance import Workspace
from tests.e2e.conftest import picture
from tests.e2e.test_calibrated import WHOLE, begin
from tests.runner import answer, refused, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Pixels = np.ndarray[Any, np.dtype[np.uint8]]

USED, FRESH = range(24), range(100, 124)
WAYS = (
    (),
    ("--subject", "generated"),
    ("--subject", "real"),
    ("--subject", "real", "--score", "relative"),
)


def save(
    folder: Path, seeds: Iterable[int], changed: Callable[[Pixels], Pixels] = np.asarray, form: str = "png"
) -> None:
    folder.mkdir(parents=True)
    for seed in seeds:
        Image.fromarray(changed(picture(seed, side=32))).save(folder / f"{folder.name}{seed:04d}.{form}")


def noisy(pixels: Pixels) -> Pixels:
    moved = np.random.default_rng(int(pixels.sum())).integers(-2, 3, pixels.shape)
    return np.clip(pixels.astype(np.int64) + moved, 0, 255).astype(np.uint8)


SETS: dict[str, tuple[str, str, Iterable[int], Callable[[Pixels], Pixels], str]] = {
    "used": ("used", "CT", USED, np.asarray, "png"),
    "fresh": ("not-used", "CT", FRESH, np.asarray, "png"),
    "films": ("not-used", "CR", FRESH, np.invert, "png"),
    "dark": ("not-used", "", FRESH, lambda pixels: (pixels * 0.4).astype(np.uint8), "png"),
    "large": ("not-used", "", FRESH, lambda pixels: np.kron(pixels, np.ones((3, 3, 1), dtype=np.uint8)), "png"),
    "twins": ("not-used", "", USED, np.asarray, "jpg"),
    "mirrored": ("not-used", "", USED, lambda pixels: np.ascontiguousarray(pixels[:, ::-1]), "jpg"),
    "asked": ("unknown", "", range(200, 216), lambda pixels: (pixels * 0.4).astype(np.uint8), "png"),
    "doubles": ("unknown", "", FRESH, noisy, "png"),
}


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release that leaks: its images are the used ones with a little noise. Another that has seen nothing."""
    root = tmp_path_factory.mktemp("unlike")
    begin(root / "ws")
    for name, (membership, modality, *how) in SETS.items():
        save(root / name, *how)
        words = ("--set", name, "--membership", membership, "--modality", modality, "--backbone", WHOLE)
        run(root / "ws", "ingest", str(root / name), *words)
    for name, seeds, modality in (
        ("leaky", USED, "CT"),
        ("clean", range(300, 320), "CT"),
        ("silent", range(320, 324), ""),
    ):
        save(root / name, seeds, noisy)
        words = ("--release", name, "--generator", "g", "--modality", modality, "--backbone", WHOLE)
        run(root / "ws", "ingest", str(root / name), *words)
    return root / "ws"


def membership(found: dict[str, Any]) -> dict[str, Any]:
    """The answer about membership, of an audit of several answers or of one."""
    return found.get("membership") or {**found, **found["counts"]}


@pytest.mark.parametrize(
    ("name", "how"),
    [("dark", "differ grossly in intensity"), ("large", "differ grossly in size"), ("twins", "have near-twins among")],
)
def test_not_used_images_that_can_tell_nothing_make_no_leak_and_no_all_clear(ws: Path, name: str, how: str) -> None:
    ways = WAYS[:2] if name == "large" else WAYS
    for release, words in (*(("leaky", each) for each in ways), ("clean", (*WAYS[2], "--score", "nearest"))):
        whole = answer(ws, "audit", release, "--used", "used", "--not-used", name, *words)
        found = membership(whole)
        assert found["outcome"] == "inconclusive", words
        assert how in found["outcome_reason"], words
        assert how in whole["outcome_reason"], words
        assert found["inconclusive"] == found["subjects"] > 0, words
        assert whole["outcome"] != "leak_not_established", words
        if test := found["settings"].get("release_test"):
            assert test["outcome"] == "inconclusive", words
    planted = answer(ws, "sensitivity", found["audit_id"], "--plants", "2", "--kinds", "exact")
    assert any("establishes nothing, whatever is planted" in note for note in planted["notes"])
    assert "would have been found" not in run(ws, "audits", "show", found["audit_id"]).stdout.splitlines()[0]


def test_mirrored_twins_are_twins_and_no_all_clear(ws: Path) -> None:
    found = answer(ws, "audit", "clean", "--used", "used", "--not-used", "mirrored", *WAYS[3])
    assert found["counts"]["not_used_with_twins"] > 0.8 * len(USED)
    assert found["outcome"] == "inconclusive"
    assert "have near-twins among" in found["outcome_reason"]


def test_what_is_alike_is_judged_as_before(ws: Path) -> None:
    found = answer(ws, "audit", "leaky", "--used", "used", "--not-used", "fresh")
    assert membership(found)["outcome"] == found["outcome"] == "leak_established"
    assert membership(found)["established"] > 0
    assert not any("grossly" in note for note in found["notes"])


def test_copies_are_not_calibrated_by_images_of_another_kind(ws: Path) -> None:
    found = answer(ws, "audit", "leaky", "--used", "used", "--not-used", "dark", "--rule", "copies")
    assert found["settings"]["whole"]["never_used"] is False
    assert "Copies are not calibrated by the never-used images" in found["notes"][0]
    alike = answer(ws, "audit", "leaky", "--used", "used", "--not-used", "fresh", "--rule", "copies")
    assert alike["settings"]["whole"]["never_used"] is True


def test_unknown_images_of_another_kind_leave_the_claimed_ones_what_they_are(ws: Path) -> None:
    sets = ("--used", "used", "--not-used", "fresh", "--subject", "real")
    for name, how in (
        ("asked", "differ grossly in intensity"),
        ("doubles", "have near-twins among those of unknown use"),
    ):
        found = answer(ws, "audit", "leaky", *sets, "--against", name, "--fdr", "0.2")
        families = found["settings"]["calibrated"]["families"]
        assert found["outcome"] == "leak_established"
        assert families["used"]["established"] > 0
        assert families["against"]["established"] == 0
        assert how in families["against"]["reason"]
        assert any(how in note for note in found["notes"])
        alone = answer(ws, "audit", "leaky", *sets[2:], "--against", name, "--score", "relative")
        assert alone["outcome"] == "inconclusive"
        assert how in alone["outcome_reason"]


def test_a_flag_against_the_record_is_refused_unless_forced(ws: Path) -> None:
    swapped = ("audit", "clean", "--used", "fresh", "--not-used", "used")
    said = refused(ws, *swapped, code=8)
    assert "set fresh is not used on record, and acts as used" in said
    assert "set used is used on record, and acts as not used" in said
    found = answer(ws, *swapped, "--override-membership", "--rule", "mu-alpha-sigma", "--subject", "real")
    assert any("on record, and acts as used (--override-membership)" in note for note in found["notes"])
    assert refused(ws, *swapped, "--declare", "nowhere.json", code=8) == said
    # a claim that says less than the record contradicts nothing
    answer(ws, "audit", "clean", "--against", "used", "--rule", "mu-alpha-sigma", "--subject", "real")


def test_modalities_are_mixed_by_force_only(ws: Path) -> None:
    baseline = ("--rule", "mu-alpha-sigma", "--subject", "real")
    mixed = ("audit", "leaky", "--used", "used", "--not-used", "films")
    assert "CT: leaky, used; CR: films" in refused(ws, *mixed, code=8)
    assert "several modalities" in refused(ws, "audit", "leaky", "--not-used", "films", *baseline, code=8)
    forced = answer(ws, *mixed, "--mix-modalities", "--subject", "real")
    assert forced["outcome"] == "inconclusive"
    assert "differ grossly in modality (24 CR against 24 CT" in forced["outcome_reason"]
    assert any("several modalities act together here" in note for note in forced["notes"])
    joined = answer(ws, "audit", "leaky", *baseline)
    assert "films" not in [each["name"] for each in joined["datasets"]]
    assert any("Left out, as the release is of another modality (CT): films (CR)" in note for note in joined["notes"])
    assert any("No modality is on record of" in note for note in joined["notes"])
    # a release that states none: nothing says which of the sets are of its kind
    assert "several modalities" in refused(ws, "audit", "silent", *baseline, code=8)
    with Workspace.open(ws) as workspace:
        report = workspace.audit("silent", used="used", not_used="films", mix_modalities=True, subject="real")
        assert report.audit.findings.outcome == "inconclusive"
