"""Time and memory of local scores: how they grow with the pool, and what 1,000 plants cost.

    python benchmarks/local_scores.py                                   # a scaled-down run and what it foretells
    python benchmarks/local_scores.py --reals 10000 --release 5000 --positions 4    # full size, 4 of 36 positions

Descriptors are random unit vectors: the time does not depend on what is in them. Threads share the positions, so that
the time for all is in proportion to their number, and the memory does not grow with them (but for the descriptors
themselves).
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from provenance.detection.scores.local import content_order, matching_scores
from provenance.detection.scores.local_memory import scores_with_each_plant
from provenance.detection.scores.local_neighbors import local_nearest_scores

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def random_descriptors(images: int, positions: int, numbers: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors with a common direction, so that cosines lie around 0.5."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((images, positions, numbers), dtype=np.float32) + np.float32(1)
    return values / np.linalg.norm(values, axis=2, keepdims=True)


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_mb() -> float:
    """Highest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reals", type=int, default=2500)
    parser.add_argument("--release", type=int, default=1250)
    parser.add_argument("--positions", type=int, default=2, help="positions that are measured")
    parser.add_argument("--all-positions", type=int, default=36, help="positions that times are extrapolated to")
    parser.add_argument("--numbers", type=int, default=577)
    parser.add_argument("--plants", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    threadpool_limits(1, "blas")
    pool = random_descriptors(given.reals, given.positions, given.numbers, 0)
    release = random_descriptors(given.release, given.positions, given.numbers, 1)
    held = peak_mb()
    scale = given.all_positions / given.positions
    size = f"{given.positions} positions x {given.numbers} numbers"
    print(f"{given.reals} reals, {given.release} generated, {size}, {given.threads} threads")
    digests = seconds(lambda: (content_order(pool), content_order(release)))
    matching = seconds(lambda: matching_scores(pool, release, threads=given.threads))
    nearest = seconds(lambda: local_nearest_scores(pool, release, k=1, threads=given.threads))
    print(f"matching {matching:.1f} s, nearest {nearest:.1f} s (digests {digests:.2f} s of each)")
    print(f"{given.all_positions} positions: {(matching + nearest) * scale:.0f} s for the default score")
    print(f"peak memory {peak_mb():.0f} MB, {held:.0f} MB of it before the first score")
    if given.plants:
        plants = random_descriptors(given.plants, given.positions, given.numbers, 2)
        planted = seconds(lambda: scores_with_each_plant(pool, release, plants, threads=given.threads))
        print(f"{given.plants} plants, each judged alone: {planted:.1f} s, {planted * scale:.0f} s at all positions")


if __name__ == "__main__":
    main()
