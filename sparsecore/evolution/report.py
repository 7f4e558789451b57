"""What an evolution tells about each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LayerReport", "Report"]


@dataclass(frozen=True)
class LayerReport:
    """State of one layer after the last update.

    Attributes
    ----------
    name : str
        Module name.
    shape : tuple of int
        ``(n_out, n_in)``.
    n_links : int
        Links.
    density : float
        Links over possible links.
    active_in, active_out : float
        Active fraction of the input and of the output neurons; a hidden neuron needs links on both sides.
    itop : float
        Fraction of possible links that existed at any time (in-time over-parameterisation).
    overlap : float
        Share of the links grown by the last update that the same update had removed.
    grown : int
        Links grown by the last update.
    frozen : bool
        Whether early stop ended the evolution of this layer.
    mean_density : float
        Mean over all training steps so far: what training cost (FLOPs of the links) over what a dense layer costs.
    """

    name: str
    shape: tuple[int, int]
    n_links: int
    density: float
    active_in: float
    active_out: float
    itop: float
    overlap: float
    grown: int
    frozen: bool
    mean_density: float


@dataclass(frozen=True)
class Report:
    """State of all layers of an evolution.

    Attributes
    ----------
    layers : sequence of LayerReport
        One per sparse layer.
    anp : float
        Active neurons over all neurons, inputs of every chain counted in.
    step : int
        Training steps so far.
    updates : int
        Updates so far.
    last_update_s : float
        Seconds that the last update took.
    """

    layers: Sequence[LayerReport]
    anp: float
    step: int
    updates: int
    last_update_s: float

    @property
    def n_links(self) -> int:
        """Links of all layers."""
        return sum(layer.n_links for layer in self.layers)

    @property
    def density(self) -> float:
        """Links over possible links of all layers."""
        return self.n_links / max(1, sum(layer.shape[0] * layer.shape[1] for layer in self.layers))

    @property
    def mean_density(self) -> float:
        """Mean density over training steps and layers, weighted by possible links: cost of training over dense cost.

        Two density schedules are compared fairly at equal mean density.
        """
        possible = [layer.shape[0] * layer.shape[1] for layer in self.layers]
        spent = sum(la.mean_density * n for la, n in zip(self.layers, possible, strict=True))
        return spent / max(1, sum(possible))

    @property
    def itop(self) -> float:
        """Explored links over possible links of all layers."""
        possible = [layer.shape[0] * layer.shape[1] for layer in self.layers]
        return sum(la.itop * n for la, n in zip(self.layers, possible, strict=True)) / max(1, sum(possible))

    @property
    def overlap(self) -> float:
        """Share of grown links that the same update had removed, over all layers."""
        grown = sum(layer.grown for layer in self.layers)
        return sum(layer.overlap * layer.grown for layer in self.layers) / max(1, grown)

    def __str__(self) -> str:
        """Show a table, one line per layer."""
        head = (
            f"{'layer':<20} {'shape':>15} {'links':>10} {'density':>9} {'active in/out':>15} {'ITOP':>7} {'overlap':>8}"
        )
        spent = f"mean density {self.mean_density:.3%}"
        lines = [f"step {self.step}, {self.updates} updates, ANP {self.anp:.1%}, {spent}", head]
        for layer in self.layers:
            shape = f"{layer.shape[0]} x {layer.shape[1]}"
            active = f"{layer.active_in:.0%} / {layer.active_out:.0%}"
            lines.append(
                f"{layer.name:<20} {shape:>15} {layer.n_links:>10,} {layer.density:>9.3%} {active:>15} "
                f"{layer.itop:>7.2%} {layer.overlap:>8.1%}{'  frozen' if layer.frozen else ''}"
            )
        return "\n".join(lines)
