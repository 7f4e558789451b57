"""DistributedDataParallel for layers whose number of parameters may change."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sparsecore.distributed.checks import require_group, require_same, require_whole, same_links
from sparsecore.errors import ConfigError
from sparsecore.nn import sparse_layers

__all__ = ["DataParallel", "let_go_of_all"]


class DataParallel(nn.Module):
    """Averages gradients over ranks as `torch.nn.parallel.DistributedDataParallel`, also when links come and go.

    Torch lays out its gradient buckets once. They stay valid while every layer keeps its number of links; where an
    update changes that number (CHTss, GraNet, GMP), they are laid out anew before the next forward pass.

    After its first step torch orders the buckets by the arrival of gradients. The first step after a restart then adds
    up the gradients of three or more ranks in another order than an unbroken run. With ``find_unused_parameters=True``
    buckets stay, and a restart goes on to the bit.

    Parameters
    ----------
    module : Module
        The model, with the same links on every rank.
    **options
        Of `DistributedDataParallel`, e.g. ``process_group``. With ``device_ids`` the model has to be there already.

    Raises
    ------
    ConfigError
        If there is no process group, values are sharded, or an option fixes the graph for good (``static_graph``).
    SparseCoreError
        If ranks hold different links.
    """

    _parallel: list[DistributedDataParallel]
    _sizes: list[int]

    def __init__(self, module: nn.Module, **options: Any) -> None:
        super().__init__()
        group = options.get("process_group")
        require_group(group)
        require_whole(module)
        if options.get("static_graph"):
            raise ConfigError("Expected static_graph=False. Got True. An update may change the number of parameters.")
        layers = sparse_layers(module)
        require_same("links", same_links(layer.topology for layer in layers.values()), group)
        self.module = module
        self._options = options
        self._values = [layer.values for layer in layers.values()]
        self._lay_out()
        _alive.add(self)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return what the model returns; gradients are averaged in the backward pass."""
        if self._sizes != self._present_sizes():
            self._lay_out(init_sync=False)  # every rank has just taken the same update
        return self._parallel[0](*inputs, **named)

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which gradients are only added up, as in torch; no update may fall inside."""
        return self._parallel[0].no_sync()

    def let_go(self) -> None:
        """Give up what torch holds of the process group; a later forward pass needs another one."""
        self._parallel, self._sizes = [], []

    def _present_sizes(self) -> list[int]:
        return [values.numel() for values in self._values]

    def _lay_out(self, **more: Any) -> None:
        # In a list, so that its parameters are not registered a second time; the old one lets go of its hooks first.
        self._parallel = []
        self._parallel = [DistributedDataParallel(self.module, **self._options, **more)]
        self._sizes = self._present_sizes()


_alive: weakref.WeakSet[DataParallel] = weakref.WeakSet()


def let_go_of_all() -> None:
    """Let all networks of this process give up what torch holds of process groups."""
    for network in list(_alive):
        network.let_go()
    gc.collect()
