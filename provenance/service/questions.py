"""What a workspace can be asked: every answer that is a table comes as a pandas DataFrame."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from provenance.documents.rows import DuplicatePair
from provenance.errors import ConflictError
from provenance.files import require_free
from provenance.installation import Installation
from provenance.service import frames
from provenance.service.backbones import BackboneChoice, backbone_for_file
from provenance.service.words import ANOTHER_FILE, id_of, names_of_call, word_of
from provenance.vocabulary import TOP_K, DatasetKind, Evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from provenance.duplicates import DuplicateReport, DuplicateRule
    from provenance.ingest import OnProgress
    from provenance.lookup import DatasetView, ImageView, Neighbor
    from provenance.records import DatasetSummary, HistoryEntry, ImageRecord, ReplacedImage
    from provenance.service.words import Audit, Names, OnStep, Place


class Questions(Installation):
    """A workspace that can be asked about its sets, releases and images."""

    def sets(self) -> pd.DataFrame:
        """All real sets, by name.

        Returns:
            Columns ``name``, ``modality`` (string), ``membership`` (category), ``image_count``, ``occurrence_count``,
            ``reject_count`` (int64), ``space_ids`` (tuples of str), ``created_at`` (UTC).
        """
        return frames.frame(frames.SETS, map(_dataset_row, self.catalog.datasets(DatasetKind.SET)))

    def releases(self) -> pd.DataFrame:
        """All releases, by name.

        Returns:
            Columns ``name``, ``generator``, ``architecture``, ``generator_version``, ``modality``, ``release_digest``
            (string), ``image_count``, ``occurrence_count``, ``reject_count`` (int64), ``sealed`` (bool), ``revision``
            (int64, 0 while open), ``space_ids`` (tuples of str), ``created_at`` (UTC).
        """
        return frames.frame(frames.RELEASES, map(_dataset_row, self.catalog.datasets(DatasetKind.RELEASE)))

    def list_datasets(self, kind: DatasetKind) -> list[DatasetView]:
        """All sets, or all releases, as values: each with its counts and spaces."""
        from provenance.lookup import list_datasets

        return list_datasets(self, kind)

    def show_dataset(self, name: str, kind: DatasetKind | None = None) -> DatasetView:
        """One set or release as values, with its runs and rejected inputs.

        Raises:
            NotFoundError: If there is none of that name and kind.
        """
        from provenance.lookup import show_dataset

        return show_dataset(self, name, kind)

    def rejects(self, dataset: str) -> pd.DataFrame:
        """The inputs of a set or release that could not be read, as last seen.

        Returns:
            Columns ``name``, ``source``, ``member``, ``detail`` (string), ``size_bytes`` (int64), ``reason``
            (category), ``rejected_at`` (UTC).

        Raises:
            NotFoundError: If there is no such set or release.
        """
        found = self.catalog.rejects(self.catalog.dataset(dataset).dataset_id)
        return frames.frame(frames.REJECTS, (frames.fields_of(reject, frames.REJECTS) for reject in found))

    def show(self, image: str, audit: Audit | None = None) -> ImageView:
        """Everything on record about one image: facts, names, sets, spaces, verdicts about and citing it.

        Args:
            image: Image id, 8 or more of its hex digits, or a unique file name, with or without its extension and
                ``SET/`` before it.
            audit: What this one says of it (``.answers``: label, p, q, sources with the places of their files);
                ``None``: the latest one of several answers that it had part in, else the latest one by one rule.

        Raises:
            NotFoundError: If it is unknown or not unique, or took no part in the audit.
        """
        from provenance.lookup import show_image

        return show_image(self, image, None if audit is None else id_of(audit))

    def history(self, image: str) -> pd.DataFrame:
        """All that happened to an image, in order.

        Returns:
            Columns ``at`` (UTC), ``kind`` (category: added, verdict, cited ...), ``facts`` (dicts).

        Raises:
            NotFoundError: If it is unknown or not unique.
        """
        _, entries = self.history_of(image)
        rows = ({"at": entry.at, "kind": entry.kind, "facts": dict(entry.facts)} for entry in entries)
        return frames.frame(frames.HISTORY, rows)

    def history_of(self, image: str) -> tuple[ImageRecord, list[HistoryEntry]]:
        """``history`` as values, and whose it is."""
        from provenance.lookup import history_of

        return history_of(self, image)

    def earlier_named(self, image: str) -> list[ReplacedImage]:
        """The images that the name of an image meant before its file was overwritten; latest first."""
        from provenance.lookup import earlier_named

        return earlier_named(self, image)

    def neighbors(
        self,
        image: Place,
        *,
        within: Names = (),
        top_k: int = TOP_K,
        space: str | None = None,
        on_step: OnStep | None = None,
        **choice: Unpack[BackboneChoice],
    ) -> pd.DataFrame:
        """The nearest images on record, exactly: of a known image (itself left out), or of a file.

        Args:
            image: Image id, digits or name; or a path of an image file, which need not be known and is not recorded.
            within: Name or names of sets and releases to look in; empty: all.
            top_k: How many.
            space: Backbone name or space id where the image is embedded in several.
            on_step: Called with a line of text as weights are downloaded.
            choice: For a file: ``backbone`` and so on (``BackboneChoice``); by default that of the space, or of the
                only one on record, or the settings' one.

        Returns:
            Columns ``rank``, (int64), ``similarity`` (float64, cosine), ``image_id``, ``name``, ``dataset``, ``group``
            (string), ``kind`` (category: set, release); the closest first.

        Raises:
            NotFoundError: If the image or a dataset is unknown.
            SourceError: If the file is no image.
            SpaceMismatchError: If nothing is embedded in that space, or there are several and none was chosen.
        """
        found = self.find_neighbors(image, within=within, top_k=top_k, space=space, on_step=on_step, **choice)
        rows = ({**frames.fields_of(each, frames.NEIGHBORS), "group": each.group_key} for each in found)
        return frames.frame(frames.NEIGHBORS, rows)

    def find_neighbors(
        self,
        image: Place,
        *,
        within: Names = (),
        top_k: int = TOP_K,
        space: str | None = None,
        on_step: OnStep | None = None,
        **choice: Unpack[BackboneChoice],
    ) -> list[Neighbor]:
        """``neighbors`` as values."""
        from provenance.lookup import neighbors_of_file, neighbors_of_image

        names = names_of_call(within)
        if isinstance(image, Path) or Path(image).is_file():
            backbone = backbone_for_file(self, space, on_step, **choice)
            return neighbors_of_file(self, Path(image), backbone, datasets=names, top_k=top_k)
        return neighbors_of_image(self, image, datasets=names, top_k=top_k, space=space)

    def duplicates(
        self,
        sets: Names,
        *,
        rule: DuplicateRule | None = None,
        space: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> pd.DataFrame:
        """Duplicates within sets and releases and across them: the same bytes or pixels, and near-duplicates.

        Args:
            sets: Name or names of sets and releases.
            rule: What counts as near (``provenance.duplicates.DuplicateRule``); ``None``: the default.
            space: Backbone name or space id where the sets share several.
            on_progress: Called with ``Progress(stage, done, total)`` while sources are read for perceptual hashes.

        Returns:
            One row a pair, across used and not-used first: ``left_id``, ``left_name``, ``right_id``, ``right_name``
            (string); ``left_sets``, ``left_memberships``, ``right_sets``, ``right_memberships`` (lists);
            ``same_bytes``, ``same_pixels``, ``used_and_not_used``, ``real_and_generated`` (bool); ``hash_distance``
            (Int64, bits, missing where a source could not be read) and ``similarity`` (float64, cosine).

        Raises:
            NotFoundError: If a set or release is unknown or empty.
            SpaceMismatchError: If they share no whole-image space, or several and none was chosen.
            ConflictError: If there are too many pairs for a table.
            VectorStoreError: If a stored vector is missing or damaged.
        """
        report = self.find_duplicates(sets, rule=rule, space=space, on_progress=on_progress)
        if not report.listed:
            raise ConflictError(
                f"{report.counts['pairs']:,} pairs of duplicates are too many for a table",
                hint="find_duplicates(file=...) writes them, and its clusters say what they join",
            )
        return frames.frame(frames.DUPLICATES, (DuplicatePair.of(pair).to_json() for pair in report.pairs))

    def find_duplicates(
        self,
        sets: Names,
        *,
        rule: DuplicateRule | None = None,
        evidence: str | Evidence = Evidence.BOTH,
        hash_distance: int | None = None,
        min_similarity: float | None = None,
        space: str | None = None,
        file: Place | None = None,
        raw: bool = False,
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
    ) -> DuplicateReport:
        """``duplicates`` as values, and written to a file.

        Args as in ``duplicates``, and:
            evidence: Without a rule: ``both``, if hash and embedding must agree, or ``either``.
            hash_distance: Likewise, the most bits between hashes; ``None``: the default.
            min_similarity: Likewise, the least cosine.
            file: CSV file for all pairs; where these are not listed, they stand in the order in which they are found.
            raw: Cells that a spreadsheet would run as formulas are left as they are.
            overwrite: Replace it if it is there.
        """
        from provenance.duplicates import DuplicateRequest, DuplicateRule, find_duplicates
        from provenance.exports import export_duplicates_csv

        require_free(None if file is None else Path(file), replace=overwrite, hint=ANOTHER_FILE)
        rule = rule or DuplicateRule.chosen(word_of(Evidence, evidence), hash_distance, min_similarity)
        write = None if file is None else partial(export_duplicates_csv, file=Path(file), raw=raw)
        return find_duplicates(self, DuplicateRequest(names_of_call(sets), rule, space), on_progress, write)

    def embeddings(self, dataset: str, *, space: str | None = None, rows: int = 1000) -> Iterator[pd.DataFrame]:
        """The images of a set or release with their vectors, as a stream of DataFrames in image_id order.

        Args:
            dataset: Name of the set or release.
            space: Backbone name or space id where it is embedded in several.
            rows: Images of one DataFrame; no more are held at once.

        Yields:
            Columns ``image_id``, ``name``, ``group`` (string, missing where there is none) and ``embedding``: arrays of
            float32, shape (parts * dimension,), each part of unit length, verified by its digest.

        Raises:
            NotFoundError: If there is no such set or release.
            SpaceMismatchError: If it is in several spaces and none was chosen, or not in the one chosen.
            VectorStoreError: If a stored vector is missing or damaged.
        """
        from provenance.exports import open_embeddings

        for batch in open_embeddings(self, self.catalog.dataset(dataset), space, rows_at_once=rows):
            yield frames.frame_of_batch(batch)


def _dataset_row(summary: DatasetSummary) -> dict[str, Any]:
    dataset, latest = summary.dataset, summary.seals[-1] if summary.seals else None
    row = {**frames.fields_of(dataset, frames.SETS), **frames.fields_of(summary, frames.SETS)}
    if dataset.generator is not None:
        row["generator"], row["architecture"] = dataset.generator.name, dataset.generator.architecture
        row["generator_version"] = dataset.generator.version
    row["sealed"], row["revision"] = latest is not None, latest.revision if latest else 0
    return {**row, "release_digest": latest.release_digest if latest else None}
