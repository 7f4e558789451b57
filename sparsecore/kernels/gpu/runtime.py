"""Compiles the CUDA sources and launches kernels on torch tensors: through cupy on a GPU."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

__all__ = ["GRID_LIMIT", "SOURCES", "WARP", "CupyRuntime", "Runtime", "find_runtime", "source"]

#: Every source and the kernels' common part, which is put before each.
SOURCES = ("products", "tensor", "walks", "scores", "select")
COMMON = "common.cuh"

#: Most blocks along the second axis of a grid.
GRID_LIMIT = 65535

#: Shared memory of a block that a kernel has without asking.
_SHARED_BYTES = 48 * 1024

#: Threads of a warp.
WARP = 32

#: What a kernel takes: tensors by address, integers as int64, floats as float64, ``np.uint64`` as itself.
Argument = torch.Tensor | int | float | np.uint64 | None


class Runtime(Protocol):
    """Launches kernels of the sources by name.

    Attributes
    ----------
    shared_bytes : int
        Most shared memory of one block.
    """

    shared_bytes: int

    def launch(
        self, file: str, kernel: str, grid: tuple[int, int], threads: int, *arguments: Argument, shared: int = 0
    ) -> None:
        """Run one kernel over ``grid`` blocks of ``threads`` threads; nothing where the grid is empty."""
        ...


def source(file: str) -> str:
    """Return the CUDA C++ text of one of `SOURCES`, with the common part before it."""
    folder = Path(__file__).parent
    return "\n".join((folder / name).read_text(encoding="utf-8") for name in (COMMON, f"{file}.cu"))


class CupyRuntime:
    """Kernels on the device of their tensors and torch's current stream there; memory comes from torch alone."""

    def __init__(self) -> None:
        import cupy

        self._cupy = cupy
        self._kernels: dict[tuple[str, str, int], Any] = {}
        self._streams: dict[tuple[int, int], Any] = {}
        properties = torch.cuda.get_device_properties(torch.cuda.current_device())
        self.shared_bytes = int(getattr(properties, "shared_memory_per_block_optin", _SHARED_BYTES))

    def launch(
        self, file: str, kernel: str, grid: tuple[int, int], threads: int, *arguments: Argument, shared: int = 0
    ) -> None:
        """Run one kernel; it is compiled on first use, and kept on disk by cupy."""
        if not grid[0] or not grid[1]:
            return
        device = next(part.device for part in arguments if isinstance(part, torch.Tensor)).index
        stream = self._stream(device, torch.cuda.current_stream(device).cuda_stream)
        with self._cupy.cuda.Device(device), stream:
            function = self._function(file, kernel, device)
            if shared > _SHARED_BYTES:
                function.max_dynamic_shared_size_bytes = shared
            function((*grid, 1), (threads, 1, 1), tuple(map(_packed, arguments)), shared_mem=shared)

    def _stream(self, device: int, address: int) -> Any:
        known = self._streams.get((device, address))
        if known is None:
            known = self._streams[device, address] = self._cupy.cuda.Stream.from_external(_Stream(address))
        return known

    def _function(self, file: str, kernel: str, device: int) -> Any:
        known = self._kernels.get((file, kernel, device))
        if known is None:
            module = self._cupy.RawModule(code=source(file), options=("-std=c++17",))
            known = self._kernels[file, kernel, device] = module.get_function(kernel)
        return known


class _Stream:
    """A stream of torch, shown as the CUDA stream protocol asks: not every torch has it."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self._address


def _packed(argument: Argument) -> Any:
    if argument is None:
        return np.uintp(0)
    if isinstance(argument, torch.Tensor):
        return np.uintp(argument.data_ptr())
    if isinstance(argument, np.uint64):
        return argument
    return np.float64(argument) if isinstance(argument, float) else np.int64(argument)


@functools.cache
def find_runtime() -> tuple[Runtime | None, str]:
    """Return what launches kernels on the GPU, or ``None`` and one line that says why; never raises."""
    if torch.version.cuda is None:
        return None, "this torch was built without CUDA: pip install --force-reinstall torch 'sparsecore-engine[gpu]'"
    if not torch.cuda.is_available():
        return None, "torch finds no CUDA device or driver"
    if importlib.util.find_spec("cupy") is None:
        return None, f"cupy is missing: pip install 'cupy-cuda{torch.version.cuda.split('.')[0]}x>=14'"
    try:
        runtime = CupyRuntime()
        runtime.launch("select", "fill_iota", (1, 1), WARP, torch.empty(1, dtype=torch.int64, device="cuda"), 1)
    except Exception as error:  # cupy raises its own types, which exist only where it is installed
        return None, f"cupy does not run here: {' '.join(str(error).split())[:200]}"
    return runtime, "cupy"
