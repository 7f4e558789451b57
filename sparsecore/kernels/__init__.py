"""Kernels: forward and backward products of link lists, one backend per device."""

from sparsecore.kernels.backend import Backend, Layer, available, choose, register_backend, use
from sparsecore.kernels.cpu import NumbaBackend, get_num_threads, set_num_threads
from sparsecore.kernels.reference import ReferenceBackend
from sparsecore.kernels.torch_native import TorchBackend

register_backend(ReferenceBackend())
register_backend(TorchBackend(), devices=("cuda",))
register_backend(NumbaBackend(), devices=("cpu",))

__all__ = [
    "Backend",
    "Layer",
    "NumbaBackend",
    "ReferenceBackend",
    "TorchBackend",
    "available",
    "choose",
    "get_num_threads",
    "register_backend",
    "set_num_threads",
    "use",
]
