"""``provenance fit``: the logistic rule's model from images with known truth (seed paper, 4.5)."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provenance.audit import FEATURES, Policy, run_audit
from provenance.audit.rules.logistic import LogisticRule
from provenance.brief import Brief
from provenance.detection import LogisticFit, fit_logistic
from provenance.documents.measures import Fitted
from provenance.errors import NotFoundError, UsageError
from provenance.files import write_bytes
from provenance.logs import room, step
from provenance.truth.judged import SEED
from provenance.truth.known import Known, known_images
from provenance.version import __version__
from provenance.vocabulary import DatasetKind, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from provenance.audit import AuditRequest
    from provenance.detection import FitSettings
    from provenance.installation import Installation
    from provenance.records import AuditRecord
    from provenance.truth.known import TruthRequest

_log = room(__name__)

_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, repr=False)
class FitReport(Brief):
    """A fitted model as a policy, with how it does, the images it was fitted on, and what a person should know."""

    policy: Policy
    fit: LogisticFit
    known: Known
    notes: tuple[str, ...]

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        held_out = self.fit.held_out
        return {"policy_id": self.policy.policy_id[:19], "images": len(self.known.labelled)} | {
            f"held_out_{name}": getattr(held_out, name) for name in ("accuracy", "kappa", "auc")
        }

    @property
    def fitted(self) -> Fitted:
        """What stands in the policy file beside the policy: what it was fitted on, and its metrics."""
        return Fitted.of(self, software_version=__version__)


@step(_log, "fit")
def run_fit(
    workspace: Installation,
    what: Sequence[str],
    control: Sequence[str],
    truth: TruthRequest,
    features: Sequence[str],
    settings: FitSettings,
    template: AuditRequest,
    on_step: Callable[[str], None] | None = None,
) -> FitReport:
    """Split the images with known truth, fit on the training part, measure on both (seed paper, 4.5 and table 1).

    Generated images have the features S_u and S_n. Without groups the split is scikit-learn's stratified
    ``train_test_split``; images of one group, and an image that two audits judged, stay on one side. ``what`` and
    ``control`` are audits (ids), or releases, which are audited first, as ``template`` says.

    Raises:
        UsageError: If truth is not known, there is one class only, too few images or groups, or a feature is missing.
        ConflictError: If a control was audited against other sets.
        NotFoundError: If an audit, release or labelled image is unknown.
    """
    on_step = on_step or (lambda _step: None)
    if not what:
        raise UsageError("nothing to fit on", hint="name an audit or a release")
    audits = [_audit(workspace, name, template, on_step) for name in what]
    controls = tuple(_audit(workspace, name, template, on_step).audit_id for name in control)
    known = known_images(workspace, audits, replace(truth, control=controls))
    on_step(f"fitting on {len(known.labelled):,} images with known truth")
    fit = fit_logistic(
        _columns(known, features),
        [image.used is True for image in known.labelled],
        groups=[image.group for image in known.labelled],
        settings=settings,
    )
    policy = Policy(known.subject, LogisticRule(fit.model, audits[0].space_id), known.top_k)
    return FitReport(policy, fit, known, (*known.notes, *_notes(fit, known)))


def _audit(workspace: Installation, name: str, template: AuditRequest, on_step: Callable[[str], None]) -> AuditRecord:
    """The audit of that id; or a new one of the release of that name, by the seed rule."""
    try:
        workspace.catalog.dataset(name, DatasetKind.RELEASE)
    except NotFoundError as no_release:
        try:
            return workspace.catalog.answer_of(name, None, SEED)
        except NotFoundError as no_audit:
            raise (no_audit if set(name.strip().lower()) <= _HEX else no_release) from None
    record = run_audit(workspace, replace(template, release=name), on_step).audit
    on_step(f"release {name}: audit {record.audit_id[:8]} recorded")
    return record


def _columns(known: Known, wanted: Sequence[str]) -> Mapping[str, list[float]]:
    names = tuple(wanted) or FEATURES[known.subject]
    unknown = [name for name in names if name not in FEATURES[known.subject]]
    if unknown or len(set(names)) < len(names):
        raise UsageError(
            f"{', '.join(unknown)}: no feature of {known.subject.value} images" if unknown else "a feature named twice",
            hint=f"there are {', '.join(FEATURES[known.subject])}",
        )
    columns = {name: [image.features[name] for image in known.labelled] for name in names}
    for name, scores in columns.items():
        if None in scores:
            role = "used or unknown" if name == "s_used" else "not-used"
            raise UsageError(
                f"an audit has no {role} set: {name} of its {known.subject.value} images is missing",
                hint="audit with --used and --not-used",
            )
    return {name: [score for score in scores if score is not None] for name, scores in columns.items()}


def _notes(fit: LogisticFit, known: Known) -> list[str]:
    notes = []
    if fit.held_out.auc is None:
        notes.append("The model gives every held-out image the same probability: it has learnt nothing.")
    elif fit.held_out.true_positives + fit.held_out.false_positives in (0, fit.held_out.n):
        notes.append("The model gives every held-out image the same label: C or standardise may be what it lacks.")
    if known.subject is Subject.REAL and not any(image.group for image in known.labelled):
        notes.append(
            "No patient or study groups are on record: images of one patient may stand on both sides of the split, "
            "which flatters the held-out part."
        )
    return notes


def write_policy(report: FitReport, target: Path) -> None:
    """Write a fitted policy, and beside it what it was fitted on; the file is whole or not there.

    Raises:
        SourceError: If the file can't be written.
    """
    document = {**report.policy.to_json(), "fitted": report.fitted.to_json()}
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(target, text.encode())
