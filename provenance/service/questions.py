"""What a workspace can be asked: every answer that is a table comes as a pandas DataFrame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.installation import Installation
from provenance.service import frames
from provenance.service.words import names_of_call
from provenance.spaces import resolution_of_release
from provenance.vocabulary import DatasetKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from provenance.duplicates import DuplicateRule
    from provenance.embedding import Backbone
    from provenance.ingest import OnProgress
    from provenance.lookup import ImageView
    from provenance.records import DatasetSummary
    from provenance.service.words import Names, Place


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

    def show(self, image: str) -> ImageView:
        """Everything on record about one image: facts, names, sets, spaces, verdicts about and citing it.

        Args:
            image: Image id, 8 or more of its hex digits, or a unique file name.

        Raises:
            NotFoundError: If it is unknown or not unique.
        """
        from provenance.lookup import show_image

        return show_image(self, image)

    def history(self, image: str) -> pd.DataFrame:
        """All that happened to an image, in order.

        Returns:
            Columns ``at`` (UTC), ``kind`` (category: added, verdict, cited ...), ``facts`` (dicts).

        Raises:
            NotFoundError: If it is unknown or not unique.
        """
        from provenance.lookup import history_of

        _, entries = history_of(self, image)
        rows = ({"at": entry.at, "kind": entry.kind, "facts": dict(entry.facts)} for entry in entries)
        return frames.frame(frames.HISTORY, rows)

    def neighbors(
        self,
        image: Place,
        *,
        within: Names = (),
        top_k: int = 10,
        space: str | None = None,
        backbone: str | Backbone | None = None,
    ) -> pd.DataFrame:
        """The nearest images on record, exactly: of a known image (itself left out), or of a file.

        Args:
            image: Image id, digits or name; or a path of an image file, which need not be known and is not recorded.
            within: Name or names of sets and releases to look in; empty: all.
            top_k: How many.
            space: Backbone name or space id where the image is embedded in several.
            backbone: For a file: which one; ``None``: the settings' one.

        Returns:
            Columns ``rank``, (int64), ``similarity`` (float64, cosine), ``image_id``, ``name``, ``dataset``, ``group``
            (string), ``kind`` (category: set, release); the closest first.

        Raises:
            NotFoundError: If the image or a dataset is unknown.
            SourceError: If the file is no image.
            SpaceMismatchError: If nothing is embedded in that space, or there are several and none was chosen.
        """
        from provenance.lookup import neighbors_of_file, neighbors_of_image

        names = names_of_call(within)
        if isinstance(image, Path) or Path(image).is_file():
            found = neighbors_of_file(self, Path(image), self._loaded(backbone), datasets=names, top_k=top_k)
        else:
            found = neighbors_of_image(self, image, datasets=names, top_k=top_k, space=space)
        rows = ({**frames.fields_of(each, frames.NEIGHBORS), "group": each.group_key} for each in found)
        return frames.frame(frames.NEIGHBORS, rows)

    def duplicates(
        self,
        sets: Names,
        *,
        rule: DuplicateRule | None = None,
        space: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> pd.DataFrame:
        """Duplicates within real sets and across them: the same bytes, the same pixels, and near-duplicates.

        Args:
            sets: Name or names of the sets.
            rule: What counts as near (``provenance.duplicates.DuplicateRule``); ``None``: the default.
            space: Backbone name or space id where the sets share several.
            on_progress: Called with ``Progress(stage, done, total)`` while sources are read for perceptual hashes.

        Returns:
            One row a pair, across used and not-used first: ``left_id``, ``left_name``, ``right_id``, ``right_name``
            (string); ``left_sets``, ``left_memberships``, ``right_sets``, ``right_memberships`` (lists);
            ``same_bytes``, ``same_pixels``, ``used_and_not_used`` (bool); ``hash_distance`` (Int64, bits, missing where
            a source could not be read) and ``similarity`` (float64, cosine).

        Raises:
            NotFoundError: If a set is unknown or empty.
            SpaceMismatchError: If the sets share no whole-image space, or several and none was chosen.
            ConflictError: If there are too many pairs to list.
            VectorStoreError: If a stored vector is missing or damaged.
        """
        from provenance.duplicates import DuplicateRequest, DuplicateRule, find_duplicates
        from provenance.exports import duplicate_row

        request = DuplicateRequest(names_of_call(sets), DuplicateRule() if rule is None else rule, space)
        report = find_duplicates(self, request, on_progress)
        return frames.frame(frames.DUPLICATES, map(duplicate_row, report.pairs))

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

    def _loaded(self, backbone: str | Backbone | None, match_resolution: str | None = None) -> Backbone:
        resolution = resolution_of_release(self.catalog, match_resolution)
        if backbone is None or isinstance(backbone, str):
            return self.load_backbone(name=backbone, match_resolution=resolution)
        return backbone if resolution is None else backbone.at_resolution(resolution)


def _dataset_row(summary: DatasetSummary) -> dict[str, Any]:
    dataset, latest = summary.dataset, summary.seals[-1] if summary.seals else None
    row = {**frames.fields_of(dataset, frames.SETS), **frames.fields_of(summary, frames.SETS)}
    if dataset.generator is not None:
        row["generator"], row["architecture"] = dataset.generator.name, dataset.generator.architecture
        row["generator_version"] = dataset.generator.version
    row["sealed"], row["revision"] = latest is not None, latest.revision if latest else 0
    return {**row, "release_digest": latest.release_digest if latest else None}
