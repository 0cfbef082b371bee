"""Everything in which the rule ``calibrated`` differs from others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from provenance.audit.inputs import CANDIDATES
from provenance.audit.pixels import pixels_space
from provenance.audit.resolution import embed_missing
from provenance.audit.rule import LackingError, Rule
from provenance.audit.rules.calibrated.beside import beside_facts
from provenance.audit.rules.calibrated.families import EVERY_GROUP_JUDGED
from provenance.audit.rules.calibrated.judging import LABELS, judge_generated, judge_real
from provenance.audit.rules.calibrated.outcome import stated
from provenance.audit.rules.calibrated.parameters import CalibratedParameters
from provenance.audit.rules.calibrated.plants import plants_as_generated, plants_beside_real
from provenance.audit.scoring import (
    DEFAULT_LOCAL_BACKBONE,
    DEFAULT_WHOLE_SCORE,
    LEARNT,
    default_score,
    is_local_score,
    score_parameters,
)
from provenance.detection.learnt.learner import FEWEST_GROUPS, FEWEST_TAUGHT, TOO_FEW_TAUGHT
from provenance.detection.scores.membership import REFERENCED
from provenance.errors import SpaceMismatchError, UsageError
from provenance.findings import CalibratedFindings, Statements
from provenance.spaces import lacking_in
from provenance.vocabulary import GroupScore, Label, Role, RuleName, Subject, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from provenance.audit.bench import Bench, JudgedCopies, PlantBench, PlantVectors
    from provenance.audit.evidence import SubjectEvidence
    from provenance.audit.inputs import FrozenAudit, Parties
    from provenance.audit.rule import Judgement
    from provenance.catalog import Catalog
    from provenance.installation import Installation
    from provenance.records import AuditRecord, Dataset, Member, StoredVerdict
    from provenance.report import RulePart
    from provenance.vocabulary import Space


DEFAULT_PRIOR = 0.5
MEAN = GroupScore.MEAN


@dataclass(frozen=True, slots=True)
class CalibratedRule(CalibratedParameters, Rule):
    """Established, not established or inconclusive, by a false discovery rate of q (docs/method.md)."""

    name: ClassVar[RuleName] = RuleName.CALIBRATED
    options: ClassVar[Mapping[str, str]] = {
        "score": "--score",
        "q": "--fdr",
        "prior": "--prior",
        "group_score": "--group-score",
    }
    judges_parts: ClassVar[bool] = True
    calibrates: ClassVar[bool] = True
    labels: ClassVar[tuple[Label, ...]] = LABELS

    @classmethod
    def of_options(cls, options: Mapping[str, Any], top_k: int) -> Self:
        """See ``Rule``; a score is given by its name."""
        score = options.get("score")
        given = {"prior": DEFAULT_PRIOR, **options}
        return cls(**{**given, "score": None if score is None else score_parameters(score, top_k)})

    @classmethod
    def is_default(cls, roles: Collection[Role]) -> bool:
        """As soon as images known not used take part beside others to judge."""
        return Role.NOT_USED in roles and not set(CANDIDATES).isdisjoint(roles)

    def check_subject(self, subject: Subject) -> None:
        """See ``Rule``."""
        if self.score is not None and subject is Subject.GENERATED:
            raise UsageError(
                "membership scores are of real images; a generated one is judged by its greatest similarity",
                hint="add --subject real, or leave the score out",
            )
        if subject is Subject.GENERATED and (self.prior not in (None, DEFAULT_PRIOR) or self.group_score is not MEAN):
            raise UsageError("best guesses and groups are of real images", hint="add --subject real, or leave it out")

    @property
    def judges_whole_images(self) -> bool:
        """See ``Rule``: by a score that is named, and is of whole images."""
        return self.score is not None and self.score["space_kind"] == "whole"

    def own_space(
        self, workspace: Installation, parties: Parties, subject: Subject, on_step: Callable[[str], None]
    ) -> str | None:
        """Of real images: by a score that learns, their grey levels; by a local one, the local space that all share.

        Either is made where there is none. Without a score it learns where enough images of both kinds are known.

        Raises:
            SpaceMismatchError: If there are several local spaces and none was chosen.
        """
        if subject is Subject.GENERATED or self.judges_whole_images:
            return None
        if self.score_name == LEARNT or (self.score is None and _knows_enough(workspace.catalog, parties)):
            pixels = pixels_space(workspace, parties.release)
            embed_missing(workspace, parties.everyone, pixels, "learn nothing: --score local", on_step)
            return pixels.space_id
        space = _shared_local(workspace.catalog, parties.everyone)
        if space is None:
            space = workspace.load_backbone(name=DEFAULT_LOCAL_BACKBONE).space
            way_out = f"judge by whole images: --score {DEFAULT_WHOLE_SCORE}"
            embed_missing(workspace, parties.everyone, space, way_out, on_step)
        return space.space_id

    def completed(self, frozen: FrozenAudit) -> Self:
        """See ``Rule``: the default score of the audit's space, where it names none."""
        if frozen.subject is Subject.GENERATED:
            return replace(self, prior=None)
        if self.score is None:
            learns = frozen.space.is_of_pixels and {Role.USED, Role.NOT_USED} <= frozen.reals.keys()
            name = LEARNT if learns else default_score(is_local=frozen.space.parts > 1)
            return replace(self, score=score_parameters(name, frozen.top_k))
        name = self.score_name
        if score_parameters(name, int(self.score.get("k", frozen.top_k))) != dict(self.score):
            raise UsageError(f"this version computes the score {name} with other parameters than the policy states")
        return self

    def judged_reals(self, frozen: FrozenAudit) -> tuple[Member, ...]:
        """Those that were or may have been used: the others calibrate."""
        return frozen.candidates

    @classmethod
    def lacks(cls, roles: Collection[Role]) -> str | None:
        """See ``Rule``: images to calibrate by, and images to judge."""
        if Role.NOT_USED not in roles:
            return "it needs images known not to have been used, and there are none (--not-used)"
        if set(CANDIDATES).isdisjoint(roles):
            return "it is about images that may have been used, and there is no used or unknown set (--used, --against)"
        return None

    @property
    def error_level(self) -> float:
        """See ``Rule``: of the release test, or of an image established where none was used."""
        return max(self.q, self.level)

    def check(self, frozen: FrozenAudit) -> None:
        """Refuse an audit without images to calibrate by or to judge, or without the reference that it needs."""
        if lacking := self.lacks(frozen.reals):
            raise UsageError(f"the rule calibrated can't judge: {lacking}", hint="--rule mu-alpha-sigma needs neither")
        if self.score_name.startswith(REFERENCED) and frozen.reference is None:
            raise UsageError(f"{self.score_name} needs a reference release", hint="name one with --reference-release")
        if self.score_name == LEARNT and not frozen.space.is_of_pixels:
            raise SpaceMismatchError(
                f"the score {LEARNT} is over grey levels; these vectors are of {frozen.space.backbone}",
                hint="leave --space out, or choose another score",
            )
        if self.score_name == LEARNT and not {Role.USED, Role.NOT_USED} <= frozen.reals.keys():
            raise UsageError(
                f"the score {LEARNT} learns from images known used and images never used, and one kind is missing",
                hint="name both with --used and --not-used; --score local learns nothing",
            )
        if frozen.subject is Subject.REAL:
            self._check_groups(frozen)
        if frozen.subject is Subject.GENERATED and frozen.reference is not None:
            raise UsageError(
                "a reference release goes with membership scores, which are of real images", hint="add --subject real"
            )

    def _check_groups(self, frozen: FrozenAudit) -> None:
        used, not_used, judged = (
            {member.group_key or member.image_key for member in members}
            for members in (frozen.reals.get(Role.USED, ()), frozen.reals[Role.NOT_USED], frozen.candidates)
        )
        if not_used <= judged:
            raise LackingError(EVERY_GROUP_JUDGED)
        if self.score_name == LEARNT and min(len(used - not_used), len(not_used - used)) < FEWEST_TAUGHT:
            raise LackingError(TOO_FEW_TAUGHT, hint="--score local learns nothing")

    def judge(self, bench: Bench, subjects: Sequence[SubjectEvidence]) -> Judgement:
        """Verdicts with p- and q-values, and the outcome for the release."""
        if bench.frozen.subject is Subject.REAL:
            return judge_real(bench, self)
        return judge_generated(bench, self, subjects)

    def judge_plants(self, bench: PlantBench, plants: PlantVectors) -> JudgedCopies:
        """See ``Rule``."""
        judge = plants_beside_real if bench.frozen.subject is Subject.REAL else plants_as_generated
        return judge(bench, self, plants)

    @classmethod
    def local_score(cls, audit: AuditRecord) -> str | None:
        """See ``Rule``."""
        score = audit.findings.own_as(CalibratedFindings).calibration.score
        return score if score is not None and (score == LEARNT or is_local_score(score)) else None

    @classmethod
    def statements(cls, audit: AuditRecord) -> Statements:
        """See ``Rule``."""
        found = audit.findings.own_as(CalibratedFindings)
        return stated(found, audit.counts, audit.subject)

    @classmethod
    def report_part(cls, workspace: Installation, audit: AuditRecord, verdicts: Sequence[StoredVerdict]) -> RulePart:
        """See ``Rule``."""
        from provenance.audit.rules.calibrated.drawn import drawn

        return drawn(workspace, audit, verdicts)

    @classmethod
    def symbol(cls, parameters: Mapping[str, Any]) -> str:
        """See ``Rule``: real images have a membership score."""
        return f"score {parameters['score']}" if "score" in parameters else ""

    @classmethod
    def facts(cls, audit: AuditRecord) -> dict[str, str]:
        """See ``Rule``: how the p-values came about, and the release test."""
        found = audit.findings.own_as(CalibratedFindings)
        figures, test, reference = found.calibration, found.release_test, found.reference_release
        facts = {
            "calibration": f"{audit.counts['calibration_groups']:,} groups, {audit.counts['calibration_images']:,} "
            f"images known not used; FDR {figures.q:g}"
        }
        by_image = "" if found.groups is None else ", image by image"
        for role, family in (figures.families or {"judged": figures}).items():
            facts[f"of {role.replace('against', 'unknown')}"] = (
                f"{family.established:,} established{by_image}; {counted(family.subject_groups, 'group')} judged, "
                f"k_min {family.k_min:,}; {family.more_groups}"
            )
        if figures.score is not None:
            facts["score"] = figures.score
        if (learnt := found.learnt) is not None:
            facts["learnt"] = learnt.sentence
        if test and test.auc.value is not None:
            interval = "" if test.auc.low is None else f" [{test.auc.low:.3f}, {test.auc.high:.3f}]"
            p, smallest = test.permutation.p_value, test.permutation.smallest_p
            least = " (the smallest there can be)" if p == smallest else ""
            facts["release test"] = f"AUC {test.auc.value:.3f}{interval}, p = {p:.2g}{least}"
            if test.control and reference and test.control.value is not None:
                control = test.control
                facts["control"] = f"{reference.name}: AUC {control.value:.3f}, p = {control.p_value:.2g}"
        return facts | beside_facts(found)


def _knows_enough(catalog: Catalog, parties: Parties) -> bool:
    """Whether there are enough groups of images known used, and of images never used, to learn from.

    Groups with images of both kinds teach nothing; images claimed both ways, which are left out, make such groups.
    """
    groups: dict[Role, set[str]] = {Role.USED: set(), Role.NOT_USED: set()}
    for dataset, role in parties.sets:
        if role in groups:
            groups[role] |= {each.group_key or each.image_key for each in catalog.placements([dataset.dataset_id])}
    used, not_used = groups[Role.USED], groups[Role.NOT_USED]
    return min(len(used - not_used), len(not_used - used)) >= FEWEST_GROUPS


def _shared_local(catalog: Catalog, datasets: Sequence[Dataset]) -> Space | None:
    common = set.intersection(*({c.space_id for c in catalog.collections_of(d.dataset_id)} for d in datasets))
    known = [space for space in catalog.spaces() if space.space_id in common and space.parts > 1]
    whole = [space for space in known if not any(lacking_in(catalog, dataset, space) for dataset in datasets)]
    if len(whole) > 1:
        whole = [space for space in whole if space.backbone == DEFAULT_LOCAL_BACKBONE] or whole
    if len(whole) > 1:
        names = ", ".join(sorted(f"{space.backbone} ({space.space_id[:18]})" for space in whole))
        raise SpaceMismatchError(f"they share several local spaces: {names}", hint="choose one with --space")
    return whole[0] if whole else None
