"""The network that every contender trains, and the registry of those that do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sparsecore.bench.gate import F32
from sparsecore.storage import Topology

__all__ = [
    "LR",
    "MOMENTUM",
    "WEIGHT_DECAY",
    "Contender",
    "Links",
    "build",
    "contenders",
    "dense_linear",
    "index",
    "names",
    "register",
    "stack",
    "training_step",
]


@dataclass(frozen=True, eq=False)
class Links:
    """One layer of the common network: links, values (input-major) and bias."""

    topology: Topology
    values: torch.Tensor
    bias: torch.Tensor

    def dense(self) -> torch.Tensor:
        """Return the layer as a dense weight, (n_out, n_in): the baselines need it."""
        weight = torch.zeros(self.topology.shape)
        weight[index(self.topology.rows), index(self.topology.cols)] = self.values
        return weight

    def csr(self) -> torch.Tensor:
        """Return the layer as torch's CSR tensor."""
        topology = self.topology
        values = self.values[index(topology.row_order)]
        return torch.sparse_csr_tensor(
            index(topology.row_ptr), index(topology.row_cols), values, size=topology.shape, check_invariants=False
        )


@dataclass(frozen=True)
class Contender:
    """A trainable twin of the common network.

    Attributes
    ----------
    name : str
        As shown in tables.
    model : callable
        ``(B, n_in) -> (B, n_out)``.
    step : callable
        One optimizer step on ``(x, y)``; returns the loss tensor before the step.
    tolerance : float
        Largest relative error of its losses.
    same_weights : bool
        Whether it trains the links alone, so that later losses must agree as well as the first.
    many : callable, optional
        ``(x, y, n)``: n steps in one call, for a contender that is made for that; it is timed in this form.
    """

    name: str
    model: Callable[[torch.Tensor], torch.Tensor]
    step: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    tolerance: float = 10 * F32
    same_weights: bool = True
    many: Callable[[torch.Tensor, torch.Tensor, int], object] | None = None


#: The papers' recipe. Without weight decay the momentum of links that get no gradient would fade into denormal numbers,
#: which cost every contender's optimizer many times its usual step.
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4

Builder = Callable[[Sequence[Links]], Contender]
contenders: dict[str, Builder] = {}


def register(name: str) -> Callable[[Builder], Builder]:
    """Add a builder under `name`."""

    def add(builder: Builder) -> Builder:
        contenders[name] = builder
        return builder

    return add


def names() -> tuple[str, ...]:
    """Return all contenders, ours first."""
    return tuple(sorted(contenders, key=lambda name: not name.startswith("sparsecore")))


def build(name: str, layers: Sequence[Links]) -> Contender:
    """Build the contender `name` with its own copy of the values; ``ImportError`` if its library is missing."""
    return contenders[name](layers)


def index(array: Any) -> torch.Tensor:
    """Return a numpy index array as an int64 tensor."""
    return torch.from_numpy(array.astype(np.int64))


def training_step(
    model: nn.Module,
    params: Sequence[torch.Tensor] | None = None,
    *,
    autocast: torch.dtype | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Any:
    """Return a training step with momentum SGD, the field's optimizer for these networks; torch's fused one if none."""
    if optimizer is None:
        mine = list(model.parameters() if params is None else params)
        optimizer = torch.optim.SGD(mine, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=True)

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if autocast is None:
            loss = functional.cross_entropy(model(x), y)
        else:
            with torch.autocast("cpu", autocast):
                loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def stack(
    layers: Sequence[Links], make: Callable[[Links], nn.Module], container: type[nn.Sequential] = nn.Sequential
) -> nn.Sequential:
    """Return the network: `make` for every sparse layer, `nn.Linear` for dense ones, rectifiers between."""
    modules: list[nn.Module] = []
    for layer in layers:
        modules += [dense_linear(layer) if layer.topology.density == 1.0 else make(layer), nn.ReLU()]
    return container(*modules[:-1])


def dense_linear(layer: Links) -> nn.Linear:
    """Return torch's dense layer with the same weights."""
    module = nn.Linear(layer.topology.n_in, layer.topology.n_out)
    module.weight.data.copy_(layer.dense())
    module.bias.data.copy_(layer.bias)
    return module
