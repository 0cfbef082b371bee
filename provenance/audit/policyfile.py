"""Policies as files: content-addressed, and refused where the content is not what the address says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.audit import default_rule, score_parameters
from provenance.detection import Policy, policy_from_json
from provenance.errors import ConflictError, SourceError, UsageError
from provenance.vocabulary import POLICY_ID_PREFIX, RuleName

if TYPE_CHECKING:
    from provenance.audit import AuditRequest
    from provenance.installation import Installation
    from provenance.vocabulary import Population, Subject

_OPTIONS_OF = {RuleName.MU_ALPHA_SIGMA: ("alpha", "population"), RuleName.CALIBRATED: ("score", "q")}
_HINT = "`provenance fit -o policy.json` writes one"


def policy_document(policy: Policy) -> dict[str, Any]:
    """A policy as JSON values; ``policy_id`` is the sha256 of the other two."""
    return {"policy_id": policy.policy_id, "rule": policy.rule.value, "parameters": policy.parameters}


def read_policy(workspace: Installation, given: str | Path) -> Policy:
    """The policy of a file, or of an audit on record by its ``policy:<hex>``.

    Raises:
        SourceError: If the file can't be read or is no policy.
        ConflictError: If its content is not what its ``policy_id`` says.
        NotFoundError: If no such policy is on record.
        UsageError: If a parameter is not what it should be.
    """
    if str(given).startswith(POLICY_ID_PREFIX) and not Path(given).exists():
        record = workspace.catalog.policy(str(given))
        return policy_from_json(record.rule, dict(record.parameters))
    document = _read(Path(given))
    policy = policy_from_json(document["rule"], document["parameters"])
    if document.get("policy_id", policy.policy_id) != policy.policy_id:
        raise ConflictError(
            f"{given} was changed: its content is {policy.policy_id[:19]}, not {str(document['policy_id'])[:19]}",
            hint="fit again; or take policy_id out of the file to make a policy of its own",
        )
    return policy


def chosen_policy(
    workspace: Installation,
    given: str | Path | Policy | None,
    *,
    subject: Subject | None = None,
    rule: RuleName | None = None,
    alpha: float | None = None,
    population: Population | None = None,
    top_k: int | None = None,
    score: str | None = None,
    q: float | None = None,
    request: AuditRequest | None = None,
) -> Policy:
    """The policy that an audit's options ask for; with a policy given, they may only repeat what it says.

    Args:
        workspace: Where policies are on record.
        given: File, ``policy:<hex>``, or the policy itself; ``None``: the options and their defaults.
        subject: ``None``: not asked for, like the others.
        rule: Likewise.
        alpha: Likewise.
        population: Likewise.
        top_k: Likewise.
        score: Likewise: name of a membership score.
        q: Likewise: level of the false discovery rate.
        request: The audit whose sets decide on the rule where none is asked for; ``None``: the published baseline.

    Raises:
        UsageError: If an option contradicts the policy, or the rule needs a fitted model and none is given.
        SourceError: If the file can't be read or is no policy.
        ConflictError: If its content is not what its ``policy_id`` says.
        NotFoundError: If no such policy is on record.
    """
    asked: dict[str, Any] = {"subject": subject, "rule": rule, "alpha": alpha, "population": population}
    asked |= {"top_k": top_k, "score": score, "q": q}
    options: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if given is None:
        return _by_options(workspace, options, request)
    policy = given if isinstance(given, Policy) else read_policy(workspace, given)
    stated = {"rule": policy.rule, **policy.parameters}
    for name, value in options.items():
        if stated.get(name) != value:
            says = f"has {stated[name]}" if name in stated else "has none"
            raise UsageError(
                f"{name.replace('_', '-')} {value} contradicts the policy, which {says}",
                hint="leave it out: a policy states everything that it judges by",
            )
    return policy


def _by_options(workspace: Installation, options: dict[str, Any], request: AuditRequest | None) -> Policy:
    """Where no rule is named, an option that belongs to one rule alone chooses it, and else the sets do."""
    named = options.pop("rule", None)
    of_rule = {rule: [name for name in names if name in options] for rule, names in _OPTIONS_OF.items()}
    rule = named or next((rule for rule, given in of_rule.items() if given), None)
    if rule is None:
        rule = RuleName.MU_ALPHA_SIGMA if request is None else default_rule(workspace.catalog, request)
    for other, given in of_rule.items():
        if given and other is not rule:
            flags = {"q": "--fdr"}
            raise UsageError(
                f"{flags.get(given[0], '--' + given[0])} belongs to the rule {other.value}, not to {rule.value}",
                hint=f"leave it out, or judge by --rule {other.value}",
            )
    if "score" in options:
        options["score"] = score_parameters(options["score"], options.get("top_k", Policy().top_k))
    return Policy(rule=rule, **options)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror or error}", hint=_HINT) from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is no JSON: {error}", hint=_HINT) from error
    if not isinstance(document, dict) or not {"rule", "parameters"} <= document.keys():
        raise SourceError(f"{path} is no policy: it needs rule and parameters", hint=_HINT)
    return document
