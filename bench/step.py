"""The whole training step: forward, loss, backward, optimizer, of one network in every contender."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch

from sparsecore import kernels
from sparsecore.bench.contenders import Links, build, names
from sparsecore.bench.timing import interleaved, ping_pong_ns
from sparsecore.generators import ER
from sparsecore.nn import draw_values
from sparsecore.storage import Topology

__all__ = ["common_network", "measure", "verify"]

SIZES = (784, 1568, 1568, 1568, 10)


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


def verify(name: str, layers: Sequence[Links], batch: int) -> str | None:
    """Return ``None`` if a contender's first losses are those of our reference, else what is wrong.

    Three steps are compared; the dense network, which trains weights that others do not have, is compared on its first.
    """
    generator = torch.Generator().manual_seed(1)
    batches = [_batch(batch, layers, generator) for _ in range(1 if name == "dense" else 3)]
    contender, ours = build(name, layers), build("sparsecore, layer by layer", layers)
    for x, y in batches:
        loss = contender.step(x, y)
        with kernels.use("reference"):
            expected = ours.step(x, y)
        if not torch.allclose(loss, expected, rtol=1e-3, atol=1e-4):
            return f"loss {loss.item():.6f} where {expected.item():.6f} was expected"
    return None


def measure(
    density: float, batch: int, contenders: Sequence[str] | None = None, *, seconds: float = 2.0
) -> dict[str, Any]:
    """Check and time the whole step of every contender.

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
        Time spent on each.

    Returns
    -------
    dict
        JSON data: the setting, the hand-over time before and after, and one entry per contender.
    """
    layers = common_network(density)
    x, y = _batch(batch, layers, torch.Generator().manual_seed(2))
    rows: dict[str, dict[str, Any]] = {}
    calls = {}
    for name in contenders or names():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wrong = verify(name, layers, batch)
                contender = build(name, layers)
        except ImportError as error:
            rows[name] = {"status": f"not installed: {error}"}
            continue
        if wrong is not None:
            rows[name] = {"status": f"wrong result: {wrong}"}
            continue
        rows[name] = {"status": "ok"}
        calls[name] = lambda step=contender.step: step(x, y)
    before = ping_pong_ns()
    timings = interleaved(calls, seconds=seconds)
    for name, timing in timings.items():
        rows[name] |= asdict(timing)
    return {
        "kind": "step",
        "sizes": list(SIZES),
        "density": density,
        "batch": batch,
        "ping_pong_ns": [before, ping_pong_ns()],
        "contenders": rows,
    }


def _batch(n: int, layers: Sequence[Links], generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(n, layers[0].topology.n_in, generator=generator)
    return x, torch.randint(layers[-1].topology.n_out, (n,), generator=generator)
