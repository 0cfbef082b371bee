"""What a caller fails on: whether an audit can conclude it (whether it did: ``AuditRecord.trips``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.errors import UsageError
from provenance.vocabulary import Gate, RuleName

if TYPE_CHECKING:
    from collections.abc import Collection

    from provenance.audit.rule import Rule


def require_gates(gates: Collection[Gate], rules: Collection[Rule]) -> None:
    """Refuse an audit by rules that can't conclude what its caller fails on, before anything runs.

    Raises:
        UsageError: If none of them has an outcome, or none looks for copies.
    """
    named = ", ".join(rule.name for rule in rules)
    if gates and not any(rule.calibrates for rule in rules):
        raise UsageError(
            f"--fail-on needs an audit with an outcome, and {named} has none",
            hint="leave --rule, --subject and --only out, or judge by --rule calibrated",
        )
    if Gate.COPY in gates and all(rule.name is not RuleName.COPIES for rule in rules):
        raise UsageError(
            f"--fail-on copy needs an audit that looks for copies, and {named} does not",
            hint="leave --rule, --subject and --only out, or judge by --rule copies",
        )
