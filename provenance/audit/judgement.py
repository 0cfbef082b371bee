"""What a rule says of the subjects of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.detection import Decision, Threshold


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of the subjects of one audit.

    Attributes:
        decisions: One a subject, in their order.
        threshold: What scores were compared with; ``None`` for a rule without one number for all.
        basis: The rule's figures as JSON values, as they enter the verdict digest.
        moments: mu, sigma, alpha and n, where the rule has them.
        settings: What the audit records of Euclidean distance beside.
        notes: What a person should know.
        facts: What else the audit records in its settings, such as its outcome; JSON values.
        counts: What else it counts.
    """

    decisions: tuple[Decision, ...]
    threshold: float | None
    basis: Mapping[str, Any]
    moments: Threshold | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
