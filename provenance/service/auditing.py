"""Verbs about audits: make one, look at it, compare it, explain it, write it to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenance.errors import UsageError
from provenance.files import require_free
from provenance.installation import Installation
from provenance.service import frames
from provenance.service.words import ANOTHER_FILE, id_of, names_of_call, word_of
from provenance.vocabulary import (
    DEFAULT_CASES,
    Answer,
    Evidence,
    ExportFormat,
    Gate,
    GroupScore,
    Population,
    RuleName,
    RunLabels,
    Subject,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import pandas as pd

    from provenance.audit import AuditReport, AuditRequest, Change, DeclaredPolicy, ExplainedImage, Policy
    from provenance.duplicates import DuplicateRule
    from provenance.exports.export import Exported
    from provenance.exports.report import WrittenReport
    from provenance.lookup import AuditInFull, RecordedAudit
    from provenance.records import AuditRecord
    from provenance.service.words import Audit, Names, Place


class Auditing(Installation):
    """A workspace that audits."""

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
        prior: float | None = None,
        group_score: str | GroupScore | None = None,
        reference_release: str | None = None,
        policy: Place | Policy | None = None,
        space: str | None = None,
        exclude_overlap: bool = False,
        exclude_twins: bool = False,
        twins: DuplicateRule | None = None,
        twin_evidence: str | Evidence = Evidence.BOTH,
        twin_hash_distance: int | None = None,
        twin_min_similarity: float | None = None,
        match_resolution: bool = False,
        override_membership: bool = False,
        mix_modalities: bool = False,
        only: str | Answer | Iterable[str] = (),
        predeclared: Place | Policy | None = None,
        fail_on: str | Gate | Iterable[str] = (),
        on_step: Callable[[str], None] | None = None,
    ) -> AuditReport:
        """Answer what can be asked of a release against real sets, and record every verdict with its evidence.

        Without ``subject``, ``rule`` and ``policy`` every question is answered that the sets allow, in one record:
        which generated images are copies, and of which (``copies``); which real images were used, and does the release
        leak (``membership``); and the published rule beside them (``baseline``). With one of them, one rule judges.

        Args:
            release: Name of the release.
            used: Name or names of sets known to have been used for training.
            not_used: Known not to have been used.
            against: Of which it is unknown. Without any set all take part by their own membership that are not of
                another modality than the release.
            subject: ``release`` (default): every answer; ``generated`` or ``real``: images that one rule judges.
            rule: Of an audit by one rule alone. ``calibrated`` (default as soon as a not-used set takes part): p-values
                against the images known not used, and an outcome for the release; ``mu-alpha-sigma`` (default
                otherwise): used iff the score is above T = mu + alpha * sigma (docs/method.md, eqs. 2-4);
                ``logistic``: used iff the probability is above the policy's cutoff.
            alpha: Of that threshold; no unit; 0.5 by default.
            population: ``maxima`` (default) or ``pairwise``: what mu and sigma are taken over.
            top_k: Neighbors that are kept per subject and role; 10 by default.
            score: Membership score of ``calibrated`` verdicts of real images (``provenance.audit.score_names()``);
                ``local`` by default, over a local space that is made where there is none; ``relative`` where
                ``space`` is a whole-image one.
            fdr: Level of the false discovery rate of ``calibrated``; 0.05 by default.
            prior: Share of the judged real images that was used, as far as one knows beforehand: of the best guess; 0.5
                by default.
            group_score: What stands for a patient or study where groups are judged too: the ``mean`` of its images'
                scores (default) or the ``best``.
            reference_release: A release whose generator was trained on other images: a control of the scores, or what a
                ``referenced:NAME`` score subtracts.
            policy: A policy that states all of these (``fit(...).policy``, its file, or ``policy:<hex>`` on record);
                where one is given, the others may only repeat it.
            space: Backbone name or space id (prefix) where the sets share several.
            exclude_overlap: Leave images out that are claimed used and not used.
            exclude_twins: Leave not-used images out that have a near-twin among the used ones.
            twins: What counts as a near-twin (``provenance.duplicates.DuplicateRule``); ``None``: the next three.
            twin_evidence: ``both`` hash and embedding must agree, or ``either`` is enough.
            twin_hash_distance: Most bits (of 64) between twins; ``None``: 4.
            twin_min_similarity: Least cosine between twins; ``None``: 0.65.
            match_resolution: Judge in the space in which every image is first brought to the release's native
                resolution; what is missing there is embedded from the recorded sources.
            override_membership: Let a claim of this audit contradict the membership on record, which stays what it is.
            mix_modalities: Let sets of several modalities act together that are named.
            only: The answers wanted (``copies``, ``membership``, ``baseline``); all by default.
            predeclared: As ``policy``, of one that was declared beforehand (``declare``) for this release, these sets,
                spaces and twins left out: the audit says since
                when, and whether anybody had looked at these images by then.
            fail_on: What the caller means to act on (``leak``, ``inconclusive``, ``copy``; ``.audit.trips`` says which
                holds): refused before anything runs where the audit can't conclude it.
            on_step: Called with a line of text at each step.

        Returns:
            The recorded audit (``.audit``) with its ``outcome``, ``auc`` (of the release test), ``answers``, datasets
            and notes; ``verdicts`` makes a table of one.

        Raises:
            UsageError: If an option contradicts the policy, or a set that the rule needs is missing.
            NotFoundError: If a name is unknown.
            ConflictError: If the release is incomplete, claims contradict each other or the membership on record, or
                sets are of several modalities.
            SpaceMismatchError: If the datasets share no embedding space, or several and none was chosen.
            VectorStoreError: If a stored vector is missing or damaged; nothing is recorded then.
        """
        asked = {name: value for name, value in locals().items() if name not in ("self", "release", "on_step")}
        from provenance.audit import run_audit

        self.require_writable()
        return run_audit(self, _request(release, asked), on_step)

    def declare(
        self,
        release: str,
        file: Place,
        *,
        overwrite: bool = False,
        on_step: Callable[[str], None] | None = None,
        **asked: Any,
    ) -> DeclaredPolicy:
        """Write the policy that ``audit`` would judge by with these options, and put it on record; judge nothing.

        Args:
            release: As of ``audit``.
            **asked: Likewise.
            file: Where to write; ``audit(release, predeclared=file)`` judges by it.
            overwrite: Replace a file that is there.
            on_step: Called with a line of text at each step.

        Returns:
            ``.policy_id``, and since when it is ``.on_record_since``: longer, where it was declared so before.

        Raises:
            ProvenanceError: As of ``audit``; ``ConflictError`` also where the file is there.
        """
        from provenance.audit import declare

        self.require_writable()
        require_free(Path(file), replace=overwrite, hint=ANOTHER_FILE)
        return declare(self, _request(release, asked), Path(file), on_step or (lambda _step: None))

    def verdicts(self, audit: Audit, answer: str | Answer | None = None) -> pd.DataFrame:
        """The verdicts of an audit, one row a subject, in image_id order; from the catalog.

        Args:
            audit: Audit id or a unique beginning of it, or what ``audit`` gave.
            answer: Of an audit of several: ``copies``, ``membership`` or ``baseline``; the first of them by default.

        Returns:
            Columns ``subject_id``, ``name``, ``nearest_id``, ``nearest_name`` (string); ``role``, ``label``,
            ``nearest_role`` (category); ``score``, ``s_used``, ``s_not_used``, ``s_against``, ``threshold``,
            ``nearest_similarity`` (float64, cosines; NaN where the audit has none), ``p_value``, ``q_value`` (float64;
            NaN for rules without); ``near_threshold`` (bool). Forgotten images have no ids and names.

        Raises:
            NotFoundError: If there is no such audit, or more than one.
        """
        return frames.frame(frames.VERDICTS, self.verdict_rows(audit, answer))

    def verdict_rows(
        self, audit: Audit, answer: str | Answer | None = None, *, ranked: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The same as ``verdicts``, one row at a time as plain values; ``None`` where there is none.

        ``ranked``: what is to be looked at first stands first, as in the report.
        """
        from provenance.exports import audit_rows

        return audit_rows(self, self._by_one_rule(audit, answer), ranked=ranked)

    def _by_one_rule(self, audit: Audit, answer: str | Answer | None) -> AuditRecord:
        wanted = None if answer is None else word_of(Answer, answer)
        return self.catalog.answer_of(id_of(audit), wanted, tuple(Answer))

    def copy_rows(self, audit: Audit) -> Iterator[dict[str, Any]]:
        """The copies of an audit, one row an image and source, the best source first, as ``export`` writes them."""
        from provenance.exports import copy_rows

        return copy_rows(self, self.catalog.audit(id_of(audit)))

    def evidence(self, audit: Audit, answer: str | Answer | None = None) -> pd.DataFrame:
        """The recorded neighbors of every subject of an audit: one row a neighbor, by subject, role and rank.

        Args:
            audit: As ``verdicts`` takes it.
            answer: Likewise.

        Returns:
            Columns ``subject_id``, ``image_id``, ``name`` (string), ``role`` (category), ``rank`` (int64, 1 is the
            closest of its role), ``similarity`` (float64, cosine).

        Raises:
            NotFoundError: If there is no such audit, or more than one.
        """
        from provenance.exports import audit_records

        rows = (
            {"subject_id": record["subject_id"], **neighbor}
            for record in audit_records(self, self._by_one_rule(audit, answer))
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
        found = self.find_changes(before, after)
        return frames.frame(frames.CHANGES, (frames.fields_of(change, frames.CHANGES) for change in found))

    def find_changes(self, before: Audit, after: Audit) -> list[Change]:
        """The same as ``changes``, as values."""
        from provenance.audit import compare_audits

        return compare_audits(self.catalog, id_of(before), id_of(after))

    def audits(self) -> pd.DataFrame:
        """All recorded audits, the newest first.

        Returns:
            Columns ``audit_id``, ``release``, ``verdict_digest``, ``policy_id``, ``space_id`` (string), ``used``,
            ``not_used``, ``against`` (tuples of set names), ``subject``, ``rule``, ``outcome`` (category; missing for
            rules without one), ``auc`` (float64; of the release test, NaN where there was none), ``subject_count``,
            ``used_count``, ``not_used_count``, ``rejected_count`` (int64), ``mu``, ``sigma``, ``alpha``, ``threshold``,
            ``duration_seconds`` (float64), ``audited_at`` (UTC).
        """
        return frames.frame(frames.AUDITS, map(_audit_row, self.list_audits()))

    def list_audits(self, *, parts: bool = False) -> list[RecordedAudit]:
        """The same as ``audits``, as values: each with its datasets; ``parts``: answers as audits of their own too."""
        from provenance.lookup import list_audits

        return list_audits(self.catalog, parts=parts)

    def show_audit(self, audit: Audit) -> AuditInFull:
        """One audit with its datasets, rejected inputs, sensitivities, and how its datasets have changed since.

        Raises:
            NotFoundError: If there is no such audit, or more than one.
        """
        from provenance.lookup import show_audit

        return show_audit(self.catalog, id_of(audit))

    def outcome_of(self, audit: Audit) -> str:
        """Why the outcome of an audit is what it is, with what was measured since of what it would have seen.

        Where no leak is established and that was never measured: how to measure it, and about how long that takes.

        Raises:
            NotFoundError: If there is no such audit, or more than one.
        """
        from provenance.audit import outcome_words

        return outcome_words(self.catalog, self.catalog.audit(id_of(audit)))

    def copied_of(self, audit: Audit) -> str:
        """How many of the real images that an audit judged stand in its release as copies; '' where none does.

        Raises:
            NotFoundError: If there is no such audit, or more than one.
        """
        from provenance.audit import copied_words

        return copied_words(self.catalog, self.catalog.audit(id_of(audit)))

    def explain(
        self, image: str, on_step: Callable[[str], None] | None = None, *, audit: Audit | None = None
    ) -> ExplainedImage | None:
        """Which positions of a real image, and which generated images, speak for its use.

        Of a verdict by a local score; computed again from the stored vectors.

        Args:
            image: Image id, 8 or more of its hex digits, or a unique file name.
            on_step: Called with a line of text at each step, and with the reason where nothing is explained.
            audit: By this one, or an answer of it; ``None``: its latest verdict by a local score.

        Returns:
            ``.explanation.positions``, each with its box (shares of width and height), contribution (standard
            deviations), generated image and similarity; ``None`` without such a verdict, or where release or sets hold
            other images by now.

        Raises:
            NotFoundError: If it is unknown or not unique.
            VectorStoreError: If a stored vector is missing or damaged.
        """
        from provenance.audit import explain_image

        key = self.catalog.resolve_image(image).image_key
        return explain_image(self, key, on_step, None if audit is None else id_of(audit))

    def export(
        self,
        what: Audit,
        file: Place,
        *,
        format: str | ExportFormat = ExportFormat.CSV,  # noqa: A002 - the command line's word
        set: str | None = None,  # noqa: A002 - likewise
        space: str | None = None,
        answer: str | Answer | None = None,
        labels: str | RunLabels | None = None,
        raw: bool = False,
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
            answer: Of an audit of the release: ``copies`` (a row an image and source), ``membership`` (a row a real
                image, with those that calibrate) or ``baseline``; ``None``: the one that the form is for.
            labels: For ``imageclef``: ``guess`` (the best guess; default where there is one) or ``strict``.
            raw: Of CSV: cells that a spreadsheet would run as formulas are left as they are, without an apostrophe.
            overwrite: Replace a file that is there.

        Returns:
            The number of rows.

        Raises:
            NotFoundError: If there is no such audit, set or release.
            UsageError: If the form does not go with it.
            ConflictError: If the file is there, or names can't be told apart in a run file.
            SourceError: If the file can't be written.
        """
        options = {"set": set, "space": space, "answer": answer, "labels": labels}
        return self.write_export(what, file, format=format, **options, raw=raw, overwrite=overwrite).row_count

    def write_export(
        self,
        what: Audit,
        file: Place,
        *,
        format: str | ExportFormat = ExportFormat.CSV,  # noqa: A002 - the command line's word
        set: str | None = None,  # noqa: A002 - likewise
        space: str | None = None,
        answer: str | Answer | None = None,
        labels: str | RunLabels | None = None,
        raw: bool = False,
        overwrite: bool = False,
    ) -> Exported:
        """The same as ``export``; gives beside the number of rows what is in a run file, and what is not."""
        from provenance.exports import RunChoice, write_export

        target = Path(file)
        require_free(target, replace=overwrite, hint=ANOTHER_FILE)
        wanted = None if answer is None else word_of(Answer, answer)
        chosen = RunChoice(set, None if labels is None else word_of(RunLabels, labels), raw)
        form = word_of(ExportFormat, format)
        return write_export(self, id_of(what), target, form, run=chosen, space=space, answer=wanted)

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
        self.write_report(audit, file, cases=DEFAULT_CASES if cases is None else cases, overwrite=overwrite)
        return Path(file)

    def write_report(
        self, audit: Audit, file: Place, *, cases: int = DEFAULT_CASES, overwrite: bool = False
    ) -> WrittenReport:
        """The same as ``report``; gives what was written."""
        from provenance.exports.report import write_report

        return write_report(self, self.catalog.audit(id_of(audit)), Path(file), cases=cases, replace=overwrite)


def _audit_row(found: RecordedAudit) -> dict[str, Any]:
    audit = found.audit
    counts = {f"{word}_count": audit.counts[word] for word in ("used", "not_used", "rejected")}
    sets = {role.value: names for role, names in found.sets_by_role().items()}
    concluded = {"outcome": found.outcome, "auc": found.auc}
    known = {**frames.fields_of(audit, frames.AUDITS), "release": found.release_name}
    return {**known, **sets, **counts, **concluded, "subject_count": audit.counts["subjects"]}


def _request(release: str, asked: Mapping[str, Any]) -> AuditRequest:
    """The request of a call of ``Auditing.audit``, by the names of its arguments."""
    from provenance.audit import AuditRequest, PolicyChoice
    from provenance.duplicates import DuplicateRule

    ask = asked.get
    words = {"subject": Subject, "rule": RuleName, "population": Population, "group_score": GroupScore}
    options = {name: None if ask(name) is None else word_of(kind, asked[name]) for name, kind in words.items()}
    options |= {"alpha": ask("alpha"), "top_k": ask("top_k"), "score": ask("score"), "q": ask("fdr")}
    options["prior"] = ask("prior")
    policy, predeclared = ask("policy"), ask("predeclared")
    if policy is not None and predeclared is not None:
        raise UsageError("a policy is given twice", hint="--predeclared POLICY judges by it, too")
    evidence = word_of(Evidence, ask("twin_evidence", Evidence.BOTH))
    near = DuplicateRule.chosen(evidence, ask("twin_hash_distance"), ask("twin_min_similarity"))
    return AuditRequest(
        release,
        names_of_call(ask("used", ())),
        names_of_call(ask("not_used", ())),
        names_of_call(ask("against", ())),
        PolicyChoice(policy if predeclared is None else predeclared, options),
        ask("space"),
        ask("exclude_overlap", False),
        ask("exclude_twins", False),
        ask("twins") or near,
        ask("match_resolution", False),
        ask("reference_release"),
        tuple(word_of(Answer, each) for each in names_of_call(ask("only", ()))),
        predeclared is not None,
        tuple(word_of(Gate, each) for each in names_of_call(ask("fail_on", ()))),
        ask("override_membership", False),
        ask("mix_modalities", False),
    )
