"""Every option of a pre-training run."""

from __future__ import annotations

from dataclasses import dataclass

from sparsecore import generators
from sparsecore.errors import (
    ConfigError,
    UnknownNameError,
    check_count,
    check_fraction,
    check_not_negative,
    check_positive,
)
from sparsecore.evolution import methods
from sparsecore.models.llama import SIZES
from sparsecore.models.options import DENSE, accepted, check_density_falls, option

__all__ = ["LlamaRun"]


@dataclass(frozen=True)
class LlamaRun:
    """A LLaMA trained from its first step; the metadata of every field says what it is.

    Raises
    ------
    ConfigError
        If an option is outside its range, or a name is unknown.
    """

    size: str = option("20m", f"of the model: {', '.join(SIZES)}")
    method: str = option("chts", "a name of `sparsecore methods`, or dense")
    density: float = option(0.1, "fraction of links, at the end under methods that bring it down")
    density_start: float = option(0.5, "density of the first links under methods that bring it down, at least density")
    topology: str = option("brf", "generator of the first links, with options as in brf:r=0.1")
    zeta: float = option(0.1, "fraction of links replaced per update")
    every: int = option(100, "steps between updates of the links")
    steps: int = option(10_000, "optimizer steps")
    batch: int = option(32, "sequences of one process and one backward pass")
    accumulate: int = option(1, "backward passes per step")
    context: int = option(256, "tokens of a sequence")
    lr: float = option(1e-3, "highest learning rate")
    lr_end: float = option(0.1, "last learning rate, as a share of the highest; a cosine between")
    warmup: float = option(0.1, "share of the steps in which the learning rate rises to the highest")
    weight_decay: float = option(0.0, "of AdamW")
    clip: float = option(1.0, "largest norm of the gradient; 0 leaves it as it is")
    bf16: bool = option(False, "compute in bfloat16 where it is safe (autocast)")
    recompute: bool = option(False, "compute activations again in the backward pass, in place of keeping them")
    data: str = option("techdocs", "techdocs, a folder of datasets.save_to_disk, or hf:NAME or hf:NAME:SUBSET")
    data_dir: str | None = option(None, "folder that holds text/techdocs.train.txt.xz; SPARSECORE_DATA when missing")
    column: str = option("text", "column of the text in a Hugging Face data set")
    documents: int | None = option(
        None, "most training documents; all when missing, of hf:NAME as many as the steps take"
    )
    valid_documents: int = option(1000, "documents held out where a data set has no validation part")
    tokenizer: str = option("bpe:8192", "tokenizer.json, a folder of a tokenizer, or bpe:SIZE, learned from the text")
    valid_every: int = option(500, "steps between evaluations")
    valid_blocks: int | None = option(
        None, "most sequences of an evaluation; all when missing, on several processes as many as fill equal batches"
    )
    save_every: int = option(500, "steps between checkpoints")
    report_to: str = option("none", "tensorboard, wandb or none")
    cpu: bool = option(False, "stay on the CPU where there is a GPU")
    threads: int | None = option(None, "threads of torch and of the kernels; what they choose when missing")
    seed: int = option(0, "of weights, links and order")

    def __post_init__(self) -> None:
        """Refuse options that cannot work."""
        if self.size not in SIZES:
            raise UnknownNameError("size of LLaMA", self.size, SIZES)
        if self.method != DENSE and self.method not in methods:
            raise UnknownNameError("method", self.method, (*methods.names(), DENSE))
        generators.registry.build(self.topology)
        self._check_ranges()
        if self.report_to not in ("none", "tensorboard", "wandb"):
            raise UnknownNameError("place to report to", self.report_to, ("none", "tensorboard", "wandb"))

    def _check_ranges(self) -> None:
        for name in ("density", "density_start"):
            check_fraction(name, getattr(self, name), "a fraction of links", open_low=True)
        if self.method != DENSE and self.density == 1.0:
            raise ConfigError("Expected density below 1. Got 1. The network without missing links is method 'dense'.")
        for name in ("zeta", "lr_end", "warmup"):
            check_fraction(name, getattr(self, name), "a share")
        check_density_falls(self.method, self.density, self.density_start)
        check_positive("lr", self.lr, "the highest learning rate")
        check_not_negative("weight_decay", self.weight_decay, "the pull of all values towards zero")
        check_not_negative("clip", self.clip, "the largest norm of all gradients together, 0 for none")
        for name in ("every", "steps", "batch", "accumulate", "valid_every", "save_every", "valid_documents"):
            check_count(name, getattr(self, name), "a number of the run", low=1)
        check_count("context", self.context, "the number of tokens of a sequence", low=2)
        for name in ("documents", "valid_blocks", "threads"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), "a number of the run", low=1)
        check_count("seed", self.seed, "what weights, links and order depend on", high=2**32 - 1)

    @property
    def first_density(self) -> float:
        """Density of the first links."""
        return self.density_start if "density" in accepted(self.method) else self.density
