"""What is learnt from images with known truth: the logistic rule's model, and alpha (seed paper, 4.4 and 4.5).

``known`` (recorded scores with their truth) -> ``fitting`` (a model, kept as a policy file) and ``sweeping`` (the grid
of alphas). Scores come from recorded audits; no vector is read.
"""

from provenance.detection import PAPER_ALPHAS, FitSettings
from provenance.evaluation.truth import read_truth, truth_of_mapping
from provenance.learning.fitting import FitReport, FitRequest, run_fit
from provenance.learning.known import TruthRequest
from provenance.learning.policyfile import chosen_policy, policy_document, read_policy, write_policy
from provenance.learning.sweeping import SweepReport, SweepRequest, run_sweep
from provenance.learning.tables import SWEEP_COLUMNS, figure_format, sweep_rows, write_sweep_csv, write_sweep_figure

__all__ = [
    "PAPER_ALPHAS",
    "SWEEP_COLUMNS",
    "FitReport",
    "FitRequest",
    "FitSettings",
    "SweepReport",
    "SweepRequest",
    "TruthRequest",
    "chosen_policy",
    "figure_format",
    "policy_document",
    "read_policy",
    "read_truth",
    "run_fit",
    "run_sweep",
    "sweep_rows",
    "truth_of_mapping",
    "write_policy",
    "write_sweep_csv",
    "write_sweep_figure",
]
