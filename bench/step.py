"""The whole training step: forward, loss, backward, optimizer, of one network in every contender."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from statistics import median
from typing import Any

import torch

from sparsecore import kernels
from sparsecore.bench.contenders import Contender, Links, build, names
from sparsecore.bench.contenders.dense import onednn_report
from sparsecore.bench.gate import OK, disagreement, not_installed, wrong
from sparsecore.bench.registry import Row, Setting, Suite
from sparsecore.bench.threads import set_threads, thread_counts
from sparsecore.bench.timing import ping_pong_ns, sampled, summary
from sparsecore.generators import ER
from sparsecore.kernels import Layer
from sparsecore.nn import draw_values
from sparsecore.ops import sparse_chain
from sparsecore.storage import Topology

__all__ = ["SUITE", "common_network", "measure", "reference_losses", "verify"]

SIZES = (784, 1568, 1568, 1568, 10)
DENSITIES = (0.01, 0.001, 0.05, 0.1)
BATCHES = (32, 128)
OURS = "sparsecore"
KERNELS = "links alone"

#: Steps per call of a contender that takes many: the trainer takes all those between two updates.
STEPS_AT_ONCE = 100


def common_network(density: float, sizes: Sequence[int] = SIZES, seed: int = 0) -> list[Links]:
    """Return the layers that all contenders share: sparse hidden layers and a dense head."""
    layers = []
    for index, (n_in, n_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        last = index == len(sizes) - 2
        shape = (n_out, n_in)
        topology = Topology.full(shape) if last else ER()(shape, round(density * n_out * n_in), seed + index)
        generator = torch.Generator().manual_seed(seed + index)
        layers.append(Links(topology, draw_values(topology, "swi", generator), torch.zeros(n_out)))
    return layers


def reference_losses(layers: Sequence[Links], batch: int, steps: int = 3) -> list[torch.Tensor]:
    """Return the first losses of the common network on the reference backend."""
    generator = torch.Generator().manual_seed(1)
    ours = build("sparsecore, layer by layer", layers)
    with kernels.use("reference"):
        return [ours.step(*_batch(batch, layers, generator)) for _ in range(steps)]


def verify(name: str, layers: Sequence[Links], batch: int, expected: Sequence[torch.Tensor]) -> str | None:
    """Return ``None`` if a contender's first losses are those of the reference backend, else what is wrong.

    All steps are compared, so that wrong gradients show; a dense network, which trains weights that others do not have,
    is compared on its first.
    """
    generator = torch.Generator().manual_seed(1)
    contender = build(name, layers)
    for right in expected if contender.same_weights else expected[:1]:
        loss = contender.step(*_batch(batch, layers, generator))
        what = disagreement(loss.float(), right, contender.tolerance)
        if what is not None:
            return f"loss {loss.item():.6f} where {right.item():.6f} was expected, {what}"
    return None


def measure(
    density: float,
    batch: int,
    contenders: Sequence[str] | None = None,
    *,
    seconds: float = 2.0,
    sizes: Sequence[int] = SIZES,
) -> dict[str, Any]:
    """Check and time the whole step of every contender with every number of threads.

    Parameters
    ----------
    density : float
        Of the hidden layers.
    batch : int
        Samples per step.
    contenders : sequence of str, optional
        All registered ones when missing. One whose library does not import is reported, one whose losses differ is
        reported and not timed.
    seconds : float
        Time spent on each contender.
    sizes : sequence of int
        Neurons of every layer.

    Returns
    -------
    dict
        JSON data: the hand-over time before and after, one entry per contender with its times at its best number of
        threads (``ratio``: its time over ours, each at its best), and per number of threads.
    """
    layers = common_network(density, sizes)
    entries: dict[str, dict[str, Any]] = {}
    ready: dict[str, Contender] = {}
    set_threads(thread_counts()[-1])
    expected = reference_losses(layers, batch)
    for name in contenders or names():
        made = _admitted(name, layers, batch, expected)
        entries[name] = {"status": made if isinstance(made, str) else OK}
        if not isinstance(made, str):
            ready[name] = made
    x, y = _batch(batch, layers, torch.Generator().manual_seed(2))
    calls: dict[str, Callable[[], object]] = {
        name: partial(made.step, x, y) if made.many is None else partial(made.many, x, y, STEPS_AT_ONCE)
        for name, made in ready.items()
    }
    calls[KERNELS] = _links_alone(layers, x)
    before = ping_pong_ns()
    rows = _time(calls, seconds, {name: STEPS_AT_ONCE for name, made in ready.items() if made.many is not None})
    for name in ready:
        entries[name] |= rows[name]
    row: dict[str, Any] = {
        "sizes": list(sizes),
        "density": density,
        "batch": batch,
        "ping_pong_ns": [before, ping_pong_ns()],
        "contenders": entries,
        "links_alone": rows[KERNELS],
    }
    if "dense, oneDNN" in ready:
        row["onednn"] = onednn_report()
    return row


def _admitted(name: str, layers: Sequence[Links], batch: int, expected: Sequence[torch.Tensor]) -> Contender | str:
    """Return the contender if it passes the gate, else its status."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            what = verify(name, layers, batch, expected)
            return build(name, layers) if what is None else wrong(what)
    except ImportError as error:
        return not_installed(error)


def _time(
    calls: dict[str, Callable[[], object]], seconds: float, steps_per_call: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """Return times of a step at the best number of threads, and at each."""
    counts = thread_counts()
    variants = {(name, n): call for n in counts for name, call in calls.items()}
    labels = {f"{name} @{n}": (name, n) for name, n in variants}
    samples, repeats = sampled(
        {label: variants[key] for label, key in labels.items()},
        seconds=seconds / len(counts),
        prepare={label: partial(set_threads, n) for label, (_, n) in labels.items()},
    )
    for label, (name, _) in labels.items():
        samples[label] = [time / steps_per_call.get(name, 1) for time in samples[label]]
    medians = {label: median(times) for label, times in samples.items()}
    best = {name: min(counts, key=partial(_median_at, medians, name)) for name in calls}
    base_name = OURS if OURS in calls else next(iter(calls))
    base = samples[f"{base_name} @{best[base_name]}"]
    rows = {}
    for name, n in best.items():
        label = f"{name} @{n}"
        rows[name] = asdict(summary(samples[label], base, repeats[label])) | {
            "threads": n,
            "by_threads_us": {str(m): medians[f"{name} @{m}"] for m in counts},
        }
    return rows


def _median_at(medians: dict[str, float], name: str, n: int) -> float:
    return medians[f"{name} @{n}"]


def _links_alone(layers: Sequence[Links], x: torch.Tensor) -> Callable[[], object]:
    """Return forward and backward of the sparse layers with nothing around them: the floor of our step."""
    chain = [
        Layer(la.topology, la.values.clone().requires_grad_(), la.bias.clone().requires_grad_(), True)
        for la in layers
        if la.topology.density < 1.0
    ]
    grad = torch.ones(x.shape[0], layers[len(chain) - 1].topology.n_out)
    params = [part for layer in chain for part in (layer.values, layer.bias) if part is not None]
    return lambda: torch.autograd.grad(sparse_chain(x, chain), params, grad)


def _batch(n: int, layers: Sequence[Links], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(n, layers[0].topology.n_in, generator=generator)
    return x, torch.randint(layers[-1].topology.n_out, (n,), generator=generator)


def _settings() -> list[Setting]:
    return [{"density": density, "batch": batch} for density in DENSITIES for batch in BATCHES]


def _measure(setting: Setting, seconds: float) -> Row:
    return measure(setting["density"], setting["batch"], seconds=seconds)


SUITE = Suite("one training step of a whole network", 1.0, _settings, _measure)
