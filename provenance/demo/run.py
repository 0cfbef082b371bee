"""The demo: the main job from end to end on phantoms, with a truth for each of its answers.

It makes a cohort of computed CT-like slices and the release of a generator that was trained on a part of them, with
planted copies and controls; ingests all of it into a workspace of its own, audits it once, and sets the truth against
every answer. It downloads nothing where a backbone's weights come as a package. It deletes nothing: a folder that it
did not make, or made from other settings, is refused; the same call again goes on where it stopped and audits again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenance.config import SETTINGS_FILE, load_settings
from provenance.demo.comparing import compare_copies, copy_verdicts, total_of
from provenance.demo.making import RELEASE_FORMAT, make_demo, write_if_new
from provenance.documents.demo import ChosenBackbone, CopyTotals, KindResult, Made
from provenance.embedding import DEFAULT_BACKBONE
from provenance.errors import ConflictError, EmbeddingError, SourceError, UsageError
from provenance.files import json_bytes
from provenance.ingest import IngestReport, OnProgress
from provenance.phantoms import PHANTOM_VERSION
from provenance.service import Workspace
from provenance.service.backbones import chosen_backbone
from provenance.truth import BEST_GUESS
from provenance.vocabulary import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.audit import AuditReport
    from provenance.demo.making import MadeDemo
    from provenance.embedding import Backbone
    from provenance.truth import EvaluatedPart

MARKER_FILE = "demo.json"
WORKSPACE_FOLDER = "workspace"
REPORT_FILE = "report.html"
PREFIX = "phantoms"
USED_SET, NOT_USED_SET, UNKNOWN_SET, RELEASE = (
    f"{PREFIX}-{word}" for word in ("used", "not-used", "unknown", "generated")
)
OFFLINE_BACKBONE = "efficientnet-lite0"
PATIENTS, MIN_PATIENTS = 400, 20

# The demo keeps to its own catalog and index, whatever the environment names: phantoms belong in no other one.
_OWN_STORES = {"catalog_url": "", "index_url": ""}
_MADE_BY = "provenance demo"
# Another version makes other images of the same phantoms.
_VERSION = 2

OnStep = Callable[[str], None]
ProgressBar = Callable[[str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """What the demo is to make, in a folder that is made if it is not there.

    Attributes:
        patients: Phantom patients, of one or two slices: 30 % used, 50 % not used, 20 % unknown (half of them used).
        backbone: A backbone by name; ``None``: the one whose weights come as a package, else the default one.
    """

    folder: Path
    patients: int = PATIENTS
    seed: int = 0
    backbone: str | None = None

    def __post_init__(self) -> None:
        if self.patients < MIN_PATIENTS:
            raise UsageError(f"the demo needs at least {MIN_PATIENTS} phantom patients, not {self.patients}")
        if self.seed < 0:
            raise UsageError(f"a seed is 0 or more, not {self.seed}")


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answers' audit ids, and truth against each answer; ``None``: there is no such answer."""

    answers: Mapping[Answer, str]
    kinds: tuple[KindResult, ...]
    totals: CopyTotals | None
    membership: EvaluatedPart | None
    guess: EvaluatedPart | None
    baseline: EvaluatedPart | None


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Everything the demo made and found; ``outcome_words`` says why it concludes so, ``page`` is the HTML report."""

    folder: Path
    workspace: Path
    backbone: ChosenBackbone
    ingests: tuple[IngestReport, ...]
    made: Made
    audit: AuditReport
    outcome_words: str
    found: Comparison
    page: Path
    duration_seconds: float


def run_demo(
    request: DemoRequest, on_step: OnStep | None = None, progress_bar: ProgressBar | None = None
) -> DemoReport:
    """Make phantoms and a release of them, ingest and audit all of it, and set the answers against the truth.

    Raises:
        ConflictError: If the folder holds something else.
        WeightsError: If the backbone's weights can't be had.
        SourceError: If the folder can't be written.
    """
    started = time.monotonic()
    on_step = on_step or (lambda _step: None)
    progress_bar = progress_bar or (lambda _label: nullcontext(lambda _progress: None))
    folder = request.folder.expanduser().resolve()
    _refuse_foreign_folder(folder, request)
    root = folder / WORKSPACE_FOLDER
    settled = Workspace(root, load_settings(root, **_OWN_STORES))
    backbone, chosen = choose_backbone(settled, request.backbone, on_step)
    backbone = backbone.at_resolution((RELEASE_FORMAT.width, RELEASE_FORMAT.height))
    on_step(f"backbone {chosen.name}: {chosen.reason}")
    with _os_errors_translated(folder):
        write_if_new(folder / MARKER_FILE, _marker(request))
        on_step(f"phantoms (computed slices of nobody), and a generator that has seen some of them: {folder}")
        made = make_demo(folder, request.patients, request.seed, settled.executor, progress_bar)
    with _workspace(root, chosen) as workspace:
        ingests = _ingest(workspace, folder, backbone, progress_bar)
        audit = workspace.audit(
            RELEASE,
            used=USED_SET,
            not_used=NOT_USED_SET,
            against=UNKNOWN_SET,
            space=backbone.space.space_id,
            on_step=on_step,
        )
        on_step("setting the answers against the truth")
        found = _against_truth(workspace, audit, made)
        words = workspace.outcome_of(audit.audit.audit_id)
        on_step("writing the report")
        page = workspace.report(audit, folder / REPORT_FILE, overwrite=True)
    seconds = time.monotonic() - started
    return DemoReport(folder, root, chosen, tuple(ingests), made.counts, audit, words, found, page, seconds)


def choose_backbone(workspace: Workspace, asked_for: str | None, on_step: OnStep) -> tuple[Backbone, ChosenBackbone]:
    """The backbone that was asked for; else the settings' one, or the one that needs no download where it is installed.

    Raises:
        WeightsError: If no weights can be had; it names the ways out.
    """
    settings = workspace.settings
    if asked_for is not None:
        return chosen_backbone(workspace, on_step, backbone=asked_for), _chosen(asked_for, "as asked for")
    if settings.backbone_file is not None:
        backbone = chosen_backbone(workspace)
        setting = ("backbone_file", str(settings.backbone_file))
        return backbone, ChosenBackbone(backbone.space.backbone, "as the settings say", setting, is_default=False)
    if settings.backbone != DEFAULT_BACKBONE:
        return chosen_backbone(workspace, on_step), _chosen(settings.backbone, "as the settings say")
    try:
        backbone = chosen_backbone(workspace, backbone=OFFLINE_BACKBONE)
    except EmbeddingError as error:
        reason = f"the default one; {OFFLINE_BACKBONE}, which needs no download, can't be had: {error.message}"
        return chosen_backbone(workspace, on_step), _chosen(DEFAULT_BACKBONE, reason)
    reason = f"its weights come as a package, so that nothing is downloaded; the default is {DEFAULT_BACKBONE}"
    return backbone, _chosen(OFFLINE_BACKBONE, reason)


def _chosen(name: str, reason: str) -> ChosenBackbone:
    return ChosenBackbone(name, reason, ("backbone", name), is_default=name == DEFAULT_BACKBONE)


def _marker(request: DemoRequest) -> bytes:
    made_from = {"patients": request.patients, "seed": request.seed}
    return json_bytes({"made_by": _MADE_BY, "version": _VERSION, "phantom_version": PHANTOM_VERSION, **made_from})


def _refuse_foreign_folder(folder: Path, request: DemoRequest) -> None:
    """A folder is the demo's if it is not there, empty, or carries this very demo's marker."""
    with _os_errors_translated(folder):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file, not a folder", hint="give --folder another place")
        marker = folder / MARKER_FILE
        if marker.is_file():
            if marker.read_bytes() != _marker(request):
                raise ConflictError(
                    f"{folder} holds a demo with other settings (see {marker})",
                    hint="give the same --patients and --seed, or another --folder, or delete this one",
                )
        elif folder.is_dir() and any(folder.iterdir()):
            raise ConflictError(
                f"{folder} is not empty, and no demo made it",
                hint="give a new or an empty --folder; nothing was changed",
            )


@contextmanager
def _os_errors_translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SourceError(
            f"{error.filename or folder} can't be written: {error.strerror or error}",
            hint="give --folder another place",
        ) from error


def _workspace(root: Path, chosen: ChosenBackbone) -> Workspace:
    """The demo's own workspace; a new one keeps the backbone in its settings."""
    if (root / SETTINGS_FILE).is_file():
        return Workspace.open(root, **_OWN_STORES)
    return Workspace.create(root, **dict([chosen.setting]), **_OWN_STORES)


def _ingest(workspace: Workspace, folder: Path, backbone: Backbone, progress_bar: ProgressBar) -> list[IngestReport]:
    """Everything real and generated, at the release's size: slices of one patient are a group."""
    return workspace.ingest_layout(
        folder,
        PREFIX,
        generator="local-denoiser",
        architecture="diffusion, optimal local denoiser",
        generator_version=str(PHANTOM_VERSION),
        modality="CT",
        group_from="(P[0-9]+)",
        progress_bar=progress_bar,
        backbone=backbone,
    )


def _against_truth(workspace: Workspace, audit: AuditReport, made: MadeDemo) -> Comparison:
    """Each answer that there is, set against what is true."""
    catalog = workspace.catalog
    answers = {answer: part.audit_id for answer, part in catalog.parts_of(audit.audit.audit_id).items()}
    kinds: tuple[KindResult, ...] = ()
    totals = None
    if Answer.COPIES in answers:
        part = answers[Answer.COPIES]
        said = copy_verdicts(catalog.verdicts(part), catalog.sources_of(part))
        kinds, totals = compare_copies(made.generated, said), total_of(made.generated, said)
    of_used = {each.image_id: bool(each.sources) for each in made.generated}
    truths = {Answer.MEMBERSHIP: made.unknown, Answer.BASELINE: of_used}
    measured = {
        answer: workspace.evaluate(answers[answer], labels=truth).report.parts
        for answer, truth in truths.items()
        if answer in answers
    }
    membership, baseline = (next(iter(measured.get(answer, ())), None) for answer in truths)
    guess = next((part for part in measured.get(Answer.MEMBERSHIP, ()) if part.by == BEST_GUESS), None)
    return Comparison(answers, kinds, totals, membership, guess, baseline)
