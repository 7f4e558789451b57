"""`SparseLinear`: a linear layer that is its list of links."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsecore.errors import ConfigError, ShapeError, SparseCoreError, TopologyError, check_count, check_fraction
from sparsecore.generators import ER, registry
from sparsecore.nn.init import draw_values
from sparsecore.nn.no_weight import NoWeight
from sparsecore.ops import sparse_linear
from sparsecore.storage import Topology

__all__ = ["SparseLinear"]

#: A recipe for the initial links: ``(shape, n_links, seed) -> Topology``, see `sparsecore.generators`.
TopologySource = Callable[[tuple[int, int], int, int], Topology]

_STORED = ("col_ptr", "rows")


class SparseLinear(nn.Module):
    """Linear layer over a list of links; ``values`` is an ordinary 1-D parameter.

    Parameters
    ----------
    in_features, out_features : int
        Number of input and output neurons.
    bias : bool
        Whether a dense bias, (n_out,), is added.
    density : float, optional
        Fraction of possible links in (0, 1]. Needed unless `topology` is a `Topology`.
    topology : Topology, callable or str, optional
        The links themselves, a generator that draws them, or its name with options, as ``"bsw:beta=0.25"``. Uniformly
        random (Erdős-Rényi) when missing.
    init : str
        ``"swi"`` (variance from density) or ``"kaiming"`` (variance from the links of each output), or
        ``"kaiming_dense"`` (variance of the layer without missing links).
    relu : bool
        Rectify the outputs inside the kernel.
    seed : int, optional
        Seed of links and values; drawn from torch's global generator when missing.
    device, dtype : optional
        Of the parameters.

    Attributes
    ----------
    values : Parameter, float, (n_links,)
        Value of every link in the order of ``topology.rows``.
    topology : Topology
        The links; changed only by evolution and by loading a state dict.

    Raises
    ------
    ConfigError
        If neither density nor a topology is given, or the density gives no link at all.
    ShapeError
        If the topology has another shape than (out_features, in_features).

    Examples
    --------
    >>> layer = SparseLinear(784, 1568, density=0.01, seed=0)
    >>> layer(torch.zeros(32, 784)).shape, layer.values.shape
    (torch.Size([32, 1568]), torch.Size([12293]))
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        density: float | None = None,
        topology: Topology | TopologySource | str | None = None,
        init: str = "swi",
        relu: bool = False,
        seed: int | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_count("in_features", in_features, "the number of input neurons", low=1)
        self.out_features = check_count("out_features", out_features, "the number of output neurons", low=1)
        self.relu = relu
        if seed is None:
            seed = int(torch.randint(2**62, ()))
        self._topology = _links((out_features, in_features), density, topology, seed)
        generator = torch.Generator().manual_seed(seed)
        self.values = nn.Parameter(draw_values(self._topology, init, generator).to(device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(out_features, device=device, dtype=dtype)) if bias else None

    @property
    def topology(self) -> Topology:
        """The links of this layer."""
        return self._topology

    @property
    def weight(self) -> torch.Tensor:
        """Shape, dtype and device of the weight matrix for models that ask for these; computing with it is refused."""
        return NoWeight((self.out_features, self.in_features), self.values.dtype, self.values.device)

    def adopt(self, topology: Topology, values: torch.Tensor) -> None:
        """Replace links and values; the parameter object stays, so optimizers keep pointing at it.

        Parameters
        ----------
        topology : Topology
            New links, of the same shape.
        values : Tensor, float, (topology.n_links,)
            Their values, taken over and not copied where dtype and device are those of the parameter, which are kept.

        Raises
        ------
        ShapeError
            If shapes do not fit.
        """
        if topology.shape != self._topology.shape or tuple(values.shape) != (topology.n_links,):
            raise ShapeError(
                f"Expected a topology of shape {self._topology.shape} and one value per link. "
                f"Got shape {topology.shape} with {topology.n_links} links and values {tuple(values.shape)}."
            )
        new = values.detach().to(self.values)
        if new.shape != self.values.shape:
            # A graph that is still alive keeps autograd's accumulator, which remembers the old shape. Torch renews it
            # when the dtype changes, so the data takes a detour over another dtype.
            detour = torch.float64 if new.dtype != torch.float64 else torch.float32
            self.values.data = torch.empty(0, dtype=detour, device=new.device)
        self._topology = topology
        self.values.data = new
        self.values.grad = None
        if not self.values.is_inference():
            torch.autograd.graph.increment_version(self.values)  # a graph of the old links refuses its backward

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return ``input @ W.T + bias`` for `input` of shape (..., in_features).

        The result lies feature by feature in memory where the samples fill one tile (4, 8, 16, 32 or 64 of them), so
        that the next layer reads it as it is: ``reshape`` flattens it, ``view`` cannot.
        """
        # Kernels over links are no graph of torch operations: torch.compile breaks its graph here and goes on behind.
        apply = torch.compiler.disable(sparse_linear) if torch.compiler.is_compiling() else sparse_linear
        return apply(input, self.values, self._topology, self.bias, relu=self.relu)

    def extra_repr(self) -> str:
        """Show sizes, links and density."""
        topology = self._topology
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"links={topology.n_links}, density={topology.density:.4g}"
        )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in _STORED:
            destination[prefix + name] = torch.from_numpy(getattr(self._topology, name).copy())

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        missing, unexpected, errors = args[2], args[3], args[4]
        absent = [prefix + name for name in _STORED if prefix + name not in state_dict]
        values = state_dict.get(prefix + "values")
        missing.extend(absent)
        try:
            if values is not None and not absent:
                topology = _stored_links(self._topology.shape, [state_dict[prefix + name] for name in _STORED])
                if topology != self._topology:
                    self.adopt(topology, values.clone())
                self._topology = topology  # another object even if equal: who keeps numbers per link sees the load
        except (SparseCoreError, TypeError) as error:
            errors.append(f"links of {prefix.removesuffix('.') or 'the layer'}: {error}")
            return
        if absent:  # values without their links would be those of other links
            state_dict = {name: part for name, part in state_dict.items() if name != prefix + "values"}
        super()._load_from_state_dict(state_dict, prefix, *args)
        for name in _STORED:
            if prefix + name in unexpected:
                unexpected.remove(prefix + name)


def _stored_links(shape: tuple[int, int], stored: Sequence[torch.Tensor]) -> Topology:
    """Return the links that a state dict holds; raises if its lists are no integers, or those of another shape."""
    if any(part.is_floating_point() for part in stored):
        kinds = ", ".join(str(part.dtype) for part in stored)
        raise TopologyError(f"Expected lists of integers. Got {kinds}. Cast values only, not {' and '.join(_STORED)}.")
    col_ptr, rows = (part.detach().cpu().numpy() for part in stored)
    return Topology(shape, col_ptr.astype(np.int64), rows)


def _links(
    shape: tuple[int, int], density: float | None, source: Topology | TopologySource | str | None, seed: int
) -> Topology:
    if isinstance(source, Topology):
        if source.shape != shape:
            raise ShapeError(f"Expected a topology of shape (n_out, n_in) = {shape}. Got {source.shape}.")
        return source
    if density is None:
        raise ConfigError("Expected density=... or topology=Topology. Got neither. density is the fraction of links.")
    check_fraction("density", density, "the fraction of possible links that exist", open_low=True)
    n_links = round(density * shape[0] * shape[1])
    if n_links == 0:
        raise ConfigError(
            f"Expected a density that gives at least one link. Got {density} of {shape[0] * shape[1]} possible links."
        )
    if isinstance(source, str):
        source = registry.build(source)
    source = ER() if source is None else source
    if isinstance(source, type) or not callable(source):
        raise ConfigError(f"Expected a generator, such as sparsecore.generators.BSW(beta=0.25). Got {source!r}.")
    drawn = source(shape, n_links, seed)
    if not isinstance(drawn, Topology) or (drawn.shape, drawn.n_links) != (shape, n_links):
        raise ConfigError(f"Expected {source!r} to return {n_links} links of shape {shape}. Got {drawn!r}.")
    return drawn
