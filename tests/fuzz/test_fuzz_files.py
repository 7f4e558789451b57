"""Files that are damaged, foreign or made up: checkpoints, run folders, data sets."""

import copy
import gzip
import io
import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from inputs import ANYTHING, JSON, damaged, only_errors_of_ours

from sparsecore.engine import Settings, Trainer
from sparsecore.errors import CheckpointError, DataError
from sparsecore.evolution import SET
from sparsecore.io import RunFolder, load, save
from sparsecore.io import checkpoint as checkpoint_module
from sparsecore.io.tree import unpack
from sparsecore.models import data as image_data
from sparsecore.models.data import ImageData
from sparsecore.models.mlp import MLP
from sparsecore.models.recipes import ImageRun, read_config
from sparsecore.schedules import Constant

FOLDER = Path(tempfile.mkdtemp(prefix="sparsecore-fuzz-"))
FILE = FOLDER / "a.safetensors"


def whole_checkpoint():
    save(FILE, {"values": np.arange(9.0), "step": 3, "key": {1: (2, [None, 1e300])}, "bits": torch.ones(3).bool()})
    return FILE.read_bytes()


WHOLE = whole_checkpoint()


@given(st.one_of(st.binary(max_size=200), damaged(WHOLE)))
def test_a_damaged_checkpoint_is_an_error_of_ours(content):
    FILE.write_bytes(content)
    try:
        load(FILE)
    except CheckpointError as error:
        assert FILE.name in str(error)


TREES = st.recursive(
    st.one_of(JSON, st.sampled_from(["a", "b"])),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["$dict", "$tuple", "$tensor", "$array", "$float", "x"]), inner, max_size=2),
        st.lists(inner, max_size=3),
    ),
    max_leaves=8,
)


@given(TREES)
def test_a_made_up_tree_is_an_error_of_ours(tree):
    with only_errors_of_ours():
        unpack(tree, {"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.bfloat16)})


@given(st.one_of(TREES.map(json.dumps), st.text(max_size=20), st.just("[" * 100_000), st.just("9" * 5000)), JSON)
def test_a_made_up_checkpoint_with_a_right_checksum_is_an_error_of_ours(body, version):
    tensors = {"a": torch.zeros(2)}
    header = {"format_version": 1, "digest": checkpoint_module._digest(body, tensors), "tree": body}
    if isinstance(version, (int, str, list)):
        header["format_version"] = version
    safetensors.torch.save_file(tensors, FILE, metadata={"sparsecore": json.dumps(header)})
    with only_errors_of_ours():
        load(FILE)


@given(st.dictionaries(st.text(max_size=3), ANYTHING, max_size=3))
def test_a_state_is_saved_whole_or_refused(state):
    target = FOLDER / "state.safetensors"
    try:
        save(target, state)
    except CheckpointError:
        return
    assert load(target).keys() == state.keys()


def test_a_state_in_a_circle_is_refused():
    circle = {}
    circle["again"] = circle
    with pytest.raises(CheckpointError, match="circle"):
        save(FILE, circle)


LINES = st.one_of(JSON.map(json.dumps), st.text(max_size=30))


@given(st.one_of(LINES.map(str.encode), st.binary(max_size=30)), st.lists(LINES, max_size=3), st.binary(max_size=20))
def test_a_run_folder_with_made_up_files_is_an_error_of_ours(config, lines, rest):
    folder = FOLDER / "run"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes(config)
    (folder / "metrics.jsonl").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass") + rest)
    (folder / "summary.json").write_bytes(config)
    for name in ("topology_before", "best"):
        (folder / f"{name}.safetensors").write_bytes(rest)
    run = RunFolder(folder)
    reads = (run.config, run.metrics, run.summary, run.best, run.state, lambda: run.topologies("before"))
    for read in (*reads, lambda: read_config(run)):
        with only_errors_of_ours():
            read()


@given(st.dictionaries(st.sampled_from(["layer", "b"]), st.dictionaries(
    st.sampled_from(["shape", "col_ptr", "rows"]), ANYTHING, max_size=3), max_size=2))  # fmt: skip
def test_made_up_topologies_of_a_run_are_an_error_of_ours(parts):
    folder = FOLDER / "links"
    run = RunFolder(folder) if folder.exists() else RunFolder.create(folder, {})
    with only_errors_of_ours():
        save(folder / "topology_after.safetensors", parts)
        run.topologies("after")


def small_trainer():
    torch.manual_seed(0)
    x, y = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32), np.arange(20) % 2
    model = MLP(6, (8, 8), 2, density=0.4, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    evolution = SET(model, optimizer, every=2, zeta=0.3)
    data = ImageData("noise", x, y, x, y, 2, (0.0,), (1.0,))
    return Trainer(model, optimizer, data, Settings(3, 10), lr=Constant(0.1), evolution=evolution)


TRAINER = small_trainer()
TRAINER.run(until=2)
STATE = copy.deepcopy(TRAINER.state_dict())


def places(state, path=()):
    """Return the path of everything in a nested state."""
    items = state.items() if isinstance(state, dict) else enumerate(state) if isinstance(state, (list, tuple)) else ()
    return [path, *(found for key, inner in items for found in places(inner, (*path, key)))]


PLACES = places(STATE)[1:]


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    return a == b


SPOILED = st.one_of(
    ANYTHING,
    st.sampled_from([torch.zeros(0), torch.zeros(3), torch.full((29,), 2**40), torch.tensor([5, 3, 1]), {}]),
)


@given(st.sampled_from(PLACES), SPOILED, st.booleans())
def test_a_spoiled_training_state_is_refused_and_changes_nothing(place, value, missing):
    state = copy.deepcopy(STATE)
    inner = state
    for key in place[:-1]:
        inner = inner[key]
    if isinstance(inner, tuple):
        return
    if missing:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    before = copy.deepcopy(TRAINER.state_dict())
    try:
        TRAINER.load_state_dict(state)
    except Exception as error:
        assert isinstance(error, CheckpointError), f"{type(error).__name__} at {place}: {error}"
        assert same(TRAINER.state_dict(), before)
    else:
        TRAINER.load_state_dict(copy.deepcopy(STATE))


def idx(shape, content):
    return b"\x00\x00\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content


IDX = idx((6, 4, 4), bytes(range(96)))


@given(
    st.one_of(
        st.binary(max_size=60),
        damaged(IDX),
        damaged(gzip.compress(IDX, mtime=0)),
        st.builds(
            idx, st.lists(st.sampled_from([0, 1, 3, 2**31, 2**32 - 1]), min_size=1, max_size=4), st.binary(max_size=9)
        ),
    )
)
def test_a_damaged_idx_file_is_an_error_of_ours(content):
    path = FOLDER / "idx"
    path.write_bytes(content)
    try:
        array = image_data.read_idx(path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert array.dtype == np.uint8


def test_a_small_file_cannot_fill_the_memory():
    """The header says 9 bytes; what follows unpacks to a quarter of a gigabyte."""
    path = FOLDER / "bomb"
    path.write_bytes(gzip.compress(idx((9,), bytes(2**28)), 1))
    from sparsecore.engine import PeakMemory

    memory = PeakMemory()
    with pytest.raises(DataError, match="more"):
        image_data.read_idx(path)
    assert memory.rise_bytes() < 2**26


@given(st.data())
def test_a_folder_of_damaged_images_is_an_error_of_ours(data):
    folder = FOLDER / "mnist"
    folder.mkdir(exist_ok=True)
    good = {"train-images-idx3": IDX, "train-labels-idx1": idx((6,), bytes(range(6))),
            "t10k-images-idx3": IDX, "t10k-labels-idx1": idx((6,), bytes(6))}  # fmt: skip
    spoiled = data.draw(st.sampled_from(sorted(good)))
    good[spoiled] = data.draw(st.one_of(damaged(good[spoiled]), st.sampled_from([*good.values(), idx((6, 0, 4), b"")])))
    for name, content in good.items():
        (folder / f"{name}-ubyte").write_bytes(content)
    with only_errors_of_ours():
        found = image_data.load("mnist", folder)
        assert len(found.train_x) == len(found.train_y)


def whole_parquet():
    pyarrow, image = pytest.importorskip("pyarrow"), pytest.importorskip("PIL.Image")
    parquet = pytest.importorskip("pyarrow.parquet")
    png = io.BytesIO()
    image.new("RGB", (32, 32)).save(png, "PNG")
    table = pyarrow.table({"img": [{"bytes": png.getvalue(), "path": ""}] * 2, "label": [0, 1]})
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue(), png.getvalue(), pyarrow


@given(st.data())
def test_damaged_images_of_cifar10_are_an_error_of_ours(data):
    whole, png, pyarrow = whole_parquet()
    folder = FOLDER / "cifar"
    folder.mkdir(exist_ok=True)
    (folder / "test-0.parquet").write_bytes(whole)
    if data.draw(st.booleans()):
        (folder / "train-0.parquet").write_bytes(data.draw(damaged(whole)))
    else:
        image = st.one_of(damaged(png), st.none(), st.binary(max_size=9))
        rows = [{"bytes": data.draw(image)} for _ in range(2)]
        labels = data.draw(st.lists(st.one_of(st.integers(-5, 2**40), st.none()), min_size=2, max_size=2))
        pyarrow.parquet.write_table(pyarrow.table({"img": rows, "label": labels}), folder / "train-0.parquet")
    with only_errors_of_ours():
        image_data.load("cifar10", folder)


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(sorted(ImageRun().as_dict())), ANYTHING, max_size=3)))
def test_a_made_up_configuration_is_an_error_of_ours(values):
    with only_errors_of_ours():
        ImageRun.from_dict(values if isinstance(values, dict) else {"data": values})
