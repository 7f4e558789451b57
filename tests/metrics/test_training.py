from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import sparsecore as sc
from sparsecore import metrics
from sparsecore.engine import area_across_epochs
from sparsecore.errors import ConfigError, ShapeError
from sparsecore.evolution.history import History
from sparsecore.models import MLP
from sparsecore.storage import Topology
from tests.metrics.networks import chains, relabelled


@given(chains(), st.integers(0, 99))
def test_anp_counts_neurons_by_hand_and_does_not_depend_on_labels(chain, seed) -> None:
    dense = [topology.to_dense() for topology in chain]
    active = [dense[0].any(0)]
    active += [below.any(1) & above.any(0) for below, above in itertools.pairwise(dense)]
    active.append(dense[-1].any(1))
    assert metrics.anp_per_layer(chain) == [flags.mean() for flags in active]
    assert metrics.anp(chain) == np.concatenate(active).mean()
    assert metrics.anp(chain, inputs=False) == np.concatenate(active[1:]).mean()
    other, _ = relabelled(chain, seed)
    assert metrics.anp(other) == metrics.anp(chain)


def test_a_full_layer_is_all_active() -> None:
    assert metrics.anp(Topology.full((3, 4))) == 1.0


def test_the_report_of_an_evolution_and_the_measures_agree() -> None:
    model = MLP(20, (30, 30), 5, density=0.1, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dst = sc.CHTs(model, optimizer, every=1, steps=20, zeta=0.3)
    for _ in range(5):
        model(torch.randn(8, 20)).square().sum().backward()
        optimizer.step()
        before = [layer.topology for layer in sc.sparse_layers(model).values()]
        dst.step()
        optimizer.zero_grad()
    report, state = dst.report(), dst.state_dict()
    after = [layer.topology for layer in sc.sparse_layers(model).values()]
    past = [History(part["history_ids"].numpy(), part["history_values"].numpy()) for part in state["layers"].values()]
    assert metrics.anp(after) == pytest.approx(report.anp)
    assert metrics.itop_rate(after, past) == pytest.approx(report.itop)
    assert metrics.itop_rate(after) == pytest.approx(report.density)
    assert 0.5 < metrics.link_overlap(before, after) < 1
    plans = dst.update()
    removed = [np.delete(plan.edit.old.link_ids, plan.kept) for plan in plans]
    shares = [metrics.regrown_share(gone, plan.grown) for gone, plan in zip(removed, plans, strict=True)]
    assert shares == pytest.approx([plan.overlap for plan in plans])


@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_overlaps_are_shares_of_sets(first, second) -> None:
    expected = len(first & second) / max(1, len(second))
    assert metrics.regrown_share(sorted(first), sorted(second)) == expected
    a, b = (Topology.from_ids(sorted(ids), (1, 31)) for ids in (first, second))
    assert metrics.link_overlap(a, b) == expected


def test_a_local_minimum_regrows_what_it_removes() -> None:
    assert metrics.at_local_minimum(range(10), range(10))
    assert metrics.at_local_minimum(range(10), range(1, 11))
    assert not metrics.at_local_minimum(range(10), range(2, 12))
    assert not metrics.at_local_minimum([], [])
    with pytest.raises(ConfigError, match="threshold"):
        metrics.at_local_minimum([1], [1], 1.5)


def test_other_layers_are_refused() -> None:
    layer = Topology.full((2, 2))
    with pytest.raises(ShapeError, match="same layers twice"):
        metrics.link_overlap(layer, [layer, layer])
    with pytest.raises(ShapeError, match="one history"):
        metrics.itop_rate([layer, layer], History.empty())


def test_there_is_one_definition_of_aae() -> None:
    assert area_across_epochs is metrics.area_across_epochs
