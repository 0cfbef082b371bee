"""Policies as JSON values and back: content in, content out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provenance.detection.rules import Policy
from provenance.detection.seed.logistic import LogisticModel
from provenance.errors import UsageError
from provenance.vocabulary import Population, RuleName, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping

_CALIBRATED = ("subject", "q", "level", "permutations", "seed", "top_k", "decimals")
"""Parameters of ``calibrated`` beside those of its score."""


def policy_from_json(rule: Any, parameters: Any) -> Policy:
    """A policy from its rule's name and its ``parameters``; the same ones give the same ``policy_id``.

    Raises:
        UsageError: If the rule is unknown, or a parameter is missing, unknown or not what it should be.
    """
    if rule not in list(RuleName):
        raise UsageError(f"{rule!r} is no rule", hint=f"one of {', '.join(RuleName)}")
    if not isinstance(parameters, dict):
        raise UsageError("a policy's parameters must be a JSON object")
    try:
        policy = _policy(RuleName(rule), parameters)
    except KeyError as missing:
        raise UsageError(f"the policy lacks the parameter {missing.args[0]}") from missing
    except (TypeError, ValueError) as error:
        raise UsageError(f"a parameter of the policy is not what it should be: {error}") from error
    if policy.parameters != parameters:
        wrong = sorted(
            name
            for name in policy.parameters.keys() | parameters.keys()
            if policy.parameters.get(name) != parameters.get(name)
        )
        raise UsageError(f"this version judges by other parameters: {', '.join(wrong)}")
    return policy


def _policy(rule: RuleName, parameters: Mapping[str, Any]) -> Policy:
    subject, top_k = Subject(parameters["subject"]), _whole(parameters["top_k"])
    if rule is RuleName.LOGISTIC:
        return Policy(
            subject=subject,
            rule=rule,
            top_k=top_k,
            model=LogisticModel.from_json(parameters["model"]),
            space_id=parameters.get("space_id"),
        )
    if rule is RuleName.CALIBRATED:
        return Policy(
            subject=subject,
            rule=rule,
            top_k=top_k,
            score={name: value for name, value in parameters.items() if name not in _CALIBRATED} or None,
            q=float(parameters["q"]),
            level=float(parameters["level"]),
            permutations=_whole(parameters["permutations"], "permutations"),
            seed=_whole(parameters["seed"], "seed"),
        )
    return Policy(
        subject=subject,
        rule=rule,
        alpha=float(parameters["alpha"]),
        population=Population(parameters["population"]),
        top_k=top_k,
    )


def _whole(value: Any, name: str = "top_k") -> int:
    if type(value) is not int:
        raise UsageError(f"{name} must be a whole number, not {value!r}")
    return value
