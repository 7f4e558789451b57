"""Which backend runs where, and what is said when the GPU is not used."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gpu_runtimes import gpu_runtime

import sparsecore.kernels.gpu
from sparsecore import kernels
from sparsecore.cli.doctor import findings
from sparsecore.errors import ConfigError
from sparsecore.kernels import gpu
from sparsecore.kernels.gpu import runtime as gpu_runtime_module
from sparsecore.kernels.gpu.runtime import SOURCES, find_runtime, source

FOLDER = Path(sparsecore.kernels.gpu.__file__).parent


def test_one_line_says_why_the_gpu_is_not_used_and_what_installs_it():
    runtime, reason = find_runtime()
    if runtime is not None:
        pytest.skip("there is a GPU")
    assert "\n" not in reason
    assert findings()["gpu"] == f"not used: {reason}"
    if torch.version.cuda is None:
        assert "pip install" in reason


def test_a_missing_cupy_is_named_with_the_package_for_this_cuda(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_runtime_module.importlib.util, "find_spec", lambda name: None)
    assert find_runtime.__wrapped__() == (None, "cupy is missing: pip install 'cupy-cuda13x>=14'")


def test_what_cupy_raises_becomes_the_reason(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu_runtime_module.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "cupy", None)  # an import of it fails
    runtime, reason = find_runtime.__wrapped__()
    assert runtime is None
    assert reason.startswith("cupy does not run here: ")


def test_without_kernels_a_cuda_device_gets_the_products_of_torch(caplog):
    if find_runtime()[0] is not None:
        pytest.skip("there is a GPU")
    assert gpu.find_backend().name == "torch"
    assert "torch.sparse is: " in caplog.text
    assert gpu.engine(torch.device("cpu")) is None


def test_devices_without_a_backend_are_refused():
    with pytest.raises(ConfigError, match="cpu, cuda. Got device meta"):
        kernels.choose(torch.device("meta"))


def test_importing_the_engine_loads_neither_cupy_nor_a_compiler():
    code = "import sys, sparsecore; print([m for m in ('cupy', 'sparsecore.kernels.gpu.host') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_source_is_listed_and_none_includes_a_header():
    assert sorted(SOURCES) == sorted(path.stem for path in FOLDER.glob("*.cu"))
    for file in SOURCES:
        assert "#include" not in source(file)


@pytest.mark.gpu
def test_the_gpu_is_used_where_there_is_one():
    gpu_runtime()
    assert kernels.choose(torch.device("cuda")).name == "cuda"
    assert "backend cuda" in findings()["gpu"]
