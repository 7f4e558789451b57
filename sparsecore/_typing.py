"""Array aliases used in signatures; the shape of each array is given in the docstrings."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

UInt16Array: TypeAlias = NDArray[np.uint16]
UInt64Array: TypeAlias = NDArray[np.uint64]
Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]
IndexArray: TypeAlias = NDArray[np.signedinteger[Any]]
FloatArray: TypeAlias = NDArray[np.floating[Any]]
Float64Array: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]
Shape: TypeAlias = tuple[int, int]

__all__ = [
    "BoolArray",
    "Float64Array",
    "FloatArray",
    "IndexArray",
    "Int32Array",
    "Int64Array",
    "Shape",
    "UInt16Array",
    "UInt64Array",
]
