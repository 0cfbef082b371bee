"""Pure mathematics of detection: arrays and numbers in, values out; no I/O, no clock.

scikit-learn and scipy are imported by the functions that need them.
"""

from provenance.detection.bootstrap import Estimate, Resampling
from provenance.detection.comparison import Comparison, McNemar, compare, mcnemar
from provenance.detection.curves import Histogram, RocCurve, histogram, roc_points
from provenance.detection.euclidean import (
    DistanceCheck,
    NearestCheck,
    check_by_distance,
    check_nearest,
    cosine_of_distance,
    distance_of_cosine,
)
from provenance.detection.evaluation import (
    FPR_LEVELS,
    ChanceBand,
    Evaluation,
    Stratum,
    TprAtFpr,
    chance_band,
    evaluate,
    evaluate_strata,
)
from provenance.detection.logistic import PAPER_FEATURES, FitSettings, LogisticFit, LogisticModel, fit_logistic
from provenance.detection.metrics import Metrics, metrics_of, true_positive_rate_at
from provenance.detection.policies import policy_from_json
from provenance.detection.pvalues import Calibration, calibration_of_p_values
from provenance.detection.rules import (
    DECIMALS,
    SIMILARITY_TOLERANCE,
    Decision,
    Policy,
    Threshold,
    decide_generated,
    decide_real,
    near_rounding_boundary,
    population_of_maxima,
    threshold_of_moments,
    threshold_of_scores,
)
from provenance.detection.sweep import (
    PAPER_ALPHAS,
    AdaptiveAlpha,
    AlphaFold,
    Sweep,
    SweepRow,
    adaptive_alpha,
    checked_alphas,
    sweep_alphas,
)

__all__ = [
    "DECIMALS",
    "FPR_LEVELS",
    "PAPER_ALPHAS",
    "PAPER_FEATURES",
    "SIMILARITY_TOLERANCE",
    "AdaptiveAlpha",
    "AlphaFold",
    "Calibration",
    "ChanceBand",
    "Comparison",
    "Decision",
    "DistanceCheck",
    "Estimate",
    "Evaluation",
    "FitSettings",
    "Histogram",
    "LogisticFit",
    "LogisticModel",
    "McNemar",
    "Metrics",
    "NearestCheck",
    "Policy",
    "Resampling",
    "RocCurve",
    "Stratum",
    "Sweep",
    "SweepRow",
    "Threshold",
    "TprAtFpr",
    "adaptive_alpha",
    "calibration_of_p_values",
    "chance_band",
    "check_by_distance",
    "check_nearest",
    "checked_alphas",
    "compare",
    "cosine_of_distance",
    "decide_generated",
    "decide_real",
    "distance_of_cosine",
    "evaluate",
    "evaluate_strata",
    "fit_logistic",
    "histogram",
    "mcnemar",
    "metrics_of",
    "near_rounding_boundary",
    "policy_from_json",
    "population_of_maxima",
    "roc_points",
    "sweep_alphas",
    "threshold_of_moments",
    "threshold_of_scores",
    "true_positive_rate_at",
]
