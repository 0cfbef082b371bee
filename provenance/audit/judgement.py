"""What a rule says of the subjects of an audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.detection import Decision, Threshold
    from provenance.findings import Found
    from provenance.vocabulary import Outcome


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of the subjects of one audit.

    Attributes:
        decisions: One a subject, in their order.
        threshold: What scores were compared with; ``None`` for a rule without one number for all.
        basis: The rule's figures as JSON values, as they enter the verdict digest.
        moments: mu, sigma, alpha and n, where the rule has them.
        by_distance: How many labels there are by Euclidean distance, and how many of them are the same.
        notes: What a person should know.
        outcome: The conclusion for the release; ``None`` for rules without one.
        outcome_reason: Why; ``None`` likewise.
        own: What the rule found beside, as the audit records it.
        counts: What else it counts.
    """

    decisions: tuple[Decision, ...]
    threshold: float | None
    basis: Mapping[str, Any]
    moments: Threshold | None = None
    by_distance: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    outcome: Outcome | None = None
    outcome_reason: str | None = None
    own: Found | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
