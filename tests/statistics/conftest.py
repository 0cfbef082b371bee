"""Embeddings drawn from simple distributions: real images, releases that know nothing of them, and planted copies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.vectors import unit

if TYPE_CHECKING:
    from collections.abc import Callable

DIMENSION = 12


@dataclass(frozen=True)
class World:
    """One repetition: unit vectors of reals and of a release, the reals' groups, and the random numbers to go on."""

    pool: np.ndarray
    release: np.ndarray
    groups: list[str]
    rng: np.random.Generator


def draw(seed: int, groups: int, release: int = 60, largest: int = 1, closeness: float = 1.2) -> World:
    """Reals from one law, generated images from another, as a generator's are.

    Groups hold 1 to ``largest`` images, whose vectors share a part. A small ``closeness`` puts every generated image
    near the middle of the reals, hence closer to all of them than they are to one another.
    """
    rng = np.random.default_rng(seed)
    codes = np.repeat(np.arange(groups), rng.integers(1, largest + 1, groups))
    shared, own = rng.standard_normal((groups, DIMENSION)), rng.standard_normal((len(codes), DIMENSION))
    reals = own if largest == 1 else 0.8 * shared[codes] + 0.6 * own
    generated = closeness * rng.standard_normal((release, DIMENSION))
    return World(unit(reals + 0.5), unit(generated + 0.5), [f"patient {code}" for code in codes], rng)


def copies(rng: np.random.Generator, originals: np.ndarray, noise: float) -> np.ndarray:
    """Images about ``noise`` away from their originals; 0 is an exact copy."""
    return unit(originals + noise / np.sqrt(DIMENSION) * rng.standard_normal(originals.shape))


@pytest.fixture(scope="session")
def world() -> Callable[..., World]:
    return draw


@pytest.fixture(scope="session")
def copied() -> Callable[..., np.ndarray]:
    return copies
