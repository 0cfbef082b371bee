"""What an audit would have seen: known copies of used images, planted one at a time, judged by the audit's own policy.

``run``: the audit as it was (``audit.plan``) -> ``planting`` (sources -> altered copies -> vectors) -> its rule
judges -> figures, recorded as an event -> ``writing`` (files). Plants are never stored.
"""

from provenance.images import DEFAULT_KINDS, kinds_named
from provenance.sensitivity.run import run_sensitivity
from provenance.sensitivity.values import JointSensitivity, Measured, SensitivityReport, SensitivityRequest
from provenance.sensitivity.writing import require_free, write_sensitivity

__all__ = [
    "DEFAULT_KINDS",
    "JointSensitivity",
    "Measured",
    "SensitivityReport",
    "SensitivityRequest",
    "kinds_named",
    "require_free",
    "run_sensitivity",
    "write_sensitivity",
]
