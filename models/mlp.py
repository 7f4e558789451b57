"""The field's multilayer perceptron: sparse hidden layers, dense head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from sparsecore.errors import ConfigError, check_count
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.nn.chain import has_hooks, run_fused
from sparsecore.nn.linear import TopologySource

__all__ = ["MLP"]


class MLP(nn.Module):
    """Multilayer perceptron with rectified hidden layers and a dense output head.

    Parameters
    ----------
    in_features : int
        Size of the input.
    hidden : sequence of int
        Sizes of the hidden layers.
    n_classes : int
        Size of the output.
    density : float
        Fraction of links of every hidden layer in (0, 1]; 1 builds ordinary dense layers.
    topology : callable or str, optional
        Generator of the initial links, or its name with options; uniformly random when missing.
    init : str
        Scheme of the link values, see `SparseLinear`.
    seed : int, optional
        Seed of links and of all initial values; from torch's global generator when missing.

    Examples
    --------
    >>> model = MLP(784, (1568, 1568, 1568), 10, density=0.01, seed=0)
    >>> sum(p.numel() for p in model.hidden.parameters())
    66173
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        n_classes: int,
        *,
        density: float,
        topology: TopologySource | str | None = None,
        init: str = "swi",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(hidden, Sequence) or not hidden:
            raise ConfigError(f"Expected at least one hidden layer, as (1568, 1568). Got {hidden!r}.")
        seed = int(torch.randint(2**62, ())) if seed is None else check_count("seed", seed, "the seed of all values")
        sizes = [in_features, *hidden]
        seeds = np.random.SeedSequence(seed).generate_state(len(sizes), np.uint64) >> np.uint64(2)
        modules: list[nn.Module] = []
        for n_in, n_out, layer_seed in zip(sizes[:-1], sizes[1:], seeds, strict=False):
            if density == 1.0:
                modules.append(_dense(n_in, n_out, int(layer_seed)))
            else:
                modules.append(
                    SparseLinear(n_in, n_out, density=density, topology=topology, init=init, seed=int(layer_seed))
                )
            modules.append(nn.ReLU())
        self.hidden = SparseSequential(*modules)
        self.head = _dense(sizes[-1], n_classes, int(seeds[-1]))

    @property
    def is_chain(self) -> bool:
        """Whether the model is ``head(hidden(x))`` and nothing else: true here, false for what derives from it."""
        return type(self) is MLP

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores, (B, n_classes), of inputs (B, ...) that are flattened to (B, in_features)."""
        if has_hooks(self.hidden):
            return self.head(self.hidden(x.flatten(1)))  # type: ignore[no-any-return]
        return run_fused(self, [*self.hidden, self.head], x.flatten(1))


def _dense(n_in: int, n_out: int, seed: int) -> nn.Linear:
    layer = nn.Linear(n_in, n_out)
    generator = torch.Generator().manual_seed(seed)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
