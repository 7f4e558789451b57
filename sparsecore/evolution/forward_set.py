"""The companion of Top-KAST: the forward pass uses the largest stored values, the backward pass reaches all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from sparsecore._typing import Int64Array
from sparsecore.errors import ConfigError, check_fraction
from sparsecore.selection import Top

__all__ = ["ForwardSet"]


@dataclass(frozen=True)
class ForwardSet:
    """Sets the smaller stored values to zero between optimizer steps and keeps them beside.

    A layer stores set B; set A, its largest values, is what forward and backward passes see. The gradient of a link
    does not depend on its own value, so the kernels give the gradient of all of B at no extra cost.

    Attributes
    ----------
    forward : float
        Share of the stored links that are in A: ``|A| / |B|``.
    penalty : float
        L2 penalty, added to the gradient: ``penalty · w`` in A and ``penalty · w · |B| / |A|`` in the rest of B, so
        that a link outside A has to earn its place.

    Notes
    -----
    Source: Jayakumar et al., Top-KAST (NeurIPS 2020). Storage is 2 floats and an index per link of B, and the kernels
    still visit every link of B. The paper keeps a dense θ for links outside B; here they hold nothing.
    """

    forward: float = 0.5
    penalty: float = 1e-4
    needs: ClassVar[frozenset[str]] = frozenset({"steps"})

    def __post_init__(self) -> None:
        """Check ranges."""
        check_fraction("forward", self.forward, "the share of stored links in the forward set", open_low=True)
        if isinstance(self.penalty, bool) or not isinstance(self.penalty, (int, float)) or not 0 <= self.penalty < 1e9:
            raise ConfigError(f"Expected penalty >= 0. Got {self.penalty!r}. penalty is the factor of the L2 penalty.")

    def begin(self, values: torch.Tensor) -> torch.Tensor:
        """Return what is parked, (n_links,): the values outside A, which become 0."""
        parked = torch.zeros_like(values.detach())
        self.close(values, parked)
        return parked

    def newborn(self, link_ids: Int64Array, seed: int) -> torch.Tensor:
        """Return zeros: a new link has nothing parked."""
        return torch.zeros(link_ids.size)

    def before_step(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Put the parked values back and add the penalty to the gradient."""
        outside = own != 0
        self.open(values, own)
        if values.grad is not None and self.penalty:
            factor = torch.where(outside, self.penalty / self.forward, self.penalty)
            values.grad.add_(factor.to(values) * values.detach())

    def after_step(self, values: torch.Tensor, own: torch.Tensor, lr: float, seed: int) -> None:
        """Choose A anew and park the others."""
        self.close(values, own)

    def whole(self, values: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Return the values of all of B."""
        return values.detach() + own

    def signs(self, own: torch.Tensor) -> Any:
        """Return ``None``: signs are free."""
        return None

    def open(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Put the parked values back."""
        values.data.add_(own)
        own.zero_()

    def close(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Park all values but the largest."""
        stay = Top().keep(values.detach().abs().double().cpu().numpy(), round(self.forward * values.numel()), 0)
        outside = torch.ones(values.shape, dtype=torch.bool)
        outside[torch.from_numpy(stay)] = False
        outside = outside.to(values.device)
        own.copy_(torch.where(outside, values.detach(), 0))
        values.data[outside] = 0.0
