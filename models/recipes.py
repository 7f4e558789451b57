"""Image runs: built from their options, trained, and resumed from a folder."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsecore import __version__, kernels
from sparsecore.engine import Events, PeakMemory, Summary, Trainer
from sparsecore.errors import CheckpointError
from sparsecore.evolution import Evolution, methods
from sparsecore.io import RunFolder
from sparsecore.io.machine import machine
from sparsecore.models import data as image_data
from sparsecore.models.data import ImageData
from sparsecore.models.image_run import ImageRun, demonstration
from sparsecore.models.mlp import MLP
from sparsecore.models.options import DENSE
from sparsecore.schedules import Linear

__all__ = [
    "DENSE",
    "ImageRun",
    "build",
    "create_folder",
    "demonstration",
    "load_data",
    "read_config",
    "resume",
    "run",
    "run_in",
    "warm_up",
]


def load_data(config: ImageRun, folder: str | Path | None = None) -> ImageData:
    """Return the data of a run, its held-out samples set apart; `folder` is where they are, if that has changed."""
    data = image_data.load(config.data, folder or config.data_dir, seed=config.seed)
    return image_data.hold_out(data, config.holdout, seed=config.seed)


def create_folder(path: str | Path, config: ImageRun, *, force: bool = False, keep: int = 1) -> RunFolder:
    """Make the folder of a new run; the number of threads is written down, because it decides the last bits.

    Raises
    ------
    ConfigError
        See `RunFolder.create`.
    """
    exact = dataclasses.replace(config, threads=config.threads or _processors())
    versions = {"sparsecore": __version__, "torch": torch.__version__}
    content = {"run": exact.as_dict(), "versions": versions, "machine": machine()}
    return RunFolder.create(path, content, force=force, keep=keep, best=config.best)


def read_config(folder: RunFolder) -> ImageRun:
    """Return the run that `create_folder` wrote down.

    Raises
    ------
    CheckpointError
        If the configuration is that of something else.
    """
    content = folder.config()
    if not isinstance(content.get("run"), dict):
        raise CheckpointError(f"Expected the configuration of an image run in {folder.path}. Got {sorted(content)}.")
    return ImageRun.from_dict(content["run"])


def build(config: ImageRun, data: ImageData) -> Trainer:
    """Return the trainer of a run, at its first step; sets the threads and the torch seed of this process.

    Raises
    ------
    ConfigError
        If the options do not fit each other or the data.
    """
    dense = config.method == DENSE
    links = config.first_links(data.n_features)
    threads = config.threads or _processors()
    torch.set_num_threads(threads if dense else 1)
    kernels.set_num_threads(threads)
    kernels.set_deterministic(config.deterministic)
    torch.manual_seed(config.seed)
    model = MLP(
        data.n_features,
        config.hidden,
        data.n_classes,
        density=config.first_density,
        topology=None if dense else links.generator(data.train_x, config.topology_options),
        init=config.init,
        dense_init=config.dense_init,
        seed=config.seed,
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
    )
    every, steps = config.length(len(data.train_y))
    evolution = None if dense else _evolution(config, model, optimizer, every, config.update_steps(steps))
    lr = Linear(config.lr, config.lr_end, steps)
    augment = data.augmentation(config.augment)
    return Trainer(model, optimizer, data, config.settings(), lr=lr, evolution=evolution, augment=augment)


def run(
    config: ImageRun, data: ImageData, *, folder: RunFolder | None = None, events: Sequence[Events] = ()
) -> Summary:
    """Train a run from its first step and return the summary, peak memory included.

    Parameters
    ----------
    config : ImageRun
        What to train.
    data : ImageData
        From `load_data`.
    folder : RunFolder, optional
        Where metrics, checkpoints and summary go.
    events : sequence of Events
        Who else listens.
    """
    memory = PeakMemory()
    return _finish(build(config, data), memory, folder, events)


def run_in(
    path: str | Path,
    config: ImageRun,
    data: ImageData,
    *,
    force: bool = False,
    keep: int = 1,
    events: Sequence[Events] = (),
) -> Summary:
    """Train a run in a new folder and return the summary; the folder is made once the network has been built.

    Parameters
    ----------
    path : path
        The folder, see `create_folder`.
    config, data, events
        As for `run`.
    force, keep
        As for `RunFolder.create`.

    Raises
    ------
    ConfigError
        If the folder is not free, or the options do not fit each other or the data; no file has changed then.
    """
    memory = PeakMemory()
    trainer = build(config, data)
    return _finish(trainer, memory, create_folder(path, config, force=force, keep=keep), events)


def resume(folder: RunFolder, data: ImageData, *, events: Sequence[Events] = ()) -> Summary:
    """Go on with the run of `folder` and return the summary: after its last checkpoint, if it has come so far.

    Raises
    ------
    CheckpointError
        If the folder or its checkpoint is damaged or belongs to something else.
    """
    memory = PeakMemory()
    trainer = build(read_config(folder), data)
    if folder.checkpoint_path.is_file() or folder.metrics():
        trainer.load_state_dict(folder.state())
    return _finish(trainer, memory, folder, events)


def warm_up(config: ImageRun) -> None:
    """Run every step of `config` on a tiny network, so that compiling does not count as training time or memory."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((max(1000, 3 * config.batch_size), 64)).astype(np.float32)
    y = np.arange(len(x), dtype=np.int64) % 10
    n = 3 * config.batch_size
    data = ImageData("noise", x[:n], y[:n], x, y, 10, (0.0,), (1.0,))
    tiny: dict[str, Any] = {"epochs": 2, "every": 1, "holdout": 0, "best": None}
    tiny |= {"hidden": (64,) * len(config.hidden), "density": 0.1, "density_start": max(config.density_start, 0.1)}
    build(dataclasses.replace(config, **tiny), data).run()


def _finish(trainer: Trainer, memory: PeakMemory, folder: RunFolder | None, events: Sequence[Events]) -> Summary:
    summary = trainer.run([*([folder] if folder else []), *events])
    summary = dataclasses.replace(summary, peak_memory_bytes=memory.rise_bytes())
    if folder is not None:
        folder.write_summary(summary)
    return summary


def _evolution(config: ImageRun, model: MLP, optimizer: torch.optim.Optimizer, every: int, steps: int) -> Evolution:
    options = config.method_options(steps)
    return methods.build(
        config.method, model=model, optimizer=optimizer, every=every, steps=steps, seed=config.seed, **options
    )


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
