"""A sequence of modules as plain JSON steps over named tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsecore.errors import CheckpointError, ExportError
from sparsecore.nn import Constant, SelectFeatures, SparseLinear, SparseSequential, steps_of
from sparsecore.nn.sequence import has_hooks
from sparsecore.storage import Topology

__all__ = ["Step", "build", "describe", "width_in"]

#: ``{"kind": class name, "name": prefix of its tensors, "options": arguments of the constructor}``.
Step = dict[str, Any]

_OPTIONS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.ReLU: (),
    nn.ReLU6: (),
    nn.LeakyReLU: ("negative_slope",),
    nn.ELU: ("alpha",),
    nn.GELU: ("approximate",),
    nn.SiLU: (),
    nn.Mish: (),
    nn.Tanh: (),
    nn.Sigmoid: (),
    nn.Softplus: ("beta", "threshold"),
    nn.Hardtanh: ("min_val", "max_val"),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.RMSNorm: ("normalized_shape", "eps", "elementwise_affine"),
    nn.BatchNorm1d: ("num_features", "eps", "affine", "track_running_stats"),
    nn.Linear: ("in_features", "out_features"),
    SparseLinear: ("in_features", "out_features", "relu"),
    SelectFeatures: ("in_features",),
    Constant: ("in_features",),
}
_KINDS = {kind.__name__: kind for kind in _OPTIONS}


def describe(model: nn.Module) -> list[Step]:
    """Return the steps of a model; the tensors of a step are those of ``model.state_dict()`` under its name.

    Raises
    ------
    ExportError
        If the model is not a sequence, or holds a module that cannot be described.
    """
    steps = steps_of(model)
    if steps is None:
        raise ExportError(
            f"Expected a model that calls one module after another (nn.Sequential, SparseSequential, MLP). "
            f"Got {type(model).__name__}."
        )
    described = []
    for name, module in steps:
        if has_hooks(module):
            raise ExportError(f"Expected modules without hooks. Got some on {name!r}. Remove them: files hold no code.")
        if isinstance(module, nn.Dropout | nn.Identity):
            continue
        if type(module) not in _OPTIONS:
            known = ", ".join(_KINDS)
            raise ExportError(f"Expected modules out of {known}. Got {type(module).__name__} at {name!r}.")
        options = {option: getattr(module, option) for option in _OPTIONS[type(module)]}
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
        described.append({"kind": type(module).__name__, "name": name, "options": options})
    return described


def build(steps: list[Step], tensors: Mapping[str, torch.Tensor]) -> SparseSequential:
    """Return the module that `describe` described, in evaluation mode and without gradients.

    Raises
    ------
    CheckpointError
        If steps and tensors do not fit.
    """
    try:
        modules = [_module(step, tensors) for step in steps]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"Expected steps and tensors that fit each other. Got: {error}.") from error
    return SparseSequential(*modules).eval().requires_grad_(False)


def width_in(steps: list[Step]) -> int:
    """Return the number of input features of a sequence.

    Raises
    ------
    ExportError
        If no step says it.
    """
    for step in steps:
        options = step["options"]
        for key in ("in_features", "num_features"):
            if key in options:
                return int(options[key])
        if len(options.get("normalized_shape", ())) == 1:
            return int(options["normalized_shape"][0])
    raise ExportError("Expected a layer that tells the number of input features. Got none in the model.")


def _module(step: Step, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    kind, options = _KINDS[step["kind"]], dict(step["options"])
    mine = {key.removeprefix(f"{step['name']}."): part for key, part in tensors.items() if _under(key, step["name"])}
    if kind is SparseLinear:
        return _sparse(options, mine)
    if kind is SelectFeatures:
        return SelectFeatures(mine["index"], **options)
    if kind is Constant:
        return Constant(mine["value"], **options)
    with torch.device("meta"):
        module: nn.Module = kind(**options)
    for name in (*module._parameters, *module._buffers):
        old, new = getattr(module, name), mine.get(name)
        if old is not None and new is not None and old.shape != new.shape:
            raise ValueError(f"shape {tuple(new.shape)} for {step['name']}.{name} of shape {tuple(old.shape)}")
        if old is not None:
            as_it_is = new is None or name in module._buffers
            setattr(module, name, new if as_it_is else nn.Parameter(new, requires_grad=False))  # type: ignore[arg-type]
    if isinstance(module, nn.Linear) and module.weight is None:
        raise KeyError(f"{step['name']}.weight")
    return module


def _under(key: str, name: str) -> bool:
    return key.startswith(f"{name}.") and "." not in key[len(name) + 1 :]


def _sparse(options: Mapping[str, Any], mine: Mapping[str, torch.Tensor]) -> SparseLinear:
    n_in, n_out, values = options["in_features"], options["out_features"], mine["values"]
    topology = Topology((n_out, n_in), mine["col_ptr"].numpy().astype(np.int64), mine["rows"].numpy())
    if tuple(values.shape) != (topology.n_links,):
        raise ValueError(f"{values.numel()} values for {topology.n_links} links")
    bias = mine.get("bias")
    layer = SparseLinear(n_in, n_out, bias is not None, topology=topology, relu=bool(options["relu"]), seed=0)
    layer.values = nn.Parameter(values, requires_grad=False)
    layer.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
    return layer
