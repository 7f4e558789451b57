"""Memory that stays: activations come back at the same addresses in every step, and the system should not take them."""

from __future__ import annotations

import torch

__all__ = ["keep_freed_memory"]

#: Just below the largest block that glibc's allocator takes from its heap (32 MiB).
_LARGEST = 2**25 - 2**16


def keep_freed_memory() -> None:
    """Make glibc's allocator keep up to 64 MiB of freed memory.

    It learns from the largest block that was freed so far which blocks to take from the heap and how much free memory
    to keep there. Before it has learned, it gives the activations of a step back to the system and takes them anew in
    the next, page by page, which costs more than the step. The block is never written to, so it takes no memory.
    """
    torch.empty(_LARGEST, dtype=torch.uint8)
