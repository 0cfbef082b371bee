"""Vectors that tests make up."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def unit(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Along the last axis of unit length, as float32."""
    scaled: npt.NDArray[np.float32] = (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)
    return scaled
