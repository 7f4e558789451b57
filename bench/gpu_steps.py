"""Training steps on a GPU: time, with and without CUDA graphs, and memory, against a masked dense network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from sparsecore import kernels
from sparsecore.bench.gpu_clock import Contender, Entry, Place, raced
from sparsecore.kernels import CudaBackend
from sparsecore.models import MLP

__all__ = ["measure_memory", "measure_step"]

#: Hidden layers of the network.
DEPTH = 3


class _Masked(nn.Module):
    """A linear layer whose weight is multiplied by a mask in every forward, as most of the field does."""

    def __init__(self, width: int, density: float, device: torch.device) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, width, device=device) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(width, device=device))
        self.register_buffer("mask", (torch.rand(width, width, device=device) < density).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x @ (W * mask).T + bias``."""
        return nn.functional.linear(x, self.weight * self.get_buffer("mask"), self.bias)


def _network(kind: str, width: int, density: float, device: torch.device) -> nn.Module:
    if kind == "sparsecore":
        return MLP(width, (width,) * DEPTH, 10, density=density, seed=0).to(device)
    parts: list[nn.Module] = []
    for _ in range(DEPTH):
        linear = _Masked(width, density, device) if kind == "masked" else nn.Linear(width, width, device=device)
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(width, 10, device=device))


def _step(place: Place, kind: str, width: int, batch: int, density: float) -> Callable[[], torch.Tensor]:
    """Return a training step with Adam; the network of the engine runs on its kernels wherever it is."""
    net = _network(kind, width, density, place.device)
    capturable = place.device.type == "cuda"
    opt = torch.optim.Adam(net.parameters(), lr=1e-3, capturable=capturable)
    x, y = torch.randn(batch, width, device=place.device), torch.randint(10, (batch,), device=place.device)

    def step() -> torch.Tensor:
        opt.zero_grad(set_to_none=False)
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss.detach()

    return step


def _graphed(place: Place, step: Callable[[], torch.Tensor]) -> Callable[[], object]:
    """Return the step as one CUDA graph.

    Raises
    ------
    NotImplementedError
        Without a GPU.
    """
    if place.device.type != "cuda":
        raise NotImplementedError("CUDA graphs need a GPU")
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def _on_the_engine(place: Place) -> None:
    """Give tensors of the place's device to its runtime, also where that is the CPU."""
    kernels.register_backend(CudaBackend(place.runtime, "bench"))


def measure_step(place: Place, *, width: int, batch: int, density: float, seconds: float) -> list[Entry]:
    """Time a training step of a network with three hidden layers.

    Parameters
    ----------
    place : Place
        Where.
    width : int
        Of all layers.
    batch : int
        Samples.
    density : float
        Of the hidden layers.
    seconds : float
        Time for each contender.
    """
    _on_the_engine(place)

    def build(kind: str, graph: bool) -> Contender:
        step = _step(place, kind, width, batch, density)
        return Contender(_graphed(place, step) if graph else step, 0.0)

    contenders = {
        f"{kind}{', CUDA graph' if graph else ''}": partial(build, kind, graph)
        for kind in ("sparsecore", "masked", "dense")
        for graph in (False, True)
    }
    with kernels.use("bench"):
        return raced(place, "step", contenders, None, None, seconds)


def measure_memory(place: Place, *, width: int, batch: int, density: float, seconds: float) -> list[Entry]:
    """Measure the memory of building a network and taking its first step with Adam; as `measure_step`."""
    _on_the_engine(place)

    def build(kind: str) -> Contender:
        return Contender(lambda: _step(place, kind, width, batch, density)(), 0.0)

    with kernels.use("bench"):
        return raced(place, "first step", {k: partial(build, k) for k in ("sparsecore", "masked")}, None, None, 0.0)
