"""What a result must say about where it was made."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from sparsecore.kernels import get_num_threads

__all__ = ["machine"]

_LIBRARIES = ("torch", "numba", "numpy", "scipy", "sparselab", "sparseprop", "torch-sparse")


def machine() -> dict[str, Any]:
    """Return CPU, threads, versions and commit as plain JSON data."""
    return {
        "cpu": _cpu_name(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "kernel_threads": get_num_threads(),
        "python": platform.python_version(),
        "system": platform.platform(aliased=True, terse=True),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "commit": _commit(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
