"""The field's multilayer perceptron: sparse hidden layers, dense head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from sparsecore.errors import ConfigError, UnknownNameError, check_count
from sparsecore.nn import SparseLinear, SparseSequential
from sparsecore.nn.chain import has_hooks, run_fused
from sparsecore.nn.linear import TopologySource

__all__ = ["DENSE_INITS", "MLP"]

#: Schemes of the first values of dense layers and of all biases.
DENSE_INITS = ("kaiming", "torch")


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
    dense_init : str
        Scheme of everything else: the weights of the head and of ordinary dense layers, and all biases. ``"kaiming"``:
        normal weights of variance 2 / n_in, biases 0; ``"torch"``: both uniform within ±1 / sqrt(n_in), as
        `torch.nn.Linear` has them.
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
        dense_init: str = "kaiming",
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if dense_init not in DENSE_INITS:
            raise UnknownNameError("initialisation of dense layers", dense_init, DENSE_INITS)
        if not isinstance(hidden, Sequence) or not hidden:
            raise ConfigError(f"Expected at least one hidden layer, as (1568, 1568). Got {hidden!r}.")
        seed = int(torch.randint(2**62, ())) if seed is None else check_count("seed", seed, "the seed of all values")
        sizes = [in_features, *hidden]
        seeds = np.random.SeedSequence(seed).generate_state(len(sizes), np.uint64) >> np.uint64(2)
        modules: list[nn.Module] = []
        for n_in, n_out, layer_seed in zip(sizes[:-1], sizes[1:], seeds, strict=False):
            layer: nn.Linear | SparseLinear
            if density == 1.0:
                layer = nn.Linear(n_in, n_out)
            else:
                layer = SparseLinear(n_in, n_out, density=density, topology=topology, init=init, seed=int(layer_seed))
            _start(layer, dense_init, int(layer_seed))
            modules += [layer, nn.ReLU()]
        self.hidden = SparseSequential(*modules)
        self.head = nn.Linear(sizes[-1], n_classes)
        _start(self.head, dense_init, int(seeds[-1]))

    @property
    def is_chain(self) -> bool:
        """Whether the model is ``head(hidden(x))`` and nothing else: true here, false for what derives from it."""
        return type(self) is MLP

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return class scores, (B, n_classes), of inputs (B, ...) that are flattened to (B, in_features)."""
        if has_hooks(self.hidden):
            return self.head(self.hidden(x.flatten(1)))  # type: ignore[no-any-return]
        return run_fused(self, [*self.hidden, self.head], x.flatten(1))


@torch.no_grad()
def _start(layer: nn.Linear | SparseLinear, scheme: str, seed: int) -> None:
    """Draw the weights of a dense layer and the biases of any, from two streams; the values of links stay."""
    weights, biases = (torch.Generator().manual_seed(seed + stream) for stream in (0, 1))
    bound = 1 / math.sqrt(layer.in_features)
    if isinstance(layer, nn.Linear):
        if scheme == "torch":
            layer.weight.uniform_(-bound, bound, generator=weights)
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=weights)
    if scheme == "torch" and layer.bias is not None:
        layer.bias.uniform_(-bound, bound, generator=biases)
    elif layer.bias is not None:
        layer.bias.zero_()
