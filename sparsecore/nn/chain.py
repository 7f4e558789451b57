"""Which sparse layers follow one another, and how to run them as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn

from sparsecore.kernels import Layer
from sparsecore.nn.linear import SparseLinear
from sparsecore.ops import sparse_chain

__all__ = ["SparseSequential", "find_chains", "sparse_layers"]

#: Modules that act on every neuron by itself, so that neurons keep their identity across them.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh,
    nn.Dropout, nn.Identity, nn.LayerNorm, nn.BatchNorm1d, nn.RMSNorm,
)  # fmt: skip


class SparseSequential(nn.Sequential):
    """`nn.Sequential` that runs neighbouring `SparseLinear` and `ReLU` modules in one kernel call and autograd node.

    The result is that of `nn.Sequential`. Modules that carry hooks are called one by one, so hooks see what
    they expect.

    Examples
    --------
    >>> net = SparseSequential(SparseLinear(8, 16, density=0.5), nn.ReLU(), SparseLinear(16, 4, density=0.5))
    >>> net(torch.zeros(2, 8)).shape
    torch.Size([2, 4])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply all modules in turn."""
        x = input
        for step in _fused(list(self)):
            x = step(x) if isinstance(step, nn.Module) else sparse_chain(x, step)
        return x


def _has_hooks(module: nn.Module) -> bool:
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _fused(modules: Sequence[nn.Module]) -> Iterator[nn.Module | list[Layer]]:
    """Yield modules to call and runs of sparse layers to call as one."""
    run: list[Layer] = []
    for index, module in enumerate(modules):
        previous = modules[index - 1] if index else None
        plain = not _has_hooks(module)
        if type(module) is SparseLinear and plain:
            run.append(Layer(module.topology, module.values, module.bias, module.relu))
        elif run and type(module) is nn.ReLU and plain and type(previous) is SparseLinear:
            last = run[-1]
            run[-1] = Layer(last.topology, last.values, last.bias, True)
        else:
            if run:
                yield run
                run = []
            yield module
    if run:
        yield run


def sparse_layers(model: nn.Module) -> dict[str, SparseLinear]:
    """Return every sparse layer of a model by name, in registration order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, SparseLinear)}


def find_chains(model: nn.Module) -> list[list[SparseLinear]]:
    """Return the sparse layers of a model grouped into chains that share neurons.

    Inside an `nn.Sequential`, sparse layers separated by elementwise modules form one chain: the outputs of one are the
    inputs of the next. Every other sparse layer is a chain by itself. A module may state its own chains by a method
    ``sparse_chains()``.
    """
    chains: list[list[SparseLinear]] = []
    for module in model.modules():
        if callable(getattr(module, "sparse_chains", None)):
            chains += module.sparse_chains()  # type: ignore[operator]
        elif isinstance(module, nn.Sequential):
            chains += _runs(module)
    seen = {id(layer) for chain in chains for layer in chain}
    chains += [[layer] for layer in sparse_layers(model).values() if id(layer) not in seen]
    return chains


def _runs(sequence: nn.Sequential) -> list[list[SparseLinear]]:
    runs: list[list[SparseLinear]] = []
    run: list[SparseLinear] = []
    for module in sequence:
        if isinstance(module, SparseLinear):
            if run and run[-1].out_features != module.in_features:
                runs.append(run)
                run = []
            run.append(module)
        elif not isinstance(module, ELEMENTWISE) and run:
            runs.append(run)
            run = []
    return [*runs, run] if run else runs
