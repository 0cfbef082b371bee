"""Releases with known truth, and their embeddings by the product's own code, for ``methods.py``."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from provenance.embedding import Processes, load_backbone
from provenance.errors import SourceError
from provenance.images import PreparationSettings, open_source, prepare
from provenance.vocabulary import Rejection, SourceItem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from provenance.embedding import Backbone
    from provenance.images import Outcome

    Vectors = NDArray[np.float32]
    Tell = Callable[[str], None]

SETS = ("real_used", "real_not_used", "real_unknown")
TRUTH_FILE = "real_unknown_truth.csv"
CONTROL_SUFFIX = "-control"


@dataclass(frozen=True, slots=True)
class Cohort:
    """Real images with known truth: all of them are the pool.

    Attributes:
        name: Its folder's name.
        folder: Holds one folder for each of the three sets.
        names: File names, set by set, sorted within each.
        sets: The set of each image.
        members: Whether each was used by the generator of the cohort's own release.
    """

    name: str
    folder: Path
    names: tuple[str, ...]
    sets: tuple[str, ...]
    members: NDArray[np.bool_]

    @property
    def is_subject(self) -> NDArray[np.bool_]:
        """The images of ``real_unknown``."""
        return np.array([each == "real_unknown" for each in self.sets])

    @property
    def is_calibration(self) -> NDArray[np.bool_]:
        """The images of ``real_not_used``."""
        return np.array([each == "real_not_used" for each in self.sets])


@dataclass(frozen=True, slots=True)
class TruthAudit:
    """A release held against a cohort.

    Attributes:
        name: The cohort's name, and what kind of release it is where there are several: a column of the table.
        cohort: The real images.
        release: The folder of the generated images.
        is_control: Whether the generator saw none of the cohort: nothing may be found.
    """

    name: str
    cohort: Cohort
    release: Path
    is_control: bool


def find_audits(data: Path) -> list[TruthAudit]:
    """Every release with known truth in a folder, controls first.

    A folder with the three sets, ``real_unknown_truth.csv`` and ``generated`` is a cohort and its release, and so is
    every ``generated-KIND`` beside it, a release of another generator of the same images; a folder
    NAME-control with ``generated`` alone is a release whose generator saw no image of the cohort NAME.

    Raises:
        SourceError: If there is none.
    """
    folders = sorted(path for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
    cohorts = {path.name: read_cohort(path) for path in folders if (path / TRUTH_FILE).is_file()}
    own = [
        TruthAudit(name + release.name.removeprefix("generated"), cohort, release, False)
        for name, cohort in cohorts.items()
        for release in sorted(cohort.folder.glob("generated*"))
        if release.is_dir()
    ]
    controls = [
        TruthAudit(path.name, cohorts[path.name.removesuffix(CONTROL_SUFFIX)], path / "generated", True)
        for path in folders
        if path.name.endswith(CONTROL_SUFFIX) and path.name.removesuffix(CONTROL_SUFFIX) in cohorts
    ]
    if not own:
        raise SourceError(f"{data} holds no release with known truth", hint=f"folders with {TRUTH_FILE}: --data FOLDER")
    return controls + own


def read_cohort(folder: Path) -> Cohort:
    """The three sets of a folder and the truth of their images.

    Raises:
        SourceError: If an image of ``real_unknown`` has no truth.
    """
    with (folder / TRUTH_FILE).open(newline="", encoding="utf-8") as file:
        truth = {row["name"]: row["used"] == "1" for row in csv.DictReader(file)}
    names, sets, members = [], [], []
    for each in SETS:
        for path in sorted((folder / each).iterdir()):
            if each == "real_unknown" and path.stem not in truth and path.name not in truth:
                raise SourceError(f"{path} has no truth in {TRUTH_FILE}")
            names.append(path.name)
            sets.append(each)
            members.append(truth.get(path.stem, truth.get(path.name, False)) if each == SETS[2] else each == SETS[0])
    return Cohort(folder.name, folder, tuple(names), tuple(sets), np.array(members))


class Embeddings:
    """Vectors of folders in one space, kept in files of a cache folder under the digest of what they depend on.

    Args:
        space: A backbone's registry name, or the path of a backbone file.
        cache: Where to keep vectors.
        tell: Called with progress lines.
    """

    def __init__(self, space: str, cache: Path, tell: Tell, *, threads: int = 1) -> None:
        self._cache, self._tell = cache, tell
        file = Path(space) if Path(space).suffix == ".onnx" else None
        self._backbone: Backbone = load_backbone(
            None if file else space, backbone_file=file, batch_size=16, threads=threads
        )
        self.parts = self._backbone.space.parts

    def of_cohort(self, cohort: Cohort) -> Vectors:
        """float32 (n, parts, dimension) in the cohort's order."""
        by_set = {each: self.of_folder(cohort.folder / each) for each in SETS}
        return np.stack([by_set[each][name] for each, name in zip(cohort.sets, cohort.names, strict=True)])

    def of_release(self, folder: Path) -> Vectors:
        """float32 (m, parts, dimension) in the order of the names."""
        found = self.of_folder(folder)
        return np.stack([found[name] for name in sorted(found)])

    def of_folder(self, folder: Path) -> Mapping[str, Vectors]:
        """Vectors (parts, dimension) by file name.

        Raises:
            SourceError: If an image can't be read.
        """
        items = [item for item in open_source(folder) if isinstance(item, SourceItem)]
        stated = [[item.source, item.size_bytes, item.modified_ns] for item in items]
        key = hashlib.sha256(json.dumps([self._backbone.space.space_id, stated]).encode()).hexdigest()[:24]
        kept = self._cache / f"{key}.npz"
        if kept.is_file():
            with np.load(kept) as file:
                return dict(zip(file["names"].tolist(), file["vectors"], strict=True))
        found = self._embedded(items, f"{folder.parent.name}/{folder.name}")
        # Written under another name first: what a killed run leaves is no cache.
        being_written = kept.with_suffix(f".{os.getpid()}.npz")
        np.savez(being_written, names=list(found), vectors=np.stack(list(found.values())))
        being_written.rename(kept)
        return found

    def _embedded(self, items: list[SourceItem], label: str) -> dict[str, Vectors]:
        space = self._backbone.space
        size, resolution = self._backbone.input_size, space.matched_resolution
        settings = PreparationSettings(size, resolution, canonical=space.canonical, takes_coarse=True)
        executor = Processes(0)
        prepared = executor.prepared(items, partial(prepare, settings=settings))
        found: dict[str, Vectors] = {}
        for batch in executor.embedded(prepared, self._backbone, _pixels_of):
            for each, vector in batch:
                if isinstance(each, Rejection):
                    raise SourceError(f"{each.name} of {label} can't be read: {each.detail}")
                if vector is None or not np.isfinite(vector).all():
                    raise SourceError(f"{each.item.name} of {label} has no vector")
                found[Path(each.item.name).name] = vector
            if len(found) % 320 < len(batch):
                self._tell(f"  {space.backbone}: {label}: {len(found)} of {len(items)}")
        return found


def _pixels_of(outcome: Outcome) -> NDArray[np.uint8] | None:
    return None if isinstance(outcome, Rejection) else outcome.pixels
