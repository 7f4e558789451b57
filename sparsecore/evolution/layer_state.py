"""What evolution remembers of one layer between updates, and how it is read back from a checkpoint."""

from __future__ import annotations

from typing import Any

import torch

from sparsecore.errors import CheckpointError
from sparsecore.evolution.apply import momentum_of
from sparsecore.evolution.companion import Companion
from sparsecore.evolution.history import History
from sparsecore.evolution.on_device import DeviceView
from sparsecore.evolution.plan import LayerView
from sparsecore.evolution.rule import Rule
from sparsecore.evolution.signals import Recorder
from sparsecore.nn import SparseLinear
from sparsecore.storage import Topology

__all__ = ["LayerState", "Restored"]


class LayerState:
    """What evolution remembers of one layer between updates."""

    def __init__(self, name: str, layer: SparseLinear) -> None:
        self.name, self.layer = name, layer
        self.n_start = layer.topology.n_links
        self.history = History.empty()
        self.settled = self.frozen = False
        self.overlap, self.grown = 0.0, 0
        self.link_steps = 0
        self.recorder = Recorder(layer)
        self.own: torch.Tensor | None = None
        self._own_links: Topology | None = None

    @property
    def current(self) -> torch.Tensor | None:
        """A companion's numbers, (n_links,), or ``None`` if there are none of the links that the layer has now."""
        if self.own is None or self._own_links is not self.layer.topology:
            return None
        return self.own if self.own.shape == self.layer.values.shape else None

    def keep(self, own: torch.Tensor | None) -> None:
        """Keep a companion's numbers, (n_links,), of the present links."""
        self.own, self._own_links = own, self.layer.topology

    def accompany(self, companion: Companion) -> torch.Tensor:
        """Return the companion's numbers, begun anew if the layer was frozen or has loaded a state since."""
        own = self.current
        if own is None:
            own = companion.begin(self.layer.values)
            self.keep(own)
        return own

    def _kept(self) -> torch.Tensor | None:
        """Return what a checkpoint holds of a companion's numbers: nothing, (0,), where they belong to other links."""
        if self.own is None:
            return None
        return self.own.new_empty(0) if self.current is None else self.current.clone()

    @property
    def is_fixed(self) -> bool:
        """Whether the links stay as they are: after an early stop, or while the values are not trained."""
        return self.frozen or not self.layer.values.requires_grad

    def view(self, rule: Rule, optimizer: torch.optim.Optimizer) -> LayerView:
        """Return the read-only view that planning works on."""
        values, grad, signs = self.layer.values.detach(), self.layer.values.grad, None
        if rule.companion is not None:
            own = self.current
            if own is None:
                values = values.clone()
                own = rule.companion.begin(values)
            values, signs = rule.companion.whole(values, own), rule.companion.signs(own)
        return LayerView(
            self.name,
            self.layer.topology,
            values.float().cpu().numpy(),
            None if grad is None else grad.detach().float().cpu().numpy(),
            self.recorder.signals(self.history if "history" in rule.needs else None) if rule.needs else None,
            self.n_start,
            self.is_fixed,
            signs,
            momentum_of(optimizer, self.layer.values) if "momentum" in rule.needs else None,
        )

    def view_on_device(self, rule: Rule) -> DeviceView:
        """Return the view that planning on the device works on."""
        values, heard = self.layer.values, self.recorder.heard() if "signals" in rule.needs else None
        grad = None if values.grad is None else values.grad.detach()
        return DeviceView(self.name, self.layer.topology, values.detach(), grad, heard, self.n_start, self.is_fixed)

    def content(self) -> dict[str, Any]:
        """Return everything that a resumed run needs, for a checkpoint; what `Restored` reads."""
        return {
            "n_start": self.n_start,
            "frozen": self.frozen,
            "settled": self.settled,
            "overlap": self.overlap,
            "grown": self.grown,
            "history_ids": torch.from_numpy(self.history.ids.copy()),
            "history_values": torch.from_numpy(self.history.values.copy()),
            "link_steps": self.link_steps,
            "own": self._kept(),
            "heard": self.recorder.state(),
        }


class Restored:
    """The state of one layer, read and checked before anything is changed."""

    def __init__(self, saved: dict[str, Any], mine: LayerState) -> None:
        self.n_start, self.frozen = int(saved["n_start"]), bool(saved["frozen"])
        self.settled = bool(saved.get("settled", self.frozen))
        self.overlap, self.grown = float(saved["overlap"]), int(saved["grown"])
        self.link_steps = int(saved["link_steps"])
        self.history = History.restored(saved["history_ids"], saved["history_values"], mine.layer.topology)
        self.own = None if saved["own"] is None else saved["own"].clone().to(mine.layer.values.device)
        self.heard = [(part["step"], part["inputs"], part["grads"]) for part in saved["heard"]]
        shapes = (mine.layer.values.shape, (0,))  # none yet if a state was loaded and no step taken since
        if (self.own is None) != (mine.own is None) or (self.own is not None and self.own.shape not in shapes):
            raise CheckpointError(
                f"Expected the state of {mine.name!r} under the same method, after the state of its model is loaded. "
                "Got numbers of a companion that do not fit its links."
            )

    def give_to(self, mine: LayerState) -> None:
        """Put everything in place."""
        mine.settled = self.settled
        mine.n_start, mine.frozen, mine.overlap, mine.grown = self.n_start, self.frozen, self.overlap, self.grown
        mine.link_steps, mine.history = self.link_steps, self.history
        mine.keep(self.own)
        mine.recorder.restore(self.heard)
