"""What has to hold on every rank before and after an update, compared by hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import nn

from sparsecore.errors import ConfigError, SparseCoreError
from sparsecore.nn import sparse_layers
from sparsecore.storage import Topology

__all__ = ["exchange_device", "require_group", "require_same", "require_whole", "same_links"]


def require_group(group: dist.ProcessGroup | None) -> None:
    """Raise `ConfigError` unless this process belongs to a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        raise ConfigError(
            "Expected an initialized process group. Got none. "
            "Start with torchrun and call torch.distributed.init_process_group first."
        )
    if dist.get_rank(group) < 0:
        raise ConfigError("Expected a process group that this process belongs to. Got another. Pass group=.")


def require_whole(model: nn.Module) -> None:
    """Raise `ConfigError` if link values are sharded, as `fully_shard` does."""
    for name, layer in sparse_layers(model).items():
        if hasattr(layer.values, "device_mesh"):
            raise ConfigError(
                f"Expected whole link values in {name!r}. Got values sharded by fully_shard, which cannot follow links "
                "that move. Use sparsecore.distributed.DataParallel, with ZeroRedundancyOptimizer to shard its state."
            )


def require_same(what: str, content: bytes, group: dist.ProcessGroup | None = None) -> None:
    """Raise on every rank of `group` unless all of them hold the same `content`; 16 bytes per rank are exchanged.

    Parameters
    ----------
    what : str
        Names the content in the message.
    content : bytes
        Compared by hash.
    group : ProcessGroup, optional
        The default group when missing.

    Raises
    ------
    SparseCoreError
        If a rank differs from rank 0; the message names the ranks.
    """
    digest = hashlib.blake2b(content, digest_size=16).digest()
    mine = torch.frombuffer(bytearray(digest), dtype=torch.uint8).to(exchange_device(group))
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everyone, mine, group=group)
    differing = [rank for rank, other in enumerate(everyone) if not torch.equal(other, everyone[0])]
    if differing:
        raise SparseCoreError(
            f"Expected the same {what} on every rank. Got others than on rank 0 on ranks {differing}. "
            "Build models with the same seed and load the same checkpoint on every rank."
        )


def same_links(topologies: Iterable[Topology]) -> bytes:
    """Return what `require_same` compares of some topologies."""
    return b"".join(topology.digest.encode() for topology in topologies)


def exchange_device(group: dist.ProcessGroup | None) -> torch.device:
    """Return the device whose tensors the backend of `group` exchanges."""
    on_gpu = dist.get_backend(group) == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
