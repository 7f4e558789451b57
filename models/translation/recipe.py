"""The papers' translation experiment: every option of a run, and how it is put together."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from sparsecore import generators, kernels
from sparsecore.errors import ConfigError, check_count, check_fraction, check_positive
from sparsecore.evolution import Evolution, methods
from sparsecore.models.options import DENSE, accepted, check_density_falls
from sparsecore.models.translation.batches import EncodedPairs, TokenBatches
from sparsecore.models.translation.corpus import Pairs
from sparsecore.models.translation.tokenizer import BytePairs
from sparsecore.models.translation.trainer import TranslationTrainer
from sparsecore.models.translation.transformer import Sizes, Transformer
from sparsecore.nn import sparse_layers, sparsify
from sparsecore.schedules import Cosine, INoam, Noam

__all__ = ["DENSE", "TranslationRun", "TranslationTask", "build", "prepare"]


@dataclass(frozen=True)
class TranslationRun:
    """A training run; the defaults are the papers' for Multi30k.

    Attributes
    ----------
    method : str
        A registered method, or ``"dense"``.
    density, density_start : float
        Fraction of links at the end, and at the start of methods that bring it down. Embeddings and output are dense.
    topology : str
        Generator of the first links.
    topology_options : mapping
        Options of the generator.
    zeta : float
        Fraction of links replaced per update.
    zeta_schedule : str
        ``"method"`` (what the method does with a number), or ``"cosine"`` (falls to 0).
    steps, every : int
        Training steps, and steps between updates of the links.
    lr : float
        Factor of the learning rate of the Transformer, see `Noam`.
    warmup, rewarm : int
        Steps of the first warm-up, and of the one after every update (`INoam`; a dense network has none).
    smoothing : float
        Of the labels.
    batch_tokens : int
        Most tokens of a batch on either side.
    n_tokens : int
        Size of the joint vocabulary.
    sizes : Sizes
        Of the Transformer.
    seed : int
        Of weights, links, order and dropout.
    threads : int
        Threads of torch and of the kernels.
    """

    method: str = "chts"
    density: float = 0.1
    density_start: float = 0.5
    topology: str = "er"
    topology_options: Mapping[str, Any] = field(default_factory=dict)
    zeta: float = 0.3
    zeta_schedule: Literal["method", "cosine"] = "method"
    steps: int = 5000
    every: int = 100
    lr: float = 2.0
    warmup: int = 1000
    rewarm: int = 20
    smoothing: float = 0.1
    batch_tokens: int = 1024
    n_tokens: int = 8000
    sizes: Sizes = field(default_factory=Sizes)
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        if self.method != DENSE:
            methods.entry(self.method)
        check_fraction("density", self.density, "the fraction of links at the end", open_low=True)
        check_fraction("density_start", self.density_start, "the fraction of links at the start", open_low=True)
        check_density_falls(self.method, self.density, self.density_start)
        check_fraction("zeta", self.zeta, "the fraction of links replaced per update")
        check_fraction("smoothing", self.smoothing, "the share of the target that all tokens have in common")
        check_positive("lr", self.lr, "the factor of the learning rate")
        for name in ("steps", "every", "batch_tokens", "n_tokens", "threads"):
            check_count(name, getattr(self, name), "a number of the run", low=1)
        INoam(self.sizes.width, self.warmup, self.every, self.rewarm)
        if self.zeta_schedule not in ("method", "cosine"):
            raise ConfigError(f"Expected zeta_schedule to be 'method' or 'cosine'. Got {self.zeta_schedule!r}.")

    def as_dict(self) -> dict[str, Any]:
        """Return the run as plain values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class TranslationTask:
    """Sentence pairs, their tokenizer, and the pairs as ids.

    Attributes
    ----------
    pairs : mapping of str to Pairs
        ``"train"``, ``"valid"`` and ``"test"``.
    tokenizer : BytePairs
        Learned from the training pairs.
    encoded : mapping of str to EncodedPairs
        The same pairs as ids.
    """

    pairs: Mapping[str, Pairs]
    tokenizer: BytePairs
    encoded: Mapping[str, EncodedPairs]


def prepare(pairs: Mapping[str, Pairs], n_tokens: int) -> TranslationTask:
    """Return the task of sentence pairs, with a tokenizer learned from ``pairs["train"]``."""
    train = pairs["train"]
    tokenizer = BytePairs.train([*train.source, *train.target], n_tokens)
    encoded = {
        part: EncodedPairs(tokenizer.encode(found.source), tokenizer.encode(found.target))
        for part, found in pairs.items()
    }
    return TranslationTask(pairs, tokenizer, encoded)


def build(run: TranslationRun, task: TranslationTask) -> TranslationTrainer:
    """Return the trainer of a run, at its first step; sets the threads and the torch seed of this process.

    Raises
    ------
    ConfigError
        If the options do not fit each other.
    """
    torch.set_num_threads(run.threads)
    kernels.set_num_threads(run.threads)
    torch.manual_seed(run.seed)
    model = Transformer(task.tokenizer.n_tokens, run.sizes)
    if run.method != DENSE:
        _make_sparse(model, run)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.0, betas=(0.9, 0.998), eps=1e-9, fused=True)
    return TranslationTrainer(
        model,
        optimizer,
        TokenBatches(task.encoded["train"], run.batch_tokens, run.seed),
        lr=_learning_rate(run),
        smoothing=run.smoothing,
        evolution=None if run.method == DENSE else _evolution(run, model, optimizer),
    )


@dataclass(frozen=True)
class _Scaled:
    """A factor times a schedule."""

    factor: float
    schedule: Noam | INoam

    def __call__(self, step: int, /) -> float:
        """Return the value at `step`."""
        return self.factor * self.schedule(step)


def _learning_rate(run: TranslationRun) -> _Scaled:
    if run.method == DENSE:
        return _Scaled(run.lr, Noam(run.sizes.width, run.warmup))
    return _Scaled(run.lr, INoam(run.sizes.width, run.warmup, run.every, run.rewarm))


def _make_sparse(model: Transformer, run: TranslationRun) -> None:
    """Make all linear layers of encoder and decoder sparse; sums keep the variance of Glorot's dense weights."""
    density = run.density_start if "density" in accepted(run.method) else run.density
    topology = generators.registry.build(run.topology, **run.topology_options)
    sparsify(model, density=density, topology=topology, include=["encoder.*", "decoder.*"], seed=run.seed)
    for layer in sparse_layers(model).values():
        # Sparse initialisation has variance 2 / (density · n_in), Glorot's would be 2 / (density · (n_in + n_out)).
        layer.values.data.mul_(math.sqrt(layer.in_features / (layer.in_features + layer.out_features)))


def _evolution(run: TranslationRun, model: Transformer, optimizer: torch.optim.Optimizer) -> Evolution:
    zeta = Cosine(run.zeta, 0.0, run.steps) if run.zeta_schedule == "cosine" else run.zeta
    offered = {"density": run.density, "preset": "translation", "zeta": zeta}
    options = {name: value for name, value in offered.items() if name in accepted(run.method)}
    return methods.build(
        run.method, model=model, optimizer=optimizer, every=run.every, steps=run.steps, seed=run.seed, **options
    )
