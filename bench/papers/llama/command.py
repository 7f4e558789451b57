"""``python -m sparsecore.bench.papers llama``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparsecore.bench.machine import machine
from sparsecore.bench.papers.llama.cells import LlamaCell, cells
from sparsecore.bench.papers.llama.page import write_table
from sparsecore.bench.papers.process import Stop, StoppedError
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.work import add_options, data_of, end_of, listing, matching, work_through
from sparsecore.errors import CheckpointError, SparseCoreError
from sparsecore.models.pretrain import LlamaRun, read_run, train

__all__ = ["LlamaJob", "add_command", "work"]

_RESULTS = Path("bench/results/llama")

#: Seconds between two looks at a run and at the clock.
_LOOK_S = 0.5


@dataclass(frozen=True)
class LlamaJob:
    """What a process needs to take part.

    Attributes
    ----------
    cells : sequence of LlamaCell
        In order.
    results, scratch : Path
        Folders of the JSON files, and of runs that have not ended.
    data_dir : Path
        Folder that holds the text.
    """

    cells: Sequence[LlamaCell]
    results: Path
    scratch: Path
    data_dir: Path


def work(job: LlamaJob, *, stop: Callable[[], bool]) -> int:
    """Run the cells that no other process has claimed, one after the other; returns how many failed.

    Parameters
    ----------
    job : LlamaJob
        What to run.
    stop : callable
        Asked before and during every run; one that is stopped goes on from its last checkpoint.
    """

    def make(cell: LlamaCell) -> dict[str, Any]:
        return _result(cell, job.scratch / cell.key, job.data_dir, stop)

    return work_through(job.cells, Results(job.results), job.scratch, make, _told, stop=stop)


def _told(done: Mapping[str, Any]) -> str:
    return f"perplexity {done['valid_perplexity']:.2f}, {done['steps_per_s']:.2f} steps per second"


def _result(cell: LlamaCell, folder: Path, data_dir: Path, stop: Callable[[], bool]) -> dict[str, Any]:
    """Train in a process of its own, whose memory is that of the run alone, and return everything about it."""
    run = dataclasses.replace(cell.run, data_dir=str(data_dir))
    process = multiprocessing.get_context("spawn").Process(target=_train, args=(run, folder))
    process.start()
    while process.is_alive():
        process.join(_LOOK_S)
        if process.is_alive() and stop():
            process.terminate()
            process.join()
            raise StoppedError
    if process.exitcode:
        raise SparseCoreError(f"Expected the run in {folder} to end. Got exit status {process.exitcode}; see above.")
    found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    parts = {name: found[name] for name in ("summary", "vocabulary", "valid", "train")}
    # Threads are those of the run, which had a process of its own.
    where = machine() | {"torch_threads": cell.threads, "kernel_threads": cell.threads}
    return {"setting": cell.setting, "label": cell.row.label, "threads": cell.threads, **parts, "machine": where}


def _train(run: LlamaRun, folder: Path) -> None:
    begun = folder.exists()
    if begun and not _is_the_same(run, folder):
        shutil.rmtree(folder)
        begun = False
    train(run, folder, resume=begun)


def _is_the_same(run: LlamaRun, folder: Path) -> bool:
    try:
        return read_run(folder) == run
    except CheckpointError:
        return False


def add_command(commands: Any) -> None:
    """Add the command to the sub-parsers of ``python -m sparsecore.bench.papers``."""
    command = commands.add_parser("llama", help="run the pre-training experiments that have no result yet")
    add_options(command, _RESULTS, "sparsecore-llama")
    command.add_argument("--page", type=Path, metavar="FILE", help="write the table of all results into it, and end")
    command.set_defaults(run=_main)


def _main(options: argparse.Namespace) -> int:
    if options.page is not None:
        write_table(options.results, options.page)
        return 0
    chosen, results = matching(cells(options.threads), options.only), Results(options.results)
    if options.list:
        sys.stdout.write(listing({cell.key: cell.is_done(results) for cell in chosen}, options.scratch))
        return 0
    stop = Stop(end_of(options))
    stop.listen()
    return min(1, work(LlamaJob(chosen, options.results, options.scratch, data_of(options)), stop=stop))
