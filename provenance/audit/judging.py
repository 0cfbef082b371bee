"""From evidence to decisions: one entry a rule. ``run`` knows none of them by name.

A rule that joins brings a ``check``, which refuses before any vector is read, and a ``judge``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.audit.calibrated import check_calibrated, judge_calibrated
from provenance.audit.distances import labels_by_distance
from provenance.audit.evidence import SubjectEvidence, pairwise_threshold
from provenance.audit.features import FEATURES, S_NOT_USED, S_USED, features_of
from provenance.audit.inputs import CANDIDATES
from provenance.audit.judgement import Judgement, Rule
from provenance.detection import (
    Policy,
    Threshold,
    decide_generated,
    decide_real,
    population_of_maxima,
    threshold_of_scores,
)
from provenance.errors import SpaceMismatchError, UsageError
from provenance.vocabulary import Population, Role, RuleName, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from provenance.audit.inputs import FrozenAudit
    from provenance.installation import Installation

    OnStep = Callable[[str], None]


def rule_of(policy: Policy) -> Rule:
    """The rule that a policy names.

    Raises:
        UsageError: If it is one that audits don't apply.
    """
    if policy.rule not in RULES:
        raise UsageError(f"an audit does not apply the rule {policy.rule.value}", hint=f"judge by {', '.join(RULES)}")
    return RULES[policy.rule]


def _check_nothing(_frozen: FrozenAudit, _policy: Policy) -> None:
    """Whatever sets there are, mu and sigma are defined."""


def _judge_by_threshold(
    workspace: Installation, frozen: FrozenAudit, policy: Policy, subjects: Sequence[SubjectEvidence], _on_step: OnStep
) -> Judgement:
    """Rule ``mu-alpha-sigma``: seed paper, eqs. 2-4."""
    if policy.subject is Subject.REAL:
        scores = [_there(subject.greatest(Role.RELEASE)) for subject in subjects]
        others: list[float | None] = [None] * len(subjects)
        threshold = _threshold(workspace, frozen, policy, list(scores))
        decisions = [decide_real(score, threshold) for score in scores]
        candidates: list[float | None] = list(scores)
    else:
        rows = [features_of(policy.subject, subject.neighbors) for subject in subjects]
        candidates, others = [row[S_USED] for row in rows], [row[S_NOT_USED] for row in rows]
        threshold = _threshold(workspace, frozen, policy, population_of_maxima(candidates, others))
        decisions = [decide_generated(s, other, threshold) for s, other in zip(candidates, others, strict=True)]
    basis = {
        "mu": threshold.mu,
        "sigma": threshold.sigma,
        "alpha": threshold.alpha,
        "n": threshold.n,
        "value": threshold.value,
    }
    notes = [
        (
            "The mu-alpha-sigma rule is the published baseline. On GAN data with known truth it is at chance: "
            "a label is a lead to look at, not a finding."
        )
    ]
    if policy.subject is Subject.GENERATED and not set(CANDIDATES) & frozen.reals.keys():
        notes.append("No used or unknown set was given: nothing can be labelled used.")
    settings = labels_by_distance(policy, candidates, others)
    return Judgement(tuple(decisions), threshold.value, basis, threshold, settings, tuple(notes))


def _threshold(workspace: Installation, frozen: FrozenAudit, policy: Policy, population: Sequence[float]) -> Threshold:
    if policy.population is Population.PAIRWISE:
        return pairwise_threshold(workspace, frozen, policy.alpha)
    return threshold_of_scores(population, policy.alpha)


def _check_model(frozen: FrozenAudit, policy: Policy) -> None:
    """Refuse a model whose features this audit can't have, or whose space is another one."""
    model = policy.model
    assert model is not None, "a policy of the rule logistic has a model"
    if policy.space_id is not None and policy.space_id != frozen.space.space_id:
        raise SpaceMismatchError(
            f"the model was fitted in {policy.space_id[:18]}; this audit is in {frozen.space.space_id[:18]} "
            f"({frozen.space.backbone})",
            hint="fit one in this space: coefficients mean nothing in another",
        )
    unknown = [name for name in model.features if name not in FEATURES[policy.subject]]
    if unknown:
        raise UsageError(
            f"the model takes {', '.join(unknown)}, which a {policy.subject.value} image does not have",
            hint=f"{policy.subject.value} images have {', '.join(FEATURES[policy.subject])}",
        )
    if S_USED in model.features and not set(CANDIDATES) & frozen.reals.keys():
        raise UsageError(
            "the rule logistic needs S_u: there is no used or unknown set to compare with",
            hint="give --used or --against",
        )
    if S_NOT_USED in model.features and Role.NOT_USED not in frozen.reals:
        raise UsageError(
            "the rule logistic needs S_n: there is no not-used set to compare with", hint="give --not-used"
        )


def _judge_by_model(
    _workspace: Installation,
    _frozen: FrozenAudit,
    policy: Policy,
    subjects: Sequence[SubjectEvidence],
    _on_step: OnStep,
) -> Judgement:
    """Rule ``logistic``: seed paper, 4.5. The score is the probability, the threshold its cutoff."""
    model = policy.model
    assert model is not None, "a policy of the rule logistic has a model"
    rows = [features_of(policy.subject, subject.neighbors) for subject in subjects]
    columns = {name: [_there(row[name]) for row in rows] for name in model.features}
    cutoff = float(model.settings.cutoff)
    note = (
        "A probability of the logistic rule is that of its training images: it carries over to other releases and "
        "sets only as far as these are alike. A label is a lead to look at, not a finding."
    )
    return Judgement(tuple(model.decide(columns)), cutoff, {"cutoff": cutoff}, None, {}, (note,))


def _there(score: float | None) -> float:
    assert score is not None, "checked before: every role that a rule needs holds an image"
    return score


RULES: dict[RuleName, Rule] = {
    RuleName.MU_ALPHA_SIGMA: Rule(_check_nothing, _judge_by_threshold),
    RuleName.LOGISTIC: Rule(_check_model, _judge_by_model),
    RuleName.CALIBRATED: Rule(check_calibrated, judge_calibrated),
}
