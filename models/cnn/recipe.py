"""The experiment with heads of links: every option of a run, and how it is put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sparsecore import __version__, generators, kernels
from sparsecore.engine import Events, PeakMemory, Settings, Summary, Trainer
from sparsecore.errors import (
    CheckpointError,
    ConfigError,
    UnknownNameError,
    check_count,
    check_fraction,
    check_not_negative,
    check_positive,
)
from sparsecore.evolution import methods
from sparsecore.io import RunFolder
from sparsecore.models import data as image_data
from sparsecore.models.cnn.network import TRUNKS, ConvNet
from sparsecore.models.data import ImageData
from sparsecore.models.options import DENSE, accepted, check_density_falls, from_plain, option
from sparsecore.schedules import Linear

__all__ = ["CnnRun", "build", "load_data", "resume", "train"]


@dataclass(frozen=True)
class CnnRun:
    """A convolutional network on CIFAR-10; the metadata of every field says what it is.

    Raises
    ------
    ConfigError
        If an option is outside its range, or a name is unknown.
    """

    trunk: str = option("vgg16", f"convolutional part: {' or '.join(sorted(TRUNKS, reverse=True))}")
    width: float = option(1.0, "channels of the trunk, as a share of the published ones")
    scale: int = option(1, "neurons of each layer of the head per feature of the trunk: 1 (1x) or 2 (2x)")
    method: str = option("chts", "a name of `sparsecore methods`, or dense")
    density: float = option(0.01, "fraction of links of the head, at the end under methods that bring it down")
    density_start: float = option(0.5, "density of the first links under methods that bring it down, at least density")
    topology: str = option("er", "generator of the first links, with options as in brf:r=0.1")
    zeta: float = option(0.3, "fraction of links replaced per update")
    every: int | None = option(None, "steps between updates of the links; one epoch when missing")
    epochs: int = option(100, "passes over the training images")
    batch_size: int = option(64, "images per step")
    lr: float = option(0.025, "learning rate at the first step")
    lr_end: float = option(2.5e-4, "learning rate at the last step, linear between")
    momentum: float = option(0.9, "of stochastic gradient descent")
    weight_decay: float = option(5e-4, "of stochastic gradient descent")
    plain: bool = option(False, "take images as they are: neither shifted nor mirrored")
    data_dir: str | None = option(None, "folder that holds cifar10/")
    train_images: int | None = option(None, "take the first of the training images only")
    test_images: int | None = option(None, "take the first of the test images only")
    holdout: int = option(0, "training images kept apart to choose an epoch by")
    threads: int | None = option(None, "threads of torch and of the kernels; what they choose when missing")
    seed: int = option(0, "of weights, links and order")

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        if self.trunk not in TRUNKS:
            raise UnknownNameError("trunk", self.trunk, TRUNKS)
        if self.method != DENSE and self.method not in methods:
            raise UnknownNameError("method", self.method, (*methods.names(), DENSE))
        generators.registry.build(self.topology)
        for name in ("density", "density_start"):
            check_fraction(name, getattr(self, name), "a fraction of links", open_low=True)
        if self.method != DENSE and self.density == 1.0:
            raise ConfigError("Expected density below 1. Got 1. The head without missing links is method 'dense'.")
        check_density_falls(self.method, self.density, self.density_start)
        check_fraction("zeta", self.zeta, "the fraction of links replaced per update")
        check_positive("lr", self.lr, "the learning rate at the first step")
        check_not_negative("lr_end", self.lr_end, "the learning rate of the last step")
        check_fraction("momentum", self.momentum, "the share of the last step that is taken again")
        check_not_negative("weight_decay", self.weight_decay, "the pull of all values towards zero")
        check_positive("width", self.width, "the channels of the trunk, as a share of the published ones")
        check_count("scale", self.scale, "the neurons of a layer of the head per feature of the trunk", low=1)
        for name in ("every", "train_images", "test_images", "threads"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), "a number of the run", low=1)
        Settings(self.epochs, self.batch_size, self.seed)


def load_data(run: CnnRun, folder: str | Path | None = None) -> ImageData:
    """Return CIFAR-10 as the run wants it; `folder` is where it is, if that has changed.

    Raises
    ------
    DataError
        If files are missing or damaged.
    """
    data = image_data.load("cifar10", folder or run.data_dir)
    kept = {
        f"{part}_{kind}": getattr(data, f"{part}_{kind}")[:most]
        for part, most in (("train", run.train_images), ("test", run.test_images))
        for kind in "xy"
    }
    return image_data.hold_out(dataclasses.replace(data, **kept), run.holdout, seed=run.seed)


def build(run: CnnRun, data: ImageData) -> Trainer:
    """Return the trainer of a run, at its first step; sets threads and the torch seed of this process."""
    if run.threads is not None:
        torch.set_num_threads(run.threads)
        kernels.set_num_threads(run.threads)
    torch.manual_seed(run.seed)
    options = accepted(run.method)
    model = ConvNet(
        run.trunk,
        data.n_classes,
        density=1.0 if run.method == DENSE else run.density_start if "density" in options else run.density,
        scale=run.scale,
        width=run.width,
        topology=generators.registry.build(run.topology),
        seed=run.seed,
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=run.lr, momentum=run.momentum, weight_decay=run.weight_decay, fused=True
    )
    settings = Settings(run.epochs, run.batch_size, run.seed)
    per_epoch = settings.steps_per_epoch(len(data.train_y))
    steps = per_epoch * run.epochs
    evolution = None
    if run.method != DENSE:
        offered = {"density": run.density, "zeta": run.zeta}
        chosen: dict[str, Any] = {name: value for name, value in offered.items() if name in options}
        evolution = methods.build(
            run.method,
            model=model,
            optimizer=optimizer,
            every=run.every or per_epoch,
            steps=steps,
            seed=run.seed,
            **chosen,
        )
    return Trainer(
        model,
        optimizer,
        data,
        settings,
        lr=Linear(run.lr, run.lr_end, steps),
        evolution=evolution,
        augment=None if run.plain else data.augment,
    )


def train(run: CnnRun, data: ImageData, out: Path, *, events: Sequence[Events] = ()) -> Summary:
    """Train in a new folder and return the summary; a checkpoint is written after every epoch.

    The folder is made once the network has been built.

    Raises
    ------
    ConfigError
        If there is something in the folder.
    """
    RunFolder.require_new(out)
    versions = {"sparsecore": __version__, "torch": torch.__version__}
    memory = PeakMemory()
    trainer = build(run, data)
    folder = RunFolder.create(out, {"cnn": dataclasses.asdict(run), "versions": versions})
    return _finish(trainer, memory, folder, events)


def resume(out: Path, data_dir: str | None = None, *, events: Sequence[Events] = ()) -> Summary:
    """Go on after the last checkpoint in a folder, to the bit, and return the summary.

    Raises
    ------
    CheckpointError
        If there is no such run, or its checkpoint is damaged.
    """
    folder = RunFolder(out)
    run = _read(folder)
    data = load_data(run, data_dir)
    memory = PeakMemory()
    trainer = build(run, data)
    if folder.checkpoint_path.is_file():
        trainer.load_state_dict(folder.state())
    return _finish(trainer, memory, folder, events)


def _read(folder: RunFolder) -> CnnRun:
    stored = folder.config().get("cnn")
    if not isinstance(stored, dict):
        raise CheckpointError(f"Expected the run of a convolutional network in {folder.path}. Got another.")
    return from_plain(CnnRun, stored)


def _finish(trainer: Trainer, memory: PeakMemory, folder: RunFolder, events: Sequence[Events]) -> Summary:
    summary = trainer.run([folder, *events])
    summary = dataclasses.replace(summary, peak_memory_bytes=memory.rise_bytes())
    folder.write_summary(summary)
    return summary
