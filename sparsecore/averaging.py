"""Averages of a model over its training (SWA, EMA), link by link while links move."""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest

import torch
from torch import nn
from torch.optim import swa_utils

from sparsecore.errors import ConfigError, ShapeError, check_fraction
from sparsecore.nn import SparseLinear
from sparsecore.storage import TopologyEdit

__all__ = ["AveragedModel"]

_Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


class AveragedModel(swa_utils.AveragedModel):
    """`torch.optim.swa_utils.AveragedModel` whose copy has the model's present links after every update.

    What is averaged is the dense weight, which is 0 where there is no link, restricted to the links of the model: a
    link that both have is averaged, one that only the model has is averaged with 0, and one that is gone is dropped
    with what it held. Everything but links is torch's. While no link moves, so are they.

    Parameters
    ----------
    model : Module
        The model to copy. Its layers of links may stand anywhere.
    device, avg_fn, multi_avg_fn, use_buffers : optional
        As in torch. Buffers are copied unless `use_buffers` averages them.
    decay : float, optional
        Weight of the past in an exponential average, in [0, 1]; all updates weigh the same when missing.

    Attributes
    ----------
    module : Module
        The copy.

    Raises
    ------
    ConfigError
        If decay is out of range, or comes with an average of another kind.

    Examples
    --------
    >>> from sparsecore.storage import Topology
    >>> layer = SparseLinear(2, 1, topology=Topology.from_coo([0], [0], shape=(1, 2)), seed=0)
    >>> average = AveragedModel(layer, decay=0.75)
    >>> layer.adopt(layer.topology, layer.values.new_tensor([4.0]))
    >>> average.update_parameters(layer)  # the first is a copy
    >>> layer.adopt(Topology.full((1, 2)), layer.values.new_tensor([8.0, 4.0]))
    >>> average.update_parameters(layer)
    >>> average.module.values.tolist()
    [5.0, 1.0]
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device | int | None = None,
        avg_fn: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor] | None = None,
        multi_avg_fn: Callable[[_Tensors, _Tensors, torch.Tensor | int], None] | None = None,
        use_buffers: bool = False,
        *,
        decay: float | None = None,
    ) -> None:
        if decay is not None:
            decay = check_fraction("decay", decay, "the weight of the past in an exponential average")
            if avg_fn is not None or multi_avg_fn is not None:
                raise ConfigError(f"Expected one kind of average. Got decay={decay} and a function. Leave one out.")
            multi_avg_fn = swa_utils.get_ema_multi_avg_fn(decay)
        super().__init__(model, device, avg_fn, multi_avg_fn, use_buffers)

    def update_parameters(self, model: nn.Module) -> None:
        """Take the present parameters of `model` into the average, and its links over.

        Raises
        ------
        ShapeError
            If `model` has parameters of other shapes than the one that was copied.
        """
        for mine, given in zip_longest(_shapes(self.module), _shapes(model)):
            if mine != given:
                raise ShapeError(
                    f"Expected the model that was copied. Got a parameter of shape {given} where it has {mine}. "
                    "Make an average of its own for this model."
                )
        for copy, layer in zip(_sparse(self.module), _sparse(model), strict=True):
            if copy.topology is not layer.topology:
                edit = TopologyEdit.between(copy.topology, layer.topology)
                copy.adopt(edit.new, edit.remap(copy.values))
        super().update_parameters(model)


def _sparse(model: nn.Module) -> list[SparseLinear]:
    return [module for module in model.modules() if isinstance(module, SparseLinear)]


def _shapes(model: nn.Module) -> list[tuple[int, ...]]:
    """Return the shapes of all parameters; of the values of links, that of their layer."""
    layers = {layer.values: layer.topology.shape for layer in _sparse(model)}
    return [layers.get(parameter, tuple(parameter.shape)) for parameter in model.parameters()]
