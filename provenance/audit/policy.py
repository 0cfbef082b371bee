"""Policies: what an audit judges by, content-addressed; from options, from files, and from what is on record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.audit.rules import default_rule, rule_named
from provenance.audit.rules.mu_alpha_sigma import MuAlphaSigmaRule
from provenance.brief import Brief
from provenance.detection.decision import DECIMALS
from provenance.errors import ConflictError, SourceError, UsageError
from provenance.received import read_json, require_whole, shortened
from provenance.vocabulary import JOINT_RULE, POLICY_ID_PREFIX, TOP_K, Answer, RuleName, Subject, digest_of_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from provenance.audit.rule import Rule
    from provenance.installation import Installation
    from provenance.vocabulary import Role

MOST_TOP_K = 10_000
_MOST_BYTES = 4 * 1024**2
_HINT = "`provenance audit RELEASE --declare policy.json` writes one, and so does `provenance fit -o policy.json`"

ANSWERS = {
    Answer.COPIES: (RuleName.COPIES, Subject.GENERATED),
    Answer.MEMBERSHIP: (RuleName.CALIBRATED, Subject.REAL),
    Answer.BASELINE: (RuleName.MU_ALPHA_SIGMA, Subject.GENERATED),
}
"""By which rule, and about which images, each question of a release is answered."""


class _Identified(Brief, ABC):
    """What is known by its content: a rule's name and its parameters as JSON values."""

    __slots__ = ()

    @property
    @abstractmethod
    def rule_name(self) -> str:
        """As it is recorded."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The parameters as JSON values, in the order in which they are written."""

    @property
    def policy_id(self) -> str:
        """``policy:<hex>``, sha256 of rule and parameters."""
        return POLICY_ID_PREFIX + digest_of_json({"rule": self.rule_name, "parameters": self.parameters})

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return {"policy_id": self.policy_id[:19], "rule": self.rule_name, "subject": self.parameters["subject"]}

    def to_json(self) -> dict[str, Any]:
        """As a policy file has it; ``policy_id`` is the sha256 of the other two."""
        return {"policy_id": self.policy_id, "rule": self.rule_name, "parameters": self.parameters}


@dataclass(frozen=True, slots=True, repr=False)
class Policy(_Identified):
    """A rule with its parameters. Evidence: recorded with every audit, and known by its ``policy_id``.

    ``top_k`` neighbors are kept of each subject, per role; 1 or more.
    """

    subject: Subject = Subject.GENERATED
    rule: Rule = field(default_factory=MuAlphaSigmaRule)
    top_k: int = TOP_K

    def __post_init__(self) -> None:
        if self.subject is Subject.RELEASE:
            raise UsageError("one rule judges images, generated or real ones", hint="--subject generated|real")
        require_whole("top-k", self.top_k, 1, MOST_TOP_K)
        self.rule.check_subject(self.subject)

    @property
    def rule_name(self) -> str:
        """As it is recorded."""
        return self.rule.name.value

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters as JSON values, in the order in which they are written."""
        own = self.rule.to_json()
        found = {"subject": self.subject.value, **own, "top_k": self.top_k, "decimals": DECIMALS}
        return found | {name: found.pop(name) for name in self.rule.behind if name in found}


@dataclass(frozen=True, slots=True, repr=False)
class JointPolicy(_Identified):
    """What a release is judged by as a whole: a policy for each answer."""

    answers: Mapping[Answer, Policy]

    @property
    def rule_name(self) -> str:
        """As it is recorded."""
        return JOINT_RULE

    @property
    def parameters(self) -> dict[str, Any]:
        """Rule and parameters of each answer."""
        parts = {name.value: self.answers[name].to_json() for name in Answer if name in self.answers}
        return {"subject": Subject.RELEASE.value, "answers": parts}


def any_policy_from_json(rule: Any, parameters: Any) -> Policy | JointPolicy:
    """A policy of one rule or of several answers; the same content gives the same ``policy_id``.

    Raises:
        UsageError: If it is none that this version judges by.
    """
    if rule != JOINT_RULE:
        return policy_from_json(rule, parameters)
    try:
        parts = {Answer(name): part for name, part in parameters["answers"].items()}
        policy = JointPolicy({name: policy_from_json(p["rule"], p["parameters"]) for name, p in parts.items()})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"a policy of several answers has one policy an answer: {shortened(error)}") from error
    stated = policy.parameters
    if parameters != stated and (parameters.get("subject") != stated["subject"] or _misnamed(parts, policy)):
        raise UsageError(
            "a policy of several answers is about a release, and each answer's policy_id is that of its content"
        )
    wrong = [name for name, part in policy.answers.items() if (part.rule.name, part.subject) != ANSWERS[name]]
    if wrong or not parts:
        raise UsageError(f"a policy of several answers judges by other rules here: {', '.join(wrong) or 'none'}")
    return policy


def _misnamed(parts: Mapping[Answer, Any], policy: JointPolicy) -> bool:
    return any(
        part.get("policy_id", policy.answers[name].policy_id) != policy.answers[name].policy_id
        for name, part in parts.items()
    )


def policy_from_json(rule: Any, parameters: Any) -> Policy:
    """A policy from its rule's name and its ``parameters``; the same ones give the same ``policy_id``.

    Raises:
        UsageError: If the rule is unknown, or a parameter is missing, unknown or not what it should be.
    """
    rule_type = rule_named(rule)
    if not isinstance(parameters, dict):
        raise UsageError("a policy's parameters must be a JSON object")
    try:
        subject, top_k = Subject(parameters["subject"]), parameters["top_k"]
        own = {name: value for name, value in parameters.items() if name not in ("subject", "top_k", "decimals")}
        policy = Policy(subject, rule_type.from_json(own), top_k)
    except KeyError as missing:
        raise UsageError(f"the policy lacks the parameter {missing.args[0]}") from missing
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"a parameter of the policy is not what it should be: {shortened(error)}") from error
    stated = policy.parameters
    if wrong := sorted(name for name in parameters | stated if parameters.get(name) != stated.get(name)):
        raise UsageError(
            f"this version judges by other parameters: {', '.join(wrong)}",
            hint="the policy is of another version of this program: judge by that version, or declare one anew",
        )
    return policy


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """What a call says of the policy to judge by.

    Attributes:
        given: A policy, its file, or the ``policy:<hex>`` of one on record; ``None``: the options and their defaults.
        options: ``subject``, ``rule``, ``top_k`` and those that belong to a rule; ``None`` where not asked for. With a
            policy given they may only repeat what it says.
    """

    given: Policy | JointPolicy | str | Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def stated(self, workspace: Installation) -> Policy | JointPolicy | None:
        """The policy where the call alone says which; ``None`` where the audit's sets decide on the rule.

        Without a policy, a rule and a kind of image it is that of all answers, each by the options that are its own.

        Raises:
            UsageError: If an option contradicts the policy or the rule, or the rule needs a fitted model.
            SourceError: If the file can't be read or is no policy.
            ConflictError: If its content is not what its ``policy_id`` says.
            NotFoundError: If no such policy is on record.
        """
        if self.given is None:
            if "rule" not in self._asked and self._asked.get("subject", Subject.RELEASE) is Subject.RELEASE:
                return JointPolicy({answer: _policy_of_answer(answer, self._asked) for answer in ANSWERS})
            rule = _rule_by_options(self._asked)
            return None if rule is None else _policy_by_options(rule, self._asked)
        policy = self.given if isinstance(self.given, _Identified) else _given(workspace, self.given)
        stated = _stated(policy)
        for name, value in self._asked.items():
            if stated.get(name) != value:
                says = f"has {stated[name]}" if name in stated else "has none"
                raise UsageError(
                    f"{name.replace('_', '-')} {value} contradicts the policy, which {says}",
                    hint="leave it out: a policy states everything that it judges by",
                )
        return policy

    def by_sets(self, roles: Collection[Role]) -> Policy:
        """The policy of the rule that is the default of sets in these roles."""
        return _policy_by_options(default_rule(roles), self._asked)

    @property
    def _asked(self) -> dict[str, Any]:
        return {name: value for name, value in self.options.items() if value is not None}


def _stated(policy: Policy | JointPolicy) -> dict[str, Any]:
    if isinstance(policy, Policy):
        return {"rule": policy.rule.name, **policy.parameters}
    parts = [policy.answers[name].parameters for name in Answer if name in policy.answers]
    return {name: value for part in parts for name, value in part.items()} | {"subject": Subject.RELEASE}


def _given(workspace: Installation, given: str | Path) -> Policy | JointPolicy:
    if str(given).startswith(POLICY_ID_PREFIX) and not Path(given).exists():
        record = workspace.catalog.policy(str(given))
        return any_policy_from_json(record.rule, dict(record.parameters))
    document = _read(Path(given))
    policy = any_policy_from_json(document["rule"], document["parameters"])
    if document.get("policy_id", policy.policy_id) != policy.policy_id:
        raise ConflictError(
            f"{given} was changed: its content is {policy.policy_id[:19]}, not {str(document['policy_id'])[:19]}",
            hint="fit again; or take policy_id out of the file to make a policy of its own",
        )
    return policy


def _rule_by_options(options: Mapping[str, Any]) -> type[Rule] | None:
    """The rule that is named, or that an option belongs to; ``None`` where neither is so."""
    owners: dict[str, list[type[Rule]]] = {}
    for each in map(rule_named, RuleName):
        for name in each.options.keys() & options.keys():
            owners.setdefault(name, []).append(each)
    rule = rule_named(options["rule"]) if "rule" in options else next((each[0] for each in owners.values()), None)
    for name, (owner, *others) in owners.items():
        if rule is not None and rule not in (owner, *others):
            raise UsageError(
                f"{owner.options[name]} belongs to the rule {owner.name.value}, not to {rule.name.value}",
                hint=f"leave it out, or judge by --rule {owner.name.value}",
            )
    return rule


def _policy_of_answer(answer: Answer, options: Mapping[str, Any]) -> Policy:
    name, subject = ANSWERS[answer]
    rule = rule_named(name)
    wanted = {each: options[each] for each in (*rule.options, "top_k") if each in options}
    return _policy_by_options(rule, {**wanted, "subject": subject})


def _policy_by_options(rule: type[Rule], options: Mapping[str, Any]) -> Policy:
    top_k, own = options.get("top_k", TOP_K), {name: options[name] for name in rule.options if name in options}
    return Policy(options.get("subject", Subject.GENERATED), rule.of_options(own, top_k), top_k)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path, most_bytes=_MOST_BYTES)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror or error}", hint=_HINT) from error
    except ValueError as error:
        raise SourceError(f"{path} is no JSON that could be a policy: {error}", hint=_HINT) from error
    if not isinstance(document, dict) or not {"rule", "parameters"} <= document.keys():
        raise SourceError(f"{path} is no policy: it needs rule and parameters", hint=_HINT)
    return document
