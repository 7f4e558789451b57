"""Runs the CUDA sources on the CPU, thread by thread: the check of the kernels where there is no GPU.

The sources are compiled by a host C++ compiler behind ``shim.h``. Arguments are held against the kernels' signatures,
which a GPU would not do.
"""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsecore.errors import ConfigError, DtypeError, ShapeError
from sparsecore.kernels.gpu.runtime import Argument, source

__all__ = ["HostRuntime"]

_SIGNATURE = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([\d, ]+\)\s*)?(\w+)\(([^)]*)\)')
_POINTEES = {
    "float": (torch.float32,),
    "double": (torch.float64,),
    "bf16": (torch.bfloat16,),
    "int": (torch.int32,),
    "unsigned char": (torch.uint8, torch.bool),
    "i64": (torch.int64,),
    "u64": (torch.int64,),
}
_SCALARS = {"i64": int, "double": float, "u64": np.uint64}


class HostRuntime:
    """Launches kernels on CPU tensors.

    Parameters
    ----------
    sanitize : bool
        Build with the address and undefined-behaviour sanitizers; the process must have been started with the address
        sanitizer's library preloaded.
    backwards : bool
        Start the threads of a block from the last: a result that depends on it lacks a barrier.
    shared_bytes : int
        What a block is told to have; small values make many tiles of little data.
    cache : Path, optional
        Folder of the compiled libraries; a folder of the system for temporary files when missing.

    Raises
    ------
    ConfigError
        If there is no ``g++``.
    """

    def __init__(
        self,
        *,
        sanitize: bool = False,
        backwards: bool = False,
        shared_bytes: int = 16 * 1024,
        cache: Path | None = None,
    ) -> None:
        if shutil.which("g++") is None:
            raise ConfigError("Expected a host compiler, g++. Got none in PATH. Install it to run CUDA sources here.")
        self.shared_bytes = shared_bytes
        self._sanitize, self._backwards = sanitize, backwards
        self._cache = cache or Path(tempfile.gettempdir()) / "sparsecore-gpu-host"
        self._libraries: dict[str, tuple[Any, dict[str, list[str]]]] = {}

    def launch(
        self, file: str, kernel: str, grid: tuple[int, int], threads: int, *arguments: Argument, shared: int = 0
    ) -> None:
        """Run one kernel, block after block.

        Raises
        ------
        DtypeError
            If an argument is of another type than the kernel takes.
        ShapeError
            If there are more or fewer arguments than it takes.
        ConfigError
            If the kernel breaks a rule of the hardware that the shim watches.
        """
        if file not in self._libraries:
            self._libraries[file] = self._load(file)
        library, signatures = self._libraries[file]
        types = signatures[kernel]
        if len(types) != len(arguments):
            raise ShapeError(f"Expected {len(types)} arguments of {kernel}. Got {len(arguments)}.")
        packed = [_packed(kernel, kind, argument) for kind, argument in zip(types, arguments, strict=True)]
        if not grid[0] or not grid[1]:
            return
        call = getattr(library, f"launch_{kernel}")
        call.restype = ctypes.c_char_p
        sizes = [ctypes.c_uint(n) for n in (*grid, threads)]
        error = call(*sizes, ctypes.c_size_t(shared), ctypes.c_int(self._backwards), *packed)
        if error:
            raise ConfigError(f"Expected {kernel} to keep the rules of CUDA. Got {error.decode()}.")

    def text(self, file: str) -> str:
        """Return the CUDA C++ text to build."""
        return source(file)

    def _load(self, file: str) -> tuple[Any, dict[str, list[str]]]:
        text = self.text(file)
        shim = (Path(__file__).parent / "shim.h").read_text(encoding="utf-8")
        plain = subprocess.run(
            ["g++", "-E", "-P", "-x", "c++", "-"], input=text, capture_output=True, text=True, check=True
        ).stdout
        signatures = {
            name: [_type_of(part) for part in parameters.split(",")] for name, parameters in _SIGNATURE.findall(plain)
        }
        entries = [_entry(name, parameters) for name, parameters in _SIGNATURE.findall(plain)]
        code = "\n".join([shim, text, *entries])
        flags = [
            "-std=c++17",
            "-O1",
            "-g1",
            "-fPIC",
            "-shared",
            "-Wall",
            "-Wno-unknown-pragmas",
            "-Wno-unused-function",
        ]
        if self._sanitize:
            flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
        key = hashlib.blake2b(" ".join([code, *flags]).encode(), digest_size=12).hexdigest()
        target = self._cache / f"{file}-{key}.so"
        if not target.exists():
            self._compile(code, flags, target)
        return ctypes.CDLL(str(target)), signatures

    def _compile(self, code: str, flags: list[str], target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            text, built = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
            text.write_text(code, encoding="utf-8")
            done = subprocess.run(["g++", *flags, "-o", str(built), str(text)], capture_output=True, text=True)
            if done.returncode:
                raise ConfigError(f"Expected sources that a host compiler takes. Got: {done.stderr[:2000]}")
            built.replace(target)


def _type_of(parameter: str) -> str:
    """Return the type of a parameter: what is pointed at and a star, or a scalar type."""
    words = parameter.replace("const ", "").replace("*", " * ").split()[:-1]
    return " ".join(words)


def _entry(name: str, parameters: str) -> str:
    names = ", ".join(part.replace("*", " ").split()[-1] for part in parameters.split(","))
    return (
        f'extern "C" const char *launch_{name}(unsigned gx, unsigned gy, unsigned threads, size_t shared, '
        f"int backwards, {parameters}) {{ return shim::run(gx, gy, threads, shared, backwards, "
        f"[&] {{ {name}({names}); }}); }}"
    )


def _packed(kernel: str, kind: str, argument: Argument) -> Any:
    if kind.endswith("*"):
        if argument is None:
            return ctypes.c_void_p(0)
        wanted = _POINTEES[kind[:-2]]
        if not isinstance(argument, torch.Tensor) or argument.dtype not in wanted or not argument.is_contiguous():
            raise DtypeError(f"Expected a contiguous tensor of {wanted[0]} in {kernel}. Got {_described(argument)}.")
        return ctypes.c_void_p(argument.data_ptr())
    if type(argument) is not _SCALARS[kind]:
        raise DtypeError(f"Expected {kind} in {kernel}. Got {_described(argument)}.")
    if isinstance(argument, float):
        return ctypes.c_double(argument)
    whole = int(argument)  # type: ignore[arg-type]
    return ctypes.c_longlong(whole) if kind == "i64" else ctypes.c_ulonglong(whole)


def _described(argument: Argument) -> str:
    if isinstance(argument, torch.Tensor):
        return f"{'' if argument.is_contiguous() else 'strided '}{argument.dtype}"
    return type(argument).__name__
