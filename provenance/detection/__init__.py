"""Pure mathematics of detection: arrays and numbers in, values out; no I/O, no clock.

scikit-learn and scipy are imported by the functions that need them.
"""

from provenance.detection.calibrated.conformal import Calibrated, calibrate, conformal_p_values, smallest_rejection
from provenance.detection.calibrated.negative_control import ControlledVerdicts, calibrate_generated
from provenance.detection.calibrated.pvalues import Calibration, calibration_of_p_values
from provenance.detection.calibrated.shift import Appearance, ShiftCheck, check_shift
from provenance.detection.metrics.bootstrap import Estimate, Resampling
from provenance.detection.metrics.classification import Metrics, metrics_of, true_positive_rate_at
from provenance.detection.metrics.comparison import Comparison, McNemar, compare, mcnemar
from provenance.detection.metrics.curves import Histogram, RocCurve, histogram, roc_points
from provenance.detection.metrics.evaluation import (
    FPR_LEVELS,
    ChanceBand,
    Evaluation,
    Stratum,
    TprAtFpr,
    chance_band,
    evaluate,
    evaluate_strata,
)
from provenance.detection.plants.judging import JudgedPlants, judge_as_generated, judge_as_real
from provenance.detection.plants.sensitivity import Detected, Plant, Sensitivity, plants_needed, sensitivity_of
from provenance.detection.policies import policy_from_json
from provenance.detection.release.data_copying import DataCopying, data_copying
from provenance.detection.release.membership_test import PermutationTest, ReleaseTest, judge_release
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
from provenance.detection.scores.combination import ScoreChoice, choose_score, combine_by_logistic, combine_by_rank
from provenance.detection.scores.membership import SCORES, membership_scores
from provenance.detection.scores.neighborhoods import (
    NearestLists,
    Neighborhoods,
    nearest_lists,
    neighborhoods,
    similarities_to,
)
from provenance.detection.seed.euclidean import (
    DistanceCheck,
    NearestCheck,
    check_by_distance,
    check_nearest,
    cosine_of_distance,
    distance_of_cosine,
)
from provenance.detection.seed.logistic import PAPER_FEATURES, FitSettings, LogisticFit, LogisticModel, fit_logistic
from provenance.detection.seed.sweep import (
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
    "SCORES",
    "SIMILARITY_TOLERANCE",
    "AdaptiveAlpha",
    "AlphaFold",
    "Appearance",
    "Calibrated",
    "Calibration",
    "ChanceBand",
    "Comparison",
    "ControlledVerdicts",
    "DataCopying",
    "Decision",
    "Detected",
    "DistanceCheck",
    "Estimate",
    "Evaluation",
    "FitSettings",
    "Histogram",
    "JudgedPlants",
    "LogisticFit",
    "LogisticModel",
    "McNemar",
    "Metrics",
    "NearestCheck",
    "NearestLists",
    "Neighborhoods",
    "PermutationTest",
    "Plant",
    "Policy",
    "ReleaseTest",
    "Resampling",
    "RocCurve",
    "ScoreChoice",
    "Sensitivity",
    "ShiftCheck",
    "Stratum",
    "Sweep",
    "SweepRow",
    "Threshold",
    "TprAtFpr",
    "adaptive_alpha",
    "calibrate",
    "calibrate_generated",
    "calibration_of_p_values",
    "chance_band",
    "check_by_distance",
    "check_nearest",
    "check_shift",
    "checked_alphas",
    "choose_score",
    "combine_by_logistic",
    "combine_by_rank",
    "compare",
    "conformal_p_values",
    "cosine_of_distance",
    "data_copying",
    "decide_generated",
    "decide_real",
    "distance_of_cosine",
    "evaluate",
    "evaluate_strata",
    "fit_logistic",
    "histogram",
    "judge_as_generated",
    "judge_as_real",
    "judge_release",
    "mcnemar",
    "membership_scores",
    "metrics_of",
    "near_rounding_boundary",
    "nearest_lists",
    "neighborhoods",
    "plants_needed",
    "policy_from_json",
    "population_of_maxima",
    "roc_points",
    "sensitivity_of",
    "similarities_to",
    "smallest_rejection",
    "sweep_alphas",
    "threshold_of_moments",
    "threshold_of_scores",
    "true_positive_rate_at",
]
