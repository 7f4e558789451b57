"""What a run folder holds, read once for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sparsecore import metrics
from sparsecore.engine import EpochRecord
from sparsecore.errors import ConfigError
from sparsecore.io import RunFolder
from sparsecore.report.moments import Moment, moments_of
from sparsecore.report.network import Structure
from sparsecore.storage import Topology

__all__ = ["Run", "read_runs"]


@dataclass(frozen=True, eq=False)
class Run:
    """One run.

    Attributes
    ----------
    name : str
        Of its folder.
    config : mapping
        Content of ``config.json``.
    records : sequence of EpochRecord
        One per epoch, at least one.
    summary : mapping, optional
        Content of ``summary.json``; ``None`` while the run has not ended.
    moments : sequence of Moment
        Its links over time, empty for a dense model.
    """

    name: str
    config: Mapping[str, Any]
    records: Sequence[EpochRecord]
    summary: Mapping[str, Any] | None
    moments: Sequence[Moment]

    @property
    def last(self) -> EpochRecord:
        """The record of the last epoch."""
        return self.records[-1]

    @cached_property
    def chain_names(self) -> tuple[str, ...]:
        """Layers of the chain with most links, which pictures show."""
        largest: Mapping[str, Topology] = max(metrics.chains_of(self.moments[-1].layers), key=_n_links)
        return tuple(largest)

    @cached_property
    def n_chains(self) -> int:
        """Chains of the model."""
        return len(metrics.chains_of(self.moments[-1].layers))

    @cached_property
    def structures(self) -> dict[str, Structure]:
        """The chain that pictures show, before training and at the latest, by when."""
        chosen = {moment.label: moment for moment in (self.moments[0], self.moments[-1])}
        return {label: Structure(self.chain_at(moment)) for label, moment in chosen.items()}

    @property
    def latest(self) -> Structure:
        """The chain that pictures show, at the latest."""
        return list(self.structures.values())[-1]

    def chain_at(self, moment: Moment) -> list[Topology]:
        """Return the chain that pictures show at another time."""
        return [moment.layers[name] for name in self.chain_names]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Return the runs in some folders, each under a name of its own.

    Raises
    ------
    CheckpointError
        If a folder is not that of a run, or is damaged.
    ConfigError
        If a folder is named twice, or its run has not finished an epoch.
    """
    places = [path.resolve() for path in paths]
    if not places or len(set(places)) < len(places):
        raise ConfigError(f"Expected the folders of one or more different runs. Got {[str(path) for path in paths]}.")
    return [_read(path, name) for path, name in zip(places, _names(places), strict=True)]


def _read(path: Path, name: str) -> Run:
    folder = RunFolder(path)
    records = folder.metrics()
    if not records:
        raise ConfigError(f"Expected at least one finished epoch in {path}. Got none. Train or resume it first.")
    return Run(name, folder.config(), records, folder.summary(), moments_of(folder))


def _n_links(layers: Mapping[str, Topology]) -> int:
    return sum(layer.n_links for layer in layers.values())


def _names(places: Sequence[Path]) -> list[str]:
    """Return as much of the end of each path as tells it from the others."""
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names
