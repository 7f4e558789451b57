"""Kernels: forward and backward products of link lists, one backend per device."""

from sparsecore.kernels.backend import (
    Backend,
    Layer,
    available,
    choose,
    register_backend,
    register_finder,
    use,
)
from sparsecore.kernels.cpu import (
    NumbaBackend,
    deterministic,
    get_num_threads,
    is_deterministic,
    set_deterministic,
    set_num_threads,
)
from sparsecore.kernels.gpu import CudaBackend, find_backend, find_runtime
from sparsecore.kernels.reference import ReferenceBackend
from sparsecore.kernels.torch_native import TorchBackend

register_backend(ReferenceBackend())
register_backend(TorchBackend())
register_backend(NumbaBackend(), devices=("cpu",))
register_finder("cuda", find_backend)

__all__ = [
    "Backend",
    "CudaBackend",
    "Layer",
    "NumbaBackend",
    "ReferenceBackend",
    "TorchBackend",
    "available",
    "choose",
    "deterministic",
    "find_backend",
    "find_runtime",
    "get_num_threads",
    "is_deterministic",
    "register_backend",
    "register_finder",
    "set_deterministic",
    "set_num_threads",
    "use",
]
