"""The verbs that change a workspace or write files, in the words of the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provenance.errors import UsageError
from provenance.service.auditing import Auditing
from provenance.service.measuring import Measuring
from provenance.service.questions import Questions
from provenance.service.words import word_of
from provenance.vocabulary import DatasetKind, Membership

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provenance.embedding import Backbone
    from provenance.ingest import EmbedReport, IngestReport, OnProgress
    from provenance.keeping.backup import BackupReport, RestoreReport
    from provenance.keeping.reconcile import ReconcileReport
    from provenance.records import Generator
    from provenance.service.words import Place


class Workspace(Questions, Auditing, Measuring):
    """Settings, catalog and index of one installation, and everything that is done with them.

    ``Workspace.create(folder, **settings)`` makes one, ``Workspace.open(folder, **settings)`` opens it; use it in a
    ``with`` block. Settings are those of the README's table.
    """

    def ingest(
        self,
        source: Place | Iterable[Place],
        *,
        set: str | None = None,  # noqa: A002 - the command line's word
        membership: str | Membership | None = None,
        release: str | None = None,
        generator: str | None = None,
        architecture: str = "",
        generator_version: str = "",
        modality: str = "",
        group_from: str | None = None,
        rehash: bool = False,
        backbone: str | Backbone | None = None,
        match_resolution: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> IngestReport:
        """Bring images into a real set (``set`` and ``membership``) or a release (``release`` and ``generator``).

        Args:
            source: Folder, file, list file, zip or tar; or several.
            set: Name of the real set.
            membership: Of the set: ``used``, ``not-used`` or ``unknown``.
            release: Name of the release.
            generator: Of the release.
            architecture: Of the generator: stylegan2, progan, ddpm ...
            generator_version: Version or checkpoint digest.
            modality: DICOM's code: CT, MR, CR, DX, US ...
            group_from: CSV with the columns name,group, or a regular expression on the name.
            rehash: Read files again that look unchanged.
            backbone: Name, or a loaded one (``load_backbone``) to use for several calls; ``None``: the settings' one.
            match_resolution: A release: every image is brought to its native resolution first, a space of its own.
            on_progress: Called with ``Progress(stage, done, total)`` after every batch.

        Returns:
            Counts, rejections and digests of this run (``provenance.ingest.IngestReport``).

        Raises:
            UsageError: If the names do not go together.
            SourceError: If a source can't be read, or no image of it can.
            WeightsError: If the backbone's weights can't be had.
            ConflictError: If the name stands for something else, or a sealed release would change.
            VectorStoreError: If the index can't be written.
        """
        from provenance.ingest import IngestRequest, run_ingest

        if (set is None) == (release is None):
            raise UsageError("give either set= or release=", hint="a set holds real images, a release generated ones")
        sources = [source] if isinstance(source, str | Path) else list(source)
        request = IngestRequest(
            sources=tuple(Path(each) for each in sources),
            name=set if set is not None else release or "",
            kind=DatasetKind.RELEASE if set is None else DatasetKind.SET,
            membership=_membership(membership),
            generator=_generator(generator, architecture, generator_version),
            modality=modality.upper(),
            group_from=group_from,
            rehash=rehash,
        )
        return run_ingest(self, request, self._loaded(backbone, match_resolution), on_progress)

    def ingest_layout(
        self,
        root: Place,
        prefix: str,
        *,
        generator: str | None = None,
        architecture: str = "",
        generator_version: str = "",
        modality: str = "",
        group_from: str | None = None,
        rehash: bool = False,
        backbone: str | Backbone | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[IngestReport]:
        """Bring in the ImageCLEFmed-GAN layout: ``real_used/`` becomes set ``PREFIX-used``, and so on.

        Args as in ``ingest``; ``generator`` is the prefix where it is not given.

        Returns:
            A report for each folder that is there, up to three sets and one release.

        Raises:
            SourceError: If none of the folders is there; and all that ``ingest`` raises.
        """
        from provenance.ingest import layout_requests, run_ingest

        made_by = _generator(generator or prefix, architecture, generator_version)
        assert made_by is not None
        common = {"modality": modality.upper(), "group_from": group_from, "rehash": rehash}
        requests = layout_requests(Path(root), prefix, made_by, **common)
        loaded = self._loaded(backbone)
        return [run_ingest(self, request, loaded, on_progress) for request in requests]

    def embed(
        self,
        dataset: str,
        *,
        backbone: str | Backbone,
        match_resolution: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> EmbedReport:
        """Add a backbone's space to a set or release, from its recorded sources. Running it again goes on.

        Args:
            dataset: Set or release.
            backbone: Name, or a loaded one.
            match_resolution: A release: every image is brought to its native resolution first, a space of its own.
            on_progress: Called with ``Progress(stage, done, total)`` after every batch.

        Returns:
            What was embedded, and what could not be read again (``provenance.ingest.EmbedReport``).

        Raises:
            NotFoundError: If there is no such set or release.
            WeightsError: If the backbone's weights can't be had.
        """
        from provenance.ingest import run_embed

        return run_embed(self, dataset, self._loaded(backbone, match_resolution), on_progress)

    def reconcile(self, *, repair: bool = True, adopt_index: bool = False) -> ReconcileReport:
        """Compare catalog and index, and repair the index from what is on record.

        Args:
            repair: Whether to repair; otherwise nothing is written anywhere.
            adopt_index: Whether an empty index takes the place of a lost one also where a URL names it.

        Raises:
            VectorStoreError: If the index can't be read or written.
        """
        from provenance.keeping.reconcile import reconcile

        return reconcile(self, repair=repair, adopt_index=adopt_index)

    def backup(self, file: Place) -> BackupReport:
        """Write catalog and vectors into one file, which appears whole or not at all.

        Raises:
            ConflictError: If the file is there.
            SourceError: If it can't be written.
            VectorStoreError: If a vector is missing or damaged.
        """
        from provenance.keeping.backup import backup

        return backup(self, Path(file))

    def restore(self, file: Place) -> RestoreReport:
        """Bring a backup into this workspace, which must be empty.

        Raises:
            SourceError: If the file is no undamaged backup.
            ConflictError: If the workspace holds anything.
        """
        from provenance.keeping.backup import restore

        return restore(self, Path(file))

    def forget(self, image: str, reason: str = "") -> str:
        """Take one image out of everything but the history, for good; gives its image_id.

        Raises:
            NotFoundError: If it is unknown or not unique.
        """
        from provenance.keeping.removal import forget_image

        return forget_image(self, image, reason).image_id

    def remove(self, dataset: str) -> None:
        """Take a set or release out of index and catalog; audits that used it keep their verdicts.

        Raises:
            NotFoundError: If there is no such set or release.
        """
        from provenance.keeping.removal import remove_dataset

        remove_dataset(self, self.catalog.dataset(dataset))

    def relocate(self, old: Place, new: Place) -> int:
        """Tell the catalog that sources moved; gives the number of names that moved with them.

        Raises:
            SourceError: If ``new`` does not exist.
            NotFoundError: If nothing on record lies under ``old``.
        """
        from provenance.keeping.removal import relocate

        return relocate(self, Path(old), Path(new))


def _generator(name: str | None, architecture: str, version: str) -> Generator | None:
    from provenance.ingest import Generator

    return Generator(name, architecture, version) if name else None


def _membership(given: str | Membership | None) -> Membership | None:
    return None if given is None else word_of(Membership, str(given).lower().replace("-", "_"))
