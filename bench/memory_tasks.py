"""What a probe runs: build, train and update one layer in one contender, with the peak of each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import torch
from torch import nn
from torch.nn import functional

from sparsecore.bench.contenders.peers import library
from sparsecore.bench.dense_update import DenseLayer
from sparsecore.bench.gate import OK, wrong
from sparsecore.bench.peak import peak_above, resident_bytes, settle
from sparsecore.bench.threads import cores, set_threads
from sparsecore.evolution import Evolution
from sparsecore.evolution.methods import CHTs
from sparsecore.generators import ER
from sparsecore.nn import SparseLinear
from sparsecore.predictors import CH2L3n
from sparsecore.storage import Topology

__all__ = ["LAYERS", "run_task"]

Shape = tuple[int, int]
TINY = (64, 96)


class _Trained(ABC):
    """One layer under Adam, built by its library's own constructor."""

    evolves = True

    def __init__(self, shape: Shape, density: float) -> None:
        self.shape, self.density = shape, density
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Make layer and optimizer."""

    @abstractmethod
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(B, n_out)``."""

    @abstractmethod
    def links(self) -> int:
        """Return how many links the layer has."""

    optimizer: torch.optim.Optimizer

    def gradients(self) -> None:  # noqa: B027 - most have nothing to do
        """Bring gradients to where the optimizer looks for them."""

    def step(self, x: torch.Tensor) -> None:
        """Run one training step; inputs have a gradient, as inside a network."""
        self.forward(x).square().mean().backward()
        self.gradients()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def update(self) -> None:
        """Replace 30% of the links."""
        raise NotImplementedError


@final
class _Ours(_Trained):
    def build(self) -> None:
        self.layer = SparseLinear(self.shape[1], self.shape[0], density=self.density, seed=0)
        self.optimizer = torch.optim.Adam(self.layer.parameters(), fused=True)
        self.evolution: Evolution = CHTs(self.layer, self.optimizer, every=1, zeta=0.3, seed=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y

    def links(self) -> int:
        return self.layer.topology.n_links

    def update(self) -> None:
        self.evolution.update()


class _Dense(_Trained):
    evolves = False

    def build(self) -> None:
        self.layer = nn.Linear(self.shape[1], self.shape[0])
        self.optimizer = torch.optim.Adam(self.layer.parameters(), fused=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y

    def links(self) -> int:
        return self.shape[0] * self.shape[1]


@final
class _Masked(_Dense):
    evolves = True

    def build(self) -> None:
        super().build()
        self.mask = (torch.rand(self.shape, generator=torch.Generator().manual_seed(0)) < self.density).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.linear(x, self.layer.weight * self.mask, self.layer.bias)

    def links(self) -> int:
        return int(self.mask.sum())

    def update(self) -> None:
        state = self.optimizer.state[self.layer.weight]
        layer = DenseLayer.__new__(DenseLayer)
        layer.mask, layer.weight = self.mask, self.layer.weight.data
        layer.moments = [state["exp_avg"], state["exp_avg_sq"]]
        layer.update(0.3, 0)
        self.mask = layer.mask


@final
class _Csr(_Trained):
    evolves = False

    def build(self) -> None:
        n_links = round(self.density * self.shape[0] * self.shape[1])
        topology = ER()(self.shape, n_links, 0)
        pointers, indices = (torch.from_numpy(array.copy()).int() for array in (topology.row_ptr, topology.row_cols))
        del topology
        weight = torch.sparse_csr_tensor(pointers, indices, torch.randn(n_links), size=self.shape)
        self.weight = weight.requires_grad_()
        self.bias = nn.Parameter(torch.zeros(self.shape[0]))
        # Adam refuses CSR parameters: it trains a plain parameter that shares the memory of their values.
        self.values = nn.Parameter(self.weight.detach().values())
        self.optimizer = torch.optim.Adam([self.values, self.bias], fused=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = torch.sparse.mm(self.weight, x.t()).t()
        return product + self.bias

    def gradients(self) -> None:
        assert self.weight.grad is not None
        self.values.grad = self.weight.grad.values()
        self.weight.grad = None

    def links(self) -> int:
        return self.values.numel()


@final
class _Sparselab(_Trained):
    def build(self) -> None:
        lab: Any = library("sparselab")
        self.layer = lab.SparseLinear(self.shape[1], self.shape[0], sparsity=1.0 - self.density)
        self.optimizer = torch.optim.Adam(self.layer.parameters(), fused=True)
        self.rule = lab.SET(sparsity=1.0 - self.density, drop_fraction=0.3, update_freq=1, seed=0)
        self.rule.attach(self.layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x)
        return y

    def links(self) -> int:
        return int(self.layer.nnz)

    def update(self) -> None:
        self.rule.update()


LAYERS: dict[str, type[_Trained]] = {
    "sparsecore": _Ours,
    "dense": _Dense,
    "masked dense": _Masked,
    "torch CSR autograd": _Csr,
    "sparselab": _Sparselab,
}


def run_task(task: dict[str, Any]) -> dict[str, Any]:
    """Run a task of `probe`; see `_train` and `_regrow`."""
    set_threads(cores())
    tasks: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"train": _train, "regrowth": _regrow}
    return tasks[task["what"]](task)


def _train(task: dict[str, Any]) -> dict[str, Any]:
    """Return peaks above what libraries take once they have run (a tiny layer trains and updates first)."""
    make, batch = LAYERS[task["contender"]], task["batch"]
    imported = resident_bytes()
    small = make(TINY, 0.2)
    small.step(torch.randn(8, TINY[1], requires_grad=True))
    if make.evolves:
        small.update()
    small.step(torch.randn(8, TINY[1], requires_grad=True))
    del small
    settle()
    base = resident_bytes()
    x = torch.randn(batch, task["shape"][1], requires_grad=True)
    with peak_above(base) as construction:
        layer = make((task["shape"][0], task["shape"][1]), task["density"])
    before = layer.links()
    with peak_above(base) as training:
        for _ in range(2):
            layer.step(x)
            x.grad = None
    found: dict[str, Any] = {
        "status": OK,
        "libraries_bytes": base,
        "imported_bytes": imported,
        "links": before,
        "construction_bytes": construction.bytes,
        "training_bytes": training.bytes,
    }
    if make.evolves and task.get("update", True):
        with peak_above(base) as evolution:
            layer.update()
        found["evolution_bytes"] = evolution.bytes
        if layer.links() != before:
            found["status"] = wrong(f"{layer.links()} links after an update of {before}")
    return found


def _regrow(task: dict[str, Any]) -> dict[str, Any]:
    """Return the peak of a regrowth above the resident topology, and the bytes of that topology."""
    predictor = CH2L3n()
    shape = (task["shape"][0], task["shape"][1])
    for size, density in (((256, 256), 0.05), ((256, 256), 0.4)):
        small = _layer(size, density)
        predictor.sample(small, small.n_links // 4, 0)
    topology = _layer(shape, task["density"])
    with peak_above() as peak:
        drawn = predictor.sample(topology, task["n"], 0)
    return {
        "status": OK if drawn.size == task["n"] else wrong("too few links"),
        "bytes": peak.bytes,
        "topology_bytes": topology.nbytes,
    }


def _layer(shape: Shape, density: float) -> Topology:
    topology = ER()(shape, round(density * shape[0] * shape[1]), 0)
    topology.row_ptr  # noqa: B018 - the derived order is part of the topology
    return topology
