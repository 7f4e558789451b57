"""The GPU suite: products, regrowth, training steps and memory, against cuSPARSE, masked and dense layers.

``python -m sparsecore.bench.gpu`` measures what is not measured yet and writes the tables of docs/gpu.md;
``--dry-run`` runs every contender on tiny layers instead, on the CPU where there is no GPU, and writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from sparsecore import kernels
from sparsecore.bench.gate import is_wrong
from sparsecore.bench.gpu_clock import Entry, Place
from sparsecore.bench.gpu_layers import measure_layer
from sparsecore.bench.gpu_links import measure_regrowth
from sparsecore.bench.gpu_page import write_tables
from sparsecore.bench.gpu_steps import measure_memory, measure_step
from sparsecore.bench.machine import machine
from sparsecore.bench.registry import Row, Setting, Suite
from sparsecore.errors import ConfigError
from sparsecore.kernels.gpu.host import HostRuntime
from sparsecore.kernels.gpu.runtime import SOURCES, source

__all__ = ["SUITE", "dry_run", "main", "place"]

#: Widths of LLaMA-1B and LLaMA-7B: attention and feed-forward layers.
SHAPES = ((2048, 2048), (2048, 5461), (4096, 4096), (4096, 11008))
BATCHES = (1, 16, 128, 1024, 4096)
DENSITIES = (0.01, 0.05, 0.1, 0.3)

_KINDS: dict[str, Callable[..., list[Entry]]] = {
    "layer": measure_layer,
    "regrowth": measure_regrowth,
    "step": measure_step,
    "memory": measure_memory,
}


def place() -> Place | None:
    """Return the GPU and its engine, or ``None``."""
    runtime, _ = kernels.find_runtime()
    return None if runtime is None else Place(torch.device("cuda", torch.cuda.current_device()), runtime)


def _digest() -> str:
    return hashlib.blake2b("".join(map(source, SOURCES)).encode(), digest_size=6).hexdigest()


def _settings() -> list[Setting]:
    settings: list[Setting] = []
    for shape in map(list, SHAPES):
        layers = [{"kind": "layer", "shape": shape, "batch": b, "density": d} for b in BATCHES for d in DENSITIES]
        settings += [*layers, *({"kind": "regrowth", "shape": shape, "density": d} for d in DENSITIES)]
    settings += [{"kind": kind, "width": 4096, "batch": 128, "density": d} for kind in _TRAINING for d in DENSITIES]
    # The sources of kernels are part of what a row depends on.
    return [setting | {"sources": _digest()} for setting in settings]


_TRAINING = ("step", "memory")


def _measure(setting: Setting, seconds: float) -> Row:
    return measure(_required(), setting, seconds)


def _required() -> Place:
    """Return the GPU, or raise `ConfigError` with the reason why there is none."""
    where = place()
    if where is None:
        reason = kernels.find_runtime()[1]
        raise ConfigError(f"Expected a GPU. Got none: {reason}. Try python -m sparsecore.bench.gpu --dry-run.")
    return where


def measure(where: Place, setting: Setting, seconds: float) -> Row:
    """Measure one setting; ``kind`` says what."""
    options = {name: value for name, value in setting.items() if name not in ("kind", "sources")}
    return {"gpu": where.name, "entries": _KINDS[setting["kind"]](where, seconds=seconds, **options)}


SUITE = Suite("products, regrowth, steps and memory on a GPU", 0.2, _settings, _measure)


def dry_run() -> list[Row]:
    """Measure tiny settings of every kind, on a GPU or with its kernels run by the CPU; times mean nothing."""
    where = place() or Place(torch.device("cpu"), HostRuntime())
    layer = {"shape": [24, 36], "density": 0.2}
    training = {"width": 24, "batch": 8, "density": 0.2}
    settings: list[Setting] = [
        {"kind": "layer", "batch": 64, **layer},
        {"kind": "regrowth", **layer},
        *({"kind": kind, **training} for kind in _TRAINING),
    ]
    return [{"setting": setting, **measure(where, setting, 0.0)} for setting in settings]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write the tables, or run dry; returns 0 if no contender was wrong."""
    from sparsecore.bench.run import run_suite, statuses

    parser = argparse.ArgumentParser(prog="python -m sparsecore.bench.gpu", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="run everything on tiny layers, write nothing")
    parser.add_argument("--again", action="store_true", help="measure rows again that still hold")
    parser.add_argument("--seconds", type=float, help="time to spend on each contender")
    parser.add_argument("--results", type=Path, default=Path("bench/results"), help="folder of the JSON files")
    parser.add_argument("--page", type=Path, default=Path("docs/gpu.md"), help="page whose tables are written")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    if options.dry_run:
        rows = dry_run()
        sys.stdout.write(json.dumps(rows, indent=1) + "\n")
        return int(any(is_wrong(status) for status in statuses(rows)))
    try:
        _required()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    healthy = run_suite("gpu", options.results, machine(), seconds=options.seconds, again=options.again)
    write_tables(options.results / "gpu.json", options.page)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
