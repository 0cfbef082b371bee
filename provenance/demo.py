"""The demo: the main job from end to end on phantoms, with planted copies, so that the truth is known.

It makes a cohort of computed CT-like slices and a release in which half of the images are copies of used ones,
ingests all of it into a workspace of its own, audits by the seed rule, and sets the truth against the verdicts.
It deletes nothing: a folder that it did not make, or made from other settings, is refused; the same call again
goes on where it stopped and makes a new audit.
"""

from __future__ import annotations

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from provenance.config import SETTINGS_FILE, load_settings
from provenance.documents.demo import ChosenBackbone, Figures, KindResult
from provenance.embedding import DEFAULT_BACKBONE
from provenance.errors import ConflictError, EmbeddingError, SourceError, UsageError, WeightsError
from provenance.exports import audit_rows
from provenance.files import csv_bytes, json_bytes
from provenance.ingest import IngestReport, OnProgress, Progress
from provenance.phantoms import (
    PHANTOM_VERSION,
    CopyKind,
    PlannedImage,
    patient_slices,
    plan_release,
    planted_image,
)
from provenance.service import Workspace
from provenance.service.backbones import chosen_backbone
from provenance.vocabulary import IMAGE_ID_PREFIX, Label, Membership, RuleName

if TYPE_CHECKING:
    from pathlib import Path

    from provenance.arrays import Uint8s
    from provenance.audit import AuditReport
    from provenance.embedding import Backbone

MARKER_FILE = "demo.json"
WORKSPACE_FOLDER = "workspace"
TRUTH_FILE = "truth.csv"
REPORT_FILE = "report.html"
USED_SET, NOT_USED_SET, RELEASE = "phantoms-used", "phantoms-not-used", "phantom-release"
FRESH = "fresh"
OFFLINE_BACKBONE = "efficientnet-lite0"
SLICES_PER_PATIENT = 3
PATIENTS_PER_COPY = 10
MIN_PATIENTS = 6
CHANCE_LEVEL = 0.95

# The demo keeps to its own catalog and index, whatever the environment names: phantoms belong in no other one.
_OWN_STORES = {"catalog_url": "", "index_url": ""}
_MADE_BY = "provenance demo"

OnStep = Callable[[str], None]
ProgressBar = Callable[[str], AbstractContextManager[OnProgress]]


@dataclass(frozen=True, slots=True)
class DemoRequest:
    """What the demo is to make, in a folder that is made if it is not there.

    Attributes:
        patients: Phantom patients: half of them used, half not used. One copy of each kind for every ten.
        backbone: A backbone by name; ``None``: the default one, else the one whose weights come as a package.
    """

    folder: Path
    patients: int = 60
    seed: int = 0
    backbone: str | None = None

    def __post_init__(self) -> None:
        if self.patients < MIN_PATIENTS:
            raise UsageError(f"the demo needs at least {MIN_PATIENTS} phantom patients, not {self.patients}")
        if self.seed < 0:
            raise UsageError(f"a seed is 0 or more, not {self.seed}")


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of one image of the release: its kind (a ``CopyKind``, or ``fresh``), and the used image it copies.

    A fresh phantom copies none: its source is empty.
    """

    file: str
    image_id: str
    kind: str
    source_file: str
    source_image_id: str


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Everything the demo made and found; ``page`` is the report as an HTML file."""

    folder: Path
    workspace: Path
    backbone: ChosenBackbone
    ingests: tuple[IngestReport, ...]
    audit: AuditReport
    kinds: tuple[KindResult, ...]
    figures: Figures
    page: Path
    duration_seconds: float


def run_demo(
    request: DemoRequest, on_step: OnStep | None = None, progress_bar: ProgressBar | None = None
) -> DemoReport:
    """Make phantoms, ingest them, audit them, and compare the verdicts with the truth.

    Raises:
        ConflictError: If the folder holds something else.
        WeightsError: If neither backbone's weights can be had.
        SourceError: If the folder can't be written.
    """
    started = time.monotonic()
    on_step = on_step or (lambda _step: None)
    progress_bar = progress_bar or (lambda _label: nullcontext(lambda _progress: None))
    folder = request.folder.expanduser().resolve()
    _refuse_foreign_folder(folder, request)
    root = folder / WORKSPACE_FOLDER
    backbone, chosen = choose_backbone(Workspace(root, load_settings(root, **_OWN_STORES)), request.backbone, on_step)
    on_step(f"backbone {chosen.name}: {chosen.reason}")
    with _os_errors_translated(folder):
        _write(folder / MARKER_FILE, _marker(request))
        on_step(f"phantoms (computed slices of nobody): {folder}")
        truth = _make_phantoms(folder, request, progress_bar)
    with _workspace(root, chosen) as workspace:
        ingests = _ingest(workspace, folder, backbone, progress_bar)
        on_step(f"auditing {RELEASE} by the seed rule")
        space = backbone.space.space_id
        audit = workspace.audit(
            RELEASE, used=USED_SET, not_used=NOT_USED_SET, rule=RuleName.MU_ALPHA_SIGMA, space=space
        )
        rows = list(audit_rows(workspace, audit.audit))
        on_step("writing the report")
        page = workspace.report(audit, folder / REPORT_FILE, overwrite=True)
    kinds = compare_with_truth(truth, rows)
    seconds = time.monotonic() - started
    return DemoReport(folder, root, chosen, ingests, audit, kinds, figures_of(kinds), page, seconds)


def choose_backbone(workspace: Workspace, asked_for: str | None, on_step: OnStep) -> tuple[Backbone, ChosenBackbone]:
    """The backbone that was asked for; else the settings' one, or the offline one where its weights can't be had.

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
    on_step(f"looking for the weights of {DEFAULT_BACKBONE}")
    try:
        backbone = chosen_backbone(workspace, on_step)
    except WeightsError as error:
        try:
            backbone = chosen_backbone(workspace, backbone=OFFLINE_BACKBONE)
        except EmbeddingError:
            raise error from None
        reason = f"its weights come as a package; {DEFAULT_BACKBONE} was the first choice, but {error.message}"
        return backbone, _chosen(OFFLINE_BACKBONE, reason)
    return backbone, _chosen(DEFAULT_BACKBONE, "the first choice, and its weights can be had")


def _chosen(name: str, reason: str) -> ChosenBackbone:
    return ChosenBackbone(name, reason, ("backbone", name), is_default=name == DEFAULT_BACKBONE)


def compare_with_truth(truth: Sequence[Truth], rows: Sequence[dict[str, Any]]) -> tuple[KindResult, ...]:
    """Truth against verdicts, kind by kind, from the strongest copies to fresh phantoms.

    Args:
        truth: What is known of each image of the release.
        rows: The audit's rows as they are exported; at least one for each image of ``truth``.
    """
    verdicts = {row["subject_id"]: row for row in rows}
    results = []
    for kind in (*(kind.value for kind in CopyKind), FRESH):
        pairs = [(image, verdicts[image.image_id]) for image in truth if image.kind == kind]
        if not pairs:
            continue
        named = sum(verdict["nearest_id"] == image.source_image_id for image, verdict in pairs)
        results.append(
            KindResult(
                kind=kind,
                total=len(pairs),
                labelled_used=sum(verdict["label"] == Label.USED.value for _, verdict in pairs),
                source_named=None if kind == FRESH else named,
                median_score=statistics.median(verdict["s_used"] for _, verdict in pairs),
            )
        )
    return tuple(results)


def figures_of(kinds: Sequence[KindResult]) -> Figures:
    """Precision, recall and accuracy over all kinds, with the exact binomial band of a coin.

    Half of the release are copies, so a labeller that does not look is right with probability 1/2 on every
    image, however often it says ``used``.
    """
    from scipy.stats import binom, binomtest

    copies = [kind for kind in kinds if kind.kind != FRESH]
    total = sum(kind.total for kind in kinds)
    copy_count, found = sum(kind.total for kind in copies), sum(kind.labelled_used for kind in copies)
    labelled = sum(kind.labelled_used for kind in kinds)
    correct = found + (total - copy_count) - (labelled - found)
    low, high = binom.interval(CHANCE_LEVEL, total, 0.5)
    return Figures(
        total=total,
        correct=correct,
        accuracy=correct / total,
        chance_low=float(low) / total,
        chance_high=float(high) / total,
        p_value=float(binomtest(correct, total, 0.5, alternative="greater").pvalue),
        precision=found / labelled if labelled else None,
        recall=found / copy_count,
    )


def _marker(request: DemoRequest) -> bytes:
    made_from = {"patients": request.patients, "seed": request.seed}
    return json_bytes({"made_by": _MADE_BY, "phantom_version": PHANTOM_VERSION, **made_from})


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


def _make_phantoms(folder: Path, request: DemoRequest, progress_bar: ProgressBar) -> list[Truth]:
    """Write cohort, release and truth; files that are there already with the same bytes are left alone."""
    used: dict[str, tuple[str, Uint8s]] = {}
    copies_per_kind = max(1, request.patients // PATIENTS_PER_COPY)
    total = request.patients * SLICES_PER_PATIENT + 2 * copies_per_kind * len(CopyKind)
    done = 0
    with progress_bar("phantoms") as on_progress:
        for number in range(1, request.patients + 1):
            is_used = number % 2 == 1
            place = folder / "cohort" / ("used" if is_used else "not_used")
            for each in patient_slices(number, slices=SLICES_PER_PATIENT, seed=request.seed):
                image_id = _write_image(place / f"{each.name}.png", each.pixels, None)
                if is_used:
                    used[each.name] = (image_id, each.pixels)
                done += 1
                on_progress(Progress("phantoms", done, total))
        truth = []
        for planned in plan_release(sorted(used), copies_per_kind=copies_per_kind, seed=request.seed):
            truth.append(_write_planted(folder / "release", planned, used, request.seed))
            done += 1
            on_progress(Progress("phantoms", done, total))
    _write(folder / TRUTH_FILE, csv_bytes([each.name for each in fields(Truth)], map(asdict, truth)))
    return truth


def _write_planted(place: Path, planned: PlannedImage, used: dict[str, tuple[str, Uint8s]], seed: int) -> Truth:
    source_id, source = used[planned.source] if planned.source else ("", None)
    file = f"{planned.name}.{'jpg' if planned.jpeg_quality else 'png'}"
    image_id = _write_image(place / file, planted_image(planned, source, seed=seed), planned.jpeg_quality)
    source_file = f"{planned.source}.png" if planned.source else ""
    return Truth(file, image_id, planned.kind.value if planned.kind else FRESH, source_file, source_id)


def _write_image(path: Path, pixels: Uint8s, jpeg_quality: int | None) -> str:
    """Store an image as PNG, or as JPEG where a quality is given. Gives its image_id."""
    from provenance.images.pixels import jpeg_bytes, png_bytes

    data = png_bytes(pixels) if jpeg_quality is None else jpeg_bytes(pixels, jpeg_quality)
    _write(path, data)
    return IMAGE_ID_PREFIX + hashlib.sha256(data).hexdigest()


def _write(path: Path, data: bytes) -> None:
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


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


def _ingest(
    workspace: Workspace, folder: Path, backbone: Backbone, progress_bar: ProgressBar
) -> tuple[IngestReport, ...]:
    of_patients = {"group_from": "(P[0-9]+)"}
    cohort, version = folder / "cohort", str(PHANTOM_VERSION)
    made_by = {"generator": "planted-copies", "architecture": "phantoms", "generator_version": version}
    calls: list[tuple[str, Path, dict[str, Any]]] = [
        (USED_SET, cohort / "used", {"set": USED_SET, "membership": Membership.USED, **of_patients}),
        (NOT_USED_SET, cohort / "not_used", {"set": NOT_USED_SET, "membership": Membership.NOT_USED, **of_patients}),
        (RELEASE, folder / "release", {"release": RELEASE, **made_by}),
    ]
    reports = []
    for name, source, words in calls:
        with progress_bar(name) as on_progress:
            reports.append(workspace.ingest(source, modality="CT", backbone=backbone, on_progress=on_progress, **words))
    return tuple(reports)
