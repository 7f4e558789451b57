"""Peak memory of building, training and updating one layer, each contender in a process of its own."""

from __future__ import annotations

from typing import Any

from sparsecore.bench.gate import OK
from sparsecore.bench.memory_tasks import LAYERS
from sparsecore.bench.probe import probe
from sparsecore.bench.registry import Row, Setting, Suite

__all__ = ["SUITE", "measure"]

BATCH = 128
SQUARE, WIDE = (4096, 4096), (4096, 11008)
OURS = "sparsecore"


def measure(contender: str, shape: tuple[int, int], density: float, batch: int = BATCH) -> dict[str, Any]:
    """Return the peaks of one contender at one setting, and bytes per link of the training peak."""
    task: dict[str, Any] = {
        "what": "train",
        "contender": contender,
        "shape": list(shape),
        "density": density,
        "batch": batch,
    }
    # A dense update of the wide layer takes a minute and is timed by the evolution suite already.
    row = task | probe(task | {"update": contender != "masked dense" or shape == SQUARE})
    if row["status"] == OK:
        row["bytes_per_link"] = row["training_bytes"] / row["links"]
    return row


def _settings() -> list[Setting]:
    rows = [
        ("dense", SQUARE, 0.01),
        ("masked dense", SQUARE, 0.01),
        *((OURS, SQUARE, density) for density in (0.001, 0.01, 0.05, 0.1, 0.3)),
        *(("torch CSR autograd", SQUARE, density) for density in (0.001, 0.01, 0.05, 0.1, 0.3)),
        *(("sparselab", SQUARE, density) for density in (0.01, 0.05)),
        *((name, WIDE, 0.01) for name in LAYERS),
        (OURS, WIDE, 0.1),
        (OURS, (32768, 32768), 0.001),
    ]
    return [{"contender": name, "shape": list(shape), "density": density} for name, shape, density in rows]


def _measure(setting: Setting, seconds: float) -> Row:
    return measure(setting["contender"], (setting["shape"][0], setting["shape"][1]), setting["density"])


SUITE = Suite("peak memory of construction, training and updates", 0.0, _settings, _measure)
