"""The verbs that change a workspace or write files, in the words of the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from provenance.errors import UsageError
from provenance.files import require_free
from provenance.service.questions import names_of_call
from provenance.service.sensitivities import Measuring
from provenance.service.words import ANOTHER_FILE, word_of
from provenance.vocabulary import DatasetKind, ExportFormat, Membership, Population, RuleName, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from provenance.audit import AuditReport, Policy
    from provenance.duplicates import DuplicateRule
    from provenance.embedding import Backbone
    from provenance.ingest import EmbedReport, IngestReport, OnProgress
    from provenance.keeping.backup import BackupReport, RestoreReport
    from provenance.keeping.reconcile import ReconcileReport
    from provenance.records import Generator
    from provenance.service.questions import Audit, Names, Place


class Workspace(Measuring):
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

    def audit(
        self,
        release: str,
        *,
        used: Names = (),
        not_used: Names = (),
        against: Names = (),
        subject: str | Subject | None = None,
        rule: str | RuleName | None = None,
        alpha: float | None = None,
        population: str | Population | None = None,
        top_k: int | None = None,
        score: str | None = None,
        fdr: float | None = None,
        reference_release: str | None = None,
        policy: Place | Policy | None = None,
        space: str | None = None,
        exclude_overlap: bool = False,
        exclude_twins: bool = False,
        twins: DuplicateRule | None = None,
        match_resolution: bool = False,
        on_step: Callable[[str], None] | None = None,
    ) -> AuditReport:
        """Judge a release against real sets, and record every verdict with its evidence.

        Args:
            release: Name of the release.
            used: Name or names of sets known to have been used for training.
            not_used: Known not to have been used.
            against: Of which it is unknown. Without any set all take part by their own membership.
            subject: ``generated`` (default) or ``real``: which images are judged.
            rule: ``calibrated`` (default as soon as a not-used set takes part): p-values against the images known not
                used, and an outcome for the release; ``mu-alpha-sigma`` (default otherwise): used iff the score is
                above T = mu + alpha * sigma (docs/method.md, eqs. 2-4); ``logistic``: used iff the probability is above
                the policy's cutoff.
            alpha: Of that threshold; no unit; 0.5 by default.
            population: ``maxima`` (default) or ``pairwise``: what mu and sigma are taken over.
            top_k: Neighbors that are kept per subject and role; 10 by default.
            score: Membership score of ``calibrated`` verdicts of real images (``provenance.audit.score_names()``);
                ``local`` by default, over a local space that is made where there is none; ``relative`` where
                ``space`` is a whole-image one.
            fdr: Level of the false discovery rate of ``calibrated``; 0.05 by default.
            reference_release: A release whose generator was trained on other images: a control of the scores, or what a
                ``referenced:NAME`` score subtracts.
            policy: A policy that states all of these (``fit(...).policy``, its file, or ``policy:<hex>`` on record);
                where one is given, the others may only repeat it.
            space: Backbone name or space id (prefix) where the sets share several.
            exclude_overlap: Leave images out that are claimed used and not used.
            exclude_twins: Leave not-used images out that have a near-twin among the used ones.
            twins: What counts as a near-twin (``provenance.duplicates.DuplicateRule``); ``None``: the default.
            match_resolution: Judge in the space in which every image is first brought to the release's native
                resolution; what is missing there is embedded from the recorded sources.
            on_step: Called with a line of text at each step.

        Returns:
            The recorded audit (``.audit``; of calibrated ones with ``settings["outcome"]``), its datasets and notes;
            ``verdicts`` makes a table of it.

        Raises:
            UsageError: If an option contradicts the policy, or a set that the rule needs is missing.
            NotFoundError: If a name is unknown.
            ConflictError: If the release is incomplete, or claims contradict each other.
            SpaceMismatchError: If the datasets share no embedding space, or several and none was chosen.
            VectorStoreError: If a stored vector is missing or damaged; nothing is recorded then.
        """
        from provenance.audit import AuditRequest, run_audit
        from provenance.audit.policyfile import chosen_policy
        from provenance.duplicates import DuplicateRule

        request = AuditRequest(
            release,
            names_of_call(used),
            names_of_call(not_used),
            names_of_call(against),
            space=space,
            exclude_overlap=exclude_overlap,
            exclude_twins=exclude_twins,
            twin_rule=DuplicateRule() if twins is None else twins,
            match_resolution=match_resolution,
            reference_release=reference_release,
        )
        chosen = chosen_policy(
            self,
            policy,
            subject=None if subject is None else word_of(Subject, subject),
            rule=None if rule is None else word_of(RuleName, rule),
            alpha=alpha,
            population=None if population is None else word_of(Population, population),
            top_k=top_k,
            score=score,
            q=fdr,
            request=request,
        )
        return run_audit(self, replace(request, policy=chosen), on_step)

    def export(
        self,
        what: Audit,
        file: Place,
        *,
        format: str | ExportFormat = ExportFormat.CSV,  # noqa: A002 - the command line's word
        set: str | None = None,  # noqa: A002 - likewise
        space: str | None = None,
        overwrite: bool = False,
    ) -> int:
        """Write an audit, or the embeddings of a set or release, to a file; it is whole or not there.

        Args:
            what: Audit, or name of a set or release.
            file: Where to write.
            format: ``csv``, ``jsonl``, ``parquet``, ``imageclef`` or ``max-similarity`` (S_u and S_n with their nearest
                images) for an audit; ``parquet`` for a set or release.
            set: For ``imageclef``: one of the audit's sets, by name or role (against, used, not-used).
            space: For a set or release in several spaces.
            overwrite: Replace a file that is there.

        Returns:
            The number of rows.

        Raises:
            NotFoundError: If there is no such audit, set or release.
            UsageError: If the form does not go with it.
            ConflictError: If the file is there, or names can't be told apart in a run file.
            SourceError: If the file can't be written.
        """
        from provenance.exports import write_export

        target = Path(file)
        require_free(target, replace=overwrite, hint=ANOTHER_FILE)
        named = what if isinstance(what, str) else self._audit(what).audit_id
        chosen = word_of(ExportFormat, format)
        return write_export(self, named, target, chosen, set_name=set, space=space).row_count

    def report(self, audit: Audit, file: Place, *, cases: int | None = None, overwrite: bool = False) -> Path:
        """Write an audit as one self-contained HTML page; gives the file.

        Args:
            audit: Audit id or a unique beginning of it, or what ``audit`` gave.
            file: Where to write.
            cases: How many of the closest pairs to show, side by side; 0 leaves real images out; ``None``: the default.
            overwrite: Replace a file that is there.

        Raises:
            NotFoundError: If there is no such audit, or more than one.
            ConflictError: If the file is there.
            SourceError: If it can't be written.
        """
        from provenance.exports.report import DEFAULT_CASES, write_report

        cases = DEFAULT_CASES if cases is None else cases
        write_report(self, self._audit(audit), Path(file), cases=cases, replace=overwrite)
        return Path(file)

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
