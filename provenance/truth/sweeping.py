"""``provenance sweep``: the seed rule over a grid of alphas, against truth (seed paper, 4.4)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from provenance.brief import Brief
from provenance.detection import (
    AdaptiveAlpha,
    Metrics,
    Sweep,
    adaptive_alpha,
    checked_alphas,
    metrics_of,
    population_of_maxima,
    sweep_alphas,
    threshold_of_moments,
    threshold_of_scores,
)
from provenance.documents.rows import SweepRow
from provenance.errors import UsageError
from provenance.logs import room, step
from provenance.truth.judged import SEED
from provenance.truth.known import Known, KnownImage, known_images
from provenance.vocabulary import Population, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.detection.seed.sweep import ThresholdAt
    from provenance.installation import Installation
    from provenance.truth.known import TruthRequest

_log = room(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class SweepReport(Brief):
    """A sweep of known images, what mu and sigma are over, and what a person should know.

    ``all_used`` are the metrics of calling every image used, the mark to beat; ``adaptive`` is ``None`` where it was
    not asked for.
    """

    known: Known
    population: Population
    sweep: Sweep
    all_used: Metrics
    adaptive: AdaptiveAlpha | None
    notes: tuple[str, ...]

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return {"images": len(self.known.labelled), "best_alpha": self.best_alpha, "conclusion": self.conclusion}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row for each alpha, ascending, and last that of calling every image used; as ``SweepRow`` has them."""
        rows = [
            {
                "rule": "mu-alpha-sigma",
                "alpha": row.alpha,
                "threshold": row.threshold.value,
                **asdict(row.metrics),
                "auc_of_labels": row.auc_of_labels,
                "best_f1": row is self.sweep.best,
            }
            for row in self.sweep.rows
        ]
        everything = {**asdict(self.all_used), "auc": None, "auc_of_labels": 0.5}
        rows.append({"rule": "all-used", "alpha": None, "threshold": None, **everything, "best_f1": False})
        return [{name: row[name] for name in SweepRow.model_fields} for row in rows]

    @property
    def best_alpha(self) -> float | None:
        """The alpha with the greatest F1; ``None`` where no alpha labels a used image as used."""
        return None if self.sweep.best is None else self.sweep.best.alpha

    @property
    def best_f1(self) -> float | None:
        """The F1 of that alpha."""
        return None if self.sweep.best is None else self.sweep.best.metrics.f1

    @property
    def beats_all_used(self) -> bool:
        """Whether the best alpha has a greater F1 than calling everything used."""
        return self.sweep.best is not None and (self.sweep.best.metrics.f1 or 0.0) > self.sweep.f1_of_all_used

    @property
    def conclusion(self) -> str:
        """The best F1 beside that of calling everything used, in a sentence."""
        mark = f"F1 {self.sweep.f1_of_all_used:.3f}"
        best = self.sweep.best
        if best is None:
            return f"No alpha labels a used image as used. Calling every image used has {mark}."
        named = f"alpha {best.alpha:g} has the best F1, {best.metrics.f1:.3f}"
        if self.beats_all_used:
            return f"{named}; calling every image used has {mark}."
        return f"{named}, and no alpha beats calling every image used, which has {mark}."


@step(_log, "sweep")
def run_sweep(
    workspace: Installation,
    audit_id: str,
    truth_from: TruthRequest,
    grid: Sequence[float],
    *,
    folds: int | None = None,
    seed: int = 0,
) -> SweepReport:
    """Judge the recorded scores of an audit again at every alpha, and measure the labels against truth.

    At each alpha the labels are those of ``provenance audit --alpha``: mu and sigma are over every image that the
    audit judged, with known truth or not (with a control: over the images of both audits together). Cross-validation
    takes them from the training part of each fold; without ``folds`` there is none, and ``seed`` is of its shuffle.

    Raises:
        UsageError: If the grid is wrong, truth is not known or of one class, or there are too few images or groups.
        ConflictError: If a control was audited against other sets.
        NotFoundError: If an audit or labelled image is unknown.
    """
    alphas = checked_alphas(grid)
    known = known_images(workspace, [workspace.catalog.answer_of(audit_id, None, SEED)], truth_from)
    population = _population(workspace, known)
    scores, others = _scores(known, known.labelled)
    truth = [image.used is True for image in known.labelled]
    threshold_at = _threshold_at(known, population)
    sweep = sweep_alphas(scores, truth, alphas, s_not_used=others, threshold_at=threshold_at)
    adaptive = None
    if folds is not None:
        adaptive = adaptive_alpha(
            scores,
            truth,
            alphas,
            s_not_used=others,
            groups=[image.group for image in known.labelled],
            folds=folds,
            seed=seed,
            threshold_at=threshold_at if population is Population.PAIRWISE else None,
        )
    return SweepReport(known, population, sweep, metrics_of(truth, [True] * len(truth)), adaptive, known.notes)


def _population(workspace: Installation, known: Known) -> Population:
    """What the audit took mu and sigma over; the maxima for audits by another rule."""
    audit = known.audits[0]
    parameters = workspace.catalog.policy(audit.policy_id).parameters
    population = Population(parameters.get("population", Population.MAXIMA))
    if population is Population.PAIRWISE and known.control:
        raise UsageError(
            "mu and sigma over all pairs are those of one audit, and a control has its own",
            hint="sweep an audit with --population maxima",
        )
    return population


def _threshold_at(known: Known, population: Population) -> ThresholdAt:
    audit = known.audits[0]
    if population is Population.PAIRWISE:
        mu, sigma, n = audit.mu, audit.sigma, audit.population_count
        assert mu is not None and sigma is not None and n is not None, "the seed rule records them"  # noqa: PT018
        return lambda alpha: threshold_of_moments(mu, sigma, n, alpha)
    scores, others = _scores(known, known.images)
    everything = population_of_maxima(scores, others or [])
    return lambda alpha: threshold_of_scores(everything, alpha)


def _scores(known: Known, images: Sequence[KnownImage]) -> tuple[list[float], list[float] | None]:
    """S_u and S_n of generated images, S(r) and nothing of real ones."""
    if not images:
        raise UsageError("no image with known truth", hint="give --labels")
    if known.subject is Subject.REAL:
        return [_there(image.features["nearest"]) for image in images], None
    scores = [_there(image.features["s_used"]) for image in images]
    others = [score for image in images if (score := image.features["s_not_used"]) is not None]
    return scores, others or None


def _there(score: float | None) -> float:
    if score is None:
        raise UsageError("the audit has no used or unknown set: no alpha labels anything used", hint="give --used")
    return score
