"""Evolution inside the Trainer of the `transformers` library."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from sparsecore.distributed import DataParallel, share
from sparsecore.errors import CheckpointError, ConfigError
from sparsecore.evolution import Evolution
from sparsecore.evolution.methods import methods
from sparsecore.integrations.numbers import numbers_of
from sparsecore.io import load, save
from sparsecore.nn import sparse_layers

try:
    from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer import TRAINER_STATE_NAME
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, TrainOutput, get_last_checkpoint
except ImportError as error:
    raise ImportError("Expected the transformers library. Got none. Install sparsecore-engine[huggingface].") from error

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["EvolutionCallback", "SparseTrainer", "last_checkpoint"]

_FILE = "sparsecore.safetensors"
#: Name, beside the state of the evolution, of a digest of the links that it belongs to.
_LINKS = "links"


class EvolutionCallback(TrainerCallback):
    """Evolves the links of a sparsified model in a `transformers.Trainer`.

    Updates happen behind the optimizer step that they are due at, while gradients are still there; accumulated
    batches are one step. Every checkpoint of the Trainer gets the state of the evolution beside it, and
    ``trainer.train(resume_from_checkpoint=...)`` goes on with the same bits. With every log of the Trainer, links,
    density, active neurons, ITOP and overlap go to ``trainer.state.log_history`` and to TensorBoard and W&B where
    ``report_to`` names them. Under torchrun, rank 0 plans every update for all; use `SparseTrainer` there.

    Parameters
    ----------
    method : callable or str
        Builds the evolution: ``method(model, optimizer, **options)``, e.g. `sparsecore.CHTs`; or its name, ``"chts"``.
    checkpoint : path, optional
        Where a resumed run was saved, if not under the Trainer's ``output_dir``.
    **options
        For the method. ``steps`` is the Trainer's number of optimizer steps when missing.

    Attributes
    ----------
    evolution : Evolution or None
        The evolution, once training has begun.

    Raises
    ------
    ConfigError
        When training begins and the model has no sparse layer.
    CheckpointError
        When training is resumed and the checkpoint does not hold the state of the evolution at that step and of those
        links.

    Examples
    --------
    >>> from sparsecore import SET
    >>> EvolutionCallback(SET, every=100, zeta=0.3).evolution is None
    True
    """

    def __init__(
        self,
        method: Callable[..., Evolution] | str,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self.evolution: Evolution | None = None
        self._method = methods.entry(method).factory if isinstance(method, str) else method
        self._options = options
        self._resumed = None if checkpoint is None else Path(checkpoint)
        self._writer: SummaryWriter | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Build the evolution; take up its state if training is resumed."""
        options = {"steps": state.max_steps, **self._options}
        self.evolution = self._method(kwargs["model"], _bare(kwargs["optimizer"]), **options)
        if _several():
            share(self.evolution)
        if state.global_step > 0:
            self.evolution.load_state_dict(self._saved(args, state, _digest(kwargs["model"])))
        if state.is_world_process_zero and "tensorboard" in (args.report_to or ()):
            from torch.utils.tensorboard import SummaryWriter

            folder = os.environ.get("TENSORBOARD_LOGGING_DIR") or Path(str(args.output_dir), "runs", "sparsecore")
            self._writer = SummaryWriter(str(folder))

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count the step and update the links when it is time."""
        self._present().step()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Put the state of the evolution beside the Trainer's."""
        if state.is_world_process_zero:
            links = {_LINKS: _digest(kwargs["model"])}
            save(_checkpoint(args, state) / _FILE, self._present().state_dict() | links)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Log the numbers of the evolution beside the Trainer's."""
        if self.evolution is None or not state.is_world_process_zero:
            return
        numbers = numbers_of(self.evolution)
        state.log_history.append({**numbers, "step": state.global_step})
        if self._writer is not None:
            for name, number in numbers.items():
                self._writer.add_scalar(name, number, state.global_step)
        if "wandb" in (args.report_to or ()):
            import wandb

            wandb.log({**numbers, "train/global_step": state.global_step})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close what was opened."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _saved(self, args: TrainingArguments, state: TrainerState, links: str) -> dict[str, Any]:
        """Return the state of the evolution that belongs to the checkpoint the Trainer has taken up."""
        path = (self._resumed or _checkpoint(args, state)) / _FILE
        saved = load(path)
        if saved.get("step") != state.global_step:
            raise CheckpointError(
                f"Expected the state of step {state.global_step} in {path}. Got that of step {saved.get('step')}. "
                "Name the folder that training resumes from by checkpoint=..."
            )
        if saved.pop(_LINKS, links) != links:  # earlier files have none
            raise CheckpointError(
                f"Expected the state of the links that training resumes with in {path}. Got that of another run. "
                "Name the folder that training resumes from by checkpoint=..."
            )
        return saved

    def _present(self) -> Evolution:
        if self.evolution is None:
            raise ConfigError("Expected training to have begun. Got no evolution yet. Pass the callback to a Trainer.")
        return self.evolution


class SparseTrainer(Trainer):  # type: ignore[misc, unused-ignore]
    """A `transformers.Trainer` for several processes and for runs that are killed and started again.

    Its processes average gradients by `sparsecore.distributed.DataParallel`: torch's own lays out its buckets once,
    which is wrong where the number of links changes (CHTss, GraNet, GMP). It takes the ``ddp_...`` arguments; without
    ``ddp_find_unused_parameters``, that option is on, so that buckets are the same before and after a restart.
    Resumed at the last step it takes no further one, as the library's Trainer does.
    """

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """Train as the library's Trainer; from a checkpoint of the last step, take up its state and be done."""
        if resume_from_checkpoint is True:
            resume_from_checkpoint = get_last_checkpoint(str(self.args.output_dir)) or True  # type: ignore[no-untyped-call, unused-ignore]
        done = _finished(self.args, resume_from_checkpoint)
        if done is None:
            return super().train(resume_from_checkpoint, trial, ignore_keys_for_eval)
        self._load_from_checkpoint(str(resume_from_checkpoint))
        self.state = done
        self.create_optimizer()
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, EvolutionCallback):
                callback.on_train_begin(self.args, done, self.control, model=self.model, optimizer=self.optimizer)
                callback.on_train_end(self.args, done, self.control)
        return TrainOutput(done.global_step, float("nan"), {})

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        wrapped: nn.Module = super()._wrap_model(model, training, dataloader)
        if not (training and _several() and wrapped is self.model):
            return wrapped
        autocast = self.accelerator.prepare_model(wrapped, evaluation_mode=True)
        on_gpu = self.args.device.type == "cuda"
        options = _parallel_options(self.args)
        return DataParallel(autocast, device_ids=[self.args.device] if on_gpu else None, **options)


def last_checkpoint(folder: str | os.PathLike[str], *, evolved: bool = True) -> str | None:
    """Return the newest whole checkpoint in the ``output_dir`` of a Trainer; ``None`` if there is none.

    A process that is killed while it writes leaves a checkpoint that training cannot resume from.

    Parameters
    ----------
    folder : path
        Where the Trainer writes.
    evolved : bool
        Whether an `EvolutionCallback` takes part; the state of the evolution is written last.
    """
    paths = Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    named = ((re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-([0-9]+)", path.name), path) for path in paths)
    found = {int(match[1]): path for match, path in named if match}
    whole = (str(found[step]) for step in sorted(found, reverse=True) if _is_whole(found[step], evolved))
    return next(whole, None)


def _finished(args: TrainingArguments, checkpoint: str | bool | None) -> TrainerState | None:
    """Return the state of a checkpoint if no step is left to take after it."""
    path = Path(str(checkpoint), TRAINER_STATE_NAME)
    if not isinstance(checkpoint, str) or not path.is_file():
        return None
    state = TrainerState.load_from_json(str(path))
    left = args.max_steps - state.global_step if args.max_steps > 0 else args.num_train_epochs - (state.epoch or 0.0)
    return state if left <= 0 else None


def _is_whole(path: Path, evolved: bool) -> bool:
    if evolved:
        return (path / _FILE).is_file()
    try:
        json.loads((path / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _parallel_options(args: TrainingArguments) -> dict[str, Any]:
    """Return the options of `DataParallel` that a Trainer was given, and the one that keeps its buckets."""
    names = ("find_unused_parameters", "bucket_cap_mb", "broadcast_buffers", "static_graph")
    given = {name: getattr(args, f"ddp_{name}") for name in names}
    return {"find_unused_parameters": True} | {name: value for name, value in given.items() if value is not None}


def _digest(model: nn.Module) -> str:
    """Return a hash of the links of all sparse layers, in their order."""
    layers = sparse_layers(model).values()
    return hashlib.blake2b("".join(layer.topology.digest for layer in layers).encode(), digest_size=16).hexdigest()


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir), f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def _bare(optimizer: Any) -> Optimizer:
    """Return the optimizer inside Accelerate's wrapper, which alone holds the state of the links."""
    bare: Optimizer = getattr(optimizer, "optimizer", optimizer)
    return bare
