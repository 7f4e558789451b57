"""Turn linear layers of an existing model into `SparseLinear`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from sparsecore.errors import ConfigError, check_count, check_fraction
from sparsecore.generators import allocate
from sparsecore.nn.linear import SparseLinear, TopologySource
from sparsecore.nn.materialize import materialize, require_initializers
from sparsecore.nn.targets import find_targets, first_match

__all__ = ["sparsify"]


def sparsify(
    model: nn.Module,
    *,
    density: float | Mapping[str, float],
    topology: TopologySource | str | None = None,
    allocation: str = "uniform",
    include: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    seed: int | None = None,
) -> nn.Module:
    """Replace linear layers of `model` by sparse ones, in place, and return it.

    Values are drawn anew (SWI); biases are kept, and what was frozen stays so. The dense weights are released once all
    links exist. A model on the meta device gets its links on the CPU without a dense weight ever being built; what
    stays dense is built and initialised by the model's own means.

    Parameters
    ----------
    model : Module
        Any torch or Hugging Face model.
    density : float or mapping of str to float
        Fraction of links in (0, 1]: of all replaced layers together, or of the layers that a glob pattern matches,
        e.g. ``{"*attn*": 0.2, "*mlp*": 0.05}``. The first pattern that matches counts.
    topology : callable or str, optional
        Generator of the initial links, or its name with options, as ``"bsw:beta=0.25"``; uniformly random when missing.
    allocation : str
        How one density is shared between the layers, see `sparsecore.generators.allocate`.
    include : sequence of str, optional
        Glob patterns over module names, e.g. ``["*mlp*"]``. When missing: what `density` has patterns for, or every
        linear layer but the output head. The head is what `get_output_embeddings` gives and what stands outside
        `base_model` (Hugging Face), else the last linear layer.
    exclude : sequence of str
        Glob patterns of layers to leave dense.
    seed : int, optional
        Seed of links and values; from torch's global generator when missing.

    Raises
    ------
    ConfigError
        If a density is not in (0, 1] or gives a layer no link, a pattern matches nothing or names a layer that is not
        linear, the model is sparse already, a layer is used twice, has hooks or a weight computed from others, or two
        layers share one weight tensor. The model is as it was then, also where a generator refuses a layer.

    Examples
    --------
    >>> net = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 10))
    >>> sparsify(net, density=0.05, seed=0)[0]
    SparseLinear(in_features=784, out_features=512, bias=True, links=20070, density=0.05)
    """
    if isinstance(density, Mapping) and include is None:
        include = list(density)
    for value in density.values() if isinstance(density, Mapping) else (density,):
        check_fraction("density", value, "the fraction of links of every replaced layer", open_low=True)
    targets = find_targets(model, include, exclude)
    densities = _densities(targets, density, allocation)
    is_meta = any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    if is_meta:
        require_initializers(model, set(map(id, targets.values())))
    seed = int(torch.randint(2**62, ())) if seed is None else check_count("seed", seed, "the seed of links and values")
    seeds = np.random.SeedSequence(seed).generate_state(len(targets), np.uint64) >> np.uint64(2)
    twins = [
        _sparse_twin(linear, share, topology, int(layer_seed))
        for linear, share, layer_seed in zip(targets.values(), densities, seeds, strict=True)
    ]
    for name, twin in zip(targets, twins, strict=True):
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, twin)
    if is_meta:
        materialize(model)
    return model


def _densities(targets: Mapping[str, nn.Linear], density: float | Mapping[str, float], allocation: str) -> list[float]:
    """Return the density of every layer; each has at least one link."""
    sizes = {name: linear.in_features * linear.out_features for name, linear in targets.items()}
    if isinstance(density, Mapping):
        if allocation != "uniform":
            raise ConfigError(
                f"Expected one density to share by allocation {allocation!r}. Got a density for each pattern. "
                "Give a number, or leave allocation out."
            )
        found = [density[_pattern(name, density)] for name in targets]
    elif allocation == "uniform":
        found = [float(density)] * len(targets)
    else:
        shapes = [(linear.out_features, linear.in_features) for linear in targets.values()]
        links = allocate(allocation, shapes, density)
        found = [n / size for n, size in zip(links, sizes.values(), strict=True)]
    for (name, size), share in zip(sizes.items(), found, strict=True):
        if round(share * size) == 0:
            raise ConfigError(
                f"Expected a density that gives {name!r} at least one link. Got {share:g} of {size} possible links. "
                "Raise the density or leave the layer out with exclude=[...]."
            )
    return found


def _pattern(name: str, density: Mapping[str, float]) -> str:
    pattern = first_match(name, density)
    if pattern is None:
        raise ConfigError(
            f"Expected a density for every layer. Got none for {name!r}. Add a pattern to density, such as '*'."
        )
    return pattern


def _sparse_twin(linear: nn.Linear, density: float, topology: TopologySource | str | None, seed: int) -> SparseLinear:
    device = None if linear.weight.is_meta else linear.weight.device
    with torch.device("cpu" if device is None else device):  # a default device of the caller may be "meta"
        twin = SparseLinear(
            linear.in_features,
            linear.out_features,
            linear.bias is not None,
            density=density,
            topology=topology,
            seed=seed,
            device=device,
            dtype=linear.weight.dtype,
        )
    twin.values.requires_grad_(linear.weight.requires_grad)
    if twin.bias is not None:
        twin.bias.requires_grad_(linear.bias.requires_grad)
        if not linear.bias.is_meta:
            twin.bias.data.copy_(linear.bias.data)
    return twin.train(linear.training)
