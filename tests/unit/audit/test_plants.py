"""Scores with a plant in the release are those of a release that holds it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from provenance.audit.rules.calibrated.plants import is_incremental, scores_with_plants
from provenance.audit.scoring import LEARNT, score_names, score_reals
from provenance.audit.scoring_inputs import ScoringInputs
from tests.vectors import unit

NAMES = [*(name for name in score_names() if name != LEARNT), "referenced:relative", "referenced:local"]


@pytest.mark.parametrize("name", NAMES)
def test_each_plant_as_if_the_release_had_held_it(name: str) -> None:
    rng = np.random.default_rng(2)
    parts = 3 if "local" in name and "share" not in name else 1
    pool, release, other = (unit(rng.normal(size=(n, parts, 8)) + 1) for n in (40, 30, 25))
    groups = [f"p{row // 2}" if row < 20 else None for row in range(40)]
    inputs = ScoringInputs(pool, release, groups, other if name.startswith("referenced") else None)
    plants = unit(pool[:6] + 0.05 * rng.normal(size=(6, parts, 8)))
    k = 5
    found = list(scores_with_plants(name, inputs, plants, k=k))
    assert len(found) == 6
    for plant, scores in zip(plants, found, strict=True):
        whole = score_reals(name, replace(inputs, release=np.concatenate([release, plant[None]])), k=k).scores
        if name in ("monte-carlo", "rank-average"):  # the radius stays that of the release without the plant
            assert np.abs(scores - whole).max() < 0.2
        else:
            assert np.allclose(scores, whole, rtol=0, atol=2e-5 if parts > 1 else 1e-9)


def test_what_has_no_incremental_form_is_known() -> None:
    assert not is_incremental("referenced:local", 10)
    assert not is_incremental("local-nearest", 10)
    assert is_incremental("local-nearest", 1)
    assert all(is_incremental(name, 10) for name in NAMES if name not in ("local-nearest", "referenced:local"))
