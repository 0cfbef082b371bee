"""Pure mathematics of detection: arrays and numbers in, values out; no I/O, no clock."""

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

__all__ = [
    "DECIMALS",
    "SIMILARITY_TOLERANCE",
    "Decision",
    "Policy",
    "Threshold",
    "decide_generated",
    "decide_real",
    "near_rounding_boundary",
    "population_of_maxima",
    "threshold_of_moments",
    "threshold_of_scores",
]
