"""The links of a run at the times that its folder keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparsecore.io import RunFolder, load
from sparsecore.storage import Topology

__all__ = ["Moment", "latest_of", "moments_of"]


@dataclass(frozen=True, eq=False)
class Moment:
    """All sparse layers at one time.

    Attributes
    ----------
    label : str
        When: "before training", "after epoch 3", "after training".
    layers : mapping of str to Topology
        In the order of the model.
    """

    label: str
    layers: Mapping[str, Topology]


def moments_of(folder: RunFolder, *, most: int = 5) -> list[Moment]:
    """Return the links before training, in kept checkpoints and after training; nothing for a dense model.

    Parameters
    ----------
    folder : RunFolder
        A run, finished or not. Checkpoints between start and end exist if it was trained with ``--keep``.
    most : int
        Of more moments, the first, the last and evenly spread ones between are read; at least 2.
    """
    before, after = folder.topologies("before"), folder.topologies("after")
    if not before:
        return [Moment("after training", after)] if after else []
    files = _checkpoints(folder)
    if after and files:
        files.pop()  # the last checkpoint holds the links after training
    room = max(0, most - 1 - bool(after))
    if len(files) > room:
        # The last one stays where it is the end of a run that has not ended.
        steps = np.linspace(0, len(files) - 1, room + 2 * bool(after))
        chosen = np.unique(steps.round().astype(int))
        files = [files[at] for at in (chosen[1:-1] if after else chosen)]
    found = [Moment("before training", before)]
    found += [_at(load(path), before) for path in files]
    return [*found, Moment("after training", after)] if after else found


def latest_of(folder: RunFolder) -> Moment:
    """Return the links after training, or those of the last checkpoint of a run that has not ended."""
    after = folder.topologies("after")
    if after or not folder.checkpoint_path.is_file():
        return Moment("after training", after)
    return _at(folder.state(), folder.topologies("before"))


def _checkpoints(folder: RunFolder) -> list[Path]:
    """Return the checkpoints that were kept, oldest first."""
    newest = folder.checkpoint_path
    older = newest.parent.glob(f"{newest.stem}.*{newest.suffix}")
    numbered = {int(path.stem.rpartition(".")[2]): path for path in older if path.stem.rpartition(".")[2].isdigit()}
    numbered[0] = newest
    return [numbered[age] for age in sorted(numbered, reverse=True) if numbered[age].is_file()]


def _at(state: Mapping[Any, Any], before: Mapping[str, Topology]) -> Moment:
    held = {}
    for name, topology in before.items():
        lists = (state["model"][f"{name}.{part}"].numpy() for part in ("col_ptr", "rows"))
        held[name] = Topology(topology.shape, *lists)
    return Moment(f"after epoch {len(state['records'])}", held)
