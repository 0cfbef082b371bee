"""What a workspace can be asked: every answer that is a table comes as a pandas DataFrame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from provenance.installation import Installation
from provenance.service import frames
from provenance.spaces import resolution_of_release
from provenance.vocabulary import DatasetKind, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import pandas as pd

    from provenance.audit import AuditReport, ExplainedImage
    from provenance.duplicates import DuplicateRule
    from provenance.embedding import Backbone
    from provenance.ingest import OnProgress
    from provenance.lookup import ImageView
    from provenance.records import AuditRecord, DatasetSummary
    from provenance.service.evaluations import EvaluationResult, Labels

    Audit: TypeAlias = "str | AuditRecord | AuditReport"
    Place: TypeAlias = "str | Path"
    Names: TypeAlias = "str | Iterable[str]"


class Questions(Installation):
    """A workspace that can be asked; ``provenance.Workspace`` adds the verbs that change it."""

    def verdicts(self, audit: Audit) -> pd.DataFrame:
        """The verdicts of an audit, one row a subject, in image_id order; from the catalog.

        Args:
            audit: Audit id or a unique beginning of it, or what ``audit`` gave.

        Returns:
            Columns ``subject_id``, ``name``, ``nearest_id``, ``nearest_name`` (string); ``role``, ``label``,
            ``nearest_role`` (category); ``score``, ``s_used``, ``s_not_used``, ``s_against``, ``threshold``,
            ``nearest_similarity`` (float64, cosines; NaN where the audit has none), ``p_value``, ``q_value`` (float64;
            NaN for rules without); ``near_threshold`` (bool). Forgotten images have no ids and names.

        Raises:
            NotFoundError: If there is no such audit, or more than one.
        """
        from provenance.exports import audit_records

        return frames.frame(frames.VERDICTS, audit_records(self, self._audit(audit)))

    def evidence(self, audit: Audit) -> pd.DataFrame:
        """The recorded neighbors of every subject of an audit: one row a neighbor, by subject, role and rank.

        Returns:
            Columns ``subject_id``, ``image_id``, ``name`` (string), ``role`` (category), ``rank`` (int64, 1 is the
            closest of its role), ``similarity`` (float64, cosine).

        Raises:
            NotFoundError: If there is no such audit, or more than one.
        """
        from provenance.exports import audit_records

        rows = (
            {"subject_id": record["subject_id"], **neighbor}
            for record in audit_records(self, self._audit(audit))
            for neighbor in record["neighbors"]
        )
        return frames.frame(frames.EVIDENCE, rows)

    def changes(self, before: Audit, after: Audit) -> pd.DataFrame:
        """Every subject whose verdict differs between two audits: labels first, then scores, then who came and went.

        Returns:
            Columns ``image_id`` (string), ``change`` (category: label, score, added, gone), ``label_before``,
            ``label_after`` (category), ``score_before``, ``score_after`` (float64).

        Raises:
            NotFoundError: If an audit is unknown.
            UsageError: If one judged generated and the other real images.
        """
        from provenance.audit import compare_audits

        found = compare_audits(self.catalog, self._audit(before).audit_id, self._audit(after).audit_id)
        return frames.frame(frames.CHANGES, (frames.fields_of(change, frames.CHANGES) for change in found))

    def evaluate(
        self,
        audit: Audit | Sequence[Audit],
        *,
        labels: Labels | Sequence[Labels] | None = None,
        against: Audit | None = None,
        bootstrap: int = 2000,
        seed: int = 0,
        skip_unknown: bool = False,
        on_step: Callable[[str], None] | None = None,
    ) -> EvaluationResult:
        """Compare labels and scores of an audit with the truth; several audits make one table.

        Args:
            audit: Audit id or a unique beginning of it, or what ``audit`` gave; or several of these.
            labels: CSV file with the columns name (or image_id) and used (or label), or a mapping from name or
                image_id to truth; or one of these for each audit. ``None``: what an audit of real images claims.
            against: Another audit to compare the one with.
            bootstrap: Resamples behind every interval.
            seed: Of these.
            skip_unknown: Leave out labels of images that the audit does not know; otherwise they are an error.
            on_step: Called with a line of text at each step.

        Returns:
            ``.metrics`` (a DataFrame), ``.comparison``, ``.notes``, ``.to_json()`` and ``.write(folder)``.

        Raises:
            NotFoundError: If an audit is unknown, or labels are about images that it does not know.
            UsageError: If truth is neither given nor on record, or the audits don't go together.
            ConflictError: If a name could mean several images, or images would count twice.
            SourceError: If labels can't be read, or contradict each other.
        """
        from provenance.audit import AuditReport
        from provenance.records import AuditRecord
        from provenance.service.evaluations import EvaluationResult, truth_of
        from provenance.truth import EvaluationRequest, Resampling, run_evaluation

        several = [audit] if isinstance(audit, str | AuditRecord | AuditReport) else list(audit)
        request = EvaluationRequest(
            audits=tuple(self._audit(each).audit_id for each in several),
            labels=truth_of(labels),
            against=None if against is None else self._audit(against).audit_id,
            resampling=Resampling(bootstrap, seed=seed),
            skip_unknown=skip_unknown,
        )
        return EvaluationResult(run_evaluation(self, request, on_step))

    # looking

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

    def audits(self) -> pd.DataFrame:
        """All recorded audits, the newest first.

        Returns:
            Columns ``audit_id``, ``release``, ``verdict_digest``, ``policy_id``, ``space_id`` (string), ``used``,
            ``not_used``, ``against`` (tuples of set names), ``subject``, ``rule`` (category), ``subject_count``,
            ``used_count``, ``not_used_count``, ``rejected_count`` (int64), ``mu``, ``sigma``, ``alpha``, ``threshold``,
            ``duration_seconds`` (float64), ``audited_at`` (UTC).
        """
        return frames.frame(frames.AUDITS, map(self._audit_row, self.catalog.audits()))

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

    def explain(self, image: str, on_step: Callable[[str], None] | None = None) -> ExplainedImage | None:
        """Which positions of a real image, and which generated images, speak for its use.

        Of its latest verdict by a local score; computed again from the stored vectors.

        Args:
            image: Image id, 8 or more of its hex digits, or a unique file name.
            on_step: Called with a line of text at each step, and with the reason where nothing is explained.

        Returns:
            ``.explanation.positions``, each with its box (shares of width and height), contribution (standard
            deviations), generated image and similarity; ``None`` without such a verdict, or where release or sets hold
            other images by now.

        Raises:
            NotFoundError: If it is unknown or not unique.
            VectorStoreError: If a stored vector is missing or damaged.
        """
        from provenance.audit import explain_image

        return explain_image(self, self.catalog.resolve_image(image).image_key, on_step)

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

    def _audit(self, audit: Audit) -> AuditRecord:
        if isinstance(audit, str):
            return self.catalog.audit(audit)
        from provenance.audit import AuditReport

        return audit.audit if isinstance(audit, AuditReport) else audit

    def _loaded(self, backbone: str | Backbone | None, match_resolution: str | None = None) -> Backbone:
        resolution = resolution_of_release(self.catalog, match_resolution)
        if backbone is None or isinstance(backbone, str):
            return self.load_backbone(name=backbone, match_resolution=resolution)
        return backbone if resolution is None else backbone.at_resolution(resolution)

    def _audit_row(self, audit: AuditRecord) -> dict[str, Any]:
        names: dict[Role, list[str]] = {role: [] for role in Role}
        for dataset in self.catalog.audit_datasets(audit.audit_id):
            names[dataset.role].append(dataset.name)
        counts = {f"{word}_count": audit.counts[word] for word in ("used", "not_used", "rejected")}
        sets = {role.value: tuple(names[role]) for role in (Role.USED, Role.NOT_USED, Role.AGAINST)}
        release, subjects = ", ".join(names[Role.RELEASE]), audit.counts["subjects"]
        known = frames.fields_of(audit, frames.AUDITS)
        return {**known, **sets, **counts, "release": release, "subject_count": subjects}


def names_of_call(given: Names) -> tuple[str, ...]:
    """The names of a call: one text is one name."""
    return (given,) if isinstance(given, str) else tuple(given)


def _dataset_row(summary: DatasetSummary) -> dict[str, Any]:
    dataset, latest = summary.dataset, summary.seals[-1] if summary.seals else None
    row = {**frames.fields_of(dataset, frames.SETS), **frames.fields_of(summary, frames.SETS)}
    if dataset.generator is not None:
        row["generator"], row["architecture"] = dataset.generator.name, dataset.generator.architecture
        row["generator_version"] = dataset.generator.version
    row["sealed"], row["revision"] = latest is not None, latest.revision if latest else 0
    return {**row, "release_digest": latest.release_digest if latest else None}
