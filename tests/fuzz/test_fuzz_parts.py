"""Arguments that make no sense: topologies, layers, parts by name, schedules, rules, methods, settings, commands."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inputs import ANYTHING, ARRAYS, BIG, NUMBERS, SMALL_INTS, only_errors_of_ours

import sparsecore as sc
from sparsecore import generators, predictors, removal, schedules, selection
from sparsecore.cli import main
from sparsecore.engine import Settings
from sparsecore.errors import ConfigError, SparseCoreError
from sparsecore.models.recipes import ImageRun
from sparsecore.nn import SparseLinear
from sparsecore.registry import named_options
from sparsecore.storage import Topology

SIDES = st.one_of(st.integers(-1, 8), st.sampled_from([n for n in BIG if n >= 2**31]), ANYTHING)


def is_small(shape):
    """Tell whether the pointers of a layer, 8 bytes for every input, may be asked for in a test."""
    sides = shape if isinstance(shape, (tuple, list)) else ()
    return not any(isinstance(side, int) and 100 < side < 2**31 for side in sides)


SHAPES = st.one_of(st.tuples(SIDES, SIDES), st.tuples(st.integers(0, 8), st.integers(0, 8)), ANYTHING).filter(is_small)
LISTS = st.one_of(SMALL_INTS, ARRAYS, ANYTHING, SMALL_INTS.map(lambda a: np.repeat(a, 2)[::2]))


def assert_canonical(topology):
    assert topology.rows.dtype == np.int32
    assert topology.col_ptr.dtype == np.int64
    again = Topology.from_coo(topology.rows, topology.cols, shape=topology.shape)
    assert again == topology


@given(SHAPES, LISTS, LISTS)
@example((2, 2), [0, 1, 1], [2**32])
@example((2, 2), [0, 1, 1], [0.5])
@example((2, 2), [0, 2**64, 1], [0])
@example((2, 2), np.array([0.0, 1.0, 1.0]), np.array([np.nan]))
def test_made_up_lists_are_a_topology_or_an_error_of_ours(shape, col_ptr, rows):
    with only_errors_of_ours():
        assert_canonical(Topology(shape, col_ptr, rows))


@given(SHAPES, LISTS, LISTS)
@example((2, 2), np.array([2**63], np.uint64), [0])
def test_made_up_pairs_are_a_topology_or_an_error_of_ours(shape, rows, cols):
    with only_errors_of_ours():
        assert_canonical(Topology.from_coo(rows, cols, shape=shape))


@given(SHAPES, LISTS)
@example((3, 3), np.array([2**64 - 1], np.uint64))
def test_made_up_ids_are_a_topology_or_an_error_of_ours(shape, ids):
    with only_errors_of_ours():
        assert_canonical(Topology.from_ids(ids, shape))


@given(LISTS)
@example(np.zeros(0, np.complex64))
def test_made_up_positions_are_a_subset_or_an_error_of_ours(positions):
    whole = Topology.from_ids([0, 2, 3, 7], (3, 3))
    with only_errors_of_ours():
        assert_canonical(whole.subset(positions))


LAYER = SparseLinear(4, 3, density=0.5, seed=0)


@given(ARRAYS, st.booleans())
def test_any_input_gives_finite_shapes_or_an_error_of_ours(array, transposed):
    try:
        x = torch.as_tensor(np.array(array, dtype=array.dtype.newbyteorder("=")))
    except TypeError:
        return
    with only_errors_of_ours():
        y = LAYER(x.T if transposed and x.ndim == 2 else x)
        assert y.shape[-1] == 3


@pytest.mark.parametrize("strided", [lambda x: x.T, lambda x: x[::2], lambda x: x[:, ::2], lambda x: x.expand(3, 6, 6)])
def test_any_strides_give_the_same_outputs(strided):
    x = strided(torch.randn(6, 6))
    layer = SparseLinear(x.shape[-1], 5, density=0.5, seed=0)
    assert torch.equal(layer(x), layer(x.contiguous()))


@given(*[st.one_of(st.integers(-1, 9), NUMBERS.filter(lambda n: not 9 < n < 2**31), ANYTHING)] * 2, ANYTHING, ANYTHING)
@example(10, 10, 0.001, "swi")
@example(10, 10, 1e-300, "swi")
@example(2**40, 2**40, 1e-30, "swi")
def test_a_layer_of_any_size_is_built_or_an_error_of_ours(n_in, n_out, density, init):
    with only_errors_of_ours():
        layer = SparseLinear(n_in, n_out, density=density, init=init, seed=0)
        assert layer.topology.n_links >= 1


REGISTRIES = [generators.registry, predictors.registry, removal.registry, removal.amounts, selection.registry,
              schedules.registry]  # fmt: skip


@given(st.sampled_from(REGISTRIES), st.data())
def test_parts_by_name_with_any_options_are_an_error_of_ours(registry, data):
    name = data.draw(st.sampled_from(registry.names()))
    factory = registry.entry(name).factory
    fields = [field.name for field in dataclasses.fields(factory)] if dataclasses.is_dataclass(factory) else []
    options = data.draw(st.dictionaries(st.sampled_from([*fields, "x"]), ANYTHING, max_size=3))
    with only_errors_of_ours():
        registry.get(name, **options)


TEXTS = st.one_of(
    st.text(max_size=20),
    st.builds("{}:{}={}".format, st.sampled_from(["brf", "er", "bsf", "x"]), st.text("rbx", max_size=2), NUMBERS),
    st.just("brf:r=" + "(" * 5000),
)


@given(TEXTS, st.sampled_from(REGISTRIES))
def test_parts_by_any_text_are_an_error_of_ours(text, registry):
    with only_errors_of_ours():
        named_options("part", text)
    with only_errors_of_ours():
        registry.build(text)


def small_model():
    model = sc.SparseSequential(SparseLinear(6, 5, density=0.5, seed=0), SparseLinear(5, 4, density=0.5, seed=1))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


@settings(max_examples=60)
@given(
    st.sampled_from(sc.methods.names()),
    st.dictionaries(
        st.sampled_from(["zeta", "density", "temperature", "seed", "early_stop", "amount", "percolate", "fresh", "x"]),
        st.one_of(ANYTHING, st.builds(schedules.Constant, st.floats(0, 2, allow_nan=False))),
        max_size=3,
    ),
    st.one_of(st.integers(1, 3), ANYTHING),
    st.one_of(st.integers(1, 9), ANYTHING),
)
def test_methods_with_any_options_build_update_or_are_an_error_of_ours(name, options, every, steps):
    model, optimizer = small_model()
    with only_errors_of_ours():
        evolution = sc.methods.get(name, model=model, optimizer=optimizer, every=every, steps=steps, **options)
        model(torch.ones(3, 6)).sum().backward()
        optimizer.step()
        links = evolution.topologies
        try:
            evolution.update()
        except SparseCoreError:
            assert evolution.topologies == links
            raise


@given(st.dictionaries(st.sampled_from(["epochs", "batch_size", "seed", "non_finite"]), ANYTHING, max_size=3))
def test_settings_of_any_kind_are_settings_or_an_error_of_ours(values):
    with only_errors_of_ours():
        Settings(**values)


@given(st.dictionaries(st.sampled_from([f.name for f in dataclasses.fields(ImageRun)]), ANYTHING, max_size=2))
def test_runs_of_any_kind_are_runs_or_an_error_of_ours(values):
    with only_errors_of_ours():
        ImageRun(**values)


WORDS = st.one_of(NUMBERS.map(str), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6),
                  st.sampled_from(["set", "brf:r=2", "9,9", "nan", "0"]))  # fmt: skip
OPTIONS = (
    "density epochs batch-size seed hidden topology lr momentum zeta every method removal predictor threads holdout"
)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from([f"--{name}" for name in (*OPTIONS.split(), "keep", "data", "x")]), WORDS), max_size=3
    )
)
def test_commands_with_any_options_end_with_status_2(tmp_path_factory, pairs):
    folder = tmp_path_factory.mktemp("cli")
    # There is no data in the folder, so that no training begins whatever the options are.
    words = ["train", "--out", str(folder / "run"), "--data-dir", str(folder), "--data", "mnist"]
    words += [part for pair in pairs if pair != ("--data", "mnist_5k") for part in pair]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["sparsecore", *words])
        main()
    assert ended.value.code == 2
    assert not (folder / "run").exists()


@settings(max_examples=60)
@given(st.lists(st.one_of(WORDS, st.sampled_from(["--help", "train", "resume", "inspect", "--plots"])), max_size=3))
def test_commands_of_any_kind_end_by_themselves(words):
    words = [word for word in words if word not in ("demo", "bench", "doctor")]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["sparsecore", *words])
        main()
    assert ended.value.code in (0, 2)


def test_a_density_without_a_link_is_refused_by_name():
    with pytest.raises(ConfigError, match="at least one link"):
        SparseLinear(10, 10, density=1e-6)
