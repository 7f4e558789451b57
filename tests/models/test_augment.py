import numpy as np
import pytest

from sparsecore.engine import epoch_words
from sparsecore.errors import ConfigError, ShapeError, SparseCoreError
from sparsecore.models.augment import CropFlip
from sparsecore.models.data import ImageData
from sparsecore.models.recipes import ImageRun

SHAPE, BLACK = (3, 5, 4), (-1.0, -2.0, -3.0)


def by_hand(image, down, right, mirrored, padding):
    """Pad one image with black, cut a window out of it, mirror it."""
    layers = [
        np.pad(layer, padding, constant_values=black) for layer, black in zip(image.reshape(SHAPE), BLACK, strict=True)
    ]
    window = np.stack(layers)[:, down : down + SHAPE[1], right : right + SHAPE[2]]
    return (window[:, :, ::-1] if mirrored else window).reshape(-1)


def test_every_word_gives_a_window_of_the_padded_image_mirrored_or_not():
    x = np.random.default_rng(0).random((300, 60), np.float32)
    words = epoch_words(300, seed=1, epoch=2)
    changed = CropFlip(SHAPE, BLACK, padding=2)(x, words)
    assert changed.dtype == np.float32
    seen = set()
    for image, word, got in zip(x, words.tolist(), changed, strict=True):
        found = [
            (down, right, mirrored)
            for down in range(5)
            for right in range(5)
            for mirrored in (False, True)
            if np.array_equal(got, by_hand(image, down, right, mirrored, 2))
        ]
        assert len(found) == 1, word
        seen.add(found[0])
    assert len(seen) == 50


def test_all_shifts_and_mirror_images_are_equally_likely():
    words = epoch_words(40_000, seed=0, epoch=0)
    corner = np.zeros((1, 3, 5, 4), np.float32)
    corner[0, :, 2, 1] = 1.0
    changed = CropFlip(SHAPE, (0.0, 0.0, 0.0), padding=1)(np.repeat(corner.reshape(1, -1), len(words), 0), words)
    at = changed.reshape(-1, *SHAPE)[:, 0].reshape(len(words), -1).argmax(1)
    counts = np.bincount(at, minlength=20)
    # Three rows times three columns, the same three mirrored: columns 0, 1, 2 and 3, 2, 1.
    expected = np.outer([0, 1, 1, 1, 0], np.array([1, 2, 2, 1]) / 18).reshape(-1) * len(words)
    assert np.array_equal(counts > 0, expected > 0)
    present = expected > 0
    assert ((counts - expected)[present] ** 2 / expected[present]).sum() < 45  # 11 degrees of freedom, p = 5e-6


def test_images_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"3 x 5 x 4 numbers. Got shape \(2, 59\)"):
        CropFlip(SHAPE, BLACK)(np.zeros((2, 59), np.float32), np.zeros(2, np.uint64))


@pytest.mark.parametrize("padding", [0, 1])
def test_without_mirroring_images_move_alone(padding):
    x = np.random.default_rng(1).random((50, 60), np.float32)
    words = epoch_words(50, seed=3, epoch=0)
    changed = CropFlip(SHAPE, BLACK, padding=padding, mirror=False)(x, words)
    moves = range(2 * padding + 1)
    for image, got in zip(x, changed, strict=True):
        assert any(
            np.array_equal(got, by_hand(image, down, right, False, padding)) for down in moves for right in moves
        )
    assert np.array_equal(changed, x) == (padding == 0)


@pytest.mark.parametrize("options", [{"padding": -1}, {"padding": 1.5}, {"padding": "2"}, {"mirror": 1}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        CropFlip(SHAPE, BLACK, **options)


def image_data(n_features, published=None):
    x, y = np.zeros((4, n_features), np.float32), np.zeros(4, np.int64)
    return ImageData("some", x, y, x, y, 1, mean=(0.2, 0.5, 0.1), std=(0.1, 0.25, 0.2), augment=published)


def test_a_data_set_is_changed_as_published_not_at_all_or_as_chosen():
    published = CropFlip((3, 2, 2), (0.0, 0.0, 0.0))
    data = image_data(12, published)
    assert data.augmentation("auto") is published
    assert data.augmentation("none") is None
    assert image_data(12).augmentation("auto") is None
    chosen = data.augmentation("crop_flip:padding=1,mirror=False")
    assert chosen == CropFlip((3, 2, 2), (-2.0, -2.0, -0.5), padding=1, mirror=False)
    with pytest.raises(ConfigError, match="square images.*15 numbers in 3 channels"):
        image_data(15).augmentation("crop_flip")


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("crop_flop", "crop_flip, none. Got 'crop_flop'"),
        ("auto:padding=2", "crop_flip, none. Got 'auto:padding=2'"),
        ("crop_flip:paddings=2", "mirror, padding"),
        ("crop_flip:padding=-2", "padding"),
        ("crop_flip:padding", "crop_flip:option=value"),
        ("crop_flip:shape=5", "the data set has it. Got 5"),
        ("crop_flip:black=0.5", "one per channel; the data set has it. Got 0.5"),
    ],
)
def test_a_run_refuses_changes_that_cannot_work_before_anything_is_loaded(choice, said):
    with pytest.raises(SparseCoreError, match=said):
        ImageRun(augment=choice)
