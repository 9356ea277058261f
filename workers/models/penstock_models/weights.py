"""Where the parameters of an architecture come from: a trained file, or a seeded generator.

Seeded weights have the right shapes and the usual small spread, so a model with them costs exactly what
the trained one costs. Its answers mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

_USUAL_SPREAD = 0.02


class Weights(Protocol):
    """A source of parameters, asked for in a fixed order."""

    def get(self, key: str, shape: tuple[int, ...], kind: str = "matrix") -> np.ndarray:
        """Returns the FP32 parameter `key`; `kind` is `matrix`, `scale` or `offset`."""


class TrainedWeights:
    """Parameters from a file, by their published names; shapes are checked."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = arrays

    def get(self, key: str, shape: tuple[int, ...], kind: str = "matrix") -> np.ndarray:
        """Returns the stored array; a missing key or another shape is an error."""
        del kind
        array = np.asarray(self._arrays[key], np.float32)
        if array.shape != shape:
            raise ValueError(f"`{key}` has shape {array.shape}, not {shape}")
        return array


class SeededWeights:
    """Normal with standard deviation `spread` for matrices, one for scales, zero for offsets."""

    def __init__(self, seed: int, spread: float = _USUAL_SPREAD) -> None:
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._spread = np.float32(spread)

    def get(self, key: str, shape: tuple[int, ...], kind: str = "matrix") -> np.ndarray:
        """Returns the next array of the seeded sequence; `key` is of no consequence."""
        del key
        if kind == "scale":
            return np.ones(shape, np.float32)
        if kind == "offset":
            return np.zeros(shape, np.float32)
        return self._generator.standard_normal(shape, dtype=np.float32) * self._spread
