"""Verbs that keep the record whole: reconcile, backup, restore, and what is taken out or moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from provenance.installation import Installation, is_workspace
from provenance.service.backbones import BackboneChoice, words_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from provenance.ingest import OnProgress
    from provenance.keeping.backup import BackupReport, RestoreReport
    from provenance.keeping.grouping import RegroupReport
    from provenance.keeping.reconcile import ReconcileReport
    from provenance.keeping.removal import Forgetting
    from provenance.keeping.sources import SourcesReport
    from provenance.service.words import OnStep, Place
    from provenance.vocabulary import DatasetKind


class Keeping(Installation):
    """A workspace whose record is kept whole."""

    def reconcile(
        self,
        *,
        repair: bool = True,
        adopt_index: bool = False,
        on_progress: OnProgress | None = None,
        **choice: Unpack[BackboneChoice],
    ) -> ReconcileReport:
        """Compare catalog and index, and repair the index from what is on record.

        Args:
            repair: Whether to repair; otherwise nothing is written anywhere.
            adopt_index: Whether an empty index takes the place of a lost one also where a URL names it.
            on_progress: Called with ``Progress(stage, done, total)`` as points are compared.
            choice: The backbone to embed with again, where a space's name does not find it.

        Raises:
            VectorStoreError: If the index can't be read or written.
        """
        from provenance.keeping.reconcile import reconcile

        if repair:
            self.require_writable()
        backbone = words_of(choice)
        return reconcile(self, repair=repair, backbone=backbone, on_progress=on_progress, adopt_index=adopt_index)

    def backup(self, file: Place, *, on_progress: OnProgress | None = None) -> BackupReport:
        """Write catalog and vectors into one file, which appears whole or not at all.

        Raises:
            ConflictError: If the file is there.
            SourceError: If it can't be written.
            VectorStoreError: If a vector is missing or damaged.
        """
        from provenance.keeping.backup import backup

        return backup(self, Path(file), on_progress)

    def restore(
        self, file: Place, *, on_progress: OnProgress | None = None, on_step: OnStep | None = None
    ) -> RestoreReport:
        """Bring a backup into this workspace, which must be empty.

        Raises:
            SourceError: If the file is no undamaged backup.
            ConflictError: If the workspace holds anything.
        """
        from provenance.documents.measures import misfit_of_measured
        from provenance.keeping.backup import require_backup, restore

        if not is_workspace(self.root):
            require_backup(Path(file))
        self.make_if_missing(on_step)
        return restore(self, Path(file), on_progress, misfit_of_measured)

    def forget(self, image: str, reason: str = "") -> str:
        """Take one image out of everything but the history, for good; gives its image_id.

        Raises:
            NotFoundError: If it is unknown or not unique.
        """
        return self.forget_image(image, reason).image.image_id

    def forget_image(self, image: str, reason: str = "", confirm: Callable[[str], None] | None = None) -> Forgetting:
        """``forget``, but gives its record, whose key the verdicts keep, what is certain, and what may remain.

        ``confirm`` may stop it by an error.
        """
        from provenance.keeping.removal import forget_image

        self.require_writable()
        found = self.catalog.resolve_image(image)
        if confirm is not None:
            confirm(found.image_id)
        return forget_image(self, found.image_id, reason)

    def remove(
        self, dataset: str, kind: DatasetKind | None = None, confirm: Callable[[int], None] | None = None
    ) -> int:
        """Take a set or release out of index and catalog; audits that used it keep their verdicts.

        Args:
            dataset: Its name.
            kind: Which of the two it must be.
            confirm: Called with the number of its images; may stop it by an error.

        Returns:
            The number of images.

        Raises:
            NotFoundError: If there is no such set or release.
        """
        from provenance.keeping.removal import finish_removals, remove_dataset

        self.require_writable()
        finish_removals(self)
        found = self.catalog.dataset(dataset, kind)
        count = len(self.catalog.member_ids(found.dataset_id))
        if confirm is not None:
            confirm(count)
        remove_dataset(self, found)
        return count

    def check_sources(
        self,
        dataset: str,
        *,
        rehash: bool = False,
        sync: bool = False,
        force: bool = False,
        kind: DatasetKind | None = None,
    ) -> SourcesReport:
        """Look whether the files of a set or release are where they were found and still hold their images.

        Args:
            dataset: Its name.
            rehash: Read every file, also those that look unchanged.
            sync: Retire the images that no file holds any more: they take part in no audit from now on. Audits on
                record stay as they are; an image that is ingested again takes part again.
            force: Retire also where not one image is left.
            kind: Which of the two it must be.

        Raises:
            NotFoundError: If there is no such set or release.
            ConflictError: If all of it would be retired, or anything of a sealed release.
        """
        from provenance.keeping.sources import check_sources

        return check_sources(self, self.catalog.dataset(dataset, kind), rehash=rehash, sync=sync, force=force)

    def regroup(
        self, dataset: str, group_from: str, *, force: bool = False, kind: DatasetKind | None = None
    ) -> RegroupReport:
        """Give the images of a set or release other groups, by their names on record; no file is read.

        Args:
            dataset: Its name.
            group_from: CSV with the columns name,group, or a regular expression on the name.
            force: Go on where it matches no name: no image is in a group afterwards.
            kind: Which of the two it must be.

        Returns:
            How far the names were matched, and how many images changed. Audits on record keep what they said.

        Raises:
            NotFoundError: If there is no such set or release.
            UsageError: If no name is matched.
            ConflictError: If an image has names of two groups; nothing is changed then.
        """
        from provenance.keeping.grouping import regroup

        return regroup(self, self.catalog.dataset(dataset, kind), group_from, force=force)

    def relocate(self, old: Place, new: Place) -> int:
        """Tell the catalog that sources moved; gives the number of names that moved with them.

        Raises:
            SourceError: If ``new`` does not exist.
            NotFoundError: If nothing on record lies under ``old``.
        """
        from provenance.keeping.removal import relocate

        return relocate(self, Path(old), Path(new))
