"""One audit of several answers: the outcome is the strongest of theirs, in one sentence that names what each found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from provenance.findings import UNNAMED, CalibratedFindings, CopiesFindings, JointFindings
from provenance.vocabulary import Answer, Label, Outcome, Role, Subject, counted, digest_of_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from provenance.audit.looks import Looks
    from provenance.audit.plan import JointPlan
    from provenance.records import AuditRecord

NOT_MEASURED = "What was too weak to be seen is not measured yet."
_STRENGTH = (Outcome.LEAK_ESTABLISHED, Outcome.INCONCLUSIVE, Outcome.LEAK_NOT_ESTABLISHED)
COUNTED = ("rejected", "excluded_overlap", "claimed_otherwise", "not_used_with_twins", "excluded_twins")
"""Of the counts of an answer, those that all have in common."""


def joint_digest(plan: JointPlan, answers: Mapping[Answer, AuditRecord], version: int) -> str:
    """``sha256:<hex>`` over the verdict digests of all answers."""
    parts = {answer.value: record.verdict_digest for answer, record in answers.items()}
    return "sha256:" + digest_of_json({"version": version, "policy_id": plan.policy.policy_id, "answers": parts})


def joint_counts(answers: Mapping[Answer, AuditRecord]) -> dict[str, int]:
    """Counts of the whole: what all answers count alike; and the labels of each under its own words.

    ``used`` and ``not_used`` are labels of the baseline; ``inconclusive`` images are counted by the answers alone.
    """
    first = next(iter(answers.values())).counts
    counts = {name: first.get(name, 0) for name in COUNTED}
    generated = [record for record in answers.values() if record.subject is Subject.GENERATED]
    counts["subjects"] = generated[0].counts["subjects"] if generated else 0
    for name in ("used", "not_used"):
        counts[name] = answers[Answer.BASELINE].counts[name] if Answer.BASELINE in answers else 0
    for answer, labels in LABELS.items():
        counts |= {label.value: answers[answer].counts[label.value] for label in labels if answer in answers}
    return counts


LABELS = {
    Answer.COPIES: (Label.COPY, Label.PART_COPY, Label.NO_COPY_SEEN),
    Answer.MEMBERSHIP: (Label.ESTABLISHED, Label.NOT_ESTABLISHED),
}


def joint_findings(missing: Mapping[Answer, str], looks: Looks) -> JointFindings:
    """What the whole says beside its answers."""
    reasons = {answer.value: why for answer, why in missing.items()}
    return JointFindings(reasons, looks.number, looks.predeclared, len(looks.elsewhere))


def joint_outcome(answers: Mapping[Answer, AuditRecord], *, left_open: bool = False) -> Outcome | None:
    """The strongest of the answers: a leak that one of them establishes is one, whatever the others can't see.

    Where none establishes any, one that can't tell keeps the whole from saying more, or one that is ``left_open``: the
    sets allow it, and too few images are left. The baseline concludes nothing.
    """
    found = {record.findings.outcome for record in answers.values()} | ({Outcome.INCONCLUSIVE} if left_open else set())
    return next((outcome for outcome in _STRENGTH if outcome in found), None)


def joint_reason(answers: Mapping[Answer, AuditRecord], missing: Mapping[Answer, str]) -> str:
    """What was found, the answer that decides first, and what was too weak to be seen."""
    strongest = joint_outcome(answers)
    first = sorted(answers.items(), key=lambda each: each[1].findings.outcome is not strongest)  # others in their order
    said = [SAY[answer](record) for answer, record in first if answer in SAY]
    said += [f"{answer.value} is not answered: {why}" for answer, why in missing.items()]
    sentences = [each[:1].upper() + each[1:].rstrip(".") + ("" if each.endswith("?") else ".") for each in said]
    return " ".join([*sentences, NOT_MEASURED])


def _copies(record: AuditRecord) -> str:
    counts = record.counts
    total, copies, parts, unclear = (counts.get(each, 0) for each in ("subjects", "copy", "part_copy", "inconclusive"))
    among = counted(total, "generated image")
    if not copies and not parts:
        seen = "established" if unclear else "seen"
        return f"no copy is {seen} among {among}" + (f"; {unclear:,} can't be told" if unclear else "")
    are = "is a copy of a real one" if copies == 1 else "are copies of real ones"
    said = f"{copies:,} of {among} {are}"
    if parts:
        said += f", and {parts:,} {'copies' if parts == 1 else 'copy'} a part of one"
    return said + (f"; {unclear:,} more can't be told" if unclear else "") + _contradicted(record)


def _contradicted(record: AuditRecord) -> str:
    count = record.findings.own_as(CopiesFindings).of_not_used
    if not count:
        return ""
    are = "1 copy is of an image" if count == 1 else f"{count:,} copies are of images"
    return (
        f". {are} claimed not to have been used, which contradicts the claim: as long as it stands, such images "
        "calibrate membership, and one that scores high keeps all others from being established. Take them out of "
        "the not-used set, and audit again"
    )


def _membership(record: AuditRecord) -> str:
    found = record.findings.calibrated
    assert found is not None, "membership is answered by the rule calibrated"
    test, outcome = found.release_test, record.findings.outcome
    if test is not None and test.auc.value is not None:
        interval = "" if test.auc.low is None else f" [{test.auc.low:.2f}, {test.auc.high:.2f}]"
        told = f"{_TOLD[test.outcome]} (AUC {test.auc.value:.2f}{interval}, 0.5 is chance)"
        outcome = test.outcome
    else:
        told = _TOLD[outcome]
    if outcome is Outcome.INCONCLUSIVE:
        reason = (test.reason if test else record.findings.outcome_reason) or ""
        told += f", because {_inner(reason.removeprefix('Inconclusive: '))}"
    return f"{told}; {_established(found)}" if not found.doubt else told


def _established(found: CalibratedFindings) -> str:
    """Which images are established, claim by claim, or why none can be."""
    families = found.calibration.families or {}
    reason = found.calibration.reason
    if reason.startswith(UNNAMED):
        said = _inner(reason)
    else:
        by_claim = [f"{each.established:,} of those {_CLAIMS[role]}" for role, each in families.items()]
        said = f"established as used: {', '.join(by_claim)}"
    if found.doubt_of_unknown:
        said += f"; of those of unknown use nothing can be told: {_inner(found.doubt_of_unknown)}"
    if found.groups is not None:
        said += f"; {_inner(found.groups.sentence)}"
    return said


def _inner(sentence: str) -> str:
    """A sentence as a part of another one."""
    return f"{sentence[:1].lower()}{sentence[1:]}".rstrip(".")


_CLAIMS: Mapping[str, str] = {Role.USED: "claimed used", Role.AGAINST: "of unknown use"}
_TOLD: Mapping[Outcome | None, str] = {
    Outcome.LEAK_ESTABLISHED: "used images are told from not-used ones",
    Outcome.LEAK_NOT_ESTABLISHED: "used images are not told from not-used ones",
    Outcome.INCONCLUSIVE: "whether used images are told from not-used ones is inconclusive",
}


SAY = {Answer.COPIES: _copies, Answer.MEMBERSHIP: _membership}
