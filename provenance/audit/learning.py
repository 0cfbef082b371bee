"""What an audit learns from its known images: features kept beside the vector files, the learner, and what it says.

The features see no label, and are kept by the digest of everything that they are made of: an audit made again, or by
other claims on the same images, does not compute them again. ``forget`` clears them with the vector files.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from provenance.detection.learnt import features as scales
from provenance.detection.learnt.features import Features, features
from provenance.detection.learnt.learner import Learner
from provenance.detection.learnt.sets import SetsCheck, check_sets, difference_of, lower_test
from provenance.embedding.grey import GreyImages
from provenance.errors import UsageError
from provenance.findings import LearntFigures
from provenance.index import available_threads
from provenance.vocabulary import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from provenance.arrays import Float32s, Float64s, Int64s
    from provenance.audit.scoring_inputs import Progress, ScoringInputs
    from provenance.detection.release.membership_test import Learning, Relearnt
    from provenance.detection.scores.local_neighbors import SpeakingParts
    from provenance.findings import PermutationTest

MOST_ALIKE = 0.1
"""Share of the pool, those with the highest scores, whose contributions are drawn."""
_DECIMALS = 6


@dataclass(frozen=True, eq=False)
class Learnt:
    """What was learnt of a pool.

    Attributes:
        inputs: Of the scores.
        features: Against the release.
        learner: Of these.
        control: The same of the reference release; ``None`` without one.
    """

    inputs: ScoringInputs
    features: Features
    learner: Learner
    control: Learner | None

    @cached_property
    def sets(self) -> SetsCheck:
        """How well the known images are told apart without any release."""
        return check_sets(GreyImages(self.inputs.pool)[np.arange(len(self.inputs.pool))], self.learner)

    @property
    def difference(self) -> str:
        """What tells them apart so, in a sentence; empty: nothing."""
        return difference_of(self.sets.tests)

    def lower(self, permutations: int, seed: int) -> PermutationTest:
        """Whether images known used have less of what nothing is learnt for than those never used."""
        return lower_test(self.learner, permutations, seed=seed)

    @cached_property
    def contributions(self) -> Float64s:
        """What each 8 x 8 cell of each image speaks for its use, in standard deviations over the pool, (n, 64)."""
        return scales.by_cell(self.features, self.learner.weights)

    def explained(self, rows: Int64s) -> tuple[tuple[Box, ...], int, Float64s, SpeakingParts]:
        """The windows that images are explained by and how many a row has; of all images what each speaks for use.

        And of some, by their rows, the generated image that is most like each window.
        """
        everywhere = scales.windows()
        boxes = tuple(
            Box(*(edge / scales.EDGE for edge in (p.left, p.top, p.left + p.size, p.top + p.size))) for p in everywhere
        )
        columns = len({place.left for place in everywhere})
        images = GreyImages(self.inputs.pool)[rows]
        nearest = scales.nearest_windows(images, GreyImages(self.inputs.release))
        return boxes, columns, scales.by_window(self.contributions), nearest

    def learning(self, rows: Int64s) -> Learning:
        """What the release test learns again of some known images."""

        def again(chosen: Int64s) -> tuple[Relearnt, Relearnt | None]:
            there = rows[chosen]
            return self.learner.relearnt(there), None if self.control is None else self.control.relearnt(there)

        return again

    @property
    def figures(self) -> LearntFigures:
        """As an audit records it."""
        weights, nearest = scales.weights_by_scale(self.learner.weights)
        count = max(1, round(MOST_ALIKE * len(self.learner.scores)))
        highest = np.argsort(-self.learner.scores, kind="stable")[:count]
        where = self.contributions[highest].mean(axis=0).reshape(scales.CELLS, scales.CELLS)
        used, not_used = (len(np.unique(self.learner.codes[self.learner.used == side])) for side in (1, -1))
        return LearntFigures(
            used_groups=used,
            not_used_groups=not_used,
            sizes=scales.SIZES,
            widths=tuple(sorted(scales.WIDTHS, reverse=True)),
            weights=_rounded(weights),
            nearest=tuple(np.round(nearest, _DECIMALS).tolist()),
            where=_rounded(where),
            images=count,
            sets=self.sets.tests,
            excess=self.sets.excess,
            difference=self.difference,
        )


def learnt_of(inputs: ScoringInputs, progress: Progress | None = None) -> Learnt:
    """Features of the pool, and what is learnt from its known images.

    Raises:
        UsageError: If images known used or never used are missing, or there are fewer than two groups of them.
    """
    members, others = _known(inputs)
    found = _features(inputs, inputs.release, progress)
    learner = Learner.of(found.columns, found.copies, members, others, inputs.groups)
    control = None
    if inputs.reference is not None:
        against = _features(inputs, inputs.reference, progress)
        control = Learner.of(against.columns, against.copies, members, others, inputs.groups)
    return Learnt(inputs, found, learner, control)


def _known(inputs: ScoringInputs) -> tuple[Int64s, Int64s]:
    if inputs.used is None or inputs.not_used is None:
        raise UsageError(
            "the score learnt learns from images known used and images known never used, and one kind is missing",
            hint="name both with --used and --not-used; --score local learns nothing",
        )
    return inputs.used, inputs.not_used


def _features(inputs: ScoringInputs, release: Float32s, progress: Progress | None) -> Features:
    threads = inputs.threads or available_threads()

    def make() -> dict[str, np.ndarray]:
        found = features(
            GreyImages(inputs.pool), GreyImages(release), inputs.groups, threads=threads, progress=progress
        )
        return {"columns": found.columns, "copies": found.copies, "by_place": found.by_place}

    if inputs.keep is None:
        return Features(**make())
    return Features(**inputs.keep(_digest(inputs.pool, release, inputs.groups), make))


def _digest(pool: Float32s, release: Float32s, groups: Sequence[str | None]) -> str:
    """Of everything that features are made of."""
    digest = hashlib.sha256(f"provenance learnt features {scales.VERSION}\n{scales.parameters()}\n".encode())
    digest.update(repr(list(groups)).encode())
    for vectors in (pool, release):
        digest.update(f"\n{vectors.shape}\n".encode())
        for start in range(0, len(vectors), scales.RELEASE_BLOCK):
            digest.update(np.ascontiguousarray(vectors[start : start + scales.RELEASE_BLOCK], dtype="<f4").data)
    return digest.hexdigest()


def _rounded(table: Float64s) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in (np.round(table, _DECIMALS) + 0.0).tolist())
