"""Which layers of a sequence follow one another, and how to run them as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

import torch
from torch import nn

from sparsecore.kernels import Layer
from sparsecore.nn.linear import SparseLinear
from sparsecore.ops import sparse_chain

__all__ = [
    "SparseSequential",
    "density_of",
    "has_hooks",
    "is_plain",
    "run_fused",
    "runs_of",
    "sequences_within",
    "sparse_layers",
]

#: Modules that act on every neuron by itself, so that neurons keep their identity across them.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh,
    nn.Dropout, nn.Identity, nn.LayerNorm, nn.BatchNorm1d, nn.RMSNorm,
)  # fmt: skip


#: Widest dense layer that joins a run of sparse ones: a classifier's head, too small for a matrix product to pay.
DENSE_LIMIT = 64


#: A module to call, or linear modules to run as one, each with whether a rectifier follows it.
Step = nn.Module | list[tuple[nn.Module, bool]]

_STEPS = "_fused_steps"


class SparseSequential(nn.Sequential):
    """`nn.Sequential` that runs neighbouring linear layers and rectifiers in one kernel call and autograd node.

    Runs are made of `SparseLinear` modules, the `nn.ReLU` behind them, and small dense `nn.Linear` heads that follow.
    The result is that of `nn.Sequential`. Modules that carry hooks are called one by one, so that hooks see what they
    expect.

    Examples
    --------
    >>> net = SparseSequential(SparseLinear(8, 16, density=0.5), nn.ReLU(), SparseLinear(16, 4, density=0.5))
    >>> net(torch.zeros(2, 8)).shape
    torch.Size([2, 4])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Apply all modules in turn."""
        return run_fused(self, list(self._modules.values()), input)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without what can be found again."""
        return {name: value for name, value in self.__dict__.items() if name != _STEPS}


def run_fused(owner: nn.Module, modules: list[nn.Module], x: torch.Tensor) -> torch.Tensor:
    """Apply `modules` in turn, runs of linear layers and rectifiers as one.

    What belongs together is remembered in `owner` until the modules change or carry hooks.
    """
    if torch.compiler.is_compiling():
        whole: torch.Tensor = torch.compiler.disable(run_fused)(owner, modules, x)
        return whole
    known: tuple[list[nn.Module], list[Step]] | None = owner.__dict__.get(_STEPS)
    hooked = any(map(has_hooks, modules))
    if known is None or hooked or known[0] != modules:
        known = modules, list(_fused_steps(modules))
        if not hooked:
            owner.__dict__[_STEPS] = known
    for step in known[1]:
        x = step(x) if isinstance(step, nn.Module) else sparse_chain(x, [_layer(*member) for member in step])
    return x


def _fused_steps(modules: Sequence[nn.Module]) -> Iterator[Step]:
    """Yield modules to call and runs of linear layers to call as one."""
    run: list[tuple[nn.Module, bool]] = []
    for module in modules:
        joins = not has_hooks(module)
        if joins and (type(module) is SparseLinear or (run and _is_small(module))):
            run.append((module, False))
        elif joins and run and type(module) is nn.ReLU and not run[-1][1]:
            run[-1] = run[-1][0], True
        else:
            if run:
                yield run
                run = []
            yield module
    if run:
        yield run


def _is_small(module: nn.Module) -> bool:
    return type(module) is nn.Linear and module.out_features <= DENSE_LIMIT


def _layer(module: nn.Module, rectified: bool) -> Layer:
    # Parameters are read from their dictionary: attribute access of modules takes a microsecond each.
    params = module._parameters
    if type(module) is SparseLinear:
        return Layer(module.topology, params["values"], params.get("bias"), rectified or module.relu)  # type: ignore[arg-type]
    return Layer(None, params["weight"], params.get("bias"), rectified)  # type: ignore[arg-type]


def has_hooks(module: nn.Module) -> bool:
    """Tell whether a call of `module` does more than its forward."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def sparse_layers(model: nn.Module) -> dict[str, SparseLinear]:
    """Return every sparse layer of a model by name, in registration order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, SparseLinear)}


def density_of(model: nn.Module) -> float:
    """Return links over possible links of all sparse layers of a model; 0 without sparse layers."""
    topologies = [layer.topology for layer in sparse_layers(model).values()]
    return sum(t.n_links for t in topologies) / max(1, sum(t.n_possible for t in topologies))


def _flattened(sequence: nn.Sequential) -> Iterator[nn.Module]:
    """Yield the modules of a sequence, those of plain sequences inside it one by one."""
    for module in sequence:
        if is_plain(module):
            yield from _flattened(module)
        else:
            yield module


def sequences_within(sequence: nn.Sequential) -> Iterator[nn.Sequential]:
    """Yield the plain sequences that `runs_of` writes out."""
    for module in sequence:
        if is_plain(module):
            yield module
            yield from sequences_within(module)


def is_plain(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Tell whether a module applies its parts in turn and nothing else, and does not state its chains itself."""
    forwards = nn.Sequential.forward, SparseSequential.forward
    return (
        isinstance(module, nn.Sequential) and type(module).forward in forwards and not hasattr(module, "sparse_chains")
    )


def runs_of(sequence: nn.Sequential) -> list[list[SparseLinear]]:
    """Return the sparse layers of a sequence that follow one another, elementwise modules between them.

    Plain sequences inside it count as written out.
    """
    runs: list[list[SparseLinear]] = []
    run: list[SparseLinear] = []
    for module in _flattened(sequence):
        if isinstance(module, SparseLinear):
            if run and run[-1].out_features != module.in_features:
                runs.append(run)
                run = []
            run.append(module)
        elif not isinstance(module, ELEMENTWISE) and run:
            runs.append(run)
            run = []
    return [*runs, run] if run else runs
