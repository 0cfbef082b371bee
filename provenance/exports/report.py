"""The report of an audit, by one rule or of several answers: gathers what is known of it, and writes the page.

Verdicts come from the catalog. Thumbnails are read again from the recorded sources and checked by their digest: an
image that is gone, changed or forgotten is shown as such. Vectors are read for the heat maps of local scores alone.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from provenance.audit import can_be_explained, explain, outcome_words
from provenance.audit.rules import rule_named
from provenance.brief import Brief
from provenance.errors import ConflictError, NotFoundError, SourceError, SpaceMismatchError, UsageError
from provenance.exports.audits import ranked_verdicts
from provenance.files import require_free, write_bytes
from provenance.findings import JointFindings, Statements
from provenance.images import OTHER_BYTES, RecordedImage, Reread, in_reading_order, png_bytes, reading_again
from provenance.logs import room, step
from provenance.lookup import drift_of_audit
from provenance.report import (
    Case,
    HeatMap,
    JointContent,
    Neighborhood,
    Picture,
    ReportContent,
    RoleLine,
    Series,
    SourceShown,
    render,
    render_joint,
)
from provenance.text import pasted
from provenance.version import __version__
from provenance.vocabulary import DEFAULT_CASES, Answer, DatasetKind, Label, Role, Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from provenance.findings import Twins
    from provenance.installation import Installation
    from provenance.records import (
        AuditDataset,
        AuditRecord,
        Dataset,
        ImageRecord,
        Member,
        StoredNeighbor,
        StoredVerdict,
    )
    from provenance.vocabulary import Space

_log = room(__name__)

THUMBNAIL_SIZE = 224
_SMALLEST_PERCENT = 4
_PAIRS = 3
_FEWER = {Answer.COPIES: 1, Answer.MEMBERSHIP: 3}
_REGIONS = 4
_CANDIDATES = {Subject.GENERATED: (Role.USED, Role.AGAINST), Subject.REAL: (Role.RELEASE,)}
_FLAGS = {Role.USED: "--used", Role.NOT_USED: "--not-used", Role.AGAINST: "--against"}
_GENERATOR_FLAGS = {"--generator": "name", "--architecture": "architecture", "--generator-version": "version"}
_CLAIMS = {
    Role.USED: "of real images claimed used",
    Role.NOT_USED: "of real images claimed not used",
    Role.AGAINST: "of real images of unknown use",
}
_ROLE_ORDER = (Role.RELEASE, Role.USED, Role.NOT_USED, Role.AGAINST)


@dataclass(frozen=True, slots=True, repr=False)
class WrittenReport(Brief):
    """What was written.

    Attributes:
        audit_id: The audit it is about.
        cases: Cases shown.
        pictures_missing: Images of these cases that the sources don't show any more.
    """

    path: Path
    audit_id: str
    size_bytes: int
    cases: int
    pictures_missing: int


@step(_log, "write report")
def write_report(
    workspace: Installation, audit: AuditRecord, target: Path, *, cases: int = DEFAULT_CASES, replace: bool = False
) -> WrittenReport:
    """Write the report of an audit, with so many of the closest pairs, as one self-contained HTML file.

    Raises:
        ConflictError: If the file is there and may not be replaced.
        SourceError: If it can't be written.
        UsageError: If ``cases`` is negative.
    """
    target = target.expanduser().absolute()
    if target.is_dir():
        raise SourceError(f"{target} is a folder, not a file", hint="give -o the name of a file")
    require_free(target, replace=replace)
    if parts := workspace.catalog.parts_of(audit.audit_id):
        joint = gather_joint(workspace, audit, parts, cases=cases)
        page, shown = render_joint(joint), [case for each in joint.answers.values() for case in each.cases]
    else:
        content = gather_report(workspace, audit, cases=cases)
        page, shown = render(content), list(content.cases)
    data = page.encode("utf-8")
    write_bytes(target, data)
    near = [place.picture for case in shown for place in (case.nearest, case.control) if place is not None]
    missing = sum(picture.png is None for picture in (*near, *(case.subject for case in shown)))
    return WrittenReport(target, audit.audit_id, len(data), len(shown), missing)


def gather_joint(
    workspace: Installation, audit: AuditRecord, parts: Mapping[Answer, AuditRecord], *, cases: int = DEFAULT_CASES
) -> JointContent:
    """Everything that the report of an audit of several answers says.

    Of copies it has so many cases, of membership a third, of the baseline none.

    Raises:
        UsageError: If ``cases`` is negative.
    """
    catalog, found = workspace.catalog, audit.findings.own_as(JointFindings)
    notes, weakening = audit.findings.notes or (), audit.findings.weakening or 0
    answers = {
        answer: gather_report(workspace, part, cases=cases // _FEWER[answer] if answer in _FEWER else 0)
        for answer, part in parts.items()
    }
    first = next(iter(answers.values()))
    played = [row.dataset for row in first.datasets]
    measured = {answer: catalog.sensitivities(part.audit_id) for answer, part in parts.items()}
    latest = {answer: each[-1].result for answer, each in measured.items() if each}
    missing = {Answer(name): reason for name, reason in found.missing.items()}
    return JointContent(
        audit=audit,
        reason=outcome_words(workspace.catalog, audit),
        answers=answers,
        missing=missing,
        statements=_statements(audit, parts, missing, latest),
        weakening=notes[:weakening],
        notes=notes[weakening:],
        looks=found.looks,
        measured={answer: str(each["sentence"]) for answer, each in latest.items()},
        compare_command=joint_command(audit, parts, played, compare=True),
        audit_command=joint_command(audit, parts, played),
        ingest_commands=tuple(dict.fromkeys(each for content in answers.values() for each in content.ingest_commands)),
        policy_file=_policy_file(audit, catalog.policy(audit.policy_id).parameters),
    )


def _statements(
    audit: AuditRecord,
    parts: Mapping[Answer, AuditRecord],
    missing: Mapping[Answer, str],
    measured: Mapping[Answer, Mapping[str, Any]],
) -> Statements:
    """Those of all answers, then what was measured, and what was not."""
    said = [rule_named(part.rule).statements(part) for part in parts.values()]
    known, guessed, unknown = (
        [each for one in said for each in getattr(one, kind)] for kind in ("known", "guessed", "unknown")
    )
    for answer, result in measured.items():
        if answer is not Answer.BASELINE:
            said_of = known if result.get("claimed") else unknown
            said_of.append(f"Sensitivity, {answer.value}: {result['sentence']}")
    unknown += [f"{answer.value.capitalize()} is not answered: {reason}." for answer, reason in missing.items()]
    if weak := [answer.value for answer in parts if answer not in measured and answer is not Answer.BASELINE]:
        unknown.append(
            f"What was too weak to be seen ({' and '.join(weak)}): it is not measured. `provenance sensitivity "
            f"{audit.audit_id[:8]}` plants known copies and measures it."
        )
    return Statements(tuple(known), tuple(guessed), tuple(unknown))


def gather_report(workspace: Installation, audit: AuditRecord, *, cases: int = DEFAULT_CASES) -> ReportContent:
    """Everything that the report of an audit says, from the catalog and the recorded sources.

    Raises:
        UsageError: If ``cases`` is negative.
    """
    if cases < 0:
        raise UsageError(f"the number of cases must be 0 or more, not {cases}")
    catalog = workspace.catalog
    verdicts = catalog.verdicts(audit.audit_id)
    parameters, space = catalog.policy(audit.policy_id).parameters, catalog.space(audit.space_id)
    datasets = sorted(
        drift_of_audit(catalog, audit.audit_id),
        key=lambda each: (_ROLE_ORDER.index(each.dataset.role), each.dataset.name),
    )
    played = [each.dataset for each in datasets]
    known = {each.dataset_id: catalog.dataset_by_id(each.dataset_id) for each in played}
    reader = _CaseReader(workspace, audit, played)
    closest = [each for each in ranked_verdicts(catalog, audit) if each.score is not None][:cases]
    heat, not_explained = _heat_maps(workspace, audit, [each.image_key for each in closest], reader)
    reader.fetch(key for each in closest for key in reader.shown_with(each))
    rule, symbol = rule_named(audit.rule), rule_named(audit.rule).symbol(parameters)
    part = rule.report_part(workspace, audit, verdicts)
    return ReportContent(
        audit=audit,
        parameters=parameters,
        space=space,
        catalog_uuid=catalog.catalog_uuid,
        datasets=tuple(datasets),
        known=known,
        series=(*score_series(audit.subject, verdicts, symbol), *(part.series if part else ())),
        labels=rule.labels,
        by_role=_labels_by_role(verdicts, rule.labels[0]) if audit.subject is Subject.REAL else (),
        cases=tuple(reader.case(rank, each, heat.get(each.image_key)) for rank, each in enumerate(closest, start=1)),
        rejects=tuple(catalog.audit_rejects(audit.audit_id)),
        compare_command=audit_command(audit, parameters, played, compare=True),
        audit_command=audit_command(audit, parameters, played),
        ingest_commands=tuple(ingest_command(each, space) for each in known.values()),
        report_version=__version__,
        policy_file=_policy_file(audit, parameters) if rule.by_model else "",
        by_probability=rule.by_model,
        symbol=symbol,
        part=part,
        outcome_words=outcome_words(workspace.catalog, audit),
        not_explained=not_explained,
    )


def _policy_file(audit: AuditRecord, parameters: Mapping[str, Any]) -> str:
    """The policy as `--policy` reads it."""
    document = {"policy_id": audit.policy_id, "rule": audit.rule, "parameters": dict(parameters)}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)


def score_series(subject: Subject, verdicts: Sequence[StoredVerdict], symbol: str = "") -> tuple[Series, ...]:
    """The scores by kind: S_u, S_n and the unknown sets' for generated images; S(r) by claim for real ones.

    Scores of another kind (``symbol``), such as probabilities, likewise by claim for real images.
    """
    if subject is Subject.REAL:
        kinds = [
            (symbol or "S(r)", words, [v.score for v in verdicts if v.subject_role is role])
            for role, words in _CLAIMS.items()
        ]
    elif symbol:
        kinds = [(symbol, "of generated images", [v.score for v in verdicts])]
    else:
        kinds = [
            ("S_u", "to the nearest used image", [v.s_used for v in verdicts]),
            ("S_unknown", "to the nearest unknown image", [v.s_against for v in verdicts]),
            ("S_n", "to the nearest not used image", [v.s_not_used for v in verdicts]),
        ]
    found = [Series(symbol, words, tuple(s for s in scores if s is not None)) for symbol, words, scores in kinds]
    return tuple(series for series in found if series.values)


def audit_command(
    audit: AuditRecord, parameters: Mapping[str, Any], datasets: Sequence[AuditDataset], *, compare: bool = False
) -> str:
    """The call that makes an audit again, with every parameter; ``compare`` lists the verdicts that differ from it."""
    words = [*_of_sets(datasets), "--subject", audit.subject.value, "--rule", audit.rule]
    rule = rule_named(audit.rule)
    if rule.by_model:
        words += ["--policy", audit.policy_id if compare else "policy.json"]
    for name, flag in (*rule.options.items(), ("top_k", "--top-k")):
        if name in parameters:
            words += _option(flag, f"{parameters[name]}")
    if reference := audit.findings.reference_release:
        words += _option("--reference-release", reference.name)
    return pasted([*words, *_judged_by(audit, audit.findings.twins, datasets, compare=compare)])


def joint_command(
    audit: AuditRecord,
    parts: Mapping[Answer, AuditRecord],
    datasets: Sequence[AuditDataset],
    *,
    compare: bool = False,
) -> str:
    """The same for an audit of several answers, whose policy says all but what it was made of."""
    words = [*_of_sets(datasets), "--policy", audit.policy_id if compare else "policy.json"]
    references = (part.findings.reference_release for part in parts.values())
    if reference := next(filter(None, references), None):
        words += _option("--reference-release", reference.name)
    twins = next((part.findings.twins for part in parts.values() if part.findings.twins), None)
    return pasted([*words, *_judged_by(audit, twins, datasets, compare=compare)])


def _of_sets(datasets: Sequence[AuditDataset]) -> list[str]:
    words = ["provenance", "audit"]
    for row in datasets:
        if row.role in _FLAGS:
            words += _option(_FLAGS[row.role], row.name)
    return words


def _judged_by(
    audit: AuditRecord, twins: Twins | None, datasets: Sequence[AuditDataset], *, compare: bool
) -> list[str]:
    words = ["--space", audit.space_id]
    if audit.counts.get("excluded_overlap"):
        words.append("--exclude-overlap")
    words += [*_twin_options(twins), *(["--compare", audit.audit_id] if compare else [])]
    release = next(row.name for row in datasets if row.role is Role.RELEASE)
    return [*words, *(["--"] if release.startswith("-") else []), release]


def _twin_options(twins: Twins | None) -> list[str]:
    """How an audit looked for near-twins; nothing of it where they were not left out, because it decided nothing."""
    if twins is None or not twins.excluded:
        return []
    words = ["--exclude-twins", "--twin-hash-distance", f"{twins.hash_distance}"]
    return [*words, *_option("--twin-min-similarity", f"{twins.min_similarity}"), "--twin-evidence", twins.evidence]


def ingest_command(dataset: Dataset, space: Space) -> str:
    """The call that brings a set or release in; sources are not part of what an audit rests on."""
    words = ["provenance", "ingest", "IMAGES"]
    if dataset.kind is DatasetKind.SET:
        membership = dataset.membership.value if dataset.membership else ""
        words += [*_option("--set", dataset.name), "--membership", membership.replace("_", "-")]
    else:
        words += _option("--release", dataset.name)
        for flag, word in _GENERATOR_FLAGS.items():
            if value := getattr(dataset.generator, word, ""):
                words += _option(flag, value)
    if dataset.modality:
        words += _option("--modality", dataset.modality)
    backbone = ["--backbone-file", "FILE"] if space.is_of_file else ["--backbone", space.backbone]
    return pasted([*words, *backbone])


class _CaseReader:
    """Makes cases of verdicts: neighbors and names from the catalog, thumbnails from the recorded sources."""

    def __init__(self, workspace: Installation, audit: AuditRecord, played: Sequence[AuditDataset]) -> None:
        self.workspace, self.audit = workspace, audit
        self.played = {row.dataset_id: row for row in played}
        self.preparation = replace(workspace.preparation(), size=THUMBNAIL_SIZE)
        self._at_hand: dict[str, RecordedImage] = {}

    def fetch(self, image_keys: Iterable[str]) -> None:
        """Goes once through the compressed archives that some images lie in, for their pictures."""
        catalog, places = self.workspace.catalog, self.workspace.catalog.places_for_reading(sorted(set(image_keys)))
        found = ((catalog.image(key), of_image) for key, of_image in places.items())
        recorded = (RecordedImage(image.image_id, tuple(of_image)) for image, of_image in found if image is not None)
        ordered = in_reading_order(recorded, self.workspace.settings.max_file_bytes)
        self._at_hand |= {image.image_id: image for image in ordered}

    def shown_with(self, verdict: StoredVerdict) -> Iterator[str]:
        """The images whose pictures the case of a verdict shows, by image_key."""
        catalog, audit_id, key = self.workspace.catalog, self.audit.audit_id, verdict.image_key
        yield key
        yield from (near.image_key for near in catalog.neighbors_of(audit_id, key).get(key, ()) if near.rank == 1)
        yield from (source.image_key for source in catalog.sources_of(audit_id, key).get(key, [])[: 1 + _REGIONS])

    def generated(self, member: Member) -> Picture:
        """The picture of an image of the release."""
        return self._picture(member.image_key, Role.RELEASE, self.workspace.catalog.image(member.image_key))

    def case(self, rank: int, verdict: StoredVerdict, heat: HeatMap | None = None) -> Case:
        stored = self.workspace.catalog.neighbors_of(self.audit.audit_id, verdict.image_key)
        nearest = [n for n in stored.get(verdict.image_key, ()) if n.rank == 1]
        candidates = [n for n in nearest if n.role in _CANDIDATES[self.audit.subject]]
        # without candidates the score is the similarity to the not-used images
        source = min(candidates or nearest, key=lambda n: (-n.similarity, n.image_id or n.image_key), default=None)
        control = next((n for n in nearest if n.role is Role.NOT_USED and candidates), None)
        image = self.workspace.catalog.image(verdict.image_key)
        return Case(
            rank=rank,
            verdict=verdict,
            subject=self._picture(verdict.image_key, verdict.subject_role, image),
            nearest=self._neighborhood(source, image),
            control=self._neighborhood(control, image),
            heat=heat,
            sources=self._sources(verdict),
        )

    def _sources(self, verdict: StoredVerdict) -> tuple[SourceShown, ...]:
        """The best source of the whole, and those of regions unless the whole is a copy; by rank."""
        stored = self.workspace.catalog.sources_of(self.audit.audit_id, verdict.image_key).get(verdict.image_key, [])
        wholes = [source for source in stored if not source.part][:1]
        parts = [] if verdict.label is Label.COPY else [source for source in stored if source.part][:_REGIONS]
        shown = sorted((*wholes, *parts), key=lambda source: source.rank)
        return tuple(SourceShown(source, self._real(source.image_key)) for source in shown)

    def _real(self, image_key: str) -> Picture:
        """The picture of a real image, in the first role that it has in this audit; ``None`` where it was erased."""
        ids = [member.dataset.dataset_id for member in self.workspace.catalog.memberships_of(image_key)]
        roles = {self.played[each].role for each in ids if each in self.played}
        role = next((role for role in (Role.USED, Role.AGAINST, Role.NOT_USED) if role in roles), None)
        return self._picture(image_key, role, self.workspace.catalog.image(image_key))

    def _neighborhood(self, neighbor: StoredNeighbor | None, subject: ImageRecord | None) -> Neighborhood | None:
        if neighbor is None:
            return None
        image = self.workspace.catalog.image(neighbor.image_key)
        same = ""
        if image and subject and image.image_id == subject.image_id:
            same = "file"
        elif image and subject and image.facts.pixel_digest == subject.facts.pixel_digest:
            same = "pixels"
        return Neighborhood(self._picture(neighbor.image_key, neighbor.role, image), neighbor.similarity, same)

    def _picture(self, image_key: str, role: Role | None, image: ImageRecord | None) -> Picture:
        if image is None:
            return Picture(None, "", role, (), "", "", None, 100, 100, "forgotten since")
        catalog, facts = self.workspace.catalog, image.facts
        ids = [row.dataset_id for row in self.played.values() if row.role is role]
        memberships = [m for m in catalog.memberships_of(image_key) if m.dataset.dataset_id in ids]
        png, missing = self._thumbnail(image)
        scale = 100 / max(facts.width, facts.height)
        return Picture(
            image_id=image.image_id,
            name=self._name(image_key, ids),
            role=role,
            datasets=tuple(self.played[m.dataset.dataset_id].name for m in memberships),
            group=next((m.group_key for m in memberships if m.group_key), ""),
            facts=f"{facts.width} x {facts.height} {facts.file_format}",
            png=png,
            width_percent=max(_SMALLEST_PERCENT, round(facts.width * scale)),
            height_percent=max(_SMALLEST_PERCENT, round(facts.height * scale)),
            missing=missing,
        )

    def _name(self, image_key: str, of_role: list[str]) -> str:
        """The name it has in the role it stands in (a copy has another one in the release), else any."""
        for ids in (of_role, list(self.played)):
            if name := self.workspace.catalog.names_of(ids, [image_key]).get(image_key):
                return name
        return ""

    def _thumbnail(self, image: ImageRecord) -> tuple[bytes | None, str]:
        """The image as PNG of square pixels, or why there is none: the first place that still shows it counts."""
        recorded = self._at_hand.get(image.image_id)
        if recorded is None:
            places = self.workspace.catalog.occurrences_for_reading(image.image_key)
            recorded = RecordedImage(image.image_id, tuple(places))
        details = []
        for outcome in reading_again(recorded, self.preparation):
            if isinstance(outcome, Reread):
                pixels = outcome.prepared(self.preparation).pixels
                grey = (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 1] == pixels[..., 2]).all()
                return png_bytes(pixels[..., 0].copy() if grey else pixels), ""
            changed = outcome.detail.startswith(OTHER_BYTES)
            details.append(
                "its source holds another image now" if changed else f"its source can't be read: {outcome.detail}"
            )
        return None, details[0] if details else "no source is on record any more"


def _heat_maps(
    workspace: Installation, audit: AuditRecord, image_keys: Sequence[str], reader: _CaseReader
) -> tuple[Mapping[str, HeatMap], str]:
    """Heat maps of some judged images, by image_key, and why there are none ('' where there are, or can't be any)."""
    if not image_keys or not can_be_explained(audit):
        return {}, ""
    try:
        explained = explain(workspace, audit, image_keys)
    except (ConflictError, NotFoundError, SpaceMismatchError) as error:
        return {}, error.message
    strongest = {key: each.strongest(_PAIRS) for key, each in explained.items()}
    reader.fetch(position.generated.image_key for positions in strongest.values() for position in positions)
    return {
        key: HeatMap(each, tuple(reader.generated(position.generated) for position in strongest[key]))
        for key, each in explained.items()
    }, ""


def _labels_by_role(verdicts: Sequence[StoredVerdict], positive: Label) -> tuple[RoleLine, ...]:
    judged = Counter(verdict.subject_role for verdict in verdicts)
    used = Counter(verdict.subject_role for verdict in verdicts if verdict.label is positive)
    return tuple(RoleLine(role, judged[role], used[role]) for role in _ROLE_ORDER if judged[role])


def _option(flag: str, value: str) -> list[str]:
    """A flag with its value; in one word where the value looks like a flag itself."""
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]
