"""Zero-shot evaluation of a sparse language model by the harness `lm-eval`: accuracy and Matthews correlation.

From a terminal: ``python -m sparsecore.integrations.lm_eval MODEL --tasks cola,piqa``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsecore.errors import ConfigError, SparseCoreError

__all__ = ["ZeroShot", "evaluate", "harness_model", "main", "matthews"]


@dataclass(frozen=True)
class ZeroShot:
    """What a model reaches in a task of the harness.

    Attributes
    ----------
    n : int
        Documents.
    metrics : dict of str to float
        What the task itself reports, under the harness's names.
    accuracy : float, optional
        Share of documents in which the right choice is the most likely one; none outside multiple choice, and none for
        tasks that judge the answers themselves (``process_results``): what they name as target may be a placeholder.
    mcc : float, optional
        Matthews correlation between right and most likely choices: 1 if all agree, 0 on average by chance. None where
        `accuracy` is.
    """

    n: int
    metrics: dict[str, float]
    accuracy: float | None = None
    mcc: float | None = None


def harness_model(folder: str | os.PathLike[str], **options: Any) -> Any:
    """Return a model of links as the harness takes it, for ``lm_eval.simple_evaluate(model=...)``.

    Parameters
    ----------
    folder : path
        What ``save_pretrained``, a Trainer or `sparsecore.models.pretrain` wrote; a tokenizer belongs to it.
    **options
        For ``lm_eval.models.huggingface.HFLM``, e.g. ``batch_size=8`` or ``device="cpu"``.

    Raises
    ------
    ConfigError
        If the harness is not installed.
    CheckpointError
        If the folder does not hold a model.
    """
    harness = _harness()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from sparsecore.integrations.pretrained import from_pretrained

    model = from_pretrained(AutoModelForCausalLM, folder)
    device = options.pop("device", "cpu")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f"Expected a tokenizer in {folder}. Got: {error}. Save it beside the model.") from error
    return harness.models.huggingface.HFLM(model.to(device), tokenizer=tokenizer, backend="causal", **options)


def evaluate(
    folder: str | os.PathLike[str],
    tasks: Sequence[str | Mapping[str, Any]],
    *,
    include: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    **options: Any,
) -> dict[str, ZeroShot]:
    """Return the zero-shot results of a saved model by task.

    Parameters
    ----------
    folder : path
        As for `harness_model`.
    tasks : sequence of str or mapping
        Names of tasks or groups of the harness, or tasks written as its YAML files are.
    include : path, optional
        Folder with YAML files of further tasks.
    limit : int, optional
        Most documents of a task.
    **options
        As for `harness_model`.

    Raises
    ------
    ConfigError
        If the harness is not installed, or does not know a task.
    """
    harness = _harness()
    manager = harness.tasks.TaskManager(include_path=None if include is None else str(include))
    known = set(manager.all_tasks)
    unknown = [name for name in tasks if isinstance(name, str) and name not in known]
    if unknown or not tasks:
        raise ConfigError(
            f"Expected names of tasks of lm-eval. Got {', '.join(unknown) or 'none'}. "
            "`lm_eval ls tasks` lists them; include=FOLDER adds your own."
        )
    done = harness.simple_evaluate(
        harness_model(folder, **options),
        tasks=[task if isinstance(task, str) else dict(task) for task in tasks],
        num_fewshot=0,
        limit=limit,
        bootstrap_iters=0,
        task_manager=manager,
    )
    return {
        name: _zero_shot(done["results"][name], samples, done["configs"][name])
        for name, samples in done["samples"].items()
    }


def matthews(right: Sequence[int], given: Sequence[int]) -> float:
    """Return the Matthews correlation of classes, of two or more kinds, by scikit-learn; 0 where all are of one kind.

    Examples
    --------
    >>> matthews([0, 0, 1, 1], [0, 0, 1, 1]), matthews([0, 1, 0, 1], [0, 0, 1, 1]), matthews([1, 1], [1, 1])
    (1.0, 0.0, 0.0)
    """
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(right, given)) if len({*right, *given}) > 1 else 0.0


def _zero_shot(
    reported: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], config: Mapping[str, Any]
) -> ZeroShot:
    numbers = {
        name.removesuffix(",none"): float(value)
        for name, value in reported.items()
        if isinstance(value, (int, float)) and "stderr" not in name and name != "sample_len"
    }
    is_choice = config["output_type"] == "multiple_choice" and config.get("process_results") is None
    # For mutual information the likelihoods of the choices without their question follow those behind it.
    twice = any(metric["metric"] == "acc_mutual_info" for metric in config.get("metric_list") or ())
    pairs = [_choice(sample, twice=twice) for sample in samples] if is_choice else []
    if not pairs or any(pair is None for pair in pairs):
        return ZeroShot(len(samples), numbers)
    right, given = zip(*(pair for pair in pairs if pair is not None), strict=True)
    agree = sum(a == b for a, b in zip(right, given, strict=True)) / len(right)
    return ZeroShot(len(samples), numbers, agree, matthews(right, given))


def _choice(sample: Mapping[str, Any], *, twice: bool) -> tuple[int, int] | None:
    """Return the right and the most likely choice; none where the task names the right one by other means."""
    right = sample["target"]
    if not isinstance(right, int):
        return None
    found = sample["filtered_resps"]
    likelihoods = [float(response[0]) for response in (found[: len(found) // 2] if twice else found)]
    return right, max(range(len(likelihoods)), key=likelihoods.__getitem__)


def _harness() -> Any:
    try:
        import lm_eval
        import lm_eval.models.huggingface
        import lm_eval.tasks
    except ImportError as error:
        raise ConfigError("Expected the harness lm-eval. Got none. Install sparsecore-engine[eval].") from error
    return lm_eval


def main(argv: list[str] | None = None) -> int:
    """Evaluate and write a line for every task; returns 0 if nothing failed."""
    parser = argparse.ArgumentParser(
        prog="python -m sparsecore.integrations.lm_eval", description="Zero-shot evaluation of a saved sparse model."
    )
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--tasks", required=True, help="names, separated by commas")
    parser.add_argument("--include", type=Path, help="folder with YAML files of further tasks")
    parser.add_argument("--limit", type=int, help="most documents of a task")
    parser.add_argument("--batch-size", type=int, default=8, help="sequences at a time")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    given = parser.parse_args(argv)
    options = {name: getattr(given, name) for name in ("include", "limit", "batch_size", "device")}
    try:
        results = evaluate(given.model, given.tasks.split(","), **options)
    except SparseCoreError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for name, found in results.items():
        shown = {**found.metrics, "accuracy": found.accuracy, "mcc": found.mcc, "documents": found.n}
        line = ", ".join(f"{key} {value:.4g}" for key, value in shown.items() if value is not None)
        sys.stdout.write(f"{name}: {line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
