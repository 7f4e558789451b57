"""Joining the processes that torchrun started, at the first attempt and after every restart, and leaving them."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import PrefixStore, TCPStore

from sparsecore.distributed.parallel import let_go_of_all
from sparsecore.errors import ConfigError

__all__ = ["start", "stop"]


def start(backend: str | None = None) -> None:
    """Initialize the default process group from the environment that torchrun sets.

    After an elastic restart torchrun keeps its store, in which addresses of processes that are gone can be found. So
    every attempt writes below a prefix of its own.

    Parameters
    ----------
    backend : str, optional
        ``"gloo"`` or ``"nccl"``; nccl where there is a GPU when missing.

    Raises
    ------
    ConfigError
        If the process was not started by torchrun.
    """
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if name not in os.environ]
    if missing:
        raise ConfigError(
            f"Expected the environment of torchrun. Got none of {', '.join(missing)}. Start with torchrun."
        )
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    by_agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    tcp = TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), ranks, is_master=rank == 0 and not by_agent
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if backend is None:
        backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=PrefixStore(f"sparsecore/{attempt}", tcp), rank=rank, world_size=ranks)


def stop() -> None:
    """Leave the default process group, as ``torch.distributed.destroy_process_group`` does, without waiting for ever.

    Where what torch holds inside `DataParallel` outlives the group, its end can wait for a thread of gloo that waits
    for the interpreter lock: a process that has done all its work then never ends. So that goes first.
    """
    let_go_of_all()
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
