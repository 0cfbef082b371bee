"""Verbs that hold audits against truth: evaluate, sensitivity, fit, sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.installation import Installation
from provenance.service.results import EvaluationResult, FitResult, SensitivityResult, SweepResult
from provenance.service.words import id_of, ids_of, names_of_call, rows_of, truth_of, word_of
from provenance.vocabulary import DEFAULT_PLANTS, DEFAULT_RESAMPLES, PAPER_ALPHAS, TOP_K, Answer, Subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from threading import Event

    from provenance.ingest import OnProgress
    from provenance.service.words import Audit, Audits, Labels, Names, Place


class Measuring(Installation):
    """A workspace whose audits are measured, and learnt from."""

    def evaluate(
        self,
        audit: Audits,
        *,
        labels: Labels | Sequence[Labels] | None = None,
        against: Audit | None = None,
        bootstrap: int = DEFAULT_RESAMPLES,
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
        from provenance.truth import EvaluationRequest, Resampling, run_evaluation

        other, truth = None if against is None else id_of(against), truth_of(labels)
        request = EvaluationRequest(ids_of(audit), truth, other, Resampling(bootstrap, seed=seed), skip_unknown)
        return EvaluationResult(run_evaluation(self, request, on_step))

    def sensitivity(
        self,
        audit: Audit,
        *,
        plants: int | None = None,
        kinds: Names = (),
        seed: int = 0,
        backbone_file: Place | None = None,
        trust_backbone_file: bool = False,
        weights: Place | None = None,
        answers: Names = (),
        on_progress: OnProgress | None = None,
        on_step: Callable[[str], None] | None = None,
        stop: Event | None = None,
    ) -> SensitivityResult:
        """Plant known copies of used images into an audit, one at a time, and measure what share of them it finds.

        Nothing of the plants is stored; the figures are recorded with the audit (an event of its release).

        Args:
            audit: Audit id or a unique beginning of it, or what ``audit`` gave.
            plants: Copies of each kind; ``None``: 110, at which one may be missed and 95 % still be claimed.
            kinds: Such as ``exact``, ``blend`` or ``blend:0.6``; empty: all.
            seed: Which images are copied, what they are blended with, and the noise.
            backbone_file: Of the audit's space, where its name does not find it; likewise ``weights``.
            trust_backbone_file: Whether a TorchScript file may run.
            weights: Weights file.
            answers: Of an audit of several: ``copies``, ``membership``, ``baseline``; empty: all that it has.
            on_progress: Called with ``Progress(stage, done, total)`` while plants are embedded and judged.
            on_step: Called with a line of text at each step.
            stop: Set by somebody else, it ends the run after the batch in flight.

        Returns:
            ``.rows`` (a DataFrame), ``.sentence``, ``.notes``, ``.write(folder)``.

        Raises:
            NotFoundError: If there is no such audit.
            ConflictError: If what it judged has changed since.
            UsageError: If it has nothing to copy, or a kind is unknown.
            SourceError: If no image can be read again from where it was.
            EmbeddingError: If its backbone can't be had.
            KeyboardInterrupt: If it was asked to stop; nothing is recorded then.
        """
        from provenance.sensitivity import DEFAULT_KINDS, SensitivityRequest, kinds_named, run_sensitivity

        named = kinds_named(given) if (given := names_of_call(kinds)) else DEFAULT_KINDS
        choice = {"backbone_file": backbone_file, "weights": weights}
        backbone: dict[str, Any] = {name: Path(place) for name, place in choice.items() if place is not None}
        if trust_backbone_file:
            backbone["trust_backbone_file"] = True
        count = DEFAULT_PLANTS if plants is None else plants
        words = (word.strip() for name in names_of_call(answers) for word in name.split(","))
        chosen = tuple(word_of(Answer, word) for word in words if word)
        request = SensitivityRequest(id_of(audit), count, named, seed, backbone, chosen)
        self.require_writable()
        report = run_sensitivity(self, request, on_progress, on_step, stop)
        if report is None:
            raise KeyboardInterrupt
        return SensitivityResult(report)

    def fit(
        self,
        what: Audits,
        *,
        control: Audits = (),
        labels: Labels | None = None,
        skip_unknown: bool = False,
        features: Names = (),
        seed: int = 0,
        held_out: float = 0.2,
        c: float = 1.0,
        standardise: bool = False,
        cutoff: float = 0.5,
        subject: str | Subject = Subject.GENERATED,
        used: Names = (),
        not_used: Names = (),
        against: Names = (),
        top_k: int = TOP_K,
        space: str | None = None,
        exclude_overlap: bool = False,
        exclude_twins: bool = False,
        on_step: Callable[[str], None] | None = None,
    ) -> FitResult:
        """Fit the logistic rule on images with known truth (seed paper, 4.5 and table 1).

        Args as in ``audit`` (for releases: which images to judge, sets, ``top_k``, ``space``, exclusions), and:
            what: Audits, or names of releases, which are audited first; one or several.
            control: The same of generators that did not use the used sets: their images are the not used ones.
            labels: CSV file with the columns name (or image_id) and label (or used), or a mapping to truth.
            skip_unknown: Leave out labels of images that were not judged; otherwise they are an error.
            features: Scores to fit on: ``s_used``, ``s_not_used`` of generated images, ``nearest``, ``nearest_mean`` of
                real ones; empty: all of these.
            seed: Of the stratified split.
            held_out: Share of the images to hold out.
            c: Inverse strength of the penalty (scikit-learn's ``C``).
            standardise: Bring scores to mean 0 and deviation 1 on the training part first.
            cutoff: Used above this probability.

        Returns:
            ``.policy``, ``.metrics`` (a DataFrame), ``.notes``, ``.save(file)``.

        Raises:
            UsageError: If truth is not known, there is one class only, or too few images or groups.
            ConflictError: If a control was audited against other sets.
            NotFoundError: If an audit, release or labelled image is unknown.
        """
        from provenance.audit import AuditRequest, Policy
        from provenance.truth import FitSettings, TruthRequest, run_fit

        settings = FitSettings(c=c, standardise=standardise, held_out_share=held_out, seed=seed, cutoff=cutoff)
        sets = (names_of_call(used), names_of_call(not_used), names_of_call(against))
        policy = Policy(subject=word_of(Subject, subject), top_k=top_k)
        truth = TruthRequest((), None if labels is None else rows_of(labels), skip_unknown)
        template = AuditRequest("", *sets, policy, space, exclude_overlap, exclude_twins)
        audits, names = (ids_of(what), ids_of(control)), names_of_call(features)
        return FitResult(run_fit(self, *audits, truth, names, settings, template, on_step))

    def sweep(
        self,
        audit: Audit,
        *,
        alphas: Iterable[float] | None = None,
        adaptive: bool = False,
        folds: int = 5,
        seed: int = 0,
        labels: Labels | None = None,
        skip_unknown: bool = False,
        control: Audits = (),
    ) -> SweepResult:
        """Judge an audit again at every alpha, against truth (seed paper, 4.4).

        Args:
            audit: Audit id or a unique beginning of it, or what ``audit`` gave.
            alphas: The grid; ``None``: the paper's, 0.1, 0.3, 0.5, 0.7, 1.0.
            adaptive: Choose alpha by stratified cross-validation too, groups kept together.
            folds: Of the cross-validation.
            seed: Of its shuffle.
            labels: As in ``fit``; without labels and control truth is what the audit's sets claim of real images.
            skip_unknown: As in ``fit``.
            control: Audits of generators that did not use the used sets.

        Returns:
            ``.rows`` (a DataFrame), ``.best_alpha``, ``.conclusion``, ``.report``, ``.write(csv, figure)``.

        Raises:
            UsageError: If the grid is wrong, truth is not known or of one class, or there are too few images or groups.
            NotFoundError: If an audit or labelled image is unknown.
        """
        from provenance.truth import TruthRequest, run_sweep

        truth = TruthRequest(ids_of(control), None if labels is None else rows_of(labels), skip_unknown)
        grid = PAPER_ALPHAS if alphas is None else tuple(alphas)
        return SweepResult(run_sweep(self, id_of(audit), truth, grid, folds=folds if adaptive else None, seed=seed))
