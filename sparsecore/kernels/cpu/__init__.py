"""CPU kernels: numba on raw index lists; the only room that imports numba."""

from sparsecore.kernels.cpu.backend import NumbaBackend
from sparsecore.kernels.cpu.heap import keep_freed_memory
from sparsecore.kernels.cpu.threads import (
    deterministic,
    get_num_threads,
    is_deterministic,
    run_parts,
    run_split,
    set_deterministic,
    set_num_threads,
)

__all__ = [
    "NumbaBackend",
    "deterministic",
    "get_num_threads",
    "is_deterministic",
    "run_parts",
    "run_split",
    "set_deterministic",
    "set_num_threads",
]

keep_freed_memory()
