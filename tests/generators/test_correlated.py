from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsecore.errors import ConfigError, DataError, DtypeError, ShapeError, SignalError
from sparsecore.generators import CSTI, calibration


def squared_correlations(features):
    """Squares of Pearson correlations of integers as exact fractions; None for pairs that must not be linked."""
    x = features.astype(np.int64)
    scaled = len(x) * x.T @ x - np.multiply.outer(x.sum(axis=0), x.sum(axis=0))

    def square(p, q):
        spread = int(scaled[p, p]) * int(scaled[q, q])
        return Fraction(int(scaled[p, q]) ** 2, spread) if p != q and spread else None

    return [[square(p, q) for q in range(len(scaled))] for p in range(len(scaled))]


def ranked_links(score, n_out, n_in):
    """All links that may be taken, best first, equal ones by id; `score[p][q]` is None where there must be none."""
    n = len(score)
    links = [(score[o % n][i % n], o * n_in + i) for o in range(n_out) for i in range(n_in)]
    return [link for _, link in sorted((-s, link) for s, link in links if s is not None)]


def taken(topology):
    return sorted(topology.link_ids.tolist())


@st.composite
def cases(draw):
    """Few samples with few values, so that ties and features that never vary abound."""
    samples, n = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    features = np.array(draw(st.lists(st.integers(0, 3), min_size=samples * n, max_size=samples * n)), np.uint8)
    shape = draw(st.integers(n, 14)), draw(st.integers(n, 14))
    return features.reshape(samples, n), shape, draw(st.integers(0, shape[0] * shape[1]))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.float32, np.float64])
@given(case=cases())
def test_the_links_are_the_best_by_exact_correlation_and_ties_go_by_id(dtype, case):
    features, shape, n_links = case
    ranked = ranked_links(squared_correlations(features), *shape)
    links = taken(CSTI(features.astype(dtype))(shape, n_links, seed=0))
    if n_links <= len(ranked):
        assert links == sorted(ranked[:n_links])
    else:
        assert set(ranked) <= set(links) and len(links) == n_links


@given(seed=st.integers(0, 10_000), tile=st.integers(1, 12), chunk=st.integers(1, 40))
@settings(max_examples=40)
def test_the_links_agree_with_numpys_correlations_for_any_tiling(seed, tile, chunk):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(50, 11)) @ rng.normal(size=(11, 11)) + rng.normal(size=11) * 10
    features[:, 3] = 0.1
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.abs(np.corrcoef(features.T))
    score = [[None if p == q or 3 in (p, q) else score[p, q] for q in range(11)] for p in range(11)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "_MAX_ROWS", tile)
        patch.setattr(calibration, "_MIN_ROWS", 1)
        patch.setattr(calibration, "_CHUNK", chunk)
        links = taken(CSTI(features)((22, 15), 60, seed=0))
    # A pair and its mirror image, or its repetitions, tie: they go by id in both rankings.
    assert links == sorted(ranked_links([[s and round(s, 12) for s in row] for row in score], 22, 15)[:60])


def test_a_feature_and_its_copies_scaled_or_flipped_tie_exactly():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, 500)
    noise = rng.integers(0, 256, (500, 3))
    for features in (np.stack([x, 255 - x, x], 1), np.stack([x / 3, 2.5 - x * 0.1, x * 7.0], 1)):
        topology = CSTI(np.concatenate([noise, features], axis=1))((6, 6), 6, seed=0)
        assert taken(topology) == [3 * 6 + 4, 3 * 6 + 5, 4 * 6 + 3, 4 * 6 + 5, 5 * 6 + 3, 5 * 6 + 4]


@pytest.mark.parametrize("scale", [1e-120, 1e-30, 1e30, 1e90])
def test_the_scale_of_a_feature_plays_no_part(scale):
    features = np.random.default_rng(0).normal(size=(50, 6))
    plain = CSTI(features)((6, 6), 14, seed=0)
    features[:, 2:4] *= scale
    assert CSTI(features)((6, 6), 14, seed=0) == plain


def test_bytes_are_summed_exactly():
    # The largest sums that bytes can make: every product is 128 * 128 and a chunk is full.
    features = np.zeros((5_000, 4), np.uint8)
    features[:7, 0] = features[:7, 1] = 255
    features[1:8, 2] = 1
    features[:8, 3] = 9
    score = squared_correlations(features)
    tiles = list(calibration.correlation_tiles(features)[1])
    for value, p, q in zip(*tiles[0], strict=True):
        assert value == round(float(score[p][q]) ** 0.5, 12)


def test_hidden_layers_repeat_the_pattern_and_leave_out_neurons_of_one_feature():
    features = np.random.default_rng(0).normal(size=(100, 10))
    topology = CSTI(features)((20, 30), 10 * 9 * 6, seed=0)
    pattern = topology.to_dense()
    assert not any(pattern[o, i] for o in range(20) for i in range(30) if o % 10 == i % 10)
    np.testing.assert_array_equal(pattern[:10, :10], pattern[10:, 20:])


def test_links_beyond_the_valid_pairs_are_drawn_from_the_seed():
    features = np.random.default_rng(0).normal(size=(100, 10))
    features[:, 5:] = 1.0
    few, many, other = (CSTI(features)((10, 10), n, seed) for n, seed in ((20, 0), (30, 0), (30, 1)))
    assert set(taken(few)) < set(taken(many)) and set(taken(few)) < set(taken(other))
    assert many != other
    assert few == CSTI(features)((10, 10), 20, seed=9)


def test_a_ranking_that_is_too_short_for_the_next_layer_is_made_anew():
    features = np.random.default_rng(0).normal(size=(60, 30))
    part = CSTI(features)
    sizes = (0, 5, 20, 21, 400, 10, 869, 870)
    links = [taken(part((30, 30), n, seed=0)) for n in sizes]
    assert links == [taken(CSTI(features)((30, 30), n, seed=0)) for n in sizes]


def test_equally_good_blocks_are_not_expanded_beyond_what_is_asked_for():
    # Two features, ten billion links of one score: the first rows must do.
    features = np.array([[0, 1], [1, 0], [1, 1]], np.uint8)
    topology = CSTI(features)((100_000, 100_000), 75_000, seed=0)
    assert topology.n_links == 75_000
    assert topology.rows.max() == 1 and np.all(topology.rows != topology.cols % 2)


class Loader:
    """Batches of images with labels, as torch's DataLoader gives them."""

    def __init__(self, images, batch, kind=torch.from_numpy):
        self.images, self.batch, self.kind, self.passes = images, batch, kind, 0

    def __iter__(self):
        self.passes += 1
        for start in range(0, len(self.images), self.batch):
            yield self.kind(self.images[start : start + self.batch]), torch.zeros(1)


@pytest.mark.parametrize("batch", [1, 7, 64, 2_000, 5_000])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_loader_gives_the_same_links_as_the_array(batch, dtype):
    images = np.random.default_rng(0).integers(0, 256, (2_500, 1, 4, 5)).astype(dtype)
    loader = Loader(images, batch)
    links = CSTI.from_loader(loader)((40, 20), 100, seed=0)
    assert links == CSTI(images.reshape(2_500, 20))((40, 20), 100, seed=0)
    assert loader.passes == 2, "one to size up the features, one for the only tile"


def test_a_loader_is_read_no_further_than_asked():
    images = np.random.default_rng(0).normal(size=(100, 8))
    links = CSTI.from_loader(Loader(images, 32), max_samples=50)((8, 8), 10, seed=0)
    assert links == CSTI(images[:50])((8, 8), 10, seed=0)
    with pytest.raises(ConfigError, match="Expected max_samples"):
        CSTI.from_loader([images], max_samples=0)


def test_a_loader_that_is_used_up_after_one_pass_is_refused():
    with pytest.raises(ConfigError, match=r"iterated again and again. Got generator"):
        CSTI.from_loader(batch for batch in [np.zeros((3, 3))])


def test_samples_that_change_between_passes_are_noticed():
    class Shrinking(list):
        def __iter__(self):
            batches = list(super().__iter__())
            self.pop()
            return iter(batches)

    loader = Shrinking(np.random.default_rng(0).normal(size=(6, 10, 4)))
    with pytest.raises(SignalError, match=r"Expected the same 60 samples in every pass .* Got 50"):
        CSTI.from_loader(loader)((4, 4), 3, seed=0)


def test_samples_that_are_drawn_anew_in_every_pass_are_noticed():
    class Augmented:
        def __init__(self, dtype):
            self.draw, self.dtype = np.random.default_rng(0), dtype

        def __iter__(self):
            yield self.draw.integers(0, 200, (50, 6)).astype(self.dtype)

    for dtype in (np.uint8, np.float32):
        with pytest.raises(SignalError, match="Got others. Switch off whatever changes them"):
            CSTI.from_loader(Augmented(dtype))((6, 6), 4, seed=0)


def test_samples_may_come_in_another_order_in_every_pass():
    class Shuffled:
        def __init__(self, images):
            self.images, self.draw = images, np.random.default_rng(0)

        def __iter__(self):
            yield self.draw.permutation(self.images)

    images = np.random.default_rng(1).normal(1e3, 1.0, (3_000, 6))
    assert CSTI.from_loader(Shuffled(images))((6, 6), 4, seed=0) == CSTI(images)((6, 6), 4, seed=0)


def test_batches_may_be_tensors_of_any_kind_and_empty():
    images = torch.randint(0, 100, (40, 6)).float()
    expected = CSTI(images.numpy())((6, 6), 4, seed=0)
    for kind in (images.bfloat16(), images.requires_grad_()):
        assert CSTI.from_loader([kind, kind[:0]])((6, 6), 4, seed=0) == expected
    with pytest.raises(DataError, match="tuples or lists that start with one. Got dict"):
        CSTI.from_loader([{"x": images}])((6, 6), 4, seed=0)


def test_batches_of_different_widths_are_refused():
    with pytest.raises(ShapeError, match=r"Expected batches of 4 features, like the first. Got 5"):
        CSTI.from_loader([np.ones((3, 4)), np.ones((3, 5))])((8, 8), 3, seed=0)


@pytest.mark.parametrize("dtypes", [(np.uint8, np.float32), (np.float32, np.float64), (complex, complex)])
def test_batches_of_different_or_unreal_types_are_refused(dtypes):
    with pytest.raises(DtypeError, match="Expected batches of one real type"):
        CSTI.from_loader([np.ones((3, 4), dtype) for dtype in dtypes])((8, 8), 3, seed=0)


def test_missing_data_raises_and_says_what_to_pass():
    with pytest.raises(SignalError, match=r"Pass CSTI\(features=array of shape \(samples, n_features\)\)"):
        CSTI()((4, 4), 3, seed=0)


@pytest.mark.parametrize(("shape", "side"), [((9, 10), "n_out"), ((10, 9), "n_in")])
def test_layers_narrower_than_the_features_are_refused_with_the_way_out(shape, side):
    part = CSTI(np.random.default_rng(0).normal(size=(20, 10)))
    part((10, 10), 5, seed=0)
    with pytest.raises(ConfigError, match=f"Expected {side} to be at least the number of features, 10. Got 9.*widen"):
        part(shape, 5, seed=0)


@pytest.mark.parametrize("features", [np.zeros(5), np.zeros((2, 2, 2)), np.array([["a"]]), np.ones((3, 3), complex)])
def test_features_that_are_no_real_table_are_refused(features):
    with pytest.raises(ConfigError, match=r"Expected features as a real array of shape \(samples, n_features\)"):
        CSTI(features)


@pytest.mark.parametrize("features", [np.zeros((0, 4)), np.zeros((4, 0))])
def test_an_empty_calibration_set_is_refused(features):
    with pytest.raises(DataError, match="Got none"):
        CSTI(features)((4, 4), 3, seed=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_features_that_are_not_finite_are_refused(bad):
    features = np.random.default_rng(0).normal(size=(20, 4))
    features[7, 2], features[8, 2] = bad, -bad
    with pytest.raises(DataError, match="infinite or NaN"):
        CSTI(features)((4, 4), 3, seed=0)


def test_the_number_of_blas_threads_makes_no_difference():
    limits = pytest.importorskip("threadpoolctl").threadpool_limits
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3_000, 200)) @ rng.normal(size=(200, 200))
    with limits(1):
        one = CSTI(features)((200, 200), 2_000, seed=0)
    with limits(2):
        assert CSTI(features)((200, 200), 2_000, seed=0) == one
