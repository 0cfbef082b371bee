"""An evaluation as files: JSON, the table as CSV, the values behind the figures, and the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.audit.rules import rule_named
from provenance.detection import histogram, roc_points
from provenance.files import csv_bytes, json_bytes, write_files
from provenance.report import Curve, Drawing, Series, draw_calibration, draw_histogram, draw_roc
from provenance.truth.evaluations import METRIC_COLUMNS, ComparedAudit
from provenance.vocabulary import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from provenance.detection import Estimate, Evaluation
    from provenance.truth.evaluations import EvaluatedAudit, EvaluationReport, Sample
    from provenance.truth.judged import JudgedAudit

REPORT_FILE, METRICS_FILE, CURVES_FILE = "evaluation.json", "metrics.csv", "curves.json"
MAX_CURVES, LONGEST_NAME = 6, 24


def write_evaluation(
    report: EvaluationReport, folder: Path, *, replace: bool = False, raw: bool = False
) -> tuple[Path, ...]:
    """Write ``evaluation.json``, ``metrics.csv``, ``curves.json`` and the figures into a folder, which is made.

    With several audits there is a histogram (and a calibration) for each, under its id; ROC curves share a figure (the
    first six). What can't be drawn (an ROC curve of one class) is left out. Equal reports give equal bytes.

    Raises:
        ConflictError: If a file is there and may not be replaced.
        SourceError: If the folder or a file can't be written.
    """
    return write_files(folder, dict(_contents(report, raw=raw)), replace=replace)


def _contents(report: EvaluationReport, *, raw: bool) -> Iterator[tuple[str, bytes]]:
    yield REPORT_FILE, json_bytes(report.to_json())
    yield METRICS_FILE, csv_bytes(METRIC_COLUMNS, report.metric_rows(), raw=raw)
    yield CURVES_FILE, json_bytes(_curve_values(report))
    for name, drawing in _drawings(report):
        yield f"{name}.svg", drawing.svg
        yield f"{name}.png", drawing.png


def _curve_values(report: EvaluationReport) -> list[dict[str, Any]]:
    return [
        {
            "audit_id": audit.judged.audit.audit_id,
            "roc": roc_points(audit.sample.truth, audit.sample.scores).to_json() if _rankable(audit.sample) else None,
            "histogram": histogram({s.symbol or s.words: s.values for s in _series(audit)}).to_json(),
            "calibration": None if audit.calibration is None else audit.calibration.to_json(),
        }
        for audit in report.audits
    ]


def _drawings(report: EvaluationReport) -> Iterator[tuple[str, Drawing]]:
    several, level = len(report.audits) > 1, report.resampling.level
    for audit in report.audits:
        suffix = f"_{audit.judged.short_id}" if several else ""
        record = audit.judged.audit
        axis = rule_named(record.rule).score_axis
        yield f"histogram{suffix}", draw_histogram(_series(audit), axis, record.threshold, record.mu)
        if audit.calibration is not None:
            found = audit.calibration
            p_value = f"{found.p_value:.3f}" if found.p_value >= 0.001 else "< 0.001"
            label = f"{found.n:,} not-used groups; D = {found.distance:.3f}, p = {p_value}"
            yield f"calibration{suffix}", draw_calibration(found.ecdf_p, found.ecdf_share, label)
    sides = [ComparedAudit(audit.judged, audit.sample, audit.evaluation) for audit in report.audits]
    yield from _roc("roc", sides, level, named=several)
    if report.comparison is not None:
        yield from _roc("roc_compared", report.comparison.sides, level, named=True)


def _roc(name: str, sides: Sequence[ComparedAudit], level: float, *, named: bool) -> Iterator[tuple[str, Drawing]]:
    ranked = [side for side in sides if _rankable(side.sample)][:MAX_CURVES]
    if not ranked:
        return
    shown = [_curve(*side, named=named) for side in ranked]
    negatives = max(side.evaluation.metrics.negatives for side in ranked)
    title = f"AUC [{level:.0%} bootstrap interval by group]; number of images"
    yield name, draw_roc(shown, title=title)
    yield f"{name}_log", draw_roc(shown, title=title, logarithmic=True, resolution=1 / negatives)


def _rankable(sample: Sample) -> bool:
    return bool(sample.truth.any() and not sample.truth.all() and not sample.unscored)


def _curve(judged: JudgedAudit, sample: Sample, evaluation: Evaluation, *, named: bool) -> Curve:
    points = roc_points(sample.truth, sample.scores)
    metrics, auc = evaluation.metrics, _with_interval(evaluation.estimates["auc"])
    name = judged.release_name
    name = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
    who = f"{name}, {judged.audit.rule} ({judged.short_id})\n" if named else ""
    return Curve(
        label=f"{who}AUC {auc}; {metrics.positives:,} used, {metrics.negatives:,} not used",
        fpr=points.fpr,
        tpr=points.tpr,
        operating_point=None
        if sample.unlabelled
        else (metrics.false_positives / metrics.negatives, metrics.true_positives / metrics.positives),
    )


def _with_interval(estimate: Estimate) -> str:
    if estimate.value is None:
        return "not estimable"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f} (no interval)"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _series(audit: EvaluatedAudit) -> tuple[Series, ...]:
    """Of generated images S_u and S_n over all verdicts where T is (the paper's figure 2); else the scores by truth."""
    judged = audit.judged
    verdicts = [image.verdict for image in judged.images]
    if judged.audit.subject is Subject.GENERATED and judged.audit.mu is not None:
        used = tuple(v.s_used for v in verdicts if v.s_used is not None)
        not_used = tuple(v.s_not_used for v in verdicts if v.s_not_used is not None)
        named = (Series("S_u", "to used images", used), Series("S_n", "to not-used images", not_used))
    else:
        truth, scores = audit.sample.truth, audit.sample.scores
        named = (
            Series("", "images that were used", tuple(scores[truth].tolist())),
            Series("", "images that were not used", tuple(scores[~truth].tolist())),
        )
    return tuple(series for series in named if series.values)
