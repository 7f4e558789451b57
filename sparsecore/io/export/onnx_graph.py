"""Models whose layers are dense as ONNX graphs. ONNX has no sparse product, so sparse layers are refused."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsecore import __version__
from sparsecore.errors import ExportError
from sparsecore.io.export.program import describe, width_in
from sparsecore.nn import Constant, SelectFeatures, sparse_layers, steps_of

__all__ = ["write_onnx"]

_OPSET, _IR_VERSION = 20, 9


def write_onnx(model: nn.Module, path: Path) -> None:
    """Write a graph ``x`` (batch, n_in) to ``y`` (batch, n_out); half precision becomes float32.

    Raises
    ------
    ExportError
        If the package onnx is missing, a layer is sparse, or a module has no counterpart.
    """
    described = describe(model)
    _refuse_sparse(model)
    try:
        onnx = importlib.import_module("onnx")
    except ImportError as error:
        raise ExportError(
            "Expected the package onnx. Got no such package. Install it with: pip install 'sparsecore-engine[onnx]'"
        ) from error
    graph = _Graph(onnx)
    for name, module in steps_of(model) or ():
        graph.append(name, module)
    dtype = graph.float_type or onnx.TensorProto.FLOAT
    onnx.save_model(graph.model(width_in(described), dtype), str(path))


def _refuse_sparse(model: nn.Module) -> None:
    layers = sparse_layers(model)
    if layers:
        named = ", ".join(f"{name} (density {layer.topology.density:.2g})" for name, layer in layers.items())
        dense_bytes = sum(4 * layer.topology.n_possible for layer in layers.values())
        raise ExportError(
            f"Expected a model whose layers are all dense for ONNX. Got sparse layers: {named}. ONNX has no sparse "
            "product, and runtimes turn sparse initialisers into dense ones. Use the format torch, safetensors or "
            f"scipy, or ask for dense layers with dense_above=0: {dense_bytes / 2**20:.1f} MiB."
        )


class _Graph:
    """Nodes and tensors of a graph under construction; `value` is the name of the latest result."""

    def __init__(self, onnx: Any) -> None:
        self.onnx, self.helper = onnx, onnx.helper
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.value, self.float_type = "x", 0
        self._count = 0

    def append(self, name: str, module: nn.Module) -> None:
        """Add one module."""
        write = _WRITERS.get(type(module))
        if write is None:
            raise ExportError(
                f"Expected a module that ONNX has a counterpart of. Got {type(module).__name__}, {name!r}."
            )
        write(self, module)

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, which becomes the latest result."""
        self._count += 1
        self.value = f"{kind.lower()}_{self._count}"
        self.nodes.append(self.helper.make_node(kind, list(inputs), [self.value], **attributes))
        return self.value

    def tensor(self, tensor: torch.Tensor | None, *, like: int = 1) -> str:
        """Store a tensor and return its name; `like` ones where there is none."""
        part = torch.ones(like) if tensor is None else tensor.detach().cpu()
        array = (part.float() if part.dtype in (torch.bfloat16, torch.float16) else part).numpy()
        self._count += 1
        name = f"tensor_{self._count}"
        self.tensors.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        if tensor is not None and part.is_floating_point():
            self.float_type = self.tensors[-1].data_type
        return name

    def scalar(self, number: float) -> str:
        """Store a number in the type of the graph."""
        double = self.float_type == self.onnx.TensorProto.DOUBLE
        return self.tensor(torch.tensor(number, dtype=torch.float64 if double else torch.float32))

    def model(self, width: int, dtype: int) -> Any:
        """Return the checked model."""
        self.node("Identity", self.value)
        self.nodes[-1].output[0] = "y"
        info = self.helper.make_tensor_value_info
        graph = self.helper.make_graph(
            self.nodes, "sparsecore", [info("x", dtype, ["batch", width])], [info("y", dtype, ["batch", None])],
            self.tensors,
        )  # fmt: skip
        model = self.helper.make_model(
            graph, producer_name="sparsecore", producer_version=__version__, ir_version=_IR_VERSION,
            opset_imports=[self.helper.make_opsetid("", _OPSET)],
        )  # fmt: skip
        self.onnx.checker.check_model(model, full_check=True)
        return model


def _linear(graph: _Graph, layer: Any) -> None:
    bias = () if layer.bias is None else (graph.tensor(layer.bias),)
    graph.node("Gemm", graph.value, graph.tensor(layer.weight), *bias, transB=1)


def _select(graph: _Graph, module: Any) -> None:
    graph.node("Gather", graph.value, graph.tensor(module.index), axis=1)


def _constant(graph: _Graph, module: Any) -> None:
    batch = graph.node("Shape", graph.value, start=0, end=1)
    shape = graph.node("Concat", batch, graph.tensor(torch.tensor([module.value.numel()])), axis=0)
    graph.node("Expand", graph.tensor(module.value), shape)


def _flatten(graph: _Graph, module: Any) -> None:
    if (module.start_dim, module.end_dim) != (1, -1):
        raise ExportError(f"Expected nn.Flatten(1, -1). Got {module}. Inputs of the graph are (batch, features).")
    graph.node("Flatten", graph.value, axis=1)


def _batch_norm(graph: _Graph, norm: Any) -> None:
    if norm.running_mean is None:
        raise ExportError("Expected nn.BatchNorm1d with running statistics. Got one without.")
    n = norm.num_features
    weight = graph.tensor(torch.ones_like(norm.running_mean) if norm.weight is None else norm.weight)
    bias = graph.tensor(torch.zeros_like(norm.running_mean) if norm.bias is None else norm.bias)
    mean, variance = graph.tensor(norm.running_mean), graph.tensor(norm.running_var, like=n)
    graph.node("BatchNormalization", graph.value, weight, bias, mean, variance, epsilon=norm.eps)


def _layer_norm(graph: _Graph, norm: Any) -> None:
    if len(norm.normalized_shape) != 1 or norm.weight is None:
        raise ExportError(f"Expected nn.LayerNorm over the last axis with a weight. Got {norm}.")
    bias = () if norm.bias is None else (graph.tensor(norm.bias),)
    graph.node("LayerNormalization", graph.value, graph.tensor(norm.weight), *bias, axis=-1, epsilon=norm.eps)


def _silu(graph: _Graph, module: Any) -> None:
    x = graph.value
    graph.node("Mul", x, graph.node("Sigmoid", x))


def _softplus(graph: _Graph, module: Any) -> None:
    x, beta = graph.value, graph.scalar(module.beta)
    scaled = graph.node("Mul", x, beta)
    is_linear = graph.node("Greater", scaled, graph.scalar(module.threshold))
    graph.node("Where", is_linear, x, graph.node("Div", graph.node("Softplus", scaled), beta))


def _clip(low: str, high: str) -> Callable[[_Graph, Any], None]:
    def write(graph: _Graph, module: Any) -> None:
        bounds = (0.0, 6.0) if isinstance(module, nn.ReLU6) else (getattr(module, low), getattr(module, high))
        graph.node("Clip", graph.value, *map(graph.scalar, bounds))

    return write


def _plain(kind: str, **options: str) -> Callable[[_Graph, Any], None]:
    """Return the writer of a module that is one node; `options` names the module's attribute of each of the node's."""

    def write(graph: _Graph, module: Any) -> None:
        graph.node(kind, graph.value, **{key: getattr(module, name) for key, name in options.items()})

    return write


def _nothing(graph: _Graph, module: Any) -> None:
    """Leave out what does nothing in evaluation mode."""


_WRITERS: dict[type[nn.Module], Callable[[_Graph, Any], None]] = {
    nn.Linear: _linear,
    SelectFeatures: _select,
    Constant: _constant,
    nn.Flatten: _flatten,
    nn.BatchNorm1d: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.ReLU: _plain("Relu"),
    nn.Tanh: _plain("Tanh"),
    nn.Sigmoid: _plain("Sigmoid"),
    nn.Mish: _plain("Mish"),
    nn.LeakyReLU: _plain("LeakyRelu", alpha="negative_slope"),
    nn.ELU: _plain("Elu", alpha="alpha"),
    nn.GELU: _plain("Gelu", approximate="approximate"),
    nn.SiLU: _silu,
    nn.Softplus: _softplus,
    nn.ReLU6: _clip("min_val", "max_val"),
    nn.Hardtanh: _clip("min_val", "max_val"),
    nn.Dropout: _nothing,
    nn.Identity: _nothing,
}
