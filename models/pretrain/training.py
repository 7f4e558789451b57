"""A pre-training run in a folder: data, model, Trainer, and what came out."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from sparsecore import __version__, distributed, generators, kernels
from sparsecore.engine import PeakMemory
from sparsecore.errors import CheckpointError, ConfigError
from sparsecore.evolution import methods
from sparsecore.models.llama import llama
from sparsecore.models.options import DENSE, accepted, from_plain
from sparsecore.models.pretrain.corpus import documents
from sparsecore.models.pretrain.recipe import LlamaRun
from sparsecore.models.pretrain.tokens import TokenBlocks, equal_batches, make_tokenizer, save_tokenizer, write_tokens
from sparsecore.nn import SparseLinear

__all__ = ["Prepared", "prepare", "read_run", "train"]


#: What a start leaves in a folder before the first step.
_BEGUN = (
    "run.json",
    "run.part",
    "tokenizer",
    "tokenizer.part",
    "train.tokens",
    "train.part",
    "valid.tokens",
    "valid.part",
    "checkpoints",
)


@dataclass(frozen=True)
class Prepared:
    """Tokenizer and sequences of a run.

    Attributes
    ----------
    tokenizer : PreTrainedTokenizerFast
        Saved in the folder of the run.
    train, valid : TokenBlocks
        Sequences to learn from, and those held out.
    valid_batch : int
        Held-out sequences of one process at a time.
    """

    tokenizer: Any
    train: TokenBlocks
    valid: TokenBlocks
    valid_batch: int


def read_run(out: Path) -> LlamaRun:
    """Return the run that was begun in a folder.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    try:
        return from_plain(LlamaRun, json.loads((out / "run.json").read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Expected a run to go on with in {out}. Got: {error}. Start it without --resume."
        ) from error


def prepare(run: LlamaRun, out: Path) -> Prepared:
    """Return tokenizer and sequences; what is in the folder already is read, the rest is made by the first process."""
    from transformers import AutoTokenizer

    files = {part: out / f"{part}.tokens" for part in ("train", "valid")}
    if _rank() == 0:
        if not (out / "tokenizer" / "tokenizer.json").is_file():
            save_tokenizer(make_tokenizer(run.tokenizer, documents(run, "train")), out / "tokenizer")
        made = AutoTokenizer.from_pretrained(out / "tokenizer")
        for part, path in files.items():
            if not path.is_file():
                write_tokens(path, documents(run, part), made, _enough(run) if part == "train" else None)
    _wait()
    tokenizer = AutoTokenizer.from_pretrained(out / "tokenizer")
    train = TokenBlocks(files["train"], len(tokenizer), run.context)
    valid = TokenBlocks(files["valid"], len(tokenizer), run.context, run.valid_blocks)
    kept, batch = equal_batches(len(valid), run.batch, _ranks())
    valid.blocks = valid.blocks[:kept]
    return Prepared(tokenizer, train, valid, batch)


def _enough(run: LlamaRun) -> int | None:
    """Return how many tokens of a stream the steps of a run take, and a block more; none for data on disk."""
    if not run.data.startswith("hf:"):
        return None
    return (run.steps * run.batch * run.accumulate * _ranks() + 1) * run.context


def train(run: LlamaRun, out: Path, *, resume: bool = False) -> dict[str, Any]:
    """Train in a folder, and return what `result.json` there says.

    Parameters
    ----------
    run : LlamaRun
        What to train.
    out : path
        Gets ``run.json``, tokenizer, tokens, checkpoints, the trained ``model`` and ``result.json``.
    resume : bool
        Go on after the last whole checkpoint; from the start where there is none yet. Of a run that has ended, nothing
        is done again.

    Raises
    ------
    ConfigError
        If there is a run in the folder and `resume` is false, or a library is missing. A start that fails before the
        first step leaves the folder as it was.
    """
    if "RANK" in os.environ and not dist.is_initialized():
        distributed.start("gloo" if run.cpu or not torch.cuda.is_available() else "nccl")
    if not resume and (out / "run.json").exists():
        raise ConfigError(f"Expected a folder without a run. Got {out}. Go on with --resume, or choose another folder.")
    ended = _ended(run, out) if resume else None
    if ended is not None:
        return ended
    _wait()
    with _begun(run, out) if _rank() == 0 and not resume else nullcontext():
        if run.threads is not None:
            torch.set_num_threads(run.threads)
            kernels.set_num_threads(run.threads)
        session = _Session(run, out)
    return session.train(resume)


def _ended(run: LlamaRun, out: Path) -> dict[str, Any] | None:
    """Return what `result.json` says if no step of the run is left."""
    try:
        found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
        return found if found["run"]["steps"] >= run.steps else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


@contextmanager
def _begun(run: LlamaRun, out: Path) -> Iterator[None]:
    """Write down a run that begins; take away what its start has made if that fails."""
    before = {path.name for path in out.iterdir()} if out.is_dir() else None
    out.mkdir(parents=True, exist_ok=True)
    try:
        _write(out / "run.json", dataclasses.asdict(run))
        yield
    except Exception:
        for path in (out / name for name in _BEGUN if name not in (before or ())):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if before is None:
            with suppress(OSError):  # another program has written into it
                out.rmdir()
        raise


class _Session:
    """One process between its start and the end of the run."""

    def __init__(self, run: LlamaRun, out: Path) -> None:
        from sparsecore.models.pretrain.clock import StepClock

        self.run, self.out = run, out
        self.data = prepare(run, out)
        _warm_up(run)
        self.memory, self.clock = PeakMemory(), StepClock(run.every)
        self.evolution = _evolution(run)
        self.trainer = self._trainer()

    def train(self, resume: bool) -> dict[str, Any]:
        """Take all steps that are left, evaluate, and write model and result."""
        from sparsecore.integrations.transformers import last_checkpoint

        evolved = self.evolution is not None
        checkpoint = last_checkpoint(self.out / "checkpoints", evolved=evolved) if resume else None
        self.trainer.train(resume_from_checkpoint=checkpoint)
        peak = self.memory.rise_bytes()
        loss = self.trainer.evaluate()["eval_loss"]
        # The Trainer has put in the pad mark of the tokenizer: where that is the end mark, a model built from the
        # configuration would not train its embedding.
        self.trainer.model.config.pad_token_id = None
        self.trainer.save_model(str(self.out / "model"))
        result = self._result(loss, peak)
        if _rank() == 0:
            _write(self.out / "result.json", result)
        _wait()
        return result

    def _trainer(self) -> Any:
        from sparsecore.integrations.transformers import SparseTrainer

        run = self.run
        torch.manual_seed(run.seed)
        model = llama(
            run.size,
            density=None if run.method == DENSE else run.first_density,
            n_tokens=len(self.data.tokenizer),
            positions=run.context,
            topology=generators.registry.build(run.topology),
            seed=run.seed,
            use_cache=False,
            bos_token_id=self.data.tokenizer.bos_token_id,
            eos_token_id=self.data.tokenizer.eos_token_id,
            pad_token_id=None,
        )
        callbacks = [self.clock, *([self.evolution] if self.evolution else [])]
        return SparseTrainer(
            model,
            _arguments(run, self.out, self.data.valid_batch),
            train_dataset=self.data.train,
            eval_dataset=self.data.valid,
            processing_class=self.data.tokenizer,
            callbacks=callbacks,
        )

    def _result(self, loss: float, peak: int) -> dict[str, Any]:
        run, history = self.run, self.trainer.state.log_history
        summary = {
            "valid_loss": loss,
            "valid_perplexity": math.exp(loss),
            "parameters": sum(parameter.numel() for parameter in self.trainer.model.parameters()),
            "tokens": self.trainer.state.num_input_tokens_seen,
            "epochs": self.trainer.state.epoch,
            "steps_per_s": self.clock.steps_per_s() if self.clock.steps_s else None,
            "measured_steps": len(self.clock.steps_s),
            "peak_memory_bytes": peak,
            **self._links(),
        }
        return {
            "run": {name: value for name, value in dataclasses.asdict(run).items() if name != "data_dir"},
            "summary": summary,
            "vocabulary": len(self.data.tokenizer),
            "valid": {str(entry["step"]): entry["eval_loss"] for entry in history if "eval_loss" in entry},
            "train": {str(entry["step"]): entry["loss"] for entry in history if "loss" in entry},
            "machine": _machine(_ranks()),
        }

    def _links(self) -> dict[str, Any]:
        if self.evolution is None or self.evolution.evolution is None:
            return {}
        report = self.evolution.evolution.report()
        names = ("updates", "n_links", "density", "mean_density", "anp", "itop", "overlap")
        return {name.removeprefix("n_"): getattr(report, name) for name in names}


def _evolution(run: LlamaRun) -> Any:
    """Return the callback that evolves the links; none for the dense network."""
    if run.method == DENSE:
        return None
    from sparsecore.integrations.transformers import EvolutionCallback

    return EvolutionCallback(methods.entry(run.method).factory, every=run.every, seed=run.seed, **_options(run))


def _options(run: LlamaRun) -> dict[str, Any]:
    offered = {"density": run.density, "preset": "llama", "zeta": run.zeta}
    return {name: value for name, value in offered.items() if name in accepted(run.method)}


def _warm_up(run: LlamaRun) -> None:
    """Evolve one small layer, so that compiling kernels counts neither as time nor as memory of the run."""
    if run.method == DENSE:
        return
    layer = SparseLinear(64, 64, density=max(run.first_density, 0.1), seed=0)
    optimizer = torch.optim.AdamW(layer.parameters())
    evolution = methods.build(run.method, model=layer, optimizer=optimizer, every=1, steps=4, seed=0, **_options(run))
    for _ in range(3):
        layer(torch.ones(2, 8, 64, requires_grad=True)).square().sum().backward()
        optimizer.step()
        evolution.step()
        optimizer.zero_grad()


def _arguments(run: LlamaRun, out: Path, valid_batch: int) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        str(out / "checkpoints"),
        max_steps=run.steps,
        per_device_train_batch_size=run.batch,
        per_device_eval_batch_size=valid_batch,
        gradient_accumulation_steps=run.accumulate,
        learning_rate=run.lr,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": run.lr_end},
        warmup_steps=round(run.warmup * run.steps),
        weight_decay=run.weight_decay,
        max_grad_norm=run.clip,
        bf16=run.bf16,
        activation_checkpointing=run.recompute,
        activation_checkpointing_kwargs={"use_reentrant": False} if run.recompute else None,
        eval_strategy="steps",
        eval_steps=run.valid_every,
        prediction_loss_only=True,
        include_num_input_tokens_seen="all",
        save_steps=run.save_every,
        save_total_limit=2,
        logging_steps=min(run.valid_every, 50),
        report_to=[] if run.report_to == "none" else [run.report_to],
        seed=run.seed,
        use_cpu=run.cpu,
        dataloader_pin_memory=not run.cpu and torch.cuda.is_available(),
        disable_tqdm=True,
    )


def _machine(ranks: int) -> dict[str, Any]:
    import transformers

    versions = {"sparsecore": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
    return {
        "system": platform.platform(aliased=True, terse=True),
        "torch_threads": torch.get_num_threads(),
        "processes": ranks,
        "versions": versions,
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _wait() -> None:
    if dist.is_initialized():
        dist.barrier()
