"""What counts as a near-duplicate, and what its parameters say."""

from __future__ import annotations

import math

import pytest

from provenance.duplicates import DuplicateRule
from provenance.errors import UsageError
from provenance.vocabulary import Evidence


def test_defaults_follow_the_kind_of_evidence() -> None:
    assert DuplicateRule.chosen() == DuplicateRule()
    assert DuplicateRule.chosen(Evidence.EITHER).min_similarity > DuplicateRule.chosen(Evidence.BOTH).min_similarity
    assert DuplicateRule.chosen(Evidence.EITHER, 0, 0.5) == DuplicateRule(Evidence.EITHER, 0, 0.5)


def test_parameters_are_json_values_that_tell_rules_apart() -> None:
    rules = [
        DuplicateRule(),
        DuplicateRule(Evidence.EITHER),
        DuplicateRule(hash_distance=5),
        DuplicateRule(min_similarity=1),
    ]
    assert DuplicateRule(min_similarity=1).parameters == {
        "evidence": "both",
        "hash": "phash-64-1",
        "hash_distance": 4,
        "min_similarity": 1.0,
    }
    assert len({str(rule.parameters) for rule in rules}) == 4


@pytest.mark.parametrize(
    "limits", [{"hash_distance": -1}, {"hash_distance": 65}, {"min_similarity": 1.5}, {"min_similarity": math.nan}]
)
def test_limits_out_of_range(limits: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be"):
        DuplicateRule(**limits)  # type: ignore[arg-type]
