"""The run file of the ImageCLEFmed-GAN challenge: ``real_unknown_0001,0``, a line for each judged image.

No header; the name without its extension, a comma, and 1 (used for training) or 0 (not used); every id once. Rows
follow the best guess where the audit has one, which is a bet, or else its labels, of which only ``established`` is a 1.
An image that stands in the release byte for byte, or pixel for pixel, has a 1 either way: it was at hand, as a fact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from provenance.brief import Brief
from provenance.errors import ConflictError, NotFoundError, UsageError
from provenance.findings import GuessFigures, NotComputed
from provenance.text import inert
from provenance.vocabulary import Established, Label, Role, RunLabels, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from provenance.installation import Installation
    from provenance.records import AuditDataset, AuditRecord, StoredVerdict

_CALLED_USED = (Label.USED, Label.ESTABLISHED)
_EXTENSION = re.compile(r"(?<=.)\.[A-Za-z][A-Za-z0-9]{0,4}\Z", re.DOTALL)
_UNWRITABLE = re.compile(r"[,\"\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff\ufeff]|\A\s|\s\Z")


@dataclass(frozen=True, slots=True, repr=False)
class RunFile(Brief):
    """The content of a run file, and what a person should know who submits it.

    Attributes:
        rows: ``(id, 0 or 1)`` in the order of the ids.
        set_names: The sets whose images these are.
        unjudged: Names in these sets without a verdict in this audit (rejected, or come later): their ids are not
            in the file.
        forgotten_count: Judged images that were forgotten since, and have no name any more.
        subject: Which images these are: the challenge scores real ones, the seed paper labels generated ones.
        inconclusive_count: Rows that are 0 only because the audit could not tell.
        labels: Whether rows are best guesses or strict labels.
        guess: How good the guesses are; ``None`` of strict labels.
        identical_count: Rows that are 1 only because the release holds the image itself.
    """

    rows: tuple[tuple[str, int], ...]
    set_names: tuple[str, ...]
    unjudged: tuple[str, ...]
    forgotten_count: int
    subject: Subject = Subject.REAL
    inconclusive_count: int = 0
    labels: RunLabels = RunLabels.STRICT
    guess: GuessFigures | None = None
    identical_count: int = 0

    @property
    def content(self) -> bytes:
        """UTF-8, a line feed after every row."""
        return "".join(f"{image},{value}\n" for image, value in self.rows).encode()

    @property
    def inert_content(self) -> bytes:
        """The same with ids that no spreadsheet runs (see ``text.inert``)."""
        return replace(self, rows=tuple((inert(image), value) for image, value in self.rows)).content

    @property
    def formula_count(self) -> int:
        """How many ids a spreadsheet would run as formulas."""
        return sum(inert(image) != image for image, _ in self.rows)


def id_of_name(name: str) -> str:
    """A name's last part without its extension: ``real_unknown/real_unknown_0001.png`` -> ``real_unknown_0001``.

    An extension has a letter first and at most 5 characters: ``1.2.840.113`` is an id as it is.
    """
    return _EXTENSION.sub("", PurePosixPath(name.replace("\\", "/")).name)


@dataclass(frozen=True, slots=True)
class RunChoice:
    """What of a run file.

    Attributes:
        set_name: For real subjects, the name of one of the audit's sets, or a role: ``against``, ``used`` or
            ``not-used``; ``None``: the ``against`` sets, or all of them where there is none.
        labels: What rows follow; ``None``: the best guess where the audit has one.
        raw: Of any table as CSV: what a spreadsheet would run as a formula is left as it is.
    """

    set_name: str | None = None
    labels: RunLabels | None = None
    raw: bool = False


def run_file(workspace: Installation, audit: AuditRecord, run: RunChoice | None = None) -> RunFile:
    """The run file of an audit; a row for each name that a judged image has in the chosen sets, or in the release.

    Raises:
        UsageError: If a set is chosen and the audit judged generated images, or it has no guesses that are asked for.
        NotFoundError: If the audit has no such set, or its images have no names any more.
        ConflictError: If two images would have the same id, or a name can't be written as one.
    """
    run = run or RunChoice()
    generated, chosen = audit.subject is Subject.GENERATED, run.set_name
    if generated and chosen is not None:
        raise UsageError(
            f"audit {audit.audit_id[:8]} judged generated images: its run file is about the release, not about sets",
            hint="audit with --subject real for labels of real images",
        )
    catalog = workspace.catalog
    played = catalog.audit_datasets(audit.audit_id)
    sets = [row for row in played if row.role is Role.RELEASE] if generated else _chosen_sets(played, chosen)
    dataset_ids = [row.dataset_id for row in sets]
    names = catalog.occurrence_names(dataset_ids)
    verdicts = {verdict.image_key: verdict for verdict in catalog.verdicts(audit.audit_id)}
    judged = [(name, verdicts[key]) for key, listed in names.items() if key in verdicts for name in listed]
    if not judged:
        listed = ", ".join(row.name for row in sets)
        raise NotFoundError(f"no judged image has a name in {listed} any more", hint="ingest and audit again")
    unjudged = {name for key, listed in names.items() if key not in verdicts for name in listed}
    rejects = (r.reject for r in catalog.audit_rejects(audit.audit_id))
    unjudged |= {reject.name for reject in rejects if reject is not None and reject.dataset_id in dataset_ids}
    roles = {row.role for row in sets}
    forgotten = sum(v.image_id is None and v.subject_role in roles for v in verdicts.values())
    set_names = tuple(row.name for row in sets)
    made = RunFile((), set_names, tuple(sorted(unjudged)), forgotten, audit.subject)
    return _with_rows(workspace, audit, made, judged, _labels_of(audit, run))


def _labels_of(audit: AuditRecord, run: RunChoice) -> RunLabels:
    found = audit.findings.calibrated
    guess = None if found is None else found.guess
    there = isinstance(guess, GuessFigures)
    if run.labels is RunLabels.GUESS and not there:
        why = guess.reason if isinstance(guess, NotComputed) else "its policy states no prior, or its rule makes none"
        raise UsageError(f"audit {audit.audit_id[:8]} has no best guesses: {why}", hint="--labels strict")
    return run.labels or (RunLabels.GUESS if there else RunLabels.STRICT)


def _with_rows(
    workspace: Installation,
    audit: AuditRecord,
    made: RunFile,
    judged: Sequence[tuple[str, StoredVerdict]],
    labels: RunLabels,
) -> RunFile:
    rows = _rows(judged)
    called = {verdict.image_key: verdict.label in _CALLED_USED for _, verdict in rows.values()}
    guess, undecided = None, sum(verdict.label is Label.INCONCLUSIVE for _, verdict in rows.values())
    if labels is RunLabels.GUESS:
        figures = workspace.catalog.membership_figures(audit.audit_id)
        called = {key: key in figures and figures[key].best_guess is Label.USED for key in called}
        found = audit.findings.calibrated
        guess = found.guess if found is not None and isinstance(found.guess, GuessFigures) else None
        undecided = 0
    copies = workspace.catalog.standing_copies(audit.audit_id) if audit.subject is Subject.REAL else {}
    identical = {key for key, copy in copies.items() if copy.established_by is Established.IDENTITY}
    values = {image: int(called[each.image_key] or each.image_key in identical) for image, (_, each) in rows.items()}
    added = sum(values[image] != called[each.image_key] for image, (_, each) in rows.items())
    return replace(
        made,
        rows=tuple(sorted(values.items())),
        inconclusive_count=undecided,
        labels=labels,
        guess=guess,
        identical_count=added,
    )


def _chosen_sets(datasets: Sequence[AuditDataset], chosen: str | None) -> list[AuditDataset]:
    sets = [row for row in datasets if row.role is not Role.RELEASE]
    if chosen is None:
        return [row for row in sets if row.role is Role.AGAINST] or sets
    role = {"unknown": "against"}.get(chosen.lower(), chosen.lower().replace("-", "_"))
    found = [row for row in sets if row.name == chosen] or [row for row in sets if row.role.value == role]
    if not found:
        listed = ", ".join(f"{row.name} ({row.role.value})" for row in sets)
        raise NotFoundError(f"this audit has no set {chosen!r}", hint=f"it has {listed}")
    return found


def _rows(judged: Iterable[tuple[str, StoredVerdict]]) -> dict[str, tuple[str, StoredVerdict]]:
    """Name and verdict of each id. Names of one image that give the same id (in two folders, say) are one row."""
    taken: dict[str, tuple[str, StoredVerdict]] = {}
    for name, verdict in judged:
        image = id_of_name(name)
        if not image or _UNWRITABLE.search(image):
            raise ConflictError(
                f"{name!r} can't be an id in a run file: it would break its line",
                hint="rename the file, and ingest and audit again; or choose other sets with --set",
            )
        other_name, other = taken.setdefault(image, (name, verdict))
        if other.image_key != verdict.image_key:
            both = " and ".join(sorted((_described(other_name, other), _described(name, verdict))))
            raise ConflictError(
                f"two images would have the id {image!r}: {both}",
                hint="choose one set with --set, or rename one of them, ingest and audit again",
            )
    return taken


def _described(name: str, verdict: StoredVerdict) -> str:
    return f"{name!r} ({(verdict.image_id or '').rpartition(':')[2][:12]})"
