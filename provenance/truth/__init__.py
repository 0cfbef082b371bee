"""What is measured against known truth, and what is learnt from it.

``labels`` (rows of labels) -> ``matching`` (which image each is about) -> ``judged`` (what audits said) ->
``evaluating`` (figures with intervals, parts, comparison) -> ``evaluation_files``. ``known`` (recorded scores with
their truth) -> ``fitting`` (a model, kept as a policy file) and ``sweeping`` (the grid of alphas) -> ``sweep_files``.
Reads recorded audits alone; nothing is recorded.
"""

from provenance.detection import FitSettings, Resampling
from provenance.truth.evaluating import run_evaluation
from provenance.truth.evaluation_files import write_evaluation
from provenance.truth.evaluations import (
    BEST_GUESS,
    ComparedAudits,
    EvaluatedAudit,
    EvaluatedPart,
    EvaluationReport,
    EvaluationRequest,
)
from provenance.truth.fitting import FitReport, run_fit, write_policy
from provenance.truth.known import TruthRequest
from provenance.truth.labels import TruthRow, read_truth, truth_of_mapping
from provenance.truth.sweep_files import write_sweep_csv, write_sweep_figure
from provenance.truth.sweeping import SweepReport, run_sweep

__all__ = [
    "BEST_GUESS",
    "ComparedAudits",
    "EvaluatedAudit",
    "EvaluatedPart",
    "EvaluationReport",
    "EvaluationRequest",
    "FitReport",
    "FitSettings",
    "Resampling",
    "SweepReport",
    "TruthRequest",
    "TruthRow",
    "read_truth",
    "run_evaluation",
    "run_fit",
    "run_sweep",
    "truth_of_mapping",
    "write_evaluation",
    "write_policy",
    "write_sweep_csv",
    "write_sweep_figure",
]
