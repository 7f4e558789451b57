"""What a result must say about where it was made."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

import sparsecore
from sparsecore.io.machine import processor
from sparsecore.kernels import get_num_threads

__all__ = ["commit", "machine", "source_digest"]

_LIBRARIES = ("torch", "numba", "numpy", "scipy", "sparselab", "sparseprop", "torch-sparse")

_ENGINE = Path(sparsecore.__file__).resolve().parent
_BENCH = Path(__file__).resolve().parent

#: What changes no measured number: the command line, reports, the page and its pictures, networks and papers.
_NO_MATTER = ("metrics/", "cli/", "report/", "page/", "run.py", "store.py", "networks", "papers", "scale/")


def machine() -> dict[str, Any]:
    """Return CPU, threads, versions and commit as plain JSON data."""
    return {
        "cpu": processor(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "kernel_threads": get_num_threads(),
        "python": platform.python_version(),
        "system": platform.platform(aliased=True, terse=True),
        "versions": {name: _version(name) for name in _LIBRARIES},
        "commit": commit(),
        "source": source_digest(),
    }


@cache
def source_digest() -> str:
    """Return a hash of the sources that a measured number depends on, whether they are committed or not."""
    state = hashlib.blake2b(digest_size=8)
    for folder in (_ENGINE, _BENCH):
        for path in sorted(folder.rglob("*.py")):
            name = path.relative_to(folder).as_posix()
            if not name.startswith(_NO_MATTER):
                state.update(name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


@cache
def commit() -> str | None:
    """Return the short commit, with a ``+`` where sources differ from it; ``None`` outside a repository."""
    head = _git("rev-parse", "--short", "HEAD")
    if head is None:
        return None
    changed = _git("status", "--porcelain", "--", str(_ENGINE), *map(str, sorted(_BENCH.rglob("*.py"))))
    return head + ("+" if changed else "")


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=_BENCH, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
