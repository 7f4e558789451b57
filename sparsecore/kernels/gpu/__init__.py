"""The GPU engine: CUDA C++ kernels, launched through cupy on torch's tensors; the only room that imports cupy."""

from sparsecore.kernels.gpu.backend import CudaBackend, engine, find_backend
from sparsecore.kernels.gpu.runtime import find_runtime

__all__ = ["CudaBackend", "engine", "find_backend", "find_runtime"]
