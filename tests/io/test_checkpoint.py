from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sparsecore.errors import CheckpointError, ConfigError, SparseCoreError
from sparsecore.io import load, save
from sparsecore.io.tree import pack, unpack

DTYPES = st.sampled_from(["f4", "f8", "f2", "i1", "i4", "i8", "u1", "u4", "u8", "?", ">i4"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
ARRAYS = DTYPES.flatmap(lambda dtype: hnp.arrays(dtype, SHAPES))
KEYS = st.one_of(st.text(max_size=4), st.integers(-(2**70), 2**70), st.booleans(), st.none())
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-(2**130), 2**130), st.floats(), st.text(), ARRAYS)
STATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(KEYS, inner, max_size=3)
    ),
    max_leaves=12,
)


def same(a: object, b: object) -> bool:
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return [same_key(k) for k in a] == [same_key(k) for k in b] and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        alike = a.dtype.newbyteorder("=") == b.dtype.newbyteorder("=") and a.shape == b.shape
        return alike and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    return a == b or (a != a and b != b)


def same_key(key: object) -> tuple[type, object]:
    return type(key), key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.safetensors"


@given(state=STATES)
def test_unpacking_what_was_packed_gives_the_same_state(state: object) -> None:
    tree, tensors = pack(state)
    assert same(unpack(json.loads(json.dumps(tree)), tensors), state)


@settings(max_examples=25, deadline=None)
@given(state=st.dictionaries(KEYS, STATES, max_size=4))
def test_a_file_gives_back_the_state_with_keys_tuples_and_dtypes(
    state: dict[object, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = tmp_path_factory.mktemp("state") / "a.safetensors"
    save(target, state)
    assert same(load(target), state)


def test_lazily_conjugated_and_negated_tensors_come_back_with_their_values(path: Path) -> None:
    numbers = torch.tensor([1 + 2j, 3 - 4j])
    save(path, {"conjugated": numbers.conj(), "negated": numbers.conj().imag})
    found = load(path)
    assert found["conjugated"].tolist() == [1 - 2j, 3 + 4j]
    assert found["negated"].tolist() == [-2.0, 4.0]


def test_bfloat16_empty_scalar_tied_sliced_and_transposed_tensors_come_back(path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "bf16": base.bfloat16(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5),
        "tied": [base, base],
        "slice": base[1:],
        "transposed": base.T,
        "parameter": torch.nn.Parameter(base.clone()),
    }
    save(path, state)
    back = load(path)
    assert back["parameter"].requires_grad is False
    del state["parameter"], back["parameter"]
    assert same(back, state)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop])
def test_an_optimizer_state_dict_survives(path: Path, kind: type[torch.optim.Optimizer]) -> None:
    values = torch.nn.Parameter(torch.randn(5, generator=torch.Generator().manual_seed(0)))
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind([values], lr=0.1, **options)
    values.grad = torch.ones(5)
    optimizer.step()
    save(path, {"optimizer": optimizer.state_dict()})
    assert same(load(path)["optimizer"], optimizer.state_dict())


def test_a_checkpoint_leaves_no_other_file_behind(path: Path) -> None:
    save(path, {"a": np.zeros(3)})
    save(path, {"a": np.ones(3)})
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_keep_leaves_the_last_n_files_and_each_can_be_read(path: Path, keep: int) -> None:
    for epoch in range(5):
        save(path, {"epoch": epoch}, keep=keep)
    files = [path, path.with_name("checkpoint.1.safetensors"), path.with_name("checkpoint.2.safetensors")][:keep]
    assert sorted(path.parent.iterdir()) == sorted(files)
    assert [load(file)["epoch"] for file in files] == [4, 3, 2][:keep]


def test_keeping_no_file_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="Expected keep"):
        save(path, {}, keep=0)


def test_every_truncation_is_named_as_such(path: Path) -> None:
    save(path, {"values": np.arange(40.0), "step": 3})
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=path.name):
            load(path)


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    save(path, {"values": np.arange(9.0), "step": 3, "name": "x"})
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            state = load(path)
        except CheckpointError as error:
            assert path.name in str(error)
        else:  # white space of the header is the one thing that carries no meaning
            assert same(state, {"values": np.arange(9.0), "step": 3, "name": "x"})


def test_a_missing_file_is_named(path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x04K\x01.", b"PK\x03\x04" + bytes(64)])
def test_a_file_of_another_kind_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="foreign"):
        load(path)


def test_safetensors_of_another_program_are_refused(path: Path) -> None:
    safetensors.torch.save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="another program"):
        load(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ('{"format_version":99,"digest":"","tree":"null"}', "format version 1 in .*Got 99"),
        ('{"format_version":1}', "Expected a digest"),
        ("not json", "readable header"),
        ("[]", "readable header"),
        ("{}", "readable header"),
    ],
)
def test_a_header_of_another_version_or_kind_is_refused(path: Path, header: str, message: str) -> None:
    safetensors.torch.save_file({"w": torch.zeros(2)}, path, metadata={"sparsecore": header})
    with pytest.raises(CheckpointError, match=message):
        load(path)


@pytest.mark.parametrize(
    ("state", "place"),
    [
        ({"a": [1, {2: object()}]}, "a.1.2"),
        ({"a": np.array(["x"])}, "a"),
        ({"a": np.array([object()])}, "a"),
        ({"a": {(1, 2): 3}}, "a"),
        ({"a": torch.eye(2).to_sparse()}, "a"),
        ({"a": [torch.empty(2, device="meta")]}, "a.0"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(path: Path, state: dict[str, object], place: str) -> None:
    with pytest.raises(CheckpointError, match=repr(place)):
        save(path, state)
    assert not list(path.parent.iterdir())


def test_a_folder_that_does_not_exist_is_an_error_of_ours(path: Path) -> None:
    with pytest.raises(SparseCoreError, match="Expected to write"):
        save(path / "missing" / "x.safetensors", {})


def test_a_failed_write_keeps_the_old_checkpoint(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, {"step": 1})

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save(path, {"step": 2})
    assert load(path) == {"step": 1}
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


WRITER = """
import sys, numpy as np
from sparsecore.io import save
n = 0
while True:
    save(sys.argv[1], {"n": n, "body": np.full(200_000, n)}, keep=2)
    n += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_process_killed_while_writing_leaves_a_whole_checkpoint(path: Path) -> None:
    for delay_s in (0.0, 0.013, 0.031):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)]) as process:
            path.unlink(missing_ok=True)
            while not path.exists():
                assert process.poll() is None
                time.sleep(0.001)
            time.sleep(0.05 + delay_s)
            process.send_signal(signal.SIGKILL)
        state = load(path)
        assert bool((state["body"] == state["n"]).all())
    save(path, {"n": -1})
    assert not list(path.parent.glob(".*"))


def test_a_tensor_may_bear_the_name_that_the_format_keeps_for_itself(tmp_path: Path) -> None:
    save(tmp_path / "a", {"__metadata__": torch.ones(3)})
    assert torch.equal(load(tmp_path / "a")["__metadata__"], torch.ones(3))
