"""Which scores of an audit its release test compares."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.metrics import roc_auc_score

from provenance.audit.scored import scored_reals
from provenance.detection import judge_release
from provenance.records import Placement
from provenance.vocabulary import Role, Subject

USED = {f"u{n}": (float(n % 5) + 0.3, f"p{n}") for n in range(8)}
NEVER = {f"n{n}": (float(n % 3), f"q{n}") for n in range(6)} | {"n6": (9.0, "p2"), "n7": (8.0, "p3")}
"""Score and patient; two patients have images of both kinds, which would lower the AUC."""


def catalog_of(groups: dict[str, str]) -> Any:
    """As much of a catalog as is asked; in the set that is named first an image has no group."""

    def scored(images: dict[str, tuple[float, str]], role: Role) -> list[Any]:
        return [SimpleNamespace(image_key=k, score=score, subject_role=role) for k, (score, _) in images.items()]

    unknown = [SimpleNamespace(image_key="a0", score=4.0, subject_role=Role.AGAINST)]
    played = [(Role.RELEASE, "r"), (Role.USED, "b"), (Role.NOT_USED, "c"), (Role.AGAINST, "a")]
    return SimpleNamespace(
        verdicts=lambda _id: [*scored(USED, Role.USED), *unknown],
        calibration_scores=lambda _id: scored(NEVER, Role.NOT_USED),
        audit_datasets=lambda _id: [SimpleNamespace(dataset_id=n, name=n, role=role) for role, n in played],
        placements=lambda ids: (
            [
                *(Placement(key, "b", group) for key, group in groups.items()),
                *(Placement(key, "a", None) for key in groups),
            ]
            if set(ids) == {"a", "b", "c"}
            else []
        ),
    )


def audit_of() -> tuple[Any, Any]:
    everyone = [*USED.values(), *NEVER.values()]
    flags = [True] * len(USED) + [False] * len(NEVER)
    test = judge_release([s for s, _ in everyone], flags, groups=[g for _, g in everyone], permutations=99)
    findings = SimpleNamespace(calibrated=SimpleNamespace(release_test=test))
    return SimpleNamespace(audit_id="a", subject=Subject.REAL, findings=findings), test


def test_the_scores_that_are_told_to_be_compared_give_the_recorded_auc() -> None:
    audit, test = audit_of()
    groups = {key: group for key, (_, group) in {**USED, **NEVER}.items()}
    found = scored_reals(catalog_of(groups), audit)
    assert test.mixed_groups == 2
    assert found.tested == {*USED, *NEVER} - {"u2", "u3", "n6", "n7"}
    used, never = found.compared
    assert len(used) + len(never) == 12
    assert roc_auc_score([1] * len(used) + [0] * len(never), [*used, *never]) == pytest.approx(test.auc.value)
    assert found.groups == groups


def test_where_groups_have_changed_since_it_is_not_told_and_all_scores_stand() -> None:
    audit, _ = audit_of()
    found = scored_reals(catalog_of({key: key for key in (*USED, *NEVER)}), audit)
    assert found.tested is None
    assert tuple(map(len, found.compared)) == (8, 8)
