"""What an audit would have seen, from Python: one call, and a result whose table is a DataFrame."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.service import frames
from provenance.service.learning import Learning
from provenance.service.questions import names_of_call

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from provenance.ingest import OnProgress
    from provenance.sensitivity import SensitivityReport
    from provenance.service.questions import Audit, Names, Place


class SensitivityResult:
    """What ``Workspace.sensitivity`` gives.

    Attributes:
        report: Everything as values (``provenance.sensitivity.SensitivityReport``).
    """

    def __init__(self, report: SensitivityReport) -> None:
        self.report = report

    @property
    def rows(self) -> pd.DataFrame:
        """One row for each kind and strength, closest to the originals first.

        Columns ``kind`` (category), ``strength`` (float64; 0: none), ``plants``, ``groups``, ``found`` (int64),
        ``share``, ``low``, ``high`` (float64, 95 % Wilson interval), ``similarity`` (float64, median cosine to the
        originals), ``outranking`` and its share with interval (float64; NaN for rules without p-values): plants with
        the smallest p-value that there can be.
        """
        return frames.frame(frames.SENSITIVITY, self.report.table())

    @property
    def sentence(self) -> str:
        """The claim, or why there is none."""
        return self.report.sentence

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, in plain language."""
        return self.report.notes

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values, as ``--json`` prints it."""
        return self.report.to_json()

    def write(self, folder: Place, *, overwrite: bool = False) -> list[Path]:
        """Write table (CSV, JSON) and figure (SVG, PNG) into a folder; gives the files.

        Raises:
            ConflictError: If one is there.
            SourceError: If they can't be written.
        """
        from provenance.sensitivity import write_sensitivity

        return list(write_sensitivity(self.report, Path(folder), replace=overwrite))


class Measuring(Learning):
    """A workspace whose audits can be asked what they would have seen."""

    def sensitivity(
        self,
        audit: Audit,
        *,
        plants: int | None = None,
        kinds: Names = (),
        seed: int = 0,
        backbone_file: Place | None = None,
        weights: Place | None = None,
        on_progress: OnProgress | None = None,
        on_step: Callable[[str], None] | None = None,
    ) -> SensitivityResult:
        """Plant known copies of used images into an audit, one at a time, and measure what share of them it finds.

        Nothing of the plants is stored; the figures are recorded with the audit (an event of its release).

        Args:
            audit: Audit id or a unique beginning of it, or what ``audit`` gave.
            plants: Copies of each kind; ``None``: 110, at which one may be missed and 95 % still be claimed.
            kinds: Such as ``exact``, ``blend`` or ``blend:0.6``; empty: all.
            seed: Which images are copied, what they are blended with, and the noise.
            backbone_file: Of the audit's space, where its name does not find it; likewise ``weights``.
            weights: Weights file.
            on_progress: Called with ``Progress(stage, done, total)`` while plants are embedded and judged.
            on_step: Called with a line of text at each step.

        Returns:
            ``.rows`` (a DataFrame), ``.sentence``, ``.notes``, ``.write(folder)``.

        Raises:
            NotFoundError: If there is no such audit.
            ConflictError: If what it judged has changed since.
            UsageError: If it has nothing to copy, or a kind is unknown.
            SourceError: If no image can be read again from where it was.
            EmbeddingError: If its backbone can't be had.
        """
        from provenance.sensitivity import (
            DEFAULT_KINDS,
            DEFAULT_PLANTS,
            SensitivityRequest,
            kinds_named,
            run_sensitivity,
        )

        given = names_of_call(kinds)
        choice = {"backbone_file": backbone_file, "weights": weights}
        request = SensitivityRequest(
            self._audit(audit).audit_id,
            DEFAULT_PLANTS if plants is None else plants,
            kinds_named(given) if given else DEFAULT_KINDS,
            seed,
            {name: Path(place) for name, place in choice.items() if place is not None},
        )
        report = run_sensitivity(self, request, on_progress, on_step)
        assert report is not None, "nobody asked it to stop"
        return SensitivityResult(report)
