"""Audits against truth: reads verdicts from the catalog, evaluates them, and writes tables and figures.

``truth`` (rows of labels) -> ``matching`` (which image each is about) -> ``judged`` (what audits said) -> ``run``
(figures with intervals, parts, comparison) -> ``writing`` (files). Nothing is recorded.
"""

from provenance.detection import Resampling
from provenance.evaluation.judged import CALLED_USED
from provenance.evaluation.run import run_evaluation
from provenance.evaluation.truth import TruthRow, read_truth, truth_of_mapping
from provenance.evaluation.values import (
    METRIC_COLUMNS,
    ComparedAudits,
    EvaluatedAudit,
    EvaluatedPart,
    EvaluationReport,
    EvaluationRequest,
)
from provenance.evaluation.writing import write_evaluation

__all__ = [
    "CALLED_USED",
    "METRIC_COLUMNS",
    "ComparedAudits",
    "EvaluatedAudit",
    "EvaluatedPart",
    "EvaluationReport",
    "EvaluationRequest",
    "Resampling",
    "TruthRow",
    "read_truth",
    "run_evaluation",
    "truth_of_mapping",
    "write_evaluation",
]
