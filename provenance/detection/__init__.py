"""Pure mathematics of detection: arrays and numbers in, values out; no I/O, no clock.

scikit-learn and scipy are imported by the functions that need them.
"""

from provenance.detection.calibrated.conformal import Calibrated, calibrate
from provenance.detection.calibrated.negative_control import ControlledVerdicts, calibrate_generated
from provenance.detection.calibrated.pvalues import Calibration, calibration_of_p_values
from provenance.detection.calibrated.shift import Appearance, check_shift
from provenance.detection.decision import SIMILARITY_TOLERANCE, Decision
from provenance.detection.metrics.classification import Metrics, metrics_of
from provenance.detection.metrics.comparison import Comparison, compare
from provenance.detection.metrics.curves import histogram, roc_points
from provenance.detection.metrics.evaluation import Evaluation, evaluate
from provenance.detection.plants.judging import Reach, judge_as_generated, judge_as_real
from provenance.detection.plants.sensitivity import Detected, Plant, Sensitivity, plants_needed, sensitivity_of
from provenance.detection.release.data_copying import data_copying
from provenance.detection.release.membership_test import judge_release
from provenance.detection.release.power import ReleaseDesign, ReleasePower, Strong, release_power
from provenance.detection.scores.membership import SCORES, combine_by_rank, membership_scores
from provenance.detection.scores.neighborhoods import NearestLists, Neighborhoods, neighborhoods
from provenance.detection.seed.euclidean import check_by_distance, same_nearest
from provenance.detection.seed.logistic import FitSettings, LogisticFit, LogisticModel, fit_logistic
from provenance.detection.seed.sweep import AdaptiveAlpha, Sweep, adaptive_alpha, checked_alphas, sweep_alphas
from provenance.detection.seed.threshold import (
    Threshold,
    decide_generated,
    decide_real,
    near_rounding_boundary,
    population_of_maxima,
    threshold_of_moments,
    threshold_of_scores,
)
from provenance.findings import ChanceBand, Estimate, ReleaseTest, Resampling, ShiftCheck

__all__ = [
    "SCORES",
    "SIMILARITY_TOLERANCE",
    "AdaptiveAlpha",
    "Appearance",
    "Calibrated",
    "Calibration",
    "ChanceBand",
    "Comparison",
    "ControlledVerdicts",
    "Decision",
    "Detected",
    "Estimate",
    "Evaluation",
    "FitSettings",
    "LogisticFit",
    "LogisticModel",
    "Metrics",
    "NearestLists",
    "Neighborhoods",
    "Plant",
    "Reach",
    "ReleaseDesign",
    "ReleasePower",
    "ReleaseTest",
    "Resampling",
    "Sensitivity",
    "ShiftCheck",
    "Strong",
    "Sweep",
    "Threshold",
    "adaptive_alpha",
    "calibrate",
    "calibrate_generated",
    "calibration_of_p_values",
    "check_by_distance",
    "check_shift",
    "checked_alphas",
    "combine_by_rank",
    "compare",
    "data_copying",
    "decide_generated",
    "decide_real",
    "evaluate",
    "fit_logistic",
    "histogram",
    "judge_as_generated",
    "judge_as_real",
    "judge_release",
    "membership_scores",
    "metrics_of",
    "near_rounding_boundary",
    "neighborhoods",
    "plants_needed",
    "population_of_maxima",
    "release_power",
    "roc_points",
    "same_nearest",
    "sensitivity_of",
    "sweep_alphas",
    "threshold_of_moments",
    "threshold_of_scores",
]
