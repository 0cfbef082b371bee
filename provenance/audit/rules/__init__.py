"""The rules, one module or folder each; what they have in common is ``audit.rule``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from provenance.errors import UsageError
from provenance.vocabulary import RuleName

if TYPE_CHECKING:
    from collections.abc import Collection

    from provenance.audit.rule import Rule
    from provenance.vocabulary import Role


def rule_named(name: str) -> type[Rule]:
    """The rule of that name, from the module ``audit.rules`` has of it.

    Raises:
        UsageError: If there is none.
    """
    if name not in list(RuleName):
        raise UsageError(f"{name!r} is no rule", hint=f"one of {', '.join(RuleName)}")
    rule: type[Rule] = import_module(f"{__name__}.{name.replace('-', '_')}").RULE
    return rule


def default_rule(roles: Collection[Role]) -> type[Rule]:
    """The rule that judges sets in these roles where none is asked for; the published baseline if no other does."""
    rules = (rule_named(name) for name in RuleName)
    return next((rule for rule in rules if rule.is_default(roles)), rule_named(RuleName.MU_ALPHA_SIGMA))
