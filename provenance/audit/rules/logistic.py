"""Rule ``logistic`` (seed paper, 4.5): used iff the probability by a fitted model is above its cutoff."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from provenance.audit.bench import JudgedCopies
from provenance.audit.features import FEATURES, NEAREST, NEAREST_MEAN, S_NOT_USED, S_USED, features_of, there
from provenance.audit.inputs import CANDIDATES
from provenance.audit.rule import Judgement, Rule
from provenance.detection import LogisticModel
from provenance.errors import SpaceMismatchError, UsageError
from provenance.vocabulary import Label, Role, RuleName, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.arrays import Float64s
    from provenance.audit.bench import Bench, PlantBench, PlantVectors
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.inputs import FrozenAudit
    from provenance.records import AuditRecord


_NOTE = (
    "A probability of the logistic rule is that of its training images: it carries over to other releases and "
    "sets only as far as these are alike. A label is a lead to look at, not a finding."
)


@dataclass(frozen=True, slots=True)
class LogisticRule(Rule):
    """The score is the probability, the threshold the model's cutoff.

    Attributes:
        model: As it was fitted.
        space_id: The space that it was fitted in: in another its coefficients mean nothing.
    """

    name: ClassVar[RuleName] = RuleName.LOGISTIC
    by_model: ClassVar[bool] = True
    behind: ClassVar[tuple[str, ...]] = ("space_id",)
    score_axis: ClassVar[str] = "probability of 'used' by the fitted model (no unit)"

    model: LogisticModel
    space_id: str | None = None

    @classmethod
    def of_options(cls, _options: Mapping[str, Any], _top_k: int) -> Self:
        """No options make a model."""
        raise UsageError(
            "the rule logistic needs a fitted model", hint="`provenance fit` makes one; give it with --policy"
        )

    @classmethod
    def from_json(cls, parameters: Mapping[str, Any]) -> Self:
        """See ``Rule``."""
        return cls(LogisticModel.from_json(parameters["model"]), parameters.get("space_id"))

    def to_json(self) -> dict[str, Any]:
        """See ``Rule``."""
        return {"model": self.model.to_json(), **({"space_id": self.space_id} if self.space_id else {})}

    @property
    def fitted_space(self) -> str | None:
        """See ``Rule``."""
        return self.space_id

    def check(self, frozen: FrozenAudit) -> None:
        """Refuse a model whose features this audit can't have, or whose space is another one."""
        if self.space_id is not None and self.space_id != frozen.space.space_id:
            raise SpaceMismatchError(
                f"the model was fitted in {self.space_id[:18]}; this audit is in {frozen.space.space_id[:18]} "
                f"({frozen.space.backbone})",
                hint="fit one in this space: coefficients mean nothing in another",
            )
        features, subject = self.model.features, frozen.subject
        unknown = [name for name in features if name not in FEATURES[subject]]
        if unknown:
            raise UsageError(
                f"the model takes {', '.join(unknown)}, which a {subject.value} image does not have",
                hint=f"{subject.value} images have {', '.join(FEATURES[subject])}",
            )
        if S_USED in features and not set(CANDIDATES) & frozen.reals.keys():
            raise UsageError(
                "the rule logistic needs S_u: there is no used or unknown set to compare with",
                hint="give --used or --against",
            )
        if S_NOT_USED in features and Role.NOT_USED not in frozen.reals:
            raise UsageError(
                "the rule logistic needs S_n: there is no not-used set to compare with", hint="give --not-used"
            )

    def judge(self, bench: Bench, subjects: Sequence[SubjectEvidence]) -> Judgement:
        """See ``Rule``."""
        rows = [features_of(bench.frozen.subject, subject.neighbors) for subject in subjects]
        columns = {name: [there(row[name]) for row in rows] for name in self.model.features}
        cutoff = float(self.model.settings.cutoff)
        return Judgement(tuple(self.model.decide(columns)), cutoff, {"cutoff": cutoff}, notes=(_NOTE,))

    @classmethod
    def threshold_words(cls, audit: AuditRecord) -> str:
        """See ``Rule``."""
        return f"used above a probability of {audit.threshold:g}"

    @classmethod
    def symbol(cls, _parameters: Mapping[str, Any]) -> str:
        """See ``Rule``."""
        return "P(used)"

    def judge_plants(self, bench: PlantBench, plants: PlantVectors) -> JudgedCopies:
        """See ``Rule``."""
        if bench.frozen.subject is Subject.GENERATED:
            sides = {S_USED: bench.frozen.candidates, S_NOT_USED: bench.frozen.acting(Role.NOT_USED)}
            columns = {name: bench.maxima(plants, members) for name, members in sides.items() if members}
        else:
            columns = _of_real(bench, plants)
        decisions = self.model.decide({name: columns[name] for name in self.model.features})
        bench.on_judged(len(decisions))
        return JudgedCopies(np.array([decision.label is Label.USED for decision in decisions], dtype=np.bool_))


def _of_real(bench: PlantBench, plants: PlantVectors) -> dict[str, Float64s]:
    """Of the image that is copied, its recorded neighbors and the plant."""
    near = bench.workspace.catalog.neighbors_of(bench.record.audit_id)
    kept = []
    for original, similarity in zip(plants.originals, plants.similarities.tolist(), strict=True):
        ranked = [n.similarity for n in near[original.image_key] if n.role is Role.RELEASE]
        kept.append(sorted([*ranked, similarity], reverse=True)[: bench.frozen.top_k])
    return {
        NEAREST: np.array([values[0] for values in kept]),
        NEAREST_MEAN: np.array([math.fsum(values) / len(values) for values in kept]),
    }


RULE = LogisticRule
