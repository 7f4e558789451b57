"""The demonstration: four networks on images that ship inside a package, each in a process of its own."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sparsecore.cli.plots import plot_runs
from sparsecore.cli.progress import RunProgress
from sparsecore.cli.screen import console
from sparsecore.cli.tables import summary_table
from sparsecore.engine import EpochRecord, Summary, Trainer
from sparsecore.errors import ConfigError, SparseCoreError
from sparsecore.io import RunFolder

__all__ = ["METHODS", "run_demo"]

METHODS = ("dense", "static", "set", "chts")
_MARKER = "demo.json"


class _Sender:
    """Passes the epochs of a training process on to the process that draws."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def on_start(self, trainer: Trainer) -> None:
        """Nothing to say yet."""

    def on_epoch(self, trainer: Trainer, record: EpochRecord) -> None:
        """Send the record."""
        self._pipe.send(("epoch", record))

    def on_end(self, trainer: Trainer, summary: Summary) -> None:
        """Leave the summary to the end of the run, when peak memory is known."""


def run_demo(out: Path, *, epochs: int | None = None, seed: int = 0, force: bool = False) -> dict[str, dict[str, Any]]:
    """Train all four networks, show the table, write pictures; return the summaries by method.

    Parameters
    ----------
    out : Path
        Folder of the four run folders and the pictures.
    epochs : int, optional
        Of every run; as long as the recipe when missing.
    seed : int
        Of every run.
    force : bool
        Replace an earlier demonstration.

    Raises
    ------
    ConfigError
        If `out` holds something else, or an earlier demonstration and `force` is not given.
    SparseCoreError
        If a training process fails.
    """
    _claim(out, force)
    recipes = importlib.import_module("sparsecore.models.recipes")
    changes = {"seed": seed} if epochs is None else {"seed": seed, "epochs": epochs}
    configs = {name: recipes.demonstration(method=name, **changes) for name in METHODS}
    data = recipes.load_data(next(iter(configs.values())))
    console.print(
        f"{len(data.train_y):,} training and {len(data.test_y):,} test images of handwritten digits; "
        "a network 784-1568-1568-1568-10, dense and with 1% of its links. Each trains in a process of its own, after "
        "its kernels are compiled (the first time on a machine takes longest)."
    )
    summaries: dict[str, dict[str, Any]] = {}
    with RunProgress(console) as progress:
        for name, config in configs.items():
            recipes.create_folder(out / name, config, force=True)
            summaries[name] = _in_process(name, config, data, out / name, progress)
    _write_json(out / _MARKER, summaries)
    folders = {name: RunFolder(out / name) for name in METHODS}
    pictures = plot_runs(
        out / "plots",
        {name: folder.metrics() for name, folder in folders.items()},
        {name: folder.topologies("before") for name, folder in folders.items()},
        {name: folder.topologies("after") for name, folder in folders.items()},
    )
    console.print(summary_table(summaries, "5,000 images, hidden layers with 1% of their links"))
    console.print(
        "accuracy: on the test images, after the last epoch. AAE: area under accuracy across epochs. "
        "ANP: active neurons. ITOP: links ever explored. weight+state: values, index lists and optimizer state. "
        "peak memory: net of libraries, data and compilation."
    )
    console.print(f"Metrics, checkpoints and {len(pictures)} pictures are in {out}.", markup=False)
    return summaries


def _claim(out: Path, force: bool) -> None:
    """Make the folder, unless it holds anything that is not ours to replace."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not (out / _MARKER).is_file():
            raise ConfigError(f"Expected a new or empty folder. Got {out}, which holds other things.")
        if not force:
            raise ConfigError(
                f"Expected a new folder. Got {out}, which holds a demonstration. Replace it with --force."
            )
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / _MARKER, {})


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _in_process(name: str, config: Any, data: Any, folder: Path, progress: RunProgress) -> dict[str, Any]:
    """Train in a fresh process, so that peak memory is that of this run alone, and return its summary."""
    context = multiprocessing.get_context("spawn")
    # On a busy machine torch's threads spin for whole time slices waiting for one another, and dense steps take up to
    # 25 times longer. Spinning less, which a child reads when it starts, costs 5% on a quiet one.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(config, data, folder, there), daemon=True)
    progress.begin(name, config.epochs)
    process.start()
    there.close()
    summary: dict[str, Any] | None = None
    try:
        while True:
            kind, content = here.recv()
            if kind == "epoch":
                progress.show(content)
            elif kind == "end":
                summary = content
            else:
                raise SparseCoreError(f"Training {name} failed: {content}")
    except EOFError:
        pass
    finally:
        here.close()
        process.join()
    if summary is None:
        raise SparseCoreError(
            f"Expected the process that trains {name} to end well. Got exit status {process.exitcode}."
        )
    return summary


def _train(config: Any, data: Any, folder: Path, pipe: Connection) -> None:
    recipes = importlib.import_module("sparsecore.models.recipes")
    try:
        recipes.warm_up(config)
        summary = recipes.run(config, data, folder=RunFolder(folder), events=[_Sender(pipe)])
        pipe.send(("end", summary.as_dict()))
    except SparseCoreError as error:
        pipe.send(("error", str(error)))
    except BrokenPipeError:  # the process that draws has been interrupted
        os._exit(1)
