"""Verbs that bring images in: ingest, ingest_layout, watch, embed."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from provenance.errors import UsageError, WeightsError
from provenance.installation import Installation, is_workspace
from provenance.records import Generator
from provenance.service.backbones import BackboneChoice, chosen_backbone
from provenance.service.words import membership_of, pages_of
from provenance.vocabulary import SETTLE_SECONDS, DatasetKind, Membership, Pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from threading import Event

    from provenance.embedding import Backbone
    from provenance.ingest import EmbedReport, IngestReport, OnProgress
    from provenance.ingest.watch import OnBatch, OnProblem
    from provenance.service.words import OnStep, Place, ProgressBar


class Ingesting(Installation):
    """A workspace that images are brought into."""

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
        group_by: str | None = None,
        allow_burned_in: bool = False,
        slices: str | None = None,
        rehash: bool = False,
        force: bool = False,
        pages: str | Pages | None = None,
        sync: bool = False,
        on_progress: OnProgress | None = None,
        on_step: OnStep | None = None,
        stop: Event | None = None,
        **choice: Unpack[BackboneChoice],
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
            group_by: ``patient``, ``study`` or ``series``: groups by the headers of DICOM files, as keyed hashes.
            allow_burned_in: Take DICOM whose pixels may hold a name: annotated, secondary captures, ultrasound.
            slices: ``middle`` or ``every:N`` of each DICOM series, in order of position; ``None``: all.
            rehash: Read files again that look unchanged.
            force: Go on where ``group_from`` matches no name.
            pages: ``all``: each page or frame of a file is an image; ``first``: the first alone; ``None``: all of a
                TIFF, the first of an animation. What is left out is counted in ``inside``.
            sync: Retire images of these sources whose files were overwritten or deleted since: they take part in no
                audit from now on, and audits on record stay as they are.
            on_progress: Called with ``Progress(stage, done, total)`` after every batch.
            on_step: Called with a line of text at each step before.
            stop: Set by somebody else, it ends the run after the batch in flight; the same call goes on.
            choice: ``backbone``, ``match_resolution`` and so on: see ``BackboneChoice``.

        Returns:
            Counts, rejections and digests of this run (``provenance.ingest.IngestReport``).

        Raises:
            UsageError: If the names do not go together, or ``group_from`` matches none of the images' names.
            SourceError: If a source can't be read, or no image of it can.
            WeightsError: If the backbone's weights can't be had.
            ConflictError: If the name stands for something else, or a sealed release would change.
            VectorStoreError: If the index can't be written.
        """
        from provenance.images import open_source
        from provenance.ingest import IngestRequest, run_ingest

        if (set is None) == (release is None):
            raise UsageError("give either set= or release=", hint="a set holds real images, a release generated ones")
        sources = [source] if isinstance(source, str | Path) else source
        name, kind = (release or "", DatasetKind.RELEASE) if set is None else (set, DatasetKind.SET)
        claim = membership_of(membership)
        made_by = Generator(generator, architecture, generator_version) if generator else None
        facts = (modality.upper(), group_from, rehash, force, pages_of(pages), sync, group_by, allow_burned_in, slices)
        request = IngestRequest(tuple(map(Path, sources)), name, kind, claim, made_by, *facts)
        self.require_writable()
        for path in request.sources:  # a wrong path is told before a backbone is loaded
            open_source(path, max_file_bytes=self.settings.max_file_bytes)
        backbone = self._backbone_to_ingest_with(on_step, **choice)
        self.make_if_missing(on_step)
        return run_ingest(self, request, backbone, on_progress, stop, on_step)

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
        group_by: str | None = None,
        allow_burned_in: bool = False,
        slices: str | None = None,
        rehash: bool = False,
        force: bool = False,
        pages: str | Pages | None = None,
        sync: bool = False,
        on_progress: OnProgress | None = None,
        on_step: OnStep | None = None,
        on_report: Callable[[IngestReport], None] | None = None,
        progress_bar: ProgressBar | None = None,
        stop: Event | None = None,
        **choice: Unpack[BackboneChoice],
    ) -> list[IngestReport]:
        """Bring in the ImageCLEFmed-GAN layout: ``real_used/`` becomes set ``PREFIX-used``, and so on.

        Args as in ``ingest``; ``generator`` is the prefix where it is not given. ``on_report`` is called with each
        report as it comes; ``progress_bar`` gives an ``on_progress`` for each name.

        Returns:
            A report for each folder that is there, up to three sets and one release; it ends with one that is
            ``interrupted``.

        Raises:
            SourceError: If no folder of real images is there; and all that ``ingest`` raises.
        """
        from provenance.ingest import layout_requests, require_groups_of_all, run_ingest

        made_by = Generator(generator or prefix, architecture, generator_version)
        common: dict[str, Any] = {"modality": modality.upper(), "group_from": group_from, "rehash": rehash}
        common |= {"force": force, "pages": pages_of(pages), "sync": sync}
        common |= {"group_by": group_by, "burned_in": allow_burned_in, "slices": slices}
        # a rule that names patients need not match the names of generated images
        requests = require_groups_of_all(layout_requests(Path(root), prefix, made_by, on_step, **common), on_step)
        self.require_writable()
        loaded = self._backbone_to_ingest_with(on_step, **choice)
        self.make_if_missing(on_step)
        bar = progress_bar or (lambda _name: nullcontext(on_progress))
        reports: list[IngestReport] = []
        for request in requests:
            with bar(request.name) as shown:
                reports.append(run_ingest(self, request, loaded, shown, stop, on_step))
            if on_report is not None:
                on_report(reports[-1])
            if reports[-1].interrupted:
                break
        return reports

    def watch(
        self,
        folder: Place,
        *,
        set: str,  # noqa: A002 - the command line's word
        membership: str | Membership | None,
        modality: str = "",
        group_from: str | None = None,
        group_by: str | None = None,
        allow_burned_in: bool = False,
        rehash: bool = False,
        force: bool = False,
        pages: str | Pages | None = None,
        sync: bool = False,
        settle_seconds: float = SETTLE_SECONDS,
        once: bool = False,
        on_batch: OnBatch,
        on_problem: OnProblem,
        on_start: Callable[[], None] = lambda: None,
        on_step: OnStep | None = None,
        stop: Event | None = None,
        **choice: Unpack[BackboneChoice],
    ) -> None:
        """Ingest into a set what is in a folder, then what arrives in it, until ``stop`` is set.

        Args as in ``ingest``, and:
            settle_seconds: How long a file must not have changed.
            once: End when everything that is there has gone in; errors are raised then.
            on_batch: Told after each batch.
            on_problem: Told an error that may pass, and after how many seconds it is tried again.
            on_start: Called when the backbone is loaded.

        Raises:
            UsageError: If it is no folder, or a word is wrong.
            SourceError: If the folder can't be listed.
            ConflictError: If the set's name stands for something else, or an image contradicts what is on record.
        """
        from provenance.images import open_source
        from provenance.ingest import IngestRequest
        from provenance.ingest.watch import watch

        claim = membership_of(membership)
        facts = (modality.upper(), group_from, rehash, force, pages_of(pages), sync, group_by, allow_burned_in)
        request = IngestRequest((Path(folder),), set, DatasetKind.SET, claim, None, *facts)
        self.require_writable()
        open_source(Path(folder), max_file_bytes=self.settings.max_file_bytes)
        backbone = self._backbone_to_ingest_with(on_step, **choice)
        self.make_if_missing(on_step)
        on_start()
        watch(self, request, backbone, on_batch, on_problem, settle_seconds=settle_seconds, once=once, stop=stop)

    def _backbone_to_ingest_with(self, on_step: OnStep | None, **choice: Unpack[BackboneChoice]) -> Backbone:
        try:
            return chosen_backbone(self, on_step, **choice)
        except WeightsError as error:
            if is_workspace(self.root):
                raise
            raise WeightsError(
                f"there is no workspace at {self.root}, and a new one can't begin: {error.message}",
                hint=f"--workspace names one that is there; for a new one {error.hint}",
            ) from error

    def embed(
        self,
        dataset: str,
        *,
        on_progress: OnProgress | None = None,
        on_step: OnStep | None = None,
        stop: Event | None = None,
        **choice: Unpack[BackboneChoice],
    ) -> EmbedReport:
        """Add a backbone's space to a set or release, from its recorded sources. Running it again goes on.

        Args:
            dataset: Set or release.
            on_progress: Called with ``Progress(stage, done, total)`` after every batch.
            on_step: Called with a line of text at each step before.
            stop: Set by somebody else, it ends the run after the batch in flight.
            choice: ``backbone``, ``match_resolution`` and so on: see ``BackboneChoice``.

        Returns:
            What was embedded, and what could not be read again (``provenance.ingest.EmbedReport``).

        Raises:
            NotFoundError: If there is no such set or release.
            WeightsError: If the backbone's weights can't be had.
        """
        from provenance.ingest import run_embed

        self.require_writable()
        self.catalog.dataset(dataset)  # a wrong name is told before a backbone is loaded
        return run_embed(self, dataset, chosen_backbone(self, on_step, **choice), on_progress, stop)
