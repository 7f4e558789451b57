"""Companions: what a method does beside every optimizer step, and the one number per link that it keeps for that."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

import torch

from sparsecore._typing import Int64Array

__all__ = ["Companion"]


@runtime_checkable
class Companion(Protocol):
    """Keeps one number per link, which follows its link through every update and every checkpoint.

    All methods work in place on `values`, the parameter of one layer, and on `own`, the companion's numbers.

    Attributes
    ----------
    needs : frozenset of str
        ``{"steps"}``: a companion sees every optimizer step.
    """

    needs: ClassVar[frozenset[str]]

    def begin(self, values: torch.Tensor) -> torch.Tensor:
        """Return the first numbers, (n_links,)."""
        ...

    def newborn(self, link_ids: Int64Array, seed: int) -> torch.Tensor:
        """Return the numbers of new links, (n,); `seed` is the same for a whole run and layer."""
        ...

    def before_step(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Prepare values and their gradient for the optimizer."""
        ...

    def after_step(self, values: torch.Tensor, own: torch.Tensor, lr: float, seed: int) -> None:
        """Change values after the optimizer; `seed` is that of this step and layer."""
        ...

    def whole(self, values: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Return the values that rules read, leaving everything as it is."""
        ...

    def signs(self, own: torch.Tensor) -> Any:
        """Return the sign that every value must keep, int8, (n_links,), or ``None``."""
        ...

    def open(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Make ready for a change of links."""
        ...

    def close(self, values: torch.Tensor, own: torch.Tensor) -> None:
        """Go on after a change of links."""
        ...
