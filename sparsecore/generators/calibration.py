"""Correlations of a calibration set, tile by tile, from an array or from a stream of batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sparsecore._typing import BoolArray, Float64Array, FloatArray, Int64Array
from sparsecore.errors import ConfigError, DataError, DtypeError, ShapeError, SignalError, check_count

__all__ = ["Batches", "correlation_tiles"]

#: Pairs of features in one tile (16 MiB of float64), and the bounds on its number of rows.
_TILE_PAIRS, _MIN_ROWS, _MAX_ROWS = 2**21, 16, 512
#: Samples per product. Bytes between -128 and 127 have products of at most 2**14, so that 1024 of them add up to at
#: most 2**24: float32 sums are exact.
_CHUNK = 1024
#: Features as large as this have squares whose sums might overflow.
_LARGEST = 1e100
#: Decimals kept of a correlation; what lies below is rounding error, which depends on the number of threads.
_DECIMALS = 12


@dataclass(frozen=True)
class Batches:
    """Batches of features read from a data loader, afresh in every iteration.

    Parameters
    ----------
    loader : iterable
        Gives arrays or CPU tensors of shape ``(B, ...)``, or tuples or lists that start with one.
    max_samples : int, optional
        Read no further than this.
    """

    loader: Iterable[Any]
    max_samples: int | None = None

    def __post_init__(self) -> None:
        """Refuse loaders that cannot work."""
        if not isinstance(self.loader, Iterable) or isinstance(self.loader, Iterator):
            raise ConfigError(
                f"Expected a loader that can be iterated again and again. Got {type(self.loader).__name__}. Pass the "
                "data loader itself (or a list of batches) rather than an iterator over it."
            )
        if self.max_samples is not None:
            check_count("max_samples", self.max_samples, "how many samples are read", low=1)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield arrays of shape (B, n_features)."""
        left = self.max_samples
        for batch in self.loader:
            inputs = _features_of(batch)[:left]
            if inputs.shape[0]:
                yield inputs
            if left is not None:
                left -= inputs.shape[0]
                if left == 0:
                    return


def _features_of(batch: Any) -> NDArray[Any]:
    """Return the features of a batch, (B, n_features)."""
    inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if isinstance(inputs, torch.Tensor):
        inputs = inputs.detach()
        inputs = inputs.float() if inputs.dtype == torch.bfloat16 else inputs  # which NumPy does not know
    array = np.asarray(inputs)
    if array.ndim == 0:
        raise DataError(
            "Expected batches of arrays or tensors of shape (B, ...), or tuples or lists that start with one. Got "
            f"{type(inputs).__name__}."
        )
    return array.reshape(array.shape[0], math.prod(array.shape[1:]))


@dataclass(frozen=True)
class _Moments:
    """Sums over samples of ``x - shift`` per feature, and which features vary."""

    n_samples: int
    shift: Float64Array
    total: Float64Array
    square: Float64Array
    varies: BoolArray
    exact: bool

    @property
    def spread(self) -> Float64Array:
        """Variance times the square of the number of samples, float64, (n_features,)."""
        return np.asarray(self.n_samples * self.square - self.total**2)

    def agree_with(self, total: Float64Array, low: int) -> bool:
        """Tell whether sums of features from `low` on, in any order of the samples, are those of the same samples."""
        slack = 0.0 if self.exact else 1e-6 * np.sqrt(self.n_samples * self.square[low:])
        return bool((np.abs(total - self.total[low:]) <= slack).all())


def correlation_tiles(
    features: NDArray[Any] | Batches,
) -> tuple[int, Iterator[tuple[Float64Array, Int64Array, Int64Array]]]:
    """Return the number of features, and an iterator over the correlations of all pairs of them.

    Parameters
    ----------
    features : array, real, (samples, n_features), or Batches
        The calibration set.

    Returns
    -------
    n_features : int
    tiles : iterator of (score, p, q)
        Absolute Pearson correlation, float64, of features ``p < q``, int64, for all pairs of features that vary.

    Raises
    ------
    DataError
        If there are no samples, or some are not finite.
    SignalError
        If the samples differ between two passes.
    """
    moments = _moments(features)
    return moments.total.size, _tiles(features, moments)


def _tiles(
    features: NDArray[Any] | Batches, moments: _Moments
) -> Iterator[tuple[Float64Array, Int64Array, Int64Array]]:
    n_features, varies = moments.total.size, moments.varies
    n_rows = min(max(_TILE_PAIRS // n_features, _MIN_ROWS), _MAX_ROWS)
    for low in range(0, n_features, n_rows):
        high = min(low + n_rows, n_features)
        score = _scores(features, moments, low, high)
        pairs = np.triu(np.ones((high - low, n_features - low), np.bool_), k=1)
        p, q = np.nonzero(pairs & varies[low:high, None] & varies[None, low:])
        yield score[p, q], p + low, q + low


def _scores(features: NDArray[Any] | Batches, moments: _Moments, low: int, high: int) -> Float64Array:
    """Return the absolute correlations of features low … high - 1 with features low …; (high - low, n - low)."""
    products = np.zeros((high - low, moments.total.size - low))
    n_samples, total = 0, np.zeros(moments.total.size - low)
    for chunk in _chunks(features):
        x: FloatArray = chunk[:, low:].astype(np.float32 if moments.exact else np.float64)
        x -= moments.shift[low:].astype(x.dtype)
        products += x[:, : high - low].T @ x
        total += x.sum(axis=0)
        n_samples += chunk.shape[0]
    if n_samples != moments.n_samples or not moments.agree_with(total, low):
        raise SignalError(
            f"Expected the same {moments.n_samples} samples in every pass over the calibration set. Got "
            f"{'others' if n_samples == moments.n_samples else n_samples}. Switch off whatever changes them, such as "
            "random crops, or pass an array."
        )
    products *= moments.n_samples
    products -= np.multiply.outer(moments.total[low:high], moments.total[low:])
    scale = np.multiply.outer(np.sqrt(moments.spread[low:high]), np.sqrt(moments.spread[low:]))
    with np.errstate(divide="ignore", invalid="ignore"):
        score: Float64Array = np.abs(products / scale)
    return np.round(np.minimum(score, 1.0), _DECIMALS).astype(np.float64, copy=False)


def _moments(features: NDArray[Any] | Batches) -> _Moments:
    n_samples, exact = 0, False
    shift, total, square, least, most = np.zeros((5, 0))
    for chunk in _chunks(features):
        low, high = chunk.min(axis=0).astype(np.float64), chunk.max(axis=0).astype(np.float64)
        if not (np.maximum(-low, high) < _LARGEST).all():
            raise DataError(
                f"Expected features below {_LARGEST} to calibrate on. Got some that are larger, infinite or NaN. Drop "
                "or scale them."
            )
        if n_samples == 0:
            exact = chunk.dtype.kind in "biu" and chunk.dtype.itemsize == 1
            # Whole numbers keep every sum of bytes exact; elsewhere the shift keeps sums of squares small.
            middle = np.full(low.size, 128.0 if chunk.dtype == np.uint8 else 0.0)
            shift = middle if exact else chunk.mean(axis=0, dtype=np.float64)
            total, square = np.zeros((2, shift.size))
            least, most = low, high
        least, most = np.minimum(least, low), np.maximum(most, high)
        x = chunk.astype(np.float64) - shift
        total += x.sum(axis=0)
        square += np.einsum("ij,ij->j", x, x)
        n_samples += chunk.shape[0]
    if n_samples == 0 or shift.size == 0:
        raise DataError("Expected samples of at least one feature to calibrate on. Got none.")
    moments = _Moments(n_samples, shift, total, square, most > least, exact)
    # A feature may vary by less than its squares can show; its correlation would be 0/0.
    return replace(moments, varies=moments.varies & (moments.spread > 0))


def _chunks(features: NDArray[Any] | Batches) -> Iterator[NDArray[Any]]:
    """Yield the samples in arrays of a fixed number of rows, the last one shorter."""
    waiting: list[NDArray[Any]] = []
    n_waiting, first = 0, None
    for batch in [features] if isinstance(features, np.ndarray) else features:
        first = batch if first is None else first
        if batch.shape[1:] != first.shape[1:]:
            raise ShapeError(f"Expected batches of {first.shape[1]} features, like the first. Got {batch.shape[1]}.")
        if batch.dtype != first.dtype or batch.dtype.kind not in "biuf":
            raise DtypeError(f"Expected batches of one real type, {first.dtype} like the first. Got {batch.dtype}.")
        start = 0
        while n_waiting + batch.shape[0] - start >= _CHUNK:
            end = start + _CHUNK - n_waiting
            yield _joined([*waiting, batch[start:end]])
            waiting, n_waiting, start = [], 0, end
        if start < batch.shape[0]:
            waiting.append(batch[start:])
            n_waiting += batch.shape[0] - start
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[NDArray[Any]]) -> NDArray[Any]:
    return batches[0] if len(batches) == 1 else np.concatenate(batches)
