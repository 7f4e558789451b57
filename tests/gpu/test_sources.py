"""The CUDA sources compile for GPUs that are not here, and do nothing wrong with memory."""

import os
import subprocess
import sys
from pathlib import Path

import nvrtc
import pytest
from gpu_runtimes import host_runtime

from sparsecore.kernels.gpu.runtime import SOURCES, source

LIBRARY = nvrtc.find_library()

#: Most registers of a kernel, by the threads of its blocks: an SM has 65536.
MOST_REGISTERS = 128


@pytest.mark.skipif(LIBRARY is None, reason="no NVRTC: pip install nvidia-cuda-nvrtc-cu12")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
@pytest.mark.parametrize("file", SOURCES)
def test_sources_compile_without_spilling_registers(file, arch):
    usages = nvrtc.compiled(LIBRARY, source(file), arch)
    assert usages
    assert [usage for usage in usages if usage.spilled_bytes] == []
    assert max(usage.registers for usage in usages) <= MOST_REGISTERS


@pytest.mark.skipif(LIBRARY is None, reason="no NVRTC: pip install nvidia-cuda-nvrtc-cu12")
def test_what_does_not_compile_is_reported():
    with pytest.raises(RuntimeError, match="identifier"):
        nvrtc.compiled(LIBRARY, source("products") + "\nint x = y;", "sm_90")


def sanitized(*words):
    """Run the kernels in a process under the sanitizers."""
    host_runtime()
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout
    if not Path(library.strip()).is_absolute():
        pytest.skip("g++ has no address sanitizer")
    return subprocess.run(
        [sys.executable, str(Path(__file__).parent / "sanitized.py"), *words],
        env=os.environ | {"LD_PRELOAD": library.strip(), "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_memory_is_used_as_the_sanitizers_allow():
    done = sanitized()
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all kernels ran" in done.stdout


def test_the_sanitizers_notice_one_number_too_many():
    done = sanitized("overrun")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
