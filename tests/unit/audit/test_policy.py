"""Policies: what is part of their content address, and what is refused."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest

from provenance.audit import Policy, PolicyChoice, policy_from_json
from provenance.audit.rules.calibrated import CalibratedRule
from provenance.audit.rules.logistic import LogisticRule
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.detection import FitSettings, LogisticModel
from provenance.errors import UsageError
from provenance.vocabulary import Population, RuleName, Subject

if TYPE_CHECKING:
    from provenance.audit.rule import Rule

MODEL = LogisticModel(("s_used", "s_not_used"), (2.0, -1.0), -0.5, (0.0, 0.0), (1.0, 1.0))


def test_policies_of_the_seed_rule_keep_their_recorded_ids() -> None:
    # As they stand in the histories of existing workspaces.
    assert Policy().policy_id == "policy:fff39392a688d931ca558d77efcdf61400ceec26b7fa45372e1058c5da3b4c83"
    other = Policy(Subject.REAL, MuAlphaSigmaRule(0.7, Population.PAIRWISE), top_k=3)
    assert other.policy_id == "policy:d67302bcfa120d65c2b7493e4c8bdf7c3fdf20becf9c2a4333a36af41ea38c57"


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        (MuAlphaSigmaRule(), ["subject", "alpha", "population", "top_k", "ddof", "decimals"]),
        (LogisticRule(MODEL, "space:1"), ["subject", "model", "top_k", "decimals", "space_id"]),
        (LogisticRule(MODEL), ["subject", "model", "top_k", "decimals"]),
        (CalibratedRule(), ["subject", "q", "level", "permutations", "seed", "top_k", "decimals"]),
    ],
)
def test_parameters_stand_in_the_order_in_which_files_have_them(rule: Rule, names: list[str]) -> None:
    # their policy_id is the same in any order, the bytes of a policy's file are not
    assert list(Policy(rule=rule).parameters) == names


def test_policy_holds_the_model_and_nothing_of_the_other_rule() -> None:
    policy = Policy(rule=LogisticRule(MODEL))
    assert LogisticModel.from_json(json.loads(json.dumps(policy.parameters))["model"]) == MODEL
    assert policy_from_json("logistic", policy.parameters).policy_id == policy.policy_id
    assert "alpha" not in policy.parameters
    changed = LogisticModel(MODEL.features, (2.0, math.nextafter(-1.0, 0)), -0.5, MODEL.mean, MODEL.scale)
    others = [
        Policy(),
        Policy(rule=LogisticRule(changed)),
        Policy(rule=LogisticRule(MODEL), top_k=5),
        Policy(Subject.REAL, LogisticRule(MODEL)),
    ]
    assert len({policy.policy_id, *(other.policy_id for other in others)}) == 5


def test_equal_models_have_one_policy_id_however_their_numbers_are_written() -> None:
    whole = LogisticModel(("x",), (1,), 0, (0,), (1,), FitSettings(c=1, held_out_share=0.2))
    decimal = LogisticModel(("x",), (1.0,), 0.0, (0.0,), (1.0,))
    ids = {Policy(rule=LogisticRule(model)).policy_id for model in (whole, decimal)}
    assert len(ids) == 1


def test_rule_and_model_must_go_together() -> None:
    with pytest.raises(UsageError, match="needs a fitted model"):
        PolicyChoice(options={"rule": RuleName.LOGISTIC}).stated(None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="judges by other parameters: model"):
        policy_from_json("mu-alpha-sigma", {**Policy().parameters, "model": MODEL.to_json()})


def test_policy_id_names_every_parameter() -> None:
    policies = [
        Policy(),
        Policy(rule=MuAlphaSigmaRule(0.7)),
        Policy(top_k=5),
        Policy(rule=MuAlphaSigmaRule(population=Population.PAIRWISE)),
        Policy(subject=Subject.REAL),
    ]
    assert len({policy.policy_id for policy in policies}) == len(policies)
    assert Policy(rule=MuAlphaSigmaRule(1)).policy_id == Policy(rule=MuAlphaSigmaRule(1.0)).policy_id


@pytest.mark.parametrize("wrong", [{"alpha": float("nan")}, {"alpha": float("inf")}, {"top_k": 0}])
def test_senseless_policies_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        PolicyChoice(options=wrong).by_sets(())
