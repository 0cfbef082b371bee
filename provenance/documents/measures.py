"""What was measured and learnt: evaluate, sensitivity, sweep, fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, TypeAdapter, ValidationError

from provenance.detection import AdaptiveAlpha, ChanceBand, Estimate, Metrics, ReleasePower, Resampling
from provenance.detection.metrics.comparison import McNemar
from provenance.documents.document import Document, Number, at
from provenance.documents.rows import PlantRow, SweepRow
from provenance.findings import misfit
from provenance.vocabulary import Answer, Population, Subject


class Confusion(Document):
    """Images by truth and label; null of images that were not used where these calibrate, and have no label."""

    true_positives: int
    false_positives: int | None
    false_negatives: int
    true_negatives: int | None


class BootstrapOfPart(Document):
    """The same, with the draws that had one class only."""

    resamples: int = at("resampling", "resamples")
    level: float = at("resampling", "level")
    seed: int = at("resampling", "seed")
    one_class_resamples: int


class EvaluatedPart(Document):
    """A row of the table: all images, or those of one audit, generator, architecture or modality; or best guesses."""

    by: str
    value: str
    rule: str
    inconclusive: int
    n: int = at("evaluation", "metrics", "n")
    positives: int = at("evaluation", "metrics", "positives")
    negatives: int = at("evaluation", "metrics", "negatives")
    groups: int = at("evaluation", "groups")
    confusion: Confusion
    estimates: dict[str, Estimate] = at("evaluation", "estimates")
    chance: ChanceBand | None = at("evaluation", "chance")
    resampling: BootstrapOfPart = at("evaluation")


class Uniformity(Document):
    """P-values of images known not used, against the uniform law."""

    n: int
    steps: int | None
    rounded_up: int
    shared: bool
    distance: float
    excess: float
    p_value: float
    p_value_excess: float


class EvaluatedAudit(Document):
    """One audit with the truth of its images."""

    audit_id: str = at("judged", "audit", "audit_id")
    release: str = at("judged", "release_name")
    generator: str = at("judged", "generator")
    architecture: str = at("judged", "architecture")
    subject: Subject = at("judged", "audit", "subject")
    rule: str = at("judged", "audit", "rule")
    policy_id: str = at("judged", "audit", "policy_id")
    space_id: str = at("judged", "audit", "space_id")
    verdict_digest: str = at("judged", "audit", "verdict_digest")
    threshold: float | None = at("judged", "audit", "threshold")
    judged: Number = at("judged", "images")
    truth: str = at("truth", "source")
    with_truth: Number = at("sample")
    labels_of_unjudged_images: Number = at("truth", "unjudged")
    labels_of_unknown_images: Number = at("truth", "unknown")
    labels_against_claims: int = at("truth", "contradicted")
    calibration: Uniformity | None


class ComparedAudit(Document):
    """One of two audits, on the images that both judged."""

    audit_id: str = at("judged", "audit", "audit_id")
    release: str = at("judged", "release_name")
    rule: str = at("judged", "audit", "rule")
    estimates: dict[str, Estimate] = at("evaluation", "estimates")


class Comparison(Document):
    """Two audits on the images that both judged and whose truth is known."""

    audits: tuple[ComparedAudit, ...] = at("sides")
    n: int = at("comparison", "n")
    groups: int = at("comparison", "groups")
    mcnemar: McNemar = at("comparison", "mcnemar")
    accuracy_difference: Estimate = at("comparison", "accuracy_difference")
    auc_difference: Estimate = at("comparison", "auc_difference")
    resampling: Resampling = at("comparison", "resampling")


class Evaluation(Document):
    """Audits against truth, and the files that were written."""

    audits: tuple[EvaluatedAudit, ...]
    parts: tuple[EvaluatedPart, ...]
    comparison: Comparison | None
    notes: tuple[str, ...]
    files: tuple[Path, ...] = ()


class SensitivityFigures(Document):
    """Figures and settings of a sensitivity, with no digest, name or path of an image: what is recorded."""

    subject: str
    rule: str
    sentence: str
    claimed: str | None
    target: float = at("result", "target")
    plants_needed: int
    rows: tuple[PlantRow, ...]
    k_min: int | None
    sufficient_groups: int | None
    subject_groups: int | None
    calibration_groups: int | None
    base_share: float
    found_without: int | None
    originals: int
    available: int
    format: str = at("form")
    plants: int = at("request", "plants")
    kinds: tuple[Annotated[str, BeforeValidator(str)], ...] = at("request", "kinds")
    seed: int = at("request", "seed")
    unreadable: Number
    unusable: int
    notes: tuple[str, ...]
    power: ReleasePower | None
    seconds: dict[str, float]


def misfit_of_measured(recorded: Mapping[str, Any]) -> str:
    """The place where a recorded sensitivity is not of these types; empty: nowhere. Older ones lack some figures."""
    if "answers" not in recorded:
        wrong = (_misfit_of_figure(name, recorded) for name in SensitivityFigures.model_fields)
        return next(filter(None, wrong), "")
    answers = recorded["answers"]
    if not isinstance(answers, dict) or not all(isinstance(each, dict) for each in answers.values()):
        return "answers"
    if not isinstance(recorded.get("sentence"), str):
        return "sentence"
    return next(filter(None, map(misfit_of_measured, answers.values())), "")


def _misfit_of_figure(name: str, recorded: Mapping[str, Any]) -> str:
    if name not in recorded:
        return name if name in ("sentence", "rows", "notes") else ""
    if name == "power":
        return misfit(ReleasePower | None, recorded[name], name)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(SensitivityFigures.model_fields[name].annotation or object)
        adapter.validate_json(json.dumps(recorded[name]), strict=True)
    except ValidationError as error:
        lacks = (each["type"] == "missing" and "outranking" in str(each["loc"][-1]) for each in error.errors())
        return "" if all(lacks) else name
    return ""


class UnreadableImage(Document):
    """An image that could not be read again."""

    name: str
    detail: str


class _OfAudit(Document):
    audit_id: str
    release: str = at("release_name")
    space: str = at("backbone")


class Sensitivity(SensitivityFigures, _OfAudit):
    """What an audit would have seen of known copies, and the files that were written."""

    unreadable_images: tuple[UnreadableImage, ...] = at("unreadable")
    files: tuple[Path, ...] = ()


class JointSensitivity(Document):
    """What an audit of several answers would have seen, answer by answer, and why others were not measured."""

    audit_id: str
    sentence: str
    answers: dict[Answer, Sensitivity]
    missing: dict[Answer, str]
    notes: tuple[str, ...]
    files: tuple[Path, ...] = ()


class Sweep(Document):
    """The seed rule over a grid of alphas, against truth."""

    audit_id: str = at("known", "audits", 0, "audit_id")
    subject: Subject = at("known", "subject")
    truth: str = at("known", "source")
    control: tuple[str, ...] = at("known", "control_ids")
    population: Population
    images: int = at("all_used", "n")
    used: int = at("all_used", "positives")
    rows: tuple[SweepRow, ...]
    best_alpha: float | None
    best_f1: float | None
    f1_of_all_used: float = at("sweep", "f1_of_all_used")
    beats_all_used: bool
    conclusion: str
    adaptive: AdaptiveAlpha | None
    notes: tuple[str, ...]
    file: Path | None
    figure: Path | None


class Origin(Document):
    """An audit whose images a model was fitted on."""

    audit_id: str
    verdict_digest: str


class Fitted(Document):
    """What a model was fitted on, and how it does."""

    truth: str = at("known", "source")
    audits: tuple[Origin, ...] = at("known", "audits")
    control: tuple[Origin, ...] = at("known", "control")
    images: Number = at("known", "labelled")
    used: int = at("known", "used_count")
    grouped: bool = at("fit", "grouped")
    training: Metrics = at("fit", "training")
    held_out: Metrics = at("fit", "held_out")
    software_version: str


class Fit(Document):
    """A fitted policy, and the file that holds it."""

    policy_id: str = at("policy", "policy_id")
    rule: str = at("policy", "rule", "name")
    parameters: dict[str, Any] = at("policy", "parameters")
    fitted: Fitted
    notes: tuple[str, ...]
    file: Path


DOCUMENTS = {"evaluate": Evaluation, "sensitivity": Sensitivity | JointSensitivity, "sweep": Sweep, "fit": Fit}
