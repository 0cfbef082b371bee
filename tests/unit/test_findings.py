"""Findings are written again as they were read, and what is written anew says the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from provenance.findings import (
    CalibratedFindings,
    DataCopying,
    Euclidean,
    Findings,
    NotComputed,
    PermutationTest,
    ReferenceRelease,
)
from provenance.vocabulary import Evidence, Outcome

TWINS = {
    "evidence": "both",
    "hash": "phash64",
    "hash_distance": 4,
    "min_similarity": 0.65,
    "excluded": True,
    "images_digest": "sha256:1",
    "unhashed": 0,
}
TEST: dict[str, Any] = {
    "value": 0.75,
    "null_mean": 0.5,
    "null_low": None,
    "null_high": 0.7,
    "p_value": 0.01,
    "smallest_p": 0.001,
    "permutations": 999,
    "reason": "",
}
FAMILY = {
    "q": 0.05,
    "subject_groups": 9,
    "calibration_groups": 8,
    "k_min": 2,
    "sufficient_groups": 19,
    "established_groups": 0,
    "reason": "Too few.",
    "warnings": ["few"],
    "established": 0,
}
COPYING = {"attribution": TEST, "c_t": TEST, "auth_pct": TEST, "hubs": 3, "truncated": 0.0, "mixed_groups": 0}
SEED: dict[str, Any] = {
    "search": "exact",
    "index": "local",
    "euclidean": {"nearest": 5, "same_nearest": 4, "tied": 1, "labels": 3, "same_label": 2},
    "twins": TWINS,
    "resolution": {"matched": None, "release": {"64x64": 6}, "reals": {"64x64": 5, "32x32": 1}},
}
CALIBRATED: dict[str, Any] = {
    "search": "exact",
    "index": "local",
    "euclidean": {"nearest": 5, "same_nearest": 4, "tied": 1},
    "outcome": "inconclusive",
    "outcome_reason": "Too few groups.",
    "data_copying": COPYING,
    "calibrated": {
        "score": "local",
        **FAMILY,
        "families": {"used": FAMILY},
        "audits_served": 2,
        "guarantee": "On average.",
    },
    "reference_release": {"name": "clean", "dataset_id": "d", "digest": "sha256:2", "image_count": 4},
    "shift": {
        "tests": [{"name": "size", "p_value": 0.5, "p_corrected": 1.0, "detail": "like"}],
        "level": 0.05,
        "warnings": [],
    },
    "sensitivity": None,
    "twins": TWINS,
    "resolution": SEED["resolution"],
}


@pytest.mark.parametrize(
    "recorded",
    [
        {},
        {"top_k": 10},
        {"search": "approximate"},
        {"search": "exact", "index": "local", "later": {"of": ["another", None]}},
        SEED | {"twins": TWINS | {"later": 1}},
        SEED,
        CALIBRATED,
        CALIBRATED | {"shift": None, "own": 1},
        {name: value for name, value in CALIBRATED.items() if name not in ("shift", "twins", "resolution")},
    ],
)
def test_a_record_is_written_again_as_it_was_read(recorded: dict[str, Any]) -> None:
    assert json.dumps(Findings.from_json(recorded).to_json()) == json.dumps(recorded)


@pytest.mark.parametrize("recorded", [SEED, CALIBRATED])
def test_what_is_made_anew_says_the_same(recorded: dict[str, Any]) -> None:
    found = Findings.from_json(recorded)
    own = found.calibrated.to_json() if found.calibrated else {}
    anew = replace(found, own=own)
    assert anew.recorded is None
    assert json.dumps(anew.to_json()) == json.dumps(recorded)
    assert replace(found) == found


def test_typed_values() -> None:
    found = Findings.from_json(CALIBRATED)
    assert (found.search, found.index, found.outcome) == ("exact", "local", Outcome.INCONCLUSIVE)
    assert found.euclidean == Euclidean(5, 4, 1)
    assert found.twins is not None
    assert found.twins.evidence is Evidence.BOTH
    assert found.reference_release == ReferenceRelease("clean", "d", "sha256:2", 4)
    calibrated = found.calibrated
    assert calibrated is not None
    assert calibrated == found.own_as(CalibratedFindings)
    assert calibrated.calibration.families is not None
    assert calibrated.calibration.families["used"].warnings == ("few",)
    assert calibrated.shift.tests[0].detail == "like"
    assert isinstance(calibrated.data_copying, DataCopying)
    assert calibrated.data_copying.c_t == PermutationTest(**TEST)


def test_what_a_record_lacks() -> None:
    found = Findings.from_json({})
    assert (found.search, found.index, found.outcome, found.twins) == ("exact", "vector", None, None)
    assert (found.calibrated, found.reference_release, found.release_test_json) == (None, None, None)
    older = Findings.from_json({"calibrated": FAMILY, "data_copying": {"reason": "one group"}}).calibrated
    assert older is not None
    assert older.data_copying == NotComputed("one group")
    assert (older.calibration.score, older.calibration.families, older.shift.tests) == (None, None, ())


def test_euclidean_in_words() -> None:
    assert Euclidean(0, 0, 0).sentence == ""
    assert Euclidean(5, 4, 1).sentence == "the same nearest neighbor in 4 of 5 cases, 1 tied by both"
    assert Euclidean(0, 0, 0, 3, 2).sentence == "the same label for 2 of 3 images"
