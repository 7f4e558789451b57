from __future__ import annotations

import builtins
import copy
import json
import stat
import subprocess
import sys

import numpy as np
import pytest
import safetensors
import scipy.sparse
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import random_topology
from torch import nn

from sparsecore.errors import CheckpointError, ExportError, UnknownNameError
from sparsecore.io import export_model, load_exported
from sparsecore.models import MLP
from sparsecore.nn import SparseLinear, SparseSequential, sparse_layers

LOADED = ("safetensors", "scipy", "torch")
SUFFIX = {"safetensors": ".safetensors", "scipy": "", "torch": ".pt2", "onnx": ".onnx"}
ACTIVATIONS = (
    nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.2), nn.ELU(0.5), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Tanh(),
    nn.Sigmoid(), nn.Softplus(2.0), nn.Softplus(2.0, threshold=0.5), nn.Hardtanh(-0.5, 0.7), nn.Dropout(0.5),
    nn.Identity(), nn.ReLU(inplace=True),
)  # fmt: skip


def mlp(density=0.01, dtype=torch.float32):
    model = MLP(100, (300, 200), 7, density=density, seed=0)
    for layer in (*sparse_layers(model).values(), model.head):
        nn.init.normal_(layer.bias, std=0.2)
    return model.to(dtype).eval()


def norm(n):
    module = nn.BatchNorm1d(n)
    nn.init.uniform_(module.running_mean, -1, 1)
    nn.init.uniform_(module.running_var, 0.5, 2)
    return module.eval()


def run_onnx(path, x):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra onnx)")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def needs_onnx():
    pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")


@pytest.mark.parametrize("format", LOADED)
@pytest.mark.parametrize("compacted", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_comes_back_with_the_same_outputs(tmp_path, format, compacted, dtype):
    model = mlp(dtype=dtype)
    written = export_model(model, tmp_path / f"model{SUFFIX[format]}", format, compacted=compacted)
    assert (written.compaction is not None) == compacted
    back = load_exported(written.path)
    for batch in (1, 2, 33, 2000):
        x = torch.randn(batch, 100, dtype=dtype)
        with torch.no_grad():
            y = model(x)
        got = back(x)
        torch.testing.assert_close(got, y, rtol=1e-4, atol=1e-5)
        assert got.grad_fn is None
    assert [path.name for path in tmp_path.iterdir()] == [written.path.name]


@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(data=st.data(), format=st.sampled_from(["safetensors", "scipy"]), compacted=st.booleans())
def test_any_sequence_of_known_modules_comes_back(tmp_path_factory, data, format, compacted):
    modules = []
    for n_in, n_out in ((12, 20), (20, 16), (16, 5)):
        density = data.draw(st.sampled_from([0.0, 0.1, 0.5]))
        topology = random_topology(n_out, n_in, density, seed=n_in)
        bias, relu = data.draw(st.booleans()), data.draw(st.booleans())
        modules.append(SparseLinear(n_in, n_out, bias, topology=topology, relu=relu, seed=1))
        sized = st.sampled_from([norm(n_out), nn.LayerNorm(n_out), nn.LayerNorm(n_out, bias=False), nn.RMSNorm(n_out)])
        modules += data.draw(st.lists(st.one_of(st.sampled_from(ACTIVATIONS), sized), max_size=2))
    net = SparseSequential(*modules).eval()
    target = tmp_path_factory.mktemp("export") / f"net{SUFFIX[format]}"
    back = load_exported(export_model(net, target, format, compacted=compacted).path)
    x = torch.randn(9, 12)
    torch.testing.assert_close(back(x), net(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=repr)
def test_every_activation_survives_torch_and_onnx(tmp_path, activation):
    net = nn.Sequential(nn.Linear(6, 8), activation, norm(8), nn.LayerNorm(8), SparseLinear(8, 3, density=0.5, seed=0))
    net.eval()
    x = 3 * torch.randn(17, 6)
    back = load_exported(export_model(net, tmp_path / "net.pt2", "torch").path)
    torch.testing.assert_close(back(x), net(x).detach(), rtol=1e-4, atol=1e-5)
    needs_onnx()
    written = export_model(net, tmp_path / "net.onnx", "onnx")
    torch.testing.assert_close(run_onnx(written.path, x), net(x).detach(), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_stored_as_it_is_or_widened(tmp_path):
    model = mlp(dtype=torch.bfloat16)
    x = torch.randn(8, 100)
    for format in LOADED:
        back = load_exported(export_model(model, tmp_path / f"m{SUFFIX[format]}", format, compacted=False).path)
        stored = {p.dtype for p in (*back.parameters(), *back.buffers()) if p.is_floating_point()}
        assert stored == {torch.bfloat16 if format == "safetensors" else torch.float32}
        got = back(x.to(next(iter(stored)))).float()
        torch.testing.assert_close(got, copy.deepcopy(model).float()(x).detach(), rtol=5e-2, atol=5e-2)


def test_the_safetensors_file_is_read_without_sparsecore(tmp_path):
    model = mlp()
    written = export_model(model, tmp_path / "model.safetensors", compacted=False)
    x = torch.randn(4, 100)
    with safetensors.safe_open(written.path, "numpy") as file:
        y = x.numpy()
        for name, size in json.loads(file.metadata()["sparse_layers"]).items():
            values, rows, col_ptr, bias = (
                file.get_tensor(f"{name}.{p}") for p in ("values", "rows", "col_ptr", "bias")
            )
            weight = scipy.sparse.csc_array((values, rows, col_ptr), shape=(size["n_out"], size["n_in"]))
            y = np.maximum(y @ weight.T + bias, 0)
        y = y @ file.get_tensor("head.weight").T + file.get_tensor("head.bias")
    np.testing.assert_allclose(y, model(x).detach().numpy(), rtol=1e-4, atol=1e-5)
    assert stat.S_IMODE(written.path.stat().st_mode) & stat.S_IRUSR
    assert written.n_bytes == written.path.stat().st_size


def test_scipy_opens_one_csr_per_layer(tmp_path):
    model = mlp()
    folder = export_model(model, tmp_path / "model", "scipy", compacted=False).path
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.json", "tensors.npz", "hidden.0.npz", "hidden.2.npz"}
    for name, layer in sparse_layers(model).items():
        matrix = scipy.sparse.load_npz(folder / f"{name}.npz")
        assert (matrix.format, matrix.shape) == ("csr", layer.topology.shape)
        x = torch.randn(5, layer.in_features)
        y = x.numpy() @ matrix.T.toarray() + layer.bias.detach().numpy()
        np.testing.assert_allclose(y, layer(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_torch_program_runs_without_sparsecore_and_stays_sparse(tmp_path):
    net = SparseSequential(SparseLinear(20_000, 30_000, density=1e-4, seed=0), nn.ReLU())
    written = export_model(net, tmp_path / "net.pt2", "torch", compacted=False)
    assert written.n_bytes < 40 * 60_000
    code = (
        "import sys, torch\n"
        "program = torch.export.load(sys.argv[1]).module()\n"
        "print(program(torch.ones(7, 20_000)).double().sum().item())\n"
        "assert not any(name.startswith('sparsecore') for name in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, written.path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = net(torch.ones(7, 20_000)).double().sum().item()
    assert float(done.stdout) == pytest.approx(expected, rel=1e-5)


def test_onnx_holds_what_is_dense_inside(tmp_path):
    needs_onnx()
    block = random_topology(100, 100, 0.01)
    rows, cols = np.meshgrid(np.arange(20), np.arange(30), indexing="ij")
    block = type(block).from_coo(rows.ravel(), cols.ravel(), shape=(100, 100))
    net = SparseSequential(SparseLinear(100, 100, topology=block, relu=True, seed=0), nn.Linear(100, 4))
    nn.init.normal_(net[0].bias)
    written = export_model(net, tmp_path / "net.onnx", "onnx")
    assert written.n_bytes < 8000
    for batch in (1, 50):
        x = torch.randn(batch, 100)
        torch.testing.assert_close(run_onnx(written.path, x), net(x).detach(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ExportError, match="onnxruntime"):
        load_exported(written.path)


def test_onnx_refuses_sparse_layers_and_says_what_to_do(tmp_path):
    with pytest.raises(ExportError, match=r"ONNX has no sparse product.*dense_above=0: 0\.\d MiB"):
        export_model(mlp(), tmp_path / "net.onnx", "onnx")
    assert not list(tmp_path.iterdir())


def test_onnx_takes_dense_layers_when_they_are_asked_for(tmp_path):
    needs_onnx()
    for index, model in enumerate((mlp(), mlp(dtype=torch.float64))):
        written = export_model(model, tmp_path / f"{index}.onnx", "onnx", dense_above=0)
        x = torch.randn(9, 100, dtype=model.head.weight.dtype)
        torch.testing.assert_close(run_onnx(written.path, x), model(x).detach(), rtol=1e-4, atol=1e-5)


def test_a_model_that_became_constant_survives_every_format(tmp_path):
    empty = random_topology(5, 8, 0.0)
    net = nn.Sequential(SparseLinear(8, 5, topology=empty, seed=0), nn.Tanh(), SparseLinear(5, 3, density=0.5, seed=0))
    nn.init.normal_(net[0].bias)
    x = torch.randn(4, 8)
    for format in LOADED:
        back = load_exported(export_model(net, tmp_path / f"net{SUFFIX[format]}", format).path)
        torch.testing.assert_close(back(x), net(x).detach())
    needs_onnx()
    written = export_model(net, tmp_path / "net.onnx", "onnx")
    torch.testing.assert_close(run_onnx(written.path, x), net(x).detach())


def test_without_the_package_onnx_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] == "onnx":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ExportError, match=r"pip install 'sparsecore-engine\[onnx\]'"):
        export_model(nn.Sequential(nn.Linear(2, 2)), tmp_path / "net.onnx", "onnx")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = SparseLinear(8, 8, density=0.3, seed=0)
        self.head = nn.Linear(8, 2)
        self.tied = self.head

    def forward(self, x):
        return self.head(x + self.layer(x))


@pytest.mark.parametrize("format", ["safetensors", "scipy"])
def test_any_model_is_written_as_tensors_that_load_into_it(tmp_path, format):
    model = Residual()
    path = export_model(model, tmp_path / f"model{SUFFIX[format]}", format, compacted=False).path
    with pytest.raises(ExportError, match="tensors alone.*Got Residual.*state_dict"):
        load_exported(path)
    if format == "safetensors":
        twin = Residual()
        nn.init.zeros_(twin.layer.values)
        twin.load_state_dict(safetensors.torch.load_file(path))
        assert torch.equal(twin.layer.values, model.layer.values)


@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_models_that_are_no_sequence_are_refused_where_a_program_is_needed(tmp_path, format):
    with pytest.raises(ExportError, match="one module after another.*Got Residual"):
        export_model(Residual(), tmp_path / "x", format, compacted=False)
    with pytest.raises(ExportError, match="Expected modules out of .*Got Softmax at '1'"):
        export_model(nn.Sequential(SparseLinear(4, 4, density=0.5), nn.Softmax(-1)), tmp_path / "x", format)
    assert not list(tmp_path.iterdir())


def test_hooks_are_refused_because_files_hold_no_code(tmp_path):
    net = nn.Sequential(SparseLinear(4, 4, density=0.5), nn.Dropout())
    net[1].register_forward_hook(lambda module, args, output: output + 1)
    with pytest.raises(ExportError, match="without hooks. Got some on '1'"):
        export_model(net, tmp_path / "net.pt2", "torch", compacted=False)


def test_a_layer_used_twice_is_written_twice(tmp_path):
    shared = SparseLinear(6, 6, density=0.5, seed=0)
    net = nn.Sequential(shared, nn.ReLU(), shared)
    x = torch.randn(5, 6)
    for format in LOADED:
        back = load_exported(export_model(net, tmp_path / f"net{SUFFIX[format]}", format).path)
        torch.testing.assert_close(back(x), net(x).detach(), rtol=1e-5, atol=1e-5)


def test_nothing_is_replaced_unless_asked_for(tmp_path):
    path = tmp_path / "model"
    export_model(mlp(), path)
    with pytest.raises(ExportError, match="which exists"):
        export_model(mlp(), path)
    for compacted in (True, False):
        export_model(mlp(), path, "scipy", replace=True, compacted=compacted)
        assert path.is_dir()
    with pytest.raises(ExportError, match="which exists"):
        export_model(mlp(), path, "scipy")
    with pytest.raises(UnknownNameError, match="Did you mean 'safetensors'"):
        export_model(mlp(), path, "safetensor")
    with pytest.raises(CheckpointError, match="Expected to write"):
        export_model(mlp(), tmp_path / "no" / "folder")


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.parametrize("format", LOADED)
@pytest.mark.parametrize("kind", ["run", "foreign", "damaged", "more"])
def test_a_folder_with_anything_but_an_export_stays(tmp_path, format, kind):
    folder = tmp_path / "folder"
    if kind == "more":
        export_model(mlp(), folder, "scipy")
    else:
        folder.mkdir()
    header = {"foreign": '{"format": "other"}', "damaged": '{"format": "sparsecore-export", "version": 1'}.get(kind)
    (folder / ("notes.txt" if header is None else "model.json")).write_text(header or "only copy")
    before = names(tmp_path)
    for replace in (True, False):
        with pytest.raises(ExportError, match="Got the folder .*Choose another"):
            export_model(mlp(), folder, format, replace=replace)
    assert names(tmp_path) == before


@pytest.mark.parametrize("format", ["safetensors", "torch", "onnx"])
def test_only_scipy_replaces_the_folder_of_an_export(tmp_path, format):
    folder = export_model(mlp(), tmp_path / "model", "scipy").path
    with pytest.raises(ExportError, match="Got the folder"):
        export_model(mlp(), folder, format, replace=True)
    load_exported(folder)


@pytest.mark.parametrize("format", LOADED)
def test_damaged_files_are_named(tmp_path, format):
    path = export_model(mlp(), tmp_path / f"model{SUFFIX[format]}", format).path
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        whole = file.read_bytes()
        for kept in (whole[: len(whole) // 2], b""):
            file.write_bytes(kept)
            with pytest.raises(CheckpointError, match=path.name):
                load_exported(path)
        file.write_bytes(whole)
    load_exported(path)


def test_foreign_missing_and_contradicting_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(CheckpointError, match="no such file"):
        load_exported(path)
    safetensors.torch.save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="another program"):
        load_exported(path)
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, {"format": "sparsecore-export", "version": "9"})
    with pytest.raises(CheckpointError, match="version 1 in .*Got 9"):
        load_exported(path)
    export_model(mlp(), path, replace=True)
    with safetensors.safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name = next(name for name in tensors if name.endswith("rows"))
    tensors[name] = tensors[name].flip(0)
    safetensors.torch.save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="rows sorted"):
        load_exported(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="damaged"):
        load_exported(tmp_path / "folder")
