"""Random changes of training images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsecore._typing import FloatArray, UInt64Array
from sparsecore.errors import ConfigError, ShapeError, check_count
from sparsecore.registry import Registry

__all__ = ["CropFlip", "registry"]

registry: Registry[CropFlip] = Registry("change of images")


@registry.register("crop_flip", paper="Krizhevsky et al. 2012", equation="x[c, i + u, ±(j + v)]")
@dataclass(frozen=True)
class CropFlip:
    """Moves an image by up to `padding` pixels in both directions, black coming in, and mirrors every second one.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    black : tuple of float
        A black pixel after normalisation, one number per channel.
    padding : int
        Most pixels by which an image moves; 0: none.
    mirror : bool
        Whether every second image, drawn at random, is mirrored left to right.

    Raises
    ------
    ConfigError
        If shape or black are not those of an image, padding is not a count or mirror not a truth value.

    Notes
    -----
    What torchvision's ``RandomCrop(32, padding=4)`` and ``RandomHorizontalFlip()`` do to the images of CIFAR-10 in the
    code published with Cannistraci-Hebb training.

    Examples
    --------
    >>> change = CropFlip((1, 2, 2), (0.0,), padding=1)
    >>> change(np.array([[1, 2, 3, 4]], np.float32), np.array([0], np.uint64)).tolist()
    [[0.0, 0.0, 0.0, 1.0]]
    """

    shape: tuple[int, int, int]
    black: tuple[float, ...]
    padding: int = 4
    mirror: bool = True

    def __post_init__(self) -> None:
        """Check all options, as a line of text may have named them."""
        if not (isinstance(self.shape, tuple) and len(self.shape) == 3):
            raise ConfigError(f"Expected shape as (channels, height, width); the data set has it. Got {self.shape!r}.")
        if not (isinstance(self.black, tuple) and len(self.black) == self.shape[0]):
            raise ConfigError(
                f"Expected black as {self.shape[0]} numbers, one per channel; the data set has it. Got {self.black!r}."
            )
        check_count("padding", self.padding, "the most pixels by which an image moves", low=0)
        if not isinstance(self.mirror, bool):
            raise ConfigError(f"Expected mirror as True or False. Got {self.mirror!r}.")

    def __call__(self, x: FloatArray, words: UInt64Array) -> FloatArray:
        """Return changed copies of images.

        Parameters
        ----------
        x : array, float32, (n, n_features)
            Images, channel by channel.
        words : array, uint64, (n,)
            A random word per image; what happens to it is a function of the word alone.

        Raises
        ------
        ShapeError
            If images have another size.
        """
        channels, height, width = self.shape
        if x.ndim != 2 or x.shape[1] != channels * height * width:
            raise ShapeError(f"Expected images of {channels} x {height} x {width} numbers. Got shape {x.shape}.")
        n, edge, steps = len(x), self.padding, np.uint64(2 * self.padding + 1)
        padded = np.empty((n, channels, height + 2 * edge, width + 2 * edge), np.float32)
        padded[:] = np.asarray(self.black, np.float32)[:, None, None]
        padded[:, :, edge : edge + height, edge : edge + width] = x.reshape(n, *self.shape)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (2, 3))
        low, high = words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)
        changed = windows[np.arange(n), :, low % steps, (high >> np.uint64(1)) % steps]
        if self.mirror:
            mirrored = (high & np.uint64(1)) == 1
            changed[mirrored] = changed[mirrored, :, :, ::-1]
        return changed.reshape(n, -1)
