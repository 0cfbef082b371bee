"""Verdicts calibrated by images known not used: conformal p-values, error control, checks of the assumption."""
