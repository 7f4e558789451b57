"""The model of a run, without its data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sparsecore.errors import CheckpointError, SparseCoreError
from sparsecore.io import RunFolder
from sparsecore.models.mlp import MLP

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
    smallest = min(below * above for below, above in zip([n_in, *hidden[:-1]], hidden, strict=True))
    # Links to be replaced by those of the state: one in the smallest layer.
    density = min(0.99, 1 / smallest) if sparse else 1.0
    model = MLP(n_in, hidden, state["head.weight"].shape[0], density=density, seed=0)
    model.load_state_dict(dict(state))
    return model
