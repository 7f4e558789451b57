"""Predictors that score a missing link by the gradient it would have, block of rows by block of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from sparsecore._typing import Float64Array
from sparsecore.errors import ConfigError, NonFiniteError, ShapeError, check_count, check_fraction
from sparsecore.predictors.protocol import ScoreBlock, Signals, checked_pairs, register
from sparsecore.storage import Topology

__all__ = ["Gradient", "Momentum"]

#: Most scores held at a time, unless a single output has more: 2 MiB.
_BLOCK = 1 << 18


@dataclass(frozen=True)
class _Products:
    """Scores ``|Σ_b g_bu · x_bv|``, where `_factors` says what g and x are."""

    needs: ClassVar[frozenset[str]] = frozenset({"signals"})

    def _factors(self, topology: Topology, signals: Signals | None) -> tuple[Float64Array, Float64Array]:
        """Return g, float64, (B, n_out), and x, float64, (B, n_in)."""
        heard = Signals.require(signals)
        got = heard.grad_outputs.shape[1], heard.inputs.shape[1]
        if got != topology.shape:
            raise ShapeError(f"Expected signals of a layer of shape {topology.shape}. Got {got}.")
        return heard.grad_outputs.astype(np.float64), heard.inputs.astype(np.float64)

    def _finite(self, topology: Topology, signals: Signals | None) -> tuple[Float64Array, Float64Array]:
        """Return the factors, or raise: sums of what is not finite rank no link."""
        grads, inputs = self._factors(topology, signals)
        if not (np.isfinite(grads).all() and np.isfinite(inputs).all()):
            raise NonFiniteError(
                "Expected finite inputs and gradients of outputs. Got NaN or infinity. Lower the learning rate, or "
                "clip the gradients."
            )
        return grads, inputs

    def signed(
        self, topology: Topology, rows: ArrayLike, cols: ArrayLike, *, signals: Signals | None = None
    ) -> Float64Array:
        """Return the sums at chosen missing links before their size is taken, float64, (n,).

        Raises
        ------
        SignalError
            Without signals.
        NonFiniteError
            If signals hold NaN or infinity.
        """
        grads, inputs = self._finite(topology, signals)
        row, col = checked_pairs(topology, rows, cols)
        out = np.empty(row.size)
        step = max(1, _BLOCK // max(1, len(inputs)))
        for low in range(0, row.size, step):
            part = slice(low, low + step)
            out[part] = np.einsum("bn,bn->n", grads[:, row[part]], inputs[:, col[part]])
        return out

    def score_links(
        self, topology: Topology, rows: ArrayLike, cols: ArrayLike, *, signals: Signals | None = None
    ) -> Float64Array:
        """Return the size of the sums at chosen missing links, float64, (n,).

        Raises
        ------
        SignalError
            Without signals.
        NonFiniteError
            If signals hold NaN or infinity.
        """
        return np.abs(self.signed(topology, rows, cols, signals=signals))

    def stream(self, topology: Topology, *, signals: Signals | None = None) -> Iterator[ScoreBlock]:
        """Yield all missing links of non-zero score, a block of outputs at a time, in order of link id."""
        grads, inputs = self._finite(topology, signals)
        height = max(1, _BLOCK // max(1, topology.n_in))
        for low in range(0, topology.n_out, height):
            high = min(low + height, topology.n_out)
            block = grads[:, low:high].T @ inputs
            np.abs(block, out=block)
            first, last = topology.row_ptr[low], topology.row_ptr[high]
            rows = np.repeat(np.arange(high - low), np.diff(topology.row_ptr[low : high + 1]))
            block[rows, topology.row_cols[first:last]] = 0.0
            hit = np.flatnonzero(block)
            if hit.size:
                yield ScoreBlock(hit + low * topology.n_in, block.ravel()[hit])


@register(
    "gradient",
    paper="Evci et al., Rigging the lottery (ICML 2020)",
    equation="S(u,v) = |Σ_b ∂L/∂y_bu · x_bv|",
)
@dataclass(frozen=True)
class Gradient(_Products):
    """Size of the gradient of missing links (RigL); the whole gradient never exists."""


@register(
    "momentum",
    paper="Dettmers and Zettlemoyer, Sparse networks from scratch (2019)",
    equation="S(u,v) = |Σ_k β^k Σ_b ∂L/∂y_bu · x_bv|, k steps back, k < window",
)
@dataclass(frozen=True)
class Momentum(_Products):
    """Size of the momentum of missing links (SNFS), from the factors of recent gradients; no dense momentum exists.

    The momentum of SGD is ``Σ_k β^k G_k`` with ``G_k`` the gradient k steps back, which is a product of two thin
    matrices: output gradients and inputs. They are kept for a window of steps. The result is exact but for the
    gradients before the window, whose weights are a share ``β^window`` of all weights: 1% for the defaults.

    Attributes
    ----------
    beta : float
        β, the share of the momentum that is kept from step to step; give it the value of the optimizer.
    window_steps : int
        Steps that are remembered: ``window_steps · B · (n_in + n_out)`` floats per layer. Where this is more than
        ``n_in · n_out``, a dense momentum would be smaller; take a shorter window.
    """

    beta: float = 0.9
    window_steps: int = 44

    def __post_init__(self) -> None:
        """Check ranges."""
        if check_fraction("beta", self.beta, "the share of the momentum kept from step to step") == 1.0:
            raise ConfigError("Expected beta in [0, 1). Got 1.0. The momentum would not forget anything.")
        check_count("window_steps", self.window_steps, "the number of steps that are remembered", low=1)

    def _factors(self, topology: Topology, signals: Signals | None) -> tuple[Float64Array, Float64Array]:
        grads, inputs = super()._factors(topology, signals)
        ages = None if signals is None else signals.ages
        if ages is not None:
            recent = ages < self.window_steps
            grads, inputs = grads[recent] * self.beta ** ages[recent, None], inputs[recent]
        return grads, inputs
