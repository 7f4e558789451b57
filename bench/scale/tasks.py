"""What is measured at scale; every task takes a size and returns plain JSON data, times in seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsecore import generators, predictors
from sparsecore.bench.peak import resident_bytes
from sparsecore.evolution import CHTs, Evolution
from sparsecore.io import load, save
from sparsecore.metrics import anp_per_layer, characteristic_path_length, degree_power_law, itop_rate, link_overlap
from sparsecore.nn import SparseLinear, SparseSequential, sparse_layers
from sparsecore.selection import Soft, Top
from sparsecore.storage import Topology

__all__ = ["TASKS", "layer", "network"]

#: Neurons on each side and links of the largest layer.
SIDE, LINKS = 1_000_000, 20_000_000
#: Neurons of each hidden layer, hidden layers, features and links per hidden neuron of the largest network.
HIDDEN, DEPTH, FEATURES, LINKS_PER_NEURON = 5_100_000, 10, 65_536, 2
_BATCH, _STEPS, _ZETA = 4, 3, 0.3

Row = dict[str, Any]


def layer(fraction: float) -> Row:
    """Train one layer of `SIDE` x `SIDE` with `LINKS` links, sides and links times `fraction`."""
    side, links = round(SIDE * fraction), round(LINKS * fraction)

    def build(seed: int) -> nn.Module:
        return SparseSequential(SparseLinear(side, side, density=links / side**2, seed=seed))

    return _cycle(build, side, neurons=2 * side)


def network(fraction: float) -> Row:
    """Train `DEPTH` hidden layers of `HIDDEN` neurons, widths times `fraction`, with a dense head of 10 classes."""
    hidden, features = round(HIDDEN * fraction), round(FEATURES * fraction)
    sizes, start = [features, *[hidden] * DEPTH], generators.Regular()

    def build(seed: int) -> nn.Module:
        modules: list[nn.Module] = []
        for index, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            density = LINKS_PER_NEURON / n_in
            modules += [SparseLinear(n_in, n_out, density=density, topology=start, seed=seed + index), nn.ReLU()]
        return nn.Sequential(SparseSequential(*modules), nn.Linear(hidden, 10))

    return _cycle(build, features, neurons=sum(sizes) + 10)


def _cycle(build: Callable[[int], nn.Module], features: int, *, neurons: int) -> Row:
    """Build, train, evolve twice by CHTs, save, load into a fresh model, and compare."""
    row: Row = {"neurons": neurons}
    empty = resident_bytes()
    model = _timed(row, "build", lambda: build(0))
    # A head sums over all neurons below it, so that steps have to shrink with their number.
    optimizer = torch.optim.SGD(model.parameters(), lr=1 / neurons, momentum=0.9)
    evolution = CHTs(model, optimizer, every=_STEPS, zeta=_ZETA, seed=7)
    links = row["links"] = _links(model)
    row["parameters"] = sum(p.numel() for p in model.parameters())
    for step in range(1, 2 * _STEPS + 1):
        x = torch.randn(_BATCH, features, generator=torch.Generator().manual_seed(step))
        _timed(row, "step", partial(_step, model, optimizer, x))
        if step % _STEPS:
            evolution.step()
        else:
            _timed(row, "update", evolution.step)
        optimizer.zero_grad()
    row["links_exact"] = _links(model) == links
    report = _timed(row, "report", evolution.report)
    row["updates"], row["replaced"] = report.updates, sum(part.grown for part in report.layers) / links
    row["anp"] = report.anp
    row["resident_bytes_per_link"] = (resident_bytes() - empty) / links
    row["stored_bytes_per_link"] = _stored_bytes(model, optimizer) / links
    row["same_after_resume"] = _resume(row, build, model, optimizer, evolution)
    return row


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor) -> None:
    (model(x) - 1).square().mean().backward()
    optimizer.step()


def _resume(
    row: Row,
    build: Callable[[int], nn.Module],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    evolution: Evolution,
) -> bool:
    """Save, load into another model, and tell whether links, values and momentum are the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.safetensors"
        _timed(
            row,
            "save",
            lambda: save(
                path,
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "evolution": evolution.state_dict(),
                },
            ),
        )
        row["file_bytes_per_link"] = path.stat().st_size / row["links"]
        state = _timed(row, "load", lambda: load(path))
    digests = [part.topology.digest for part in sparse_layers(model).values()]
    numbers = [p.detach().clone() for p in model.parameters()]
    # Loaded into the same objects after spoiling them: a second network would double the memory that is measured.
    for parameter in model.parameters():
        parameter.data.zero_()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    evolution.load_state_dict(state["evolution"])
    same = all(torch.equal(a, b) for a, b in zip(numbers, model.parameters(), strict=True))
    return same and digests == [part.topology.digest for part in sparse_layers(model).values()]


def _links(model: nn.Module) -> int:
    return sum(part.topology.n_links for part in sparse_layers(model).values())


def _stored_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Values, optimizer state and index lists; biases and dense heads not."""
    held = 0
    for part in sparse_layers(model).values():
        state = [entry for entry in optimizer.state[part.values].values() if isinstance(entry, torch.Tensor)]
        held += sum(entry.numel() * entry.element_size() for entry in (part.values, *state)) + part.topology.nbytes
    return held


def _timed(row: Row, name: str, work: Callable[[], Any]) -> Any:
    """Append wall time and processor time of `work` to the row; other processes disturb only the first."""
    started, spent = time.perf_counter(), time.process_time()
    result = work()
    row.setdefault(f"{name}_s", []).append(time.perf_counter() - started)
    row.setdefault(f"{name}_cpu_s", []).append(time.process_time() - spent)
    return result


def _square(fraction: float) -> tuple[Topology, Row]:
    side, links = round(SIDE * fraction), round(LINKS * fraction)
    return generators.ER()((side, side), links, 0), {"neurons": 2 * side, "links": links}


def _generator(name: str) -> Callable[[float], Row]:
    def measure(fraction: float) -> Row:
        side, links = round(SIDE * fraction), round(LINKS * fraction)
        row: Row = {"neurons": 2 * side, "links": links}
        topology = _timed(row, "work", lambda: generators.get(name)((side, side), links, 0))
        row["links_exact"] = topology.n_links == links
        return row

    return measure


def _predictor(name: str, select: Soft | Top) -> Callable[[float], Row]:
    def measure(fraction: float) -> Row:
        topology, row = _square(fraction)
        n = round(_ZETA * topology.n_links)
        side = topology.n_in
        draw = torch.Generator().manual_seed(0)
        signals = predictors.Signals(*(torch.randn(2, side, generator=draw).numpy() for _ in range(2)))
        grown = _timed(row, "work", lambda: select.grow(predictors.get(name), topology, n, 0, signals=signals))
        row["links_exact"] = grown.size == n
        return row

    return measure


def _metric(measure_one: Callable[[Topology], Any]) -> Callable[[float], Row]:
    def measure(fraction: float) -> Row:
        topology, row = _square(fraction)
        _timed(row, "work", lambda: measure_one(topology))
        return row

    return measure


TASKS: dict[str, Callable[[float], Row]] = {
    "layer": layer,
    "network": network,
    **{f"generator {name}": _generator(name) for name in ("er", "bsw", "brf", "bsf", "regular")},
    **{f"soft {name}": _predictor(name, Soft()) for name in ("ch2_l3n", "ch3_l3n", "ch2_l3p", "ch3_l3p", "random")},
    **{f"top {name}": _predictor(name, Top()) for name in ("ch2_l3n", "ch3_l3p", "gradient")},
    "metric anp": _metric(anp_per_layer),
    "metric itop": _metric(itop_rate),
    "metric overlap": _metric(lambda topology: link_overlap(topology, topology)),
    "metric power law": _metric(degree_power_law),
    "metric path length": _metric(characteristic_path_length),
}
