"""What the demo makes, and the truth about it: a cohort of phantoms and a release of a generator that saw some of them.

In the layout of the ImageCLEFmed-GAN challenge: ``real_used``, ``real_not_used``, ``real_unknown`` (half of its
patients were used) and ``generated``. The generator is trained on everything used, at the release's size. Among its
images are planted copies of used images, and controls: fresh phantoms of nobody. Names tell nothing of that.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from provenance.documents.demo import Made
from provenance.files import csv_bytes
from provenance.images.pixels import png_bytes
from provenance.images.plants import PlantKind, ReleaseFormat, altered, in_release_size
from provenance.ingest import Progress
from provenance.phantoms import LocalDenoiser, fresh_phantom, patient_slices
from provenance.vocabulary import IMAGE_ID_PREFIX, Membership

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from provenance.arrays import Uint8s
    from provenance.embedding import Executor
    from provenance.ingest import OnProgress

    ProgressBar = Callable[[str], AbstractContextManager[OnProgress]]

T = TypeVar("T")

RELEASE_FORMAT = ReleaseFormat(64, 64, grey=True, file_format="PNG")
"""The generator's images are this small; so are the training images that it sees."""

FILE, GENERATOR, CONTROL = "file", "generator", "control"
"""Kinds beside those of ``PLANTS``: a used image's own file; an image of the generator; a phantom of nobody."""

PLANTS = tuple(
    PlantKind(*each)
    for each in (
        ("exact",),
        ("jpeg", 75),
        ("flip",),
        ("crop", 0.9),
        ("rotate", 5),
        ("blur", 1),
        ("noise", 5),
        ("gamma", 1.3),
        ("blend", 0.7),
    )
)
PLANTED = (FILE, *map(str, PLANTS))
"""Every kind of planted copy."""

REAL_TRUTH_FILE, GENERATED_TRUTH_FILE = "real_unknown_truth.csv", "generated_truth.csv"

# Of the patients these shares are used and not used; the others are unknown.
_USED, _NOT_USED = 0.3, 0.5
# Every fifth patient has two slices, the others one.
_TWO_SLICES = 5
# For each patient; copies are so many of each kind.
_IMAGES, _CONTROLS, _COPIES = 0.4, 0.1, 1 / 130
# First words of the seeds of this module's own choices; phantoms have their own.
_ROLES, _SAMPLES, _PLANTING = 11, 12, 13


@dataclass(frozen=True, slots=True)
class RealImage:
    """A real image of the cohort; ``was_used`` is the truth, ``membership`` what the audit is told."""

    name: str
    image_id: str
    membership: Membership
    was_used: bool


@dataclass(frozen=True, slots=True)
class TrueSource:
    """A used image that a generated one came from, and its share of that image's body."""

    name: str
    image_id: str
    share: float


@dataclass(frozen=True, slots=True)
class GeneratedTruth:
    """One image of the release: its kind, and the used images that it came from, the largest share first."""

    name: str
    image_id: str
    kind: str
    sources: tuple[TrueSource, ...] = ()

    @property
    def largest(self) -> float:
        """The share of its largest source; 0: none."""
        return self.sources[0].share if self.sources else 0.0


@dataclass(frozen=True, slots=True)
class MadeDemo:
    """The truth about everything that was made."""

    reals: tuple[RealImage, ...]
    generated: tuple[GeneratedTruth, ...]

    @property
    def unknown(self) -> dict[str, bool]:
        """Whether each image of unknown membership was used, by image_id."""
        return {each.image_id: each.was_used for each in self.reals if each.membership is Membership.UNKNOWN}

    @property
    def counts(self) -> Made:
        """How many images of each sort."""
        real, kinds = Counter(each.membership for each in self.reals), Counter(each.kind for each in self.generated)
        return Made(
            reals=len(self.reals),
            used=real[Membership.USED],
            not_used=real[Membership.NOT_USED],
            unknown=real[Membership.UNKNOWN],
            unknown_used=sum(self.unknown.values()),
            training=sum(each.was_used for each in self.reals),
            generated=len(self.generated),
            by_generator=kinds[GENERATOR],
            planted=sum(kinds[kind] for kind in PLANTED),
            controls=kinds[CONTROL],
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Real:
    """A real image, before it is written."""

    image: RealImage
    pixels: Uint8s
    data: bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Generated:
    """An image of the release, before it has a name and a place."""

    kind: str
    sources: tuple[TrueSource, ...]
    pixels: Uint8s
    data: bytes


def make_demo(folder: Path, patients: int, seed: int, executor: Executor, progress_bar: ProgressBar) -> MadeDemo:
    """Everything, in an order that follows from the seed; the same bytes again on the same machine.

    Files that are there already with the same bytes are left alone.
    """
    reals = _cohort(patients, seed, executor, progress_bar)
    for real in reals:
        place = f"real_{real.image.membership.value}"
        write_if_new(folder / place / real.image.name, real.data)
    release = _release([real for real in reals if real.image.was_used], patients, seed, executor, progress_bar)
    order = np.random.default_rng((seed, _PLANTING, 0)).permutation(len(release))
    truth = []
    for number, each in enumerate((release[at] for at in order), start=1):
        truth.append(GeneratedTruth(f"G{number:04d}.png", image_id_of(each.data), each.kind, each.sources))
        write_if_new(folder / "generated" / truth[-1].name, each.data)
    made = MadeDemo(tuple(real.image for real in reals), tuple(truth))
    write_if_new(folder / REAL_TRUTH_FILE, _truth_of_reals(made))
    write_if_new(folder / GENERATED_TRUTH_FILE, _truth_of_generated(made))
    return made


def _cohort(patients: int, seed: int, executor: Executor, progress_bar: ProgressBar) -> list[_Real]:
    """The real images, by patient; a seeded draw says which patients are what."""
    roles: dict[int, tuple[Membership, bool]] = {}
    used, not_used = round(patients * _USED), round(patients * _NOT_USED)
    for place, at in enumerate(np.random.default_rng((seed, _ROLES)).permutation(patients)):
        known = Membership.USED if place < used else Membership.NOT_USED
        unknown = place >= used + not_used
        was_used = place % 2 == 0 if unknown else known is Membership.USED
        roles[int(at) + 1] = (Membership.UNKNOWN if unknown else known, was_used)
    drawn = executor.prepared(range(1, patients + 1), partial(_slices_of, seed=seed))
    stream = (each for slices in drawn for each in slices)
    return [
        _Real(RealImage(name, image_id_of(data), *roles[patient]), pixels, data)
        for patient, name, pixels, data in _told(stream, "phantoms", patients + patients // _TWO_SLICES, progress_bar)
    ]


def _slices_of(patient: int, *, seed: int) -> list[tuple[int, str, Uint8s, bytes]]:
    """The patient, and file name, pixels and file of each slice. Runs in a worker process."""
    slices = patient_slices(patient, slices=1 if patient % _TWO_SLICES else 2, seed=seed)
    return [(patient, f"{each.name}.png", each.pixels, png_bytes(each.pixels)) for each in slices]


def _release(
    used: Sequence[_Real], patients: int, seed: int, executor: Executor, progress_bar: ProgressBar
) -> list[_Generated]:
    """The generator's images, controls and planted copies, in this order."""
    training = np.stack([in_release_size(real.pixels, RELEASE_FORMAT) for real in used])
    images, controls = round(patients * _IMAGES), round(patients * _CONTROLS)
    denoiser = LocalDenoiser(training)
    stream = executor.prepared(range(images), partial(denoiser.image, seed, _SAMPLES))
    release = [
        _drawn(GENERATOR, each.pixels, [(used[source.training], source.share) for source in each.sources()])
        for each in _told(stream, "generator", images, progress_bar)
    ]
    fresh = executor.prepared(range(1, controls + 1), partial(fresh_phantom, seed=seed))
    nobody = _told(fresh, "controls", controls, progress_bar)
    release.extend(_drawn(CONTROL, in_release_size(pixels, RELEASE_FORMAT)) for pixels in nobody)
    return release + _copies(used, training, release[:images], max(1, round(patients * _COPIES)), seed)


def _copies(
    used: Sequence[_Real], training: Uint8s, partners: Sequence[_Generated], count: int, seed: int
) -> list[_Generated]:
    """So many planted copies of each kind, each of another used image."""
    kinds = [kind for kind in (None, *PLANTS) for _ in range(count)]
    rng = np.random.default_rng((seed, _PLANTING, 1))
    copies = []
    for number, source in enumerate(map(int, rng.choice(len(used), len(kinds), replace=len(kinds) > len(used)))):
        kind, partner = kinds[number], partners[number % len(partners)].pixels
        if kind is None:
            copies.append(_Generated(FILE, (_true(used[source], 1.0),), used[source].pixels, used[source].data))
            continue
        share = kind.strength if kind.name == "blend" else 1.0
        copies.append(_drawn(str(kind), altered(training[source], kind, rng, partner), [(used[source], share)]))
    return copies


def _drawn(kind: str, pixels: Uint8s, sources: Sequence[tuple[_Real, float]] = ()) -> _Generated:
    return _Generated(kind, tuple(_true(real, share) for real, share in sources), pixels, png_bytes(pixels))


def _true(real: _Real, share: float) -> TrueSource:
    return TrueSource(real.image.name, real.image.image_id, share)


def _truth_of_reals(made: MadeDemo) -> bytes:
    """As ``evaluate --labels`` reads it."""
    unknown = (each for each in made.reals if each.membership is Membership.UNKNOWN)
    return csv_bytes(("name", "used"), ({"name": each.name, "used": int(each.was_used)} for each in unknown))


def _truth_of_generated(made: MadeDemo) -> bytes:
    """A row for each image and source; of a control one without source."""
    nobody = TrueSource("", "", 0.0)
    rows = (
        {"name": each.name, "kind": each.kind, "source": source.name, "share": f"{source.share:.3f}"}
        for each in made.generated
        for source in each.sources or (nobody,)
    )
    return csv_bytes(("name", "kind", "source", "share"), rows)


def _told(stream: Iterable[T], what: str, total: int, progress_bar: ProgressBar) -> Iterator[T]:
    """The same stream; a bar shows how far it is."""
    with progress_bar(what) as on_progress:
        for done, each in enumerate(stream, start=1):
            on_progress(Progress(what, done, total))
            yield each


def image_id_of(data: bytes) -> str:
    """The id that an image has by its file."""
    return IMAGE_ID_PREFIX + hashlib.sha256(data).hexdigest()


def write_if_new(path: Path, data: bytes) -> None:
    """Write a file, unless it is there with these bytes."""
    if path.is_file() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
