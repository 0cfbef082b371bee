"""Membership scores of real images from whole-image embeddings: higher = more likely used. Pure.

Each score is a function of ``Neighborhoods`` and stands in ``SCORES`` under its name. G is the release, R the pool
of reals without x's group, k the neighbors kept; r_A(x) the Euclidean distance of unit vectors, sqrt(2 - 2 cos), to
the k-th nearest in A. Scores are rounded to 9 decimals. None of them looks at a label, and a pool of calibration and
subjects is used symmetrically: images that are exchangeable have exchangeable scores.

What none of them gives is an error rate (see ``calibration``) or a cause: an image that is typical of its kind is
close to any release of that kind. ``referenced`` is the guard against that.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from provenance.detection.checks import checked_scores
from provenance.detection.decision import DECIMALS
from provenance.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from provenance.arrays import Float64s
    from provenance.detection.checks import Numbers
    from provenance.detection.scores.neighborhoods import Neighborhoods

DISTANCE_FLOOR = 1e-3
"""Distances below it are rounding of float32 vectors (cosines within 5e-7 of 1): the floor of ``density``."""

RANK_AVERAGE = "rank-average"
REFERENCED = "referenced:"
"""Before a score's name: that score less the same against a reference release."""


def nearest(found: Neighborhoods) -> Float64s:
    """Max over g in G of cos(x, g).

    Source: GAN-Leaks, full black box (Chen et al. 2020); for real subjects it is also the seed method's S(r).
    Assumes that memory shows in the single nearest generated image; blind to how typical x is.
    """
    return found.to_release[:, 0]


def nearest_mean(found: Neighborhoods) -> Float64s:
    """Mean of the k greatest cos(x, g).

    Source: the k-neighbor form of GAN-Leaks. Steadier than ``nearest``; a single copy weighs 1/k.
    """
    return np.asarray(found.to_release.mean(axis=1))


def relative(found: Neighborhoods) -> Float64s:
    """Max over g in G of cos(x, g) - max over r in R of cos(x, r).

    Source: difference of the distances to the closest synthetic and the closest real record (DCR). Takes out how
    crowded x's surroundings are, as far as one neighbor tells.
    """
    return found.to_release[:, 0] - found.to_pool[:, 0]


def density(found: Neighborhoods) -> Float64s:
    """Log of (density of G at x / density of R at x), both by the k-th neighbor.

        density_A(x) = k / (|A| V r_A(x)^(d-1))
        score = log(|R| / |G|) + (d - 1) (log r_R(x) - log r_G(x))

    with d the dimension (unit vectors lie on a sphere of d - 1) and r floored at 1e-3, so that a copy scores high
    and never infinite. Source: DOMIAS (van Breugel et al. 2023), k-nearest-neighbor form. Assumes that R is drawn
    from what the generator learned from; the factor d - 1 only sets the unit.
    """
    to_release, to_pool = (
        np.maximum(np.sqrt(np.maximum(2 - 2 * values[:, -1], 0)), DISTANCE_FLOOR)
        for values in (found.to_release, found.to_pool)
    )
    sizes = np.log(found.rivals) - np.log(found.release_size)
    score: Float64s = sizes + (found.dimension - 1) * (np.log(to_pool) - np.log(to_release))
    return score


def local_share(found: Neighborhoods) -> Float64s:
    """Share of G among the k nearest of x in G and R together, in steps of 1/k.

    Source: Data Plagiarism Index (Ward et al. 2024). Depends on |G| / |R|, which is the same for all. Neighbors that
    tie for the last places share them in proportion.
    """
    k = found.to_release.shape[1]
    both = np.concatenate([found.to_release, found.to_pool], axis=1)
    last = np.partition(both, k, axis=1)[:, k, None]
    closer = (found.to_release > last).sum(axis=1)
    tied_release, tied_pool = ((values == last).sum(axis=1) for values in (found.to_release, found.to_pool))
    places = k - closer - (found.to_pool > last).sum(axis=1)
    share: Float64s = (closer + places * tied_release / (tied_release + tied_pool)) / k
    return share


def monte_carlo(found: Neighborhoods) -> Float64s:
    """Share of g within eps of x; eps = median over the pool of the distance to the nearest g.

    Source: Hilprecht et al. 2019, with their median heuristic. Half of the pool scores 0 but for its own nearest,
    so it has many ties.
    """
    return found.within_radius / found.release_size


def retrieved(found: Neighborhoods) -> Float64s:
    """Share of g to which no real of another group is closer than x: how often x is retrieved as the nearest.

    Source: the retrieval-based entry of team VCMI to ImageCLEFmed-GAN 2023. The pool is the gallery for calibration
    and subjects alike. Hubs, reals that are near to everything, score high whether used or not.
    """
    return found.retrieved / found.release_size


def retrieved_rank(found: Neighborhoods) -> Float64s:
    """Minus the mean rank of x among the reals of other groups, over all g, less 1 and by their number: in [-1, 0].

    Source and assumptions as for ``retrieved``; without its ties at 0.
    """
    return -(found.rank_sum / found.release_size - 1) / found.rivals


class Score(NamedTuple):
    """A score, and whether the number of neighbors shapes it: k is then part of the policy."""

    of: Callable[[Neighborhoods], Float64s]
    takes_k: bool = False


SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "nearest": Score(nearest),
        "nearest-mean": Score(nearest_mean, takes_k=True),
        "relative": Score(relative),
        "density": Score(density, takes_k=True),
        "local-share": Score(local_share, takes_k=True),
        "monte-carlo": Score(monte_carlo),
        "retrieved": Score(retrieved),
        "retrieved-rank": Score(retrieved_rank),
    }
)
"""Scores by name. ``referenced:NAME`` is each of them less the same against a reference release."""

RANKED = ("nearest", "nearest-mean", "relative", "density", "local-share", "monte-carlo", "retrieved", "retrieved-rank")
"""What ``rank-average`` averages: a score that joins gives it no other policy."""


def membership_scores(
    release: Neighborhoods, reference: Neighborhoods | None = None, names: Iterable[str] | None = None
) -> dict[str, Float64s]:
    """Scores of every image of a pool by name, float64 (n,), rounded to 9 decimals, all finite.

    ``referenced:NAME`` is NAME against the release less NAME against the reference release, of a generator trained
    on other images (Chen et al. 2020, calibrated). It takes out how easy x is to generate. Assumes that the
    reference generator is of the same kind and saw none of the pool; it may be of another size.

    Args:
        release: The pool against the release.
        reference: The same pool, in the same order and with the same k, against the reference release.
        names: Which, in this order; ``None``: all there can be.

    Raises:
        UsageError: If a name is unknown, needs a reference release and there is none, or pools or k differ.
    """
    if reference is not None and reference.to_release.shape != release.to_release.shape:
        raise UsageError("release and reference release must be compared with the same pool and the same k")
    if names is None:
        names = [*SCORES, *(f"{REFERENCED}{name}" for name in SCORES if reference is not None)]
    return {name: _score(name, release, reference) for name in names}


def _score(name: str, release: Neighborhoods, reference: Neighborhoods | None) -> Float64s:
    plain = name.removeprefix(REFERENCED)
    if plain not in SCORES:
        raise UsageError(f"no membership score is called {name}", hint=f"there are {', '.join(SCORES)}")
    values = SCORES[plain].of(release)
    if plain != name:
        if reference is None:
            raise UsageError(f"{name} needs a reference release", hint="a release of a generator trained on others")
        values = values - SCORES[plain].of(reference)
    return np.round(values, DECIMALS) + 0.0  # no -0.0


def combine_by_rank(scores: Mapping[str, Numbers]) -> Float64s:
    """Mean over the scores of the rank of each image, ties averaged, divided by n + 1; in (0, 1), 9 decimals.

    Source: Borda's count. It looks at no label, and is symmetric in the images: over a pool of calibration and subjects
    it keeps exchangeable what is exchangeable. Each score has the same say, a useless one too. The value of an image
    depends on the pool. Scores are columns by name, shape (n,) each, higher = more likely used.

    Raises:
        UsageError: If there are no scores, lengths differ, or a score is not finite.
    """
    from scipy.stats import rankdata

    matrix = score_matrix(scores)
    ranks = rankdata(np.round(matrix, DECIMALS), axis=0) / (len(matrix) + 1)
    return np.asarray(np.round(ranks.mean(axis=1), DECIMALS))


def score_matrix(scores: Mapping[str, Numbers]) -> Float64s:
    """Columns of scores side by side, (n, scores), checked as in ``combine_by_rank``."""
    if not scores:
        raise UsageError("no scores to combine")
    first = len(next(iter(scores.values())))
    return np.stack([checked_scores(values, name, first) for name, values in scores.items()], axis=1)
