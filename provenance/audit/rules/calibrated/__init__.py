"""Rule ``calibrated``: p-values against images known not used, Benjamini-Hochberg, and an outcome for the release."""

from provenance.audit.rules.calibrated.rule import CalibratedRule

RULE = CalibratedRule

__all__ = ["RULE", "CalibratedRule"]
