"""Whole updates planned and applied by the CUDA engine, against those of the CPU."""

import copy
import logging

import numpy as np
import pytest
import torch
from gpu_runtimes import HOST, gpu_runtime, register_host_backend
from torch.utils._python_dispatch import TorchDispatchMode

import sparsecore as sc
from sparsecore import kernels
from sparsecore.errors import NonFiniteError, SignalError
from sparsecore.evolution import Evolution, Rule, percolate
from sparsecore.evolution.device_history import DeviceHistory
from sparsecore.evolution.history import History
from sparsecore.evolution.on_device import percolate_on_device, why_not
from sparsecore.kernels.gpu.lists import lists_of
from sparsecore.kernels.gpu.remap import DeviceEdit
from sparsecore.models import MLP
from sparsecore.nn import End, Joint
from sparsecore.predictors import RAL3, CH2L3n, CH3L3n, CH3L3p, Gradient, Random
from sparsecore.removal import (
    Magnitude,
    Mest,
    ReciprocalSensitivity,
    RelativeImportance,
    Sensitivity,
    SetSigned,
    Snip,
)
from sparsecore.schedules import Constant
from sparsecore.selection import Soft, Top
from sparsecore.storage import Topology, TopologyEdit

register_host_backend()
SIZES = (20, (40, 36, 30), 5)


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request):
    """A device on which the CUDA engine works, with that engine in charge."""
    if request.param == "gpu":
        gpu_runtime()
        yield torch.device("cuda")
    elif HOST not in kernels.available():
        pytest.skip("no g++ to build the CUDA sources for the host")
    else:
        with kernels.use(HOST):
            yield torch.device("cpu")


def trained(device, rule, *, optimizer=torch.optim.Adam, updates=2, density=0.15, **options):
    """Return model, optimizer and evolution after some updates, always one step before each."""
    torch.manual_seed(3)
    model = MLP(*SIZES, density=density, seed=1)
    model = model.to(device)
    opt = optimizer(model.parameters(), lr=0.01)
    evolution = Evolution(model, opt, rule, every=2, seed=5, **options)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2 * updates):
        x = torch.randn(24, 20, generator=generator).to(device)
        opt.zero_grad()
        model(x).square().mean().backward()
        opt.step()
        evolution.step()
    return model, opt, evolution


def layers_of(model):
    return [module for module in model.modules() if isinstance(module, sc.SparseLinear)]


HARD = {
    "magnitude": Rule(Magnitude(), Top(), RAL3(), Top()),
    "relative importance": Rule(RelativeImportance(), Top(), CH2L3n(), Top()),
    "relative, epsilon": Rule(RelativeImportance(epsilon=0.01), Top(), CH2L3n(), Top()),
    "set": Rule(SetSigned(), Top(), CH3L3p(), Top(), percolate=False),
    "mest": Rule(Mest(), Top(), CH3L3n(), Top()),
    "snip": Rule(Snip(), Top(), Gradient(), Top(), percolate=False),
    "sensitivity": Rule(Sensitivity(), Top(), Gradient(), Top()),
    "reciprocal": Rule(ReciprocalSensitivity(), Soft(3.0), Gradient(), Top()),
    "density": Rule(Magnitude(), Top(), CH2L3n(), Top(), density=Constant(0.1), prune=RelativeImportance()),
    "soft keys": Rule(Magnitude(), Soft(), RAL3(), Soft(2.0)),
    "history": Rule(Magnitude(), Top(), CH2L3n(), Top(), fresh="history", early_stop=0.9),
    "drawn": Rule(Magnitude(), Top(), CH2L3n(), Top(), fresh="swi"),
}


@pytest.mark.parametrize("name", HARD)
def test_rules_without_proposals_give_the_links_of_the_cpu(device, name):
    rule = HARD[name]
    assert why_not(rule) is None
    model, opt, evolution = trained(device, rule)
    with kernels.use("numba"):
        twin, twin_opt, twin_evolution = trained(torch.device("cpu"), rule)
    for mine, theirs in zip(layers_of(model), layers_of(twin), strict=True):
        assert mine.topology == theirs.topology
        torch.testing.assert_close(mine.values.cpu(), theirs.values, rtol=1e-3, atol=1e-4)
        for key in ("exp_avg", "exp_avg_sq"):
            moments = opt.state[mine.values][key].cpu(), twin_opt.state[theirs.values][key]
            torch.testing.assert_close(*moments, rtol=1e-3, atol=1e-5)
    mine, theirs = evolution.report(), twin_evolution.report()
    assert [(la.itop, la.overlap, la.grown) for la in mine.layers] == [
        (la.itop, la.overlap, la.grown) for la in theirs.layers
    ]


SOFT = {
    "ch2": Rule(Magnitude(), Soft(), CH2L3n(), Soft()),
    "ch3": Rule(RelativeImportance(), Soft(2.0), CH3L3n(), Soft()),
    "paths": Rule(Magnitude(), Top(), CH3L3p(), Soft()),
    "random": Rule(SetSigned(), Top(), Random(), Soft(), percolate=False),
    "short budget": Rule(Magnitude(), Top(), CH2L3n(proposals_per_link=1), Soft()),
    "streamed": Rule(Magnitude(), Top(), CH2L3n(proposals_per_link=0), Soft()),
}


@pytest.mark.parametrize("name", SOFT)
def test_rules_with_proposals_keep_every_promise(device, name):
    model, opt, evolution = trained(device, SOFT[name], updates=1)
    before = [(layer.topology, layer.values.detach().clone()) for layer in layers_of(model)]
    moments = [opt.state[layer.values]["exp_avg"].clone() for layer in layers_of(model)]
    plans = evolution.update()
    again = trained(device, SOFT[name], updates=1)
    assert [layer.topology for layer in layers_of(again[0])] == [topology for topology, _ in before]
    for layer, (old, values), moment, plan in zip(layers_of(model), before, moments, plans, strict=True):
        new = layer.topology
        Topology(new.shape, new.col_ptr, new.rows)  # canonical
        assert new.n_links == old.n_links
        assert len(plan.grown) > 0
        at = old.find(new.link_ids)
        survivors = torch.from_numpy(at >= 0).to(device)
        source = torch.from_numpy(at[at >= 0]).to(device)
        assert torch.equal(layer.values[survivors], values[source])
        assert torch.equal(opt.state[layer.values]["exp_avg"][survivors], moment[source])
        assert not opt.state[layer.values]["exp_avg"][~survivors].any()
    model(torch.randn(3, 20, device=device)).sum().backward()
    opt.step()


def test_training_goes_on_after_a_checkpoint_to_the_same_links(device, tmp_path):
    rule = SOFT["ch2"]
    whole = trained(device, rule, updates=3)
    model, opt, evolution = trained(device, rule, updates=2)
    states = [copy.deepcopy(part.state_dict()) for part in (model, opt, evolution)]
    torch.save(states, tmp_path / "state.pt")
    states = torch.load(tmp_path / "state.pt", map_location=device)
    fresh, fresh_opt, fresh_evolution = trained(device, rule, updates=0)
    for part, state in zip((fresh, fresh_opt, fresh_evolution), states, strict=True):
        part.load_state_dict(state)
    generator = torch.Generator().manual_seed(0)
    for at in range(6):
        x = torch.randn(24, 20, generator=generator).to(device)
        if at >= 4:
            fresh_opt.zero_grad()
            fresh(x).square().mean().backward()
            fresh_opt.step()
            fresh_evolution.step()
    for mine, theirs in zip(layers_of(fresh), layers_of(whole[0]), strict=True):
        assert mine.topology == theirs.topology
        assert torch.equal(mine.values, theirs.values)
    assert fresh_evolution.report().layers == whole[2].report().layers


class Visits(TorchDispatchMode):
    """Notes how many numbers tensors of the device give to the host."""

    def __init__(self):
        super().__init__()
        self.scalars = 0
        self.sizes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            self.scalars += 1
        if func is torch.ops.aten._to_copy.default and (kwargs or {}).get("device") == torch.device("cpu"):
            self.sizes.append(args[0].numel())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["ch2", "ch3", "paths", "random"])
def test_an_update_brings_nothing_but_counts_to_the_host(device, name, monkeypatch):
    model, _, evolution = trained(device, SOFT[name], updates=1)
    numpy = torch.Tensor.numpy
    taken = []
    monkeypatch.setattr(torch.Tensor, "numpy", lambda self, **kw: taken.append(self.numel()) or numpy(self, **kw))
    with Visits() as visits:
        evolution.update()
    assert taken == []
    assert max(visits.sizes, default=0) <= 4
    # Sixty per layer: whether values are finite, how many were drawn, how many are kept.
    assert visits.scalars <= 60 * len(layers_of(model))
    assert all("rows" not in layer.topology.__dict__ for layer in layers_of(model))


def test_a_rule_the_device_does_not_know_is_planned_on_the_host(device, caplog):
    rule = Rule(Magnitude(), Top(), CH2L3n(), Soft(), redistribution=sc.evolution.redistribution.get("survivors"))
    assert why_not(rule) == "redistribution"
    with caplog.at_level(logging.WARNING, "sparsecore.evolution"):
        model, _, _ = trained(device, rule)
    assert all(layer.values.device.type == device.type for layer in layers_of(model))


def test_missing_signals_are_named(device):
    model = MLP(*SIZES, density=0.15).to(device)
    opt = torch.optim.SGD(model.parameters(), lr=0.1)
    for rule, what in ((Rule(Snip()), "gradient of the links"), (Rule(predictor=Gradient(), grow=Top()), "inputs and")):
        with pytest.raises(SignalError, match=what):
            Evolution(model, opt, rule, every=1).update()
    with torch.no_grad():
        layers_of(model)[0].values[3] = float("nan")
    with pytest.raises(NonFiniteError, match="Expected finite values"):
        Evolution(model, opt, Rule(), every=1).update()


def test_percolation_is_that_of_the_host():
    rng = np.random.default_rng(0)
    for density in (0.03, 0.1, 0.3):
        shapes = [(20, 15), (18, 20), (25, 18), (4, 25)]
        topologies = [Topology.from_ids(np.flatnonzero(rng.random(a * b) < density), (a, b)) for a, b in shapes]
        kept = [np.flatnonzero(rng.random(t.n_links) < 0.6) for t in topologies]
        theirs = percolate(topologies, kept)
        lists = [lists_of(t, torch.device("cpu")) for t in topologies]
        ours = percolate_on_device(lists, [torch.from_numpy(part) for part in kept])
        assert all(np.array_equal(a.numpy(), b) for a, b in zip(ours, theirs, strict=True))


def test_percolation_through_joints_is_that_of_the_host():
    rng = np.random.default_rng(1)
    rotary = np.arange(12) // 2
    some = np.where(np.arange(12) < 8, np.arange(12), -1)
    joints = [
        Joint((End(0, "out"), End(1, "out"), End(2, "in")), 12),
        Joint((End(2, "out", rotary), End(3, "in", rotary)), 6),
        Joint((End(3, "out", lives=True), End(0, "in", some)), 12),
    ]
    for density in (0.05, 0.1, 0.2):
        topologies = [Topology.from_ids(np.flatnonzero(rng.random(144) < density), (12, 12)) for _ in range(4)]
        kept = [np.flatnonzero(rng.random(t.n_links) < 0.8) for t in topologies]
        theirs = percolate(topologies, kept, joints)
        lists = [lists_of(t, torch.device("cpu")) for t in topologies]
        ours = percolate_on_device(lists, [torch.from_numpy(part) for part in kept], joints)
        assert sum(map(len, ours)) < sum(map(len, kept))
        assert all(np.array_equal(a.numpy(), b) for a, b in zip(ours, theirs, strict=True))


def test_histories_of_device_and_host_agree():
    rng = np.random.default_rng(0)
    topology = Topology.from_ids(np.flatnonzero(rng.random(60) < 0.5), (6, 10))
    host, mine = History.empty(), DeviceHistory.of(History.empty(), torch.device("cpu"))
    for _ in range(4):
        values = rng.random(topology.n_links).astype(np.float32)
        kept = np.flatnonzero(rng.random(topology.n_links) < 0.6)
        grown = rng.permutation(np.setdiff1d(np.arange(60), topology.link_ids[kept]))[:8]
        edit = TopologyEdit.plan(topology, kept, grown)
        host = host.after(edit, values)
        same = DeviceEdit.plan(topology, torch.from_numpy(kept), torch.from_numpy(grown))
        mine = mine.after_on_device(same, torch.from_numpy(values))
        topology = edit.new
        assert np.array_equal(mine.ids, host.ids)
        assert np.array_equal(mine.values, host.values)
        assert mine.explored(topology) == host.explored(topology)
        ids = rng.permutation(60)
        assert np.array_equal(mine.held_by(torch.from_numpy(ids)).numpy(), host.values_of(ids))
    assert mine.after(TopologyEdit.plan(topology, kept[:0], grown[:0]), values[: topology.n_links]).ids.size
