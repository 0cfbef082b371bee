"""The words of the domain as frozen values; every room speaks them and none redefines them.

Standard library only. An *image* is known by ``image_id`` (``sha256:<hex>`` of its file bytes); names and
paths are labels, never keys. A *dataset* is what a real set and a release have in common: a named
collection of images with occurrences.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

IMAGE_ID_PREFIX = "sha256:"
SPACE_ID_PREFIX = "space:"
POLICY_ID_PREFIX = "policy:"

# Defaults that several rooms and interfaces have in common.
TOP_K = 10
"""Neighbors that are kept of each subject, per role; or shown."""
SETTLE_SECONDS = 2.0
DEFAULT_CASES = 12
DEFAULT_RESAMPLES = 2000
DEFAULT_PLANTS = 110
"""Of each kind: the least number at which one may be missed and the claim of 95 % still stand (all found: 73)."""
PIXELS = "pixels"
"""The backbone whose vectors are an image's own grey levels."""
PAPER_ALPHAS = (0.1, 0.3, 0.5, 0.7, 1.0)
"""The grid of the seed paper, 4.4."""

_MATCHED = "match_resolution"
_CANONICAL = "canonical"
_GREY_RANGE = "grey_range"
_WINDOW = "window"


Resolution = tuple[int, int]
"""``(width, height)`` of an image in pixels."""


class Membership(StrEnum):
    """What is known of a real set's part in a generator's training."""

    USED = "used"
    NOT_USED = "not_used"
    UNKNOWN = "unknown"


class Search(StrEnum):
    """Where the vectors of a Qdrant server are searched: in files that are copied here once, or by the server."""

    AUTO = "auto"
    FILE = "file"
    SERVER = "server"


class DatasetKind(StrEnum):
    """A dataset is a set of real images or a release of generated ones."""

    SET = "set"
    RELEASE = "release"


class Subject(StrEnum):
    """What an audit judges: the release as a whole, with every answer; or images of one kind, by one rule."""

    RELEASE = "release"
    GENERATED = "generated"
    REAL = "real"


class Answer(StrEnum):
    """What an audit of a release answers, in the order in which it is said."""

    COPIES = "copies"
    MEMBERSHIP = "membership"
    BASELINE = "baseline"


class Gate(StrEnum):
    """What a caller may want an audit to fail on."""

    LEAK = "leak"
    INCONCLUSIVE = "inconclusive"
    COPY = "copy"


JOINT_RULE = "joint"
"""What stands for a rule in an audit of several answers."""


class Role(StrEnum):
    """The part a dataset plays in one audit: the claim that counts, whatever its default membership."""

    RELEASE = "release"
    USED = "used"
    NOT_USED = "not_used"
    AGAINST = "against"


class Label(StrEnum):
    """A verdict's label: binary for the seed rule, three-valued for membership, four-valued for copies."""

    USED = "used"
    NOT_USED = "not_used"
    ESTABLISHED = "established"
    NOT_ESTABLISHED = "not_established"
    INCONCLUSIVE = "inconclusive"
    COPY = "copy"
    PART_COPY = "part_copy"
    NO_COPY_SEEN = "no_copy_seen"


class Established(StrEnum):
    """How it is known that a generated image copies a real one.

    Same bytes or pixels (a fact); a conformal p-value; a model of the tail of calibration scores; or agreement that
    reals of different groups reach at a stated rate alone, where nothing calibrates.
    """

    IDENTITY = "identity"
    CONFORMAL = "conformal"
    TAIL = "tail"
    VERIFICATION = "verification"


class Outcome(StrEnum):
    """The conclusion of an audit for its release."""

    LEAK_ESTABLISHED = "leak_established"
    LEAK_NOT_ESTABLISHED = "leak_not_established"
    INCONCLUSIVE = "inconclusive"


class RuleName(StrEnum):
    """The decision rules by name."""

    MU_ALPHA_SIGMA = "mu-alpha-sigma"
    LOGISTIC = "logistic"
    CALIBRATED = "calibrated"
    COPIES = "copies"


class Population(StrEnum):
    """Which similarities mu and sigma are taken over."""

    MAXIMA = "maxima"
    PAIRWISE = "pairwise"


class GroupScore(StrEnum):
    """What stands for a group of real images: the mean of their scores, or the best of them."""

    MEAN = "mean"
    BEST = "best"


class Evidence(StrEnum):
    """Which evidence makes two images near-duplicates: perceptual hash and embedding, or one of them."""

    BOTH = "both"
    EITHER = "either"


class RunLabels(StrEnum):
    """What a run file takes its rows from: the best guess, or the strict labels."""

    GUESS = "guess"
    STRICT = "strict"


class ExportFormat(StrEnum):
    """The forms in which an audit, a set or a release leaves the workspace."""

    CSV = "csv"
    PARQUET = "parquet"
    JSONL = "jsonl"
    IMAGECLEF = "imageclef"
    MAX_SIMILARITY = "max-similarity"


class RejectReason(StrEnum):
    """Why an input did not become an image; ``skipped``: it is none, by its extension, and is counted by that.

    ``quarantined``: a name may be burned into its pixels, and nobody has said that it may be taken.
    """

    EMPTY = "empty"
    TRUNCATED = "truncated"
    BROKEN = "broken"
    UNSUPPORTED = "unsupported"
    OVERSIZED = "oversized"
    UNREADABLE = "unreadable"
    NOT_FINITE = "not_finite"
    FORGOTTEN = "forgotten"
    SKIPPED = "skipped"
    QUARANTINED = "quarantined"


class Pages(StrEnum):
    """What becomes of a file with several pages or frames: an image each, or the first alone."""

    ALL = "all"
    FIRST = "first"


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 image", "2 images"; ``many`` where that is not ``one`` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def covered(share: float) -> str:
    """How much of a generated image agrees with a source of the whole, in words; '' from 95 % on."""
    return "" if round(share, 2) >= 0.95 else f"on {100 * share:.0f} % of the image"


class PointState(StrEnum):
    """Where one vector stands in the order of writes: row, upsert, flush, row."""

    PENDING = "pending"
    INDEXED = "indexed"
    DELETING = "deleting"


class RunState(StrEnum):
    """Where a run of the ingest service stands."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of one image from its bytes alone.

    Attributes:
        image_id: ``sha256:<hex>`` of the file bytes.
        pixel_digest: ``sha256:<hex>`` of (version, height, width, uint8 RGB before resizing).
        width: Columns of the canonical image (EXIF orientation applied), in pixels.
        height: Rows of the canonical image, in pixels.
        file_format: The decoder's name of the format, such as ``PNG``.
        mode: The decoder's name of the stored pixel mode, such as ``L`` or ``I;16``.
        size_bytes: Length of the file.
    """

    image_id: str
    pixel_digest: str
    width: int
    height: int
    file_format: str
    mode: str
    size_bytes: int


MODALITIES = frozenset(
    [
        "AR",
        "BDUS",
        "BI",
        "BMD",
        "CR",
        "CT",
        "DG",
        "DX",
        "ECG",
        "EPS",
        "ES",
        "GM",
        "HC",
        "IO",
        "IVOCT",
        "IVUS",
        "KER",
        "LEN",
        "LS",
        "MG",
        "MR",
        "NM",
        "OAM",
        "OCT",
        "OP",
        "OPM",
        "OPT",
        "OPTBSV",
        "OPTENF",
        "OPV",
        "OT",
        "PT",
        "PX",
        "RF",
        "RG",
        "RTDOSE",
        "RTIMAGE",
        "SM",
        "SMR",
        "SRF",
        "TG",
        "US",
        "VA",
        "XA",
        "XC",
    ]
)
"""DICOM's codes of modalities that have images (PS3.3 C.7.3.1.1.1)."""


@dataclass(frozen=True, slots=True)
class TechnicalHeader:
    """What is recorded as it is of a medical image's header: numbers, and words and UIDs of the standard.

    ``docs/privacy.md`` lists each with its use, and there are no others.

    Attributes:
        decoder: Name and version, with those of its libraries.
        shown_in: The window of its grey.
        transfer_syntax: UID, such as all below '' where the header says nothing that is kept.
        sop_class: UID.
        modality: DICOM's code.
        slice_position: Along the direction across the slice, mm; the order of a series.
        slice_thickness: mm.
        row_spacing: Between centres of rows, mm.
        column_spacing: Between centres of columns, mm.
    """

    decoder: str
    shown_in: str = ""
    transfer_syntax: str = ""
    sop_class: str = ""
    modality: str = ""
    slice_position: float | None = None
    slice_thickness: float | None = None
    row_spacing: float | None = None
    column_spacing: float | None = None


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What is taken from the header of a medical image.

    Attributes:
        patient: As the file has it, like the two behind it: recorded as a keyed hash only, and shown nowhere. '': none.
        study: UID.
        series: UID.
        technical: What is recorded as it is.
    """

    patient: str = field(repr=False)
    study: str = field(repr=False)
    series: str = field(repr=False)
    technical: TechnicalHeader


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One file or archive member as it was found, before it is read.

    Attributes:
        name: The label under which it was found, relative to its source ("real_used/0001.png").
        source: Absolute path of the file, or of the archive that holds the member.
        member: Path inside the archive; ``None`` for a plain file.
        size_bytes: Size as the directory or archive states it.
        modified_ns: Modification time of the file (of the archive, for a member), nanoseconds since the epoch.
        changed_ns: Change time (ctime) likewise.
        inode: Inode number likewise.
        content: The bytes themselves where the source can only be read in a stream; else ``None``.
    """

    name: str
    source: str
    member: str | None = None
    size_bytes: int = 0
    modified_ns: int = 0
    changed_ns: int = 0
    inode: int = 0
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """An input that did not become an image: a value, not an exception."""

    name: str
    source: str
    member: str | None
    size_bytes: int
    reason: RejectReason
    detail: str


Found = SourceItem | Rejection
"""What a source gives for each name it holds: nothing is dropped in silence."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a part lies in its image: shares of its width and height, from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Canonical:
    """The rule by which a file becomes canonical pixels, a part of every space's identity.

    Attributes:
        version: 1: the first page, and grey of more than 8 bits over the whole range of its type. 2: every page of a
            TIFF, and such grey by the bits that its file declares, else by the stated range.
        grey_range: The stated range, black and white, of grey of more than 8 bits that declares none; ``None``: the
            whole range of its type.
        window: What grey of DICOM is shown in: a name of ``WINDOWS``, or ``CENTER,WIDTH``; '': each file's own. The
            chain that this is a step of (chain 1, see ``images.dicomgrey``) belongs to versions 1 and 2.
    """

    version: int = 2
    grey_range: tuple[float, float] | None = None
    window: str = ""


WINDOWS = {
    "lung": (-600.0, 1500.0),
    "mediastinum": (40.0, 400.0),
    "abdomen": (60.0, 400.0),
    "bone": (400.0, 1800.0),
    "brain": (40.0, 80.0),
}
"""Windows of CT that have a name: centre and width, in Hounsfield units."""

FILE_WINDOW = "file"
"""The window that each file states: what is done where none is stated."""


def stated_window(text: str) -> str:
    """``NAME`` or ``CENTER,WIDTH`` in one form for each; '' for ``file`` and nothing; ``ValueError`` otherwise."""
    if text in ("", FILE_WINDOW) or text in WINDOWS:
        return "" if text == FILE_WINDOW else text
    center, comma, width = text.partition(",")
    try:
        values = float(center), float(width)
    except ValueError:
        values = math.nan, math.nan
    if not comma or not all(map(math.isfinite, values)) or not 1 <= values[1] < 2**53 > abs(values[0]):
        raise ValueError(f"give one of {', '.join(WINDOWS)}, CENTER,WIDTH such as 40,400, or {FILE_WINDOW}")
    return f"{values[0]:g},{values[1]:g}"


CANONICAL = Canonical()
"""The rule of new workspaces, where none states a range."""


@dataclass(frozen=True, slots=True)
class Space:
    """An embedding space: backbone, weights, preprocessing and shape. Vectors of two spaces never meet.

    Attributes:
        backbone: Registry name, such as ``resnet50``.
        weights_sha256: Hex digest of the weights (see ``embedding``).
        preprocessing: Everything else that shaped the numbers; JSON values only.
        dimension: Length of one vector.
        parts: Vectors per image: 1 for a whole-image space.
    """

    backbone: str
    weights_sha256: str
    preprocessing: Mapping[str, Any]
    dimension: int
    parts: int = 1

    @property
    def space_id(self) -> str:
        """``space:<hex>``, sha256 of the canonical JSON of all attributes."""
        return SPACE_ID_PREFIX + digest_of_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """All attributes as JSON values; ``Space(**value)`` restores it."""
        return asdict(self) | {"preprocessing": dict(self.preprocessing)}

    @property
    def matched_resolution(self) -> Resolution | None:
        """``(width, height)`` that every image is brought to before anything else; ``None``: it stays as it is."""
        given = self.preprocessing.get(_MATCHED)
        return None if given is None else (int(given[0]), int(given[1]))

    @property
    def canonical(self) -> Canonical:
        """The rule that its images are decoded by."""
        stated = self.preprocessing.get(_GREY_RANGE)
        given = None if stated is None else (stated[0], stated[1])
        return Canonical(self.preprocessing.get(_CANONICAL, 1), given, self.preprocessing.get(_WINDOW, ""))

    def decoded_by(self, rule: Canonical) -> Space:
        """The same space of images that are decoded by another rule."""
        rest = {name: value for name, value in self.preprocessing.items() if name not in (_GREY_RANGE, _WINDOW)}
        stated: dict[str, Any] = {} if rule.grey_range is None else {_GREY_RANGE: list(rule.grey_range)}
        stated |= {_WINDOW: rule.window} if rule.window else {}
        return replace(self, preprocessing={**rest, _CANONICAL: rule.version, **stated})

    @property
    def is_of_file(self) -> bool:
        """Whether its backbone is a file: its name does not find it."""
        return self.backbone.startswith(("onnx:", "torchscript:"))

    @property
    def is_of_pixels(self) -> bool:
        """Whether its vectors are an image's own grey levels: made to read images from, not to find neighbors by."""
        return self.whole_backbone == PIXELS

    @property
    def whole_backbone(self) -> str:
        """The registry name without the resolution after ``@``."""
        return self.backbone if self.matched_resolution is None else self.backbone.rpartition("@")[0]

    def matched_to(self, resolution: Resolution | None) -> Space:
        """The same space with every image brought to ``resolution`` first (``None``: with images as they are).

        Its name is the backbone's with the resolution after it: ``resnet50@64``, or ``resnet50@64x48``
        (width x height).
        """
        rest = {name: value for name, value in self.preprocessing.items() if name != _MATCHED}
        if resolution is None:
            return replace(self, backbone=self.whole_backbone, preprocessing=rest)
        name = f"{self.whole_backbone}@{resolution_name(resolution)}"
        return replace(self, backbone=name, preprocessing={**rest, _MATCHED: list(resolution)})


def resolution_name(resolution: Resolution) -> str:
    """``64`` for a square of 64 pixels, ``64x48`` for 64 columns and 48 rows."""
    width, height = resolution
    return str(width) if width == height else f"{width}x{height}"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: equal values give equal text.

    Raises:
        ValueError: If a number is NaN or infinite.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of_json(value: Any) -> str:
    """Hex sha256 of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
