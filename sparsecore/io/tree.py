"""Nested state split into plain JSON and named tensors, and put together again; no pickle anywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from sparsecore.errors import CheckpointError

__all__ = ["pack", "unpack"]

# A JSON object with exactly one of these keys stands for what JSON cannot say itself.
_DICT, _TUPLE, _TENSOR, _ARRAY, _FLOAT = "$dict", "$tuple", "$tensor", "$array", "$float"


def pack(state: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """Split `state` into JSON values and tensors named by their place in it.

    Parameters
    ----------
    state : nested dict, list, tuple
        Leaves are tensors, numpy arrays and scalars, numbers, strings, booleans or None.

    Returns
    -------
    tree : JSON value
    tensors : dict of str to Tensor
        Contiguous, on the CPU, none sharing memory with another.

    Raises
    ------
    CheckpointError
        If a leaf is of another type; the message names its place. If it is nested too deep.
    """
    tensors: dict[str, torch.Tensor] = {}
    try:
        return _pack(state, "", tensors), tensors
    except RecursionError as error:
        raise CheckpointError(
            "Expected a state of at most some hundred levels. Got a deeper one, or a circle."
        ) from error


def unpack(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return the state that `pack` split.

    Raises
    ------
    CheckpointError
        If the tree is not one that `pack` gives, or names a tensor that is not there.
    """
    try:
        return _unpack(tree, tensors)
    except CheckpointError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"Expected a state as sparsecore writes it. Got something else ({error}).") from error


def _unpack(tree: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(tree, list):
        return [_unpack(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, content),) = tree.items()
    if tag == _DICT:
        return {_unpack(key, tensors): _unpack(value, tensors) for key, value in content}
    if tag == _TUPLE:
        return tuple(_unpack(item, tensors) for item in content)
    if tag == _FLOAT:
        return float(content)
    if tag not in (_TENSOR, _ARRAY):
        raise CheckpointError(f"Expected a dict, tuple, float, tensor or array in the checkpoint. Got {tag!r}.")
    if not isinstance(content, str) or content not in tensors:
        raise CheckpointError(f"Expected a tensor called {content!r} in the checkpoint. Got none.")
    return tensors[content].numpy() if tag == _ARRAY else tensors[content]


def _pack(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {_FLOAT: repr(value)}
    if isinstance(value, list):
        return [_pack(item, f"{place}.{i}", tensors) for i, item in enumerate(value)]
    if isinstance(value, tuple):
        return {_TUPLE: [_pack(item, f"{place}.{i}", tensors) for i, item in enumerate(value)]}
    if isinstance(value, dict):
        return {_DICT: [[_key(key, place), _pack(item, f"{place}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, torch.Tensor):
        return {_TENSOR: _store(value.detach(), place, tensors)}
    if isinstance(value, np.ndarray):
        return {_ARRAY: _store(_as_tensor(value, place), place, tensors)}
    raise CheckpointError(
        f"Expected tensors, arrays, numbers, strings, lists, tuples and dicts in a checkpoint. "
        f"Got {type(value).__name__} at {place.lstrip('.') or 'the top'!r}. Give it a state_dict of those."
    )


def _key(key: Any, place: str) -> Any:
    if isinstance(key, np.generic):
        key = key.item()
    if key is None or isinstance(key, (bool, int, float, str)):
        return _pack(key, place, {})
    raise CheckpointError(f"Expected keys that are strings or numbers at {place.lstrip('.')!r}. Got {key!r}.")


def _as_tensor(array: Any, place: str) -> torch.Tensor:
    try:
        return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))
    except TypeError as error:
        raise CheckpointError(
            f"Expected a numeric array at {place.lstrip('.')!r}. Got dtype {array.dtype}, which has no tensor form."
        ) from error


def _store(tensor: torch.Tensor, place: str, tensors: dict[str, torch.Tensor]) -> str:
    if tensor.layout != torch.strided:
        raise CheckpointError(f"Expected a strided tensor at {place.lstrip('.')!r}. Got {tensor.layout}.")
    if tensor.is_meta:
        raise CheckpointError(
            f"Expected a tensor with values at {place.lstrip('.')!r}. Got one on the meta device. Materialize it first."
        )
    tensor = tensor.resolve_conj().resolve_neg()
    name = place.lstrip(".") or "value"
    while name in tensors or name == "__metadata__":  # {"a.b": x, "a": {"b": y}} would meet; one name is the format's
        name += "'"
    # A clone, because two names for one memory (tied weights) cannot be stored by safetensors.
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    shared = any(tensor.data_ptr() == other.data_ptr() and tensor.numel() for other in tensors.values())
    tensors[name] = tensor.cpu().contiguous() if whole and not shared else tensor.cpu().contiguous().clone()
    return name
