"""What an audit said of every image that it judged, with what an evaluation needs beside the label."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from provenance.audit import scored_reals
from provenance.brief import Brief
from provenance.records import StoredVerdict
from provenance.vocabulary import Answer, Label, Role, Subject

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from provenance.catalog import Catalog
    from provenance.installation import Installation
    from provenance.records import AuditDataset, AuditRecord, Dataset, MembershipFigures, StoredCalibrationScore

CALLED_USED = frozenset({Label.USED, Label.ESTABLISHED, Label.COPY, Label.PART_COPY})
"""Labels that call an image used, or a copy; every other one, ``inconclusive`` too, does not."""

JUDGED = (Answer.MEMBERSHIP, Answer.BASELINE, Answer.COPIES)
"""Of an audit of several answers, whose verdicts are compared with truth: the first that there is."""

SEED = (Answer.BASELINE,)
"""Likewise, what the seed paper's rules are learnt and swept from."""


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """One verdict, and where its image belongs.

    Attributes:
        verdict: As recorded.
        group: Patient or study key; ``None``: the image is its own group.
        guessed: The best guess as a verdict: its label, and the probability for a score; ``None``: there is none.
        labelled: Whether it was judged; one that calibrates has a score, and the label of ``verdict`` says nothing.
        modality: Of the set or release that holds the image, else of the release; '' where neither states one.
    """

    verdict: StoredVerdict
    group: str | None
    modality: str
    guessed: StoredVerdict | None = None
    labelled: bool = True

    @property
    def image_key(self) -> str:
        """The catalog's key of the image."""
        return self.verdict.image_key

    @property
    def called_used(self) -> bool:
        """Whether the label calls it used."""
        return self.labelled and self.verdict.label in CALLED_USED

    @property
    def claimed(self) -> bool | None:
        """The audit's own claim: used, not used, or ``None`` (unknown, or generated)."""
        return {Role.USED: True, Role.NOT_USED: False}.get(self.verdict.subject_role)


@dataclass(frozen=True, slots=True, repr=False)
class JudgedAudit(Brief):
    """An audit with everything it judged, by image_id.

    Attributes:
        release: The audited release; ``release_name`` is what it was called then.
        datasets: The datasets whose images it judged, in the role they played.
        images: One for each verdict.
        removed: Names of those datasets that were removed since: their names and groups are gone.
        calibrating: Of real images, those known not used, which calibrate and are not judged, by image_id.
        tested: Keys of the images whose scores the release test compares; ``None``: there is none, or it can't be told.
    """

    audit: AuditRecord
    release: Dataset
    release_name: str
    datasets: tuple[AuditDataset, ...]
    images: tuple[JudgedImage, ...]
    removed: tuple[str, ...]
    calibrating: tuple[JudgedImage, ...] = ()
    tested: Collection[str] | None = None

    @property
    def known(self) -> tuple[JudgedImage, ...]:
        """All that have a score: judged ones, and those that calibrate."""
        return (*self.images, *self.calibrating)

    @property
    def short_id(self) -> str:
        """The first digits of its id."""
        return self.audit.audit_id[:8]

    @property
    def rule_key(self) -> tuple[str, str]:
        """Scores are comparable between audits that have this in common: policy and space."""
        return self.audit.policy_id, self.audit.space_id

    @property
    def generator(self) -> str:
        """Name of the generator, with its version where there is one."""
        made_by = self.release.generator
        return "" if made_by is None else " ".join(word for word in (made_by.name, made_by.version) if word)

    @property
    def architecture(self) -> str:
        """Of the generator; '' where not known."""
        return "" if self.release.generator is None else self.release.generator.architecture


def judged_audit(workspace: Installation, audit: AuditRecord) -> JudgedAudit:
    """Read an audit's verdicts with groups and modalities, from the catalog alone.

    An image with several groups (in several sets) has the first of them; so has its modality.
    """
    catalog = workspace.catalog
    played = catalog.audit_datasets(audit.audit_id)
    wanted = {Role.RELEASE} if audit.subject is Subject.GENERATED else set(Role) - {Role.RELEASE}
    datasets = tuple(row for row in played if row.role in wanted)
    release = catalog.dataset_by_id(audit.dataset_id)
    beside = catalog.membership_figures(audit.audit_id)
    groups, modalities, present = _belonging(catalog, datasets)
    reals = scored_reals(catalog, audit) if audit.subject is Subject.REAL else None
    judged = catalog.verdicts(audit.audit_id) if reals is None else reals.verdicts

    def image(verdict: StoredVerdict, *, labelled: bool = True) -> JudgedImage:
        key = verdict.image_key
        modality = modalities.get(key, "") or release.modality
        return JudgedImage(verdict, groups.get(key), modality, _guessed(verdict, beside.get(key)), labelled)

    return JudgedAudit(
        audit=audit,
        release=release,
        release_name=next((row.name for row in played if row.role is Role.RELEASE), release.name),
        datasets=datasets,
        images=tuple(map(image, judged)),
        removed=tuple(sorted({row.name for row in datasets if row.dataset_id not in present})),
        calibrating=tuple(image(_unjudged(each), labelled=False) for each in (reals.calibrating if reals else ())),
        tested=None if reals is None else reals.tested,
    )


def _unjudged(known: StoredCalibrationScore) -> StoredVerdict:
    """What stands for the verdict of an image that calibrates: its score is all that there is."""
    none: dict[str, Any] = dict.fromkeys(("s_used", "s_not_used", "s_against", "threshold", "p_value", "q_value"))
    return StoredVerdict(
        image_key=known.image_key,
        subject_role=Role.NOT_USED,
        label=Label.NOT_ESTABLISHED,
        score=known.score,
        near_threshold=False,
        verdict_sha256="",
        image_id=known.image_id,
        **none,
    )


def _guessed(verdict: StoredVerdict, beside: MembershipFigures | None) -> StoredVerdict | None:
    if beside is None or beside.best_guess is None:
        return None
    return replace(verdict, label=beside.best_guess, score=beside.probability, p_value=None, q_value=None)


def _belonging(
    catalog: Catalog, datasets: Sequence[AuditDataset]
) -> tuple[Mapping[str, str], Mapping[str, str], set[str]]:
    """Groups and modalities by image_key, and the ids of the datasets that still hold images."""
    ordered = sorted(datasets, key=lambda row: (row.name, row.dataset_id))
    modality = {row.dataset_id: catalog.dataset_by_id(row.dataset_id).modality for row in ordered}
    place = {row.dataset_id: number for number, row in enumerate(ordered)}
    groups: dict[str, str] = {}
    modalities: dict[str, str] = {}
    present = set()
    for image_key, dataset_id, group_key in sorted(
        catalog.placements(list(place)), key=lambda found: place[found.dataset_id]
    ):
        present.add(dataset_id)
        if group_key is not None:
            groups.setdefault(image_key, group_key)
        if modality[dataset_id]:
            modalities.setdefault(image_key, modality[dataset_id])
    return groups, modalities, present
