"""CPU kernels: numba on raw index lists; the only room that imports numba."""

from sparsecore.kernels.cpu.backend import NumbaBackend
from sparsecore.kernels.cpu.heap import keep_freed_memory
from sparsecore.kernels.cpu.threads import get_num_threads, run_parts, run_split, set_num_threads

__all__ = ["NumbaBackend", "get_num_threads", "run_parts", "run_split", "set_num_threads"]

keep_freed_memory()
