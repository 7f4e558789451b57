"""One body of laws over every registered generator: a new one is tested by existing."""

import dataclasses
import json
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import assert_canonical, shapes

from sparsecore import generators
from sparsecore.errors import ConfigError, ShapeError, UnknownNameError
from sparsecore.generators import Generator

#: Options beside the defaults.
VARIANTS = {
    "bsf": [{"equal_partition": True}],
    "bsw": [{"beta": 0.0}, {"beta": 1.0}],
    "brf": [{"r": 0.0}, {"r": 1e-9}, {"r": 0.05}, {"r": 1.0}, {"degrees": "uniform"}, {"degrees": "multinomial"}],
}
PARTS = [(name, options) for name in generators.names() for options in ({}, *VARIANTS.get(name, []))]
each_part = pytest.mark.parametrize(("name", "options"), PARTS, ids=[f"{n}-{o}" if o else n for n, o in PARTS])


def build(name, options, shape):
    """Make a generator that fits `shape`; one that needs data gets some."""
    if name == "csti":
        features = np.random.default_rng(5).integers(0, 4, (12, max(min(shape) // 2, 1)), dtype=np.uint8)
        return generators.CSTI(features, **options)
    return generators.get(name, **options)


@each_part
@given(shape=shapes(high=40), density=st.floats(0, 1), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=60)
def test_a_generator_returns_exactly_the_links_asked_for_in_canonical_form(name, options, shape, density, seed):
    n_links = round(density * shape[0] * shape[1])
    topology = build(name, options, shape)(shape, n_links, seed)
    assert topology.shape == shape
    assert topology.n_links == n_links
    assert_canonical(topology)


@each_part
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (7, 50), (50, 7), (30, 30)])
def test_a_generator_builds_empty_single_nearly_full_and_full_layers(name, options, shape):
    part = build(name, options, shape)
    possible = shape[0] * shape[1]
    for n_links in {0, 1, possible - 1, possible}:
        assert part(shape, n_links, seed=3).n_links == n_links


@each_part
@given(shape=shapes(low=2, high=40), seed=st.integers(0, 2**64 - 1))
@settings(max_examples=20)
def test_the_same_arguments_give_the_same_links(name, options, shape, seed):
    n_links = shape[0] * shape[1] // 3
    first = build(name, options, shape)(shape, n_links, seed)
    part = build(name, options, shape)
    assert part(shape, n_links, seed) == first
    assert part(shape, n_links, seed) == first, "a generator must not carry state from call to call"


@each_part
def test_a_generator_is_a_frozen_dataclass_that_can_be_pickled(name, options):
    part = build(name, options, (20, 20))
    assert isinstance(part, Generator) and dataclasses.is_dataclass(part)
    with pytest.raises(dataclasses.FrozenInstanceError):
        part.anything = 1
    assert pickle.loads(pickle.dumps(part))((20, 20), 40, 0) == part((20, 20), 40, 0)


@each_part
@pytest.mark.parametrize("n_links", [-1, 401, 1.5, "3", None, True])
def test_a_number_of_links_that_does_not_fit_is_refused(name, options, n_links):
    with pytest.raises(ConfigError, match=r"Expected n_links to be an integer in \[0, 400\]"):
        build(name, options, (20, 20))((20, 20), n_links, 0)


@each_part
@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, None])
def test_a_seed_that_is_no_64_bit_number_is_refused(name, options, seed):
    with pytest.raises(ConfigError, match="Expected seed"):
        build(name, options, (20, 20))((20, 20), 40, seed)


@each_part
@pytest.mark.parametrize("shape", [(20,), (20, -1), (2.0, 20), 20, (1, 2, 3), "20"])
def test_a_shape_that_is_no_pair_of_counts_is_refused(name, options, shape):
    with pytest.raises(ShapeError, match="Expected shape"):
        build(name, options, (20, 20))(shape, 1, 0)


@pytest.mark.parametrize("name", sorted(set(generators.names()) - {"csti"}))  # csti needs a neuron for every feature
def test_layers_without_neurons_have_no_links(name):
    for shape in ((0, 0), (0, 5), (5, 0)):
        assert generators.get(name)(shape, 0, seed=0).shape == shape


def test_every_generator_says_where_it_comes_from():
    for entry in generators.registry:
        assert entry.summary and entry.paper and entry.equation


def test_an_unknown_name_or_option_is_met_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="Did you mean 'brf'"):
        generators.get("brff")
    with pytest.raises(ConfigError, match="among: degrees, r"):
        generators.get("brf", radius=3)


def test_a_million_links_between_a_hundred_thousand_neurons_take_seconds_and_little_memory():
    """The dense form has 10^10 entries; peak memory may grow by 40 eight-byte words per link and neuron."""
    script = """
        import json, resource, time
        import numpy as np
        from sparsecore import generators

        def peak_bytes():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

        features = np.random.default_rng(0).integers(0, 256, (64, 500), dtype=np.uint8)
        parts = {name: generators.get(name) for name in generators.names() if name != "csti"}
        parts["csti"] = generators.CSTI(features)
        for name, part in parts.items():
            part((500, 500), 1_000, 0)
        before, seconds = peak_bytes(), {}
        for name, part in parts.items():
            start = time.perf_counter()
            assert part((100_000, 100_000), 1_000_000, 1).n_links == 1_000_000
            seconds[name] = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "grown": peak_bytes() - before}))
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, timeout=120
    )
    result = json.loads(run.stdout)
    assert max(result["seconds"].values()) < 10, result
    assert result["grown"] < 40 * 8 * (1_000_000 + 200_000), result
