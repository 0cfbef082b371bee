"""The arrays that rooms hand to one another, by what they hold; for annotations alone."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float32s: TypeAlias = npt.NDArray[np.float32]
"""Vectors and pixels as networks read them."""

Float64s: TypeAlias = npt.NDArray[np.float64]
"""Scores, similarities, probabilities."""

Int64s: TypeAlias = npt.NDArray[np.int64]
"""Rows of another array, ranks, group codes."""

Flags: TypeAlias = npt.NDArray[np.bool_]
Uint8s: TypeAlias = npt.NDArray[np.uint8]
