"""Compiles CUDA C++ for a GPU that is not there: NVRTC from its wheel needs no driver."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

_ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Usage:
    """What one kernel takes of the hardware."""

    kernel: str
    registers: int
    spilled_bytes: int
    shared_bytes: int


def find_library() -> Path | None:
    """Return NVRTC's library from the wheel, or ``None``."""
    try:
        spec = importlib.util.find_spec("nvidia.cuda_nvrtc")
    except ModuleNotFoundError:
        return None
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    found = [path for folder in folders for path in sorted(Path(folder, "lib").glob("libnvrtc.so.*"))]
    return found[0] if found else None


def compiled(library: Path, code: str, arch: str) -> list[Usage]:
    """Compile to machine code of `arch`, as ``"sm_90"``; raise `RuntimeError` with the log of what does not compile."""
    nvrtc = ctypes.CDLL(str(library))
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernels.cu", 0, None, None)
    options = [b"-std=c++17", b"-arch=" + arch.encode(), b"--ptxas-options=-v"]
    status = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    text = log.value.decode()
    if status:
        raise RuntimeError(text)
    return usages(text)


def usages(log: str) -> list[Usage]:
    """Read what the assembler reports."""
    found = _ENTRY.split(log)[1:]
    kernels = zip(found[0::3], found[2::3], strict=True)
    return [Usage(name, _sum(_USED, text), _sum(_SPILLS, text), _sum(_SHARED, text)) for name, text in kernels]


def _sum(pattern: re.Pattern[str], text: str) -> int:
    hit = pattern.search(text)
    return 0 if hit is None else sum(map(int, hit.groups()))


def report(library: Path, sources: dict[str, str]) -> str:
    """Return a Markdown table: registers, shared memory and spilled bytes of every kernel for sm_80 and sm_90."""
    lines = [
        "| source | kernel | registers, sm_80 | sm_90 | shared memory, bytes | spilled, bytes |",
        "|---|---|---|---|---|---|",
    ]
    for file, code in sources.items():
        for old, new in zip(*(compiled(library, code, arch) for arch in ("sm_80", "sm_90")), strict=True):
            spilled = old.spilled_bytes + new.spilled_bytes
            lines.append(
                f"| {file}.cu | {old.kernel} | {old.registers} | {new.registers} | {new.shared_bytes} | {spilled} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    from sparsecore.kernels.gpu.runtime import SOURCES, source

    found = find_library()
    if found is None:
        sys.exit("Expected NVRTC. Got none. pip install nvidia-cuda-nvrtc-cu12")
    sys.stdout.write(report(found, {file: source(file) for file in SOURCES}) + "\n")
