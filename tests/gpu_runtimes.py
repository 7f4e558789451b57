"""Where the CUDA sources can run: on this CPU, thread by thread, and on a GPU if there is one."""

from __future__ import annotations

import functools
import shutil

import pytest
import torch

from sparsecore import kernels
from sparsecore.kernels.gpu import find_runtime
from sparsecore.kernels.gpu.host import HostRuntime

#: Name of the backend that runs the CUDA sources on the CPU.
HOST = "cuda-on-host"


@functools.cache
def host_runtime(**options):
    if shutil.which("g++") is None:
        pytest.skip("no g++ to build the CUDA sources for the host")
    return HostRuntime(**options)


def gpu_runtime():
    runtime, reason = find_runtime()
    if runtime is None:
        pytest.skip(f"no GPU: {reason}")
    return runtime


#: Parameters (name, device) of a test that runs on the host always and on a GPU with ``-m gpu``.
RUNTIMES = ["host", pytest.param("gpu", marks=pytest.mark.gpu)]


def runtime_and_device(name):
    if name == "gpu":
        return gpu_runtime(), torch.device("cuda")
    return host_runtime(), torch.device("cpu")


def register_host_backend():
    """Make the CUDA sources one more backend of CPU tensors, where they can be built."""
    if shutil.which("g++") is not None and HOST not in kernels.available():
        kernels.register_backend(kernels.CudaBackend(host_runtime(), HOST))
