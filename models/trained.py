"""The model of a run, without its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from sparsecore.errors import CheckpointError, SparseCoreError
from sparsecore.io import RunFolder
from sparsecore.models.mlp import MLP
from sparsecore.storage import Topology

__all__ = ["trained_model"]


def trained_model(folder: RunFolder) -> MLP:
    """Return the model of the last checkpoint of a run; sizes and links come from the checkpoint itself.

    Parameters
    ----------
    folder : RunFolder
        A run of the image experiments, finished or not.

    Raises
    ------
    CheckpointError
        If the checkpoint is missing, damaged or holds another model.
    """
    state = folder.state().get("model")
    try:
        if not isinstance(state, Mapping):
            raise ValueError("no model in it")
        return _rebuilt(state)
    except (KeyError, ValueError, RuntimeError, SparseCoreError) as error:
        raise CheckpointError(f"Expected an MLP in {folder.checkpoint_path}. Got: {error}.") from error


def _rebuilt(state: Mapping[str, Any]) -> MLP:
    names = [f"hidden.{2 * index}" for index in range(len(state))]
    names = [name for name in names if f"{name}.bias" in state]
    if not names:
        raise ValueError("no hidden layers in it")
    sparse = "hidden.0.rows" in state
    n_in = state["hidden.0.col_ptr"].numel() - 1 if sparse else state["hidden.0.weight"].shape[1]
    hidden = [state[f"{name}.bias"].numel() for name in names]
    stored = _topologies(state, names, [n_in, *hidden]) if sparse else iter(())
    model = MLP(
        n_in,
        hidden,
        state["head.weight"].shape[0],
        density=0.99 if sparse else 1.0,  # only whether it is 1 matters: the links are given
        topology=(lambda shape, n_links, seed: next(stored)) if sparse else None,
        seed=0,
    )
    model.load_state_dict(dict(state))
    return model


def _topologies(state: Mapping[str, Any], names: list[str], sizes: list[int]) -> Iterator[Topology]:
    for name, n_in, n_out in zip(names, sizes[:-1], sizes[1:], strict=True):
        rows, col_ptr = state[f"{name}.rows"].numpy(), state[f"{name}.col_ptr"].numpy()
        yield Topology((n_out, n_in), col_ptr.astype(np.int64), rows)
