"""The companion of DeepR: every link keeps a sign, and its value walks towards zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from sparsecore._typing import Int64Array
from sparsecore.errors import check_not_negative
from sparsecore.kernels.cpu.rng import salted

__all__ = ["SignedWalk"]


@dataclass(frozen=True)
class SignedWalk:
    """A fixed sign per link, a pull of L1 towards zero, and noise.

    Attributes
    ----------
    l1 : float
        α: after every optimizer step a value moves by ``lr · α`` towards (and past) zero. 0: no pull and no noise.
    noise : float
        Standard deviation of the noise of a step, as a multiple of the pull: the paper's temperature
        ``T = lr · α² / 18`` gives 1/3. 0: no noise.

    Notes
    -----
    Source: Bellec et al., Deep rewiring (ICLR 2018), Algorithm 1: ``θ ← θ − η ∂E/∂θ − η α + sqrt(2 η T) ν``, where
    ``w = s θ``.
    """

    l1: float = 1e-4
    noise: float = 1 / 3
    needs: ClassVar[frozenset[str]] = frozenset({"steps"})

    def __post_init__(self) -> None:
        """Check ranges."""
        check_not_negative("l1", self.l1, "the pull of values towards zero")
        check_not_negative("noise", self.noise, "the noise of values, as a multiple of their pull")

    def begin(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sign of every value, int8, (n_links,); zero counts as positive."""
        return torch.where(values.detach() < 0, -1, 1).to(torch.int8)

    def newborn(self, link_ids: Int64Array, seed: int) -> torch.Tensor:
        """Return a random sign per link, int8, (n,), the same whenever the link is born again in this run."""
        mixed = link_ids.astype(np.uint64) ^ np.uint64(salted(seed, 3))
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return torch.from_numpy(np.where(mixed >> np.uint64(63), 1, -1).astype(np.int8))

    def before_step(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Do nothing: the optimizer sees values and gradients as they are."""

    def after_step(self, values: torch.Tensor, own: torch.Tensor, lr: float, seed: int) -> None:
        """Move every value by the pull and the noise."""
        if not self.l1:
            return
        walk = own.to(values.dtype).neg()
        if self.noise:
            draw = torch.randn(values.shape, generator=torch.Generator().manual_seed(seed >> 1))
            walk += self.noise * draw.to(values)
        values.data.add_(walk, alpha=lr * self.l1)

    def whole(self, values: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Return the values themselves."""
        return values.detach()

    def signs(self, own: torch.Tensor) -> Any:
        """Return the signs, int8, (n_links,)."""
        return own.cpu().numpy()

    def open(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Do nothing."""

    def close(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Do nothing."""
