"""What an ingest is asked, and what it answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provenance.brief import Brief
from provenance.errors import UsageError
from provenance.images import layout_of
from provenance.ingest.slices import SliceRule
from provenance.vocabulary import DatasetKind, Membership, Pages, Rejection

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from provenance.catalog import Catalog
    from provenance.groups import GroupMatches
    from provenance.ingest.held import LostImage
    from provenance.records import ClaimedElsewhere, Dataset, Generator


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: ``done`` of ``total`` inputs (``None``: not known beforehand)."""

    stage: str
    done: int
    total: int | None


GROUPINGS = ("patient", "study", "series")
"""What the header of a medical image may group it by (``ImageHeader``)."""

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What to ingest, and under which name; a set has a membership, a release a generator. See ``Workspace.ingest``."""

    sources: tuple[Path, ...]
    name: str
    kind: DatasetKind
    membership: Membership | None = None
    generator: Generator | None = None
    modality: str = ""
    group_from: str | None = None
    rehash: bool = False
    force: bool = False
    pages: Pages | None = None
    sync: bool = False
    group_by: str | None = None
    burned_in: bool = False
    slices: str | None = None

    def __post_init__(self) -> None:
        if not self.sources:
            raise UsageError("nothing to ingest: no source was given")
        if self.group_by is not None and self.group_by not in GROUPINGS:
            raise UsageError(f"--group-by {self.group_by!r} is none of {', '.join(GROUPINGS)}")
        SliceRule.of(self.slices)
        if None not in (self.group_by, self.group_from):
            raise UsageError("give either --group-by or --group-from")
        if not self.name.strip() or self.name != self.name.strip():
            raise UsageError(f"{self.name!r} is no name for a {self.kind.value}")
        if (self.kind is DatasetKind.SET) != (self.membership is not None):
            raise UsageError("a set needs --membership (used, not-used or unknown); a release has none")
        if (self.kind is DatasetKind.RELEASE) != (self.generator is not None):
            raise UsageError("a release needs --generator NAME; a set has none")

    def dataset(self, catalog: Catalog) -> Dataset:
        """The set or release of that name, made where there is none; ``ConflictError`` if it is something else."""
        if self.membership is not None:
            return catalog.create_set(self.name, self.membership, self.modality)
        assert self.generator is not None
        return catalog.create_release(self.name, self.generator, self.modality)


@dataclass(frozen=True, slots=True)
class Inside:
    """What there was in files of several pages or frames, and what decoding left.

    Attributes:
        files: Files of which several pages became images, each by itself.
        images: The images that came of them.
        left_out: Pages of other files, behind the first, that became none; ``left_out_files``: of so many files.
        reduced: Pages left out as smaller copies or masks of others.
        coarse: Images taken in of whose grey levels decoding left few (``--grey-range``).
    """

    files: int = 0
    images: int = 0
    left_out: int = 0
    left_out_files: int = 0
    reduced: int = 0
    coarse: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class IngestReport(Brief):
    """What one run of the ingest service did.

    Attributes:
        counts: ``read`` inputs = ``added`` + ``known`` + ``repeated`` + ``rejected``; of the added, ``embedded``
            went through the backbone and ``copied`` had a vector of the same space in another collection. Beside
            them ``skipped``: files that are no images.
        rejections: Every input that did not become an image, with its reason; of files that are no images a line for
            each extension.
        sealed: Whether the release is sealed now; ``None`` for a set.
        groups: How far ``group_from`` found groups for the names; ``None`` where none was given.
        lost: Images on record of these sources whose files were overwritten or deleted since, and are nowhere else.
        retired: How many of them take part no more.
        interrupted: Whether it was asked to stop before its sources were read to the end; the same call goes on.
        inside: What there was in files that hold more than one image.
        claimed_elsewhere: Sets that claim images of this one, used or not used, and otherwise than it does.
    """

    run_id: str
    dataset_id: str
    name: str
    kind: DatasetKind
    space_id: str
    counts: dict[str, int]
    rejections: tuple[Rejection, ...]
    image_count: int
    sealed: bool | None
    dataset_digest: str
    duration_seconds: float
    interrupted: bool = False
    groups: GroupMatches | None = None
    inside: Inside = field(default_factory=Inside)
    lost: tuple[LostImage, ...] = ()
    retired: int = 0
    claimed_elsewhere: tuple[ClaimedElsewhere, ...] = ()

    def told(self) -> Mapping[str, Any]:
        """See ``Brief``."""
        return {"name": self.name, "kind": self.kind, "images": self.image_count, **self.counts, "sealed": self.sealed}


def layout_requests(
    root: Path, prefix: str, generator: Generator, on_step: Callable[[str], None] | None = None, **common: Any
) -> list[IngestRequest]:
    """One request per folder of the ImageCLEFmed-GAN layout that is there: up to three sets and one release.

    The names become ``prefix-used``, ``prefix-not-used``, ``prefix-unknown``, ``prefix-generated``. ``on_step`` is
    told what is not there, and what is ignored.

    Raises:
        SourceError: If no folder of real images is there.
    """
    requests, layout = [], layout_of(root)
    if on_step is not None and str(layout):
        on_step(f"{root}: {layout}")
    for folder, path in layout.folders.items():
        word = folder.removeprefix("real_")
        is_release = folder == "generated"
        what = (DatasetKind.RELEASE, None, generator) if is_release else (DatasetKind.SET, Membership(word), None)
        requests.append(IngestRequest((path,), f"{prefix}-{word.replace('_', '-')}", *what, **common))
    return requests


def image_ids_digest(image_ids: Iterable[str]) -> str:
    """``sha256:<hex>`` over the sorted image_ids alone: the identity of a set's or release's content."""
    return "sha256:" + hashlib.sha256("\n".join(sorted(image_ids)).encode()).hexdigest()
