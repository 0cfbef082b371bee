"""Recorded scores with what is known to be true of their images.

Truth comes from one of three places. *Claims*: a real image is in a used or in a not-used set of its audit. *Control*:
a generated image is used if it comes from the release under audit, whose generator was trained on the used set, and not
used if it comes from a control release, whose generator was not; both are audited against the same sets. *Labels*: a
table says it of every image.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provenance.audit import features_of
from provenance.errors import ConflictError, UsageError
from provenance.truth.judged import SEED, judged_audit
from provenance.truth.matching import refuse_unknown, truth_of_claims, truth_of_labels
from provenance.vocabulary import Role, Subject

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from provenance.installation import Installation
    from provenance.records import AuditRecord
    from provenance.truth.judged import JudgedAudit
    from provenance.truth.labels import TruthRow

    Features = Mapping[str, float | None]

CONTROL_NOTE = (
    "Used and not used are two generators here: whatever else differs between these (resolution, format, training) is "
    "learnt as if it were use. A control of the same architecture, training and format is the fair one."
)


@dataclass(frozen=True, slots=True)
class TruthRequest:
    """Where truth comes from: audits (ids) of control releases, or rows of labels; with neither, the audit's claims.

    ``skip_unknown`` leaves labels out that are about no image of these audits; otherwise they are an error.
    """

    control: tuple[str, ...] = ()
    labels: tuple[TruthRow, ...] | None = None
    skip_unknown: bool = False


@dataclass(frozen=True, slots=True)
class KnownImage:
    """One judged image: its features, whether it was used (``None``: not known), and its group."""

    image_key: str
    features: Features
    used: bool | None
    group: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """Every image that some audits judged, audit by audit in image_id order, with known truth where there is any.

    Truth of ``audits`` is "used" where there are audits of ``control`` releases, and else comes from their claims or
    from labels: the ``source``. All have the same ``top_k``.
    """

    audits: tuple[AuditRecord, ...]
    control: tuple[AuditRecord, ...]
    images: tuple[KnownImage, ...]
    source: str
    top_k: int
    notes: tuple[str, ...]

    @property
    def subject(self) -> Subject:
        """Which images were judged."""
        return self.audits[0].subject

    @property
    def control_ids(self) -> tuple[str, ...]:
        """The ids of the control audits."""
        return tuple(audit.audit_id for audit in self.control)

    @property
    def used_count(self) -> int:
        """The number of images known to have been used."""
        return sum(image.used is True for image in self.images)

    @property
    def labelled(self) -> tuple[KnownImage, ...]:
        """The images with known truth."""
        return tuple(image for image in self.images if image.used is not None)


def known_images(workspace: Installation, audits: Sequence[AuditRecord], truth: TruthRequest) -> Known:
    """Read the scores of some audits and find out what is true of their images.

    Raises:
        UsageError: If truth is not known of any image, is asked for in two ways, or the audits do not go together.
        ConflictError: If a control was audited against other sets, or holds images of the release itself.
        NotFoundError: If an audit is unknown, or a label is about no image that the audits know.
        SourceError: If two labels contradict each other.
    """
    control = tuple(workspace.catalog.answer_of(audit_id, None, SEED) for audit_id in truth.control)
    top_k = _require_alike(workspace, (*audits, *control))
    if truth.labels is not None and control:
        raise UsageError("truth comes from labels or from a control release, not from both", hint="leave one out")
    notes: list[str] = []
    if truth.labels is not None:
        source, images = "labels", _by_labels(workspace, audits, truth.labels, notes, skip_unknown=truth.skip_unknown)
    elif control:
        source, images = "control", _by_control(workspace, audits, control)
        notes.append(CONTROL_NOTE)
    else:
        source, images = "claims", _by_claims(workspace, audits)
    return Known(tuple(audits), control, _grouped(images), source, top_k, tuple(notes))


def _require_alike(workspace: Installation, audits: Sequence[AuditRecord]) -> int:
    """Scores of two audits are comparable if subject, space and top_k are the same; gives their top_k."""
    if len({audit.audit_id for audit in audits}) < len(audits):
        raise UsageError("an audit was given twice")
    top_k = {int(workspace.catalog.policy(audit.policy_id).parameters.get("top_k", 0)) for audit in audits}
    words = {
        "subjects": {audit.subject.value for audit in audits},
        "embedding spaces": {audit.space_id[:18] for audit in audits},
        "top-k": {str(number) for number in top_k},
    }
    for what, values in words.items():
        if len(values) > 1:
            raise UsageError(
                f"these audits differ in their {what}: {', '.join(sorted(values))}", hint="audit again alike"
            )
    return top_k.pop()


def _by_claims(workspace: Installation, audits: Sequence[AuditRecord]) -> list[KnownImage]:
    if audits[0].subject is Subject.GENERATED:
        raise UsageError(
            "what is true of a generated image is not on record: the release's generator used the used sets, so that "
            "all its images are of one class",
            hint="name the audit of a release whose generator did not use them with --control, or give --labels",
        )
    judged = [judged_audit(workspace, audit) for audit in audits]
    return [image for each in judged for image in _images(workspace, each, truth_of_claims(each).used)]


def _by_labels(
    workspace: Installation,
    audits: Sequence[AuditRecord],
    rows: Sequence[TruthRow],
    notes: list[str],
    *,
    skip_unknown: bool,
) -> list[KnownImage]:
    judged = [judged_audit(workspace, audit) for audit in audits]
    truths = [truth_of_labels(workspace, each, rows) for each in judged]
    unknown = sorted(set.intersection(*(set(truth.unknown) for truth in truths)))
    if not skip_unknown:
        refuse_unknown(judged, unknown)
    elif unknown:
        notes.append(f"{len(unknown)} labels are about no image of these audits, and were left out.")
    if contradicted := sum(truth.contradicted for truth in truths):
        notes.append(f"{contradicted} labels contradict what the audit claims of their images; the labels count.")
    return [image for each, truth in zip(judged, truths, strict=True) for image in _images(workspace, each, truth.used)]


def _by_control(
    workspace: Installation, audits: Sequence[AuditRecord], control: Sequence[AuditRecord]
) -> list[KnownImage]:
    if audits[0].subject is Subject.REAL:
        raise UsageError(
            "a control release is for generated images; what is true of real ones their sets claim, or --labels say"
        )
    sets = {_sets_of(workspace, audit) for audit in (*audits, *control)}
    if len(sets) > 1:
        raise ConflictError(
            "release and control were not audited against the same real sets", hint="audit both with the same flags"
        )
    used, others = (
        [
            image
            for judged in (judged_audit(workspace, audit) for audit in listed)
            for image in _images(workspace, judged, dict.fromkeys((each.image_key for each in judged.images), truth))
        ]
        for truth, listed in ((True, audits), (False, control))
    )
    if both := len({image.image_key for image in used} & {image.image_key for image in others}):
        raise ConflictError(f"{both} images are in the release and in the control: nothing can be true of them")
    return used + others


def _sets_of(workspace: Installation, audit: AuditRecord) -> tuple[tuple[str, str], ...]:
    """Digests by role, and what was left out of these sets."""
    rows = workspace.catalog.audit_datasets(audit.audit_id)
    twins = audit.findings.twins
    left_out = [
        ("excluded_overlap", str(audit.counts.get("excluded_overlap", 0))),
        ("excluded_twins", twins.images_digest if twins and twins.excluded else ""),
    ]
    sets = ((row.role.value, row.dataset_digest) for row in rows if row.role is not Role.RELEASE)
    return tuple(sorted([*sets, *left_out]))


def _images(workspace: Installation, judged: JudgedAudit, truth: Mapping[str, bool]) -> list[KnownImage]:
    neighbors = workspace.catalog.neighbors_of(judged.audit.audit_id)
    return [
        KnownImage(
            image.image_key,
            features_of(judged.audit.subject, neighbors.get(image.image_key, ())),
            truth.get(image.image_key),
            image.group,
        )
        for image in judged.images
    ]


def _grouped(images: Sequence[KnownImage]) -> tuple[KnownImage, ...]:
    """An image that several audits judged is one group, so that a split never has it on both sides."""
    times = Counter(image.image_key for image in images)
    return tuple(
        replace(image, group=image.image_key) if image.group is None and times[image.image_key] > 1 else image
        for image in images
    )
