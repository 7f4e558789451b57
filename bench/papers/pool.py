"""Works through the cells: claims, budget, signals, and any number of processes on one folder."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from sparsecore.bench.papers.cells import Cell, Protocol
from sparsecore.bench.papers.process import Stop, claim
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.training import train
from sparsecore.bench.papers.work import run_cell
from sparsecore.models import data as image_data
from sparsecore.models.data import ImageData

__all__ = ["Job", "run_all", "work"]

Load = Callable[[str], ImageData]


@dataclass(frozen=True)
class Job:
    """What a process needs to take part.

    Attributes
    ----------
    cells : sequence of Cell
        In order.
    protocol : Protocol
        What they share.
    results, scratch : Path
        Folders of the JSON files, and of claims and checkpoints.
    data_dir : Path
        Folder of the data sets.
    until : float, optional
        ``time.time()`` at which to stop.
    """

    cells: Sequence[Cell]
    protocol: Protocol
    results: Path
    scratch: Path
    data_dir: Path
    until: float | None = None


def run_all(job: Job, *, workers: int = 1) -> int:
    """Run all cells, `workers` at a time, each in a process of its own; returns how many failed.

    What an earlier run leaves in the heap of its process would count as memory of a later one. A signal to end, or the
    end of the budget, stops every run after its present epoch; its checkpoint stays.
    """
    stop = Stop(job.until)
    stop.listen()
    results = Results(job.results)
    context = multiprocessing.get_context("spawn")
    waiting, n_failed, told = list(job.cells), 0, False
    running: list[multiprocessing.process.BaseProcess] = []
    while True:
        while len(running) < workers and not stop() and (cell := _take(waiting, job.protocol, results)) is not None:
            running.append(context.Process(target=_enter, args=(replace(job, cells=[cell]),)))
            running[-1].start()
        if not running:
            return n_failed
        wait([process.sentinel for process in running], timeout=0.2)
        if stop.signalled and not told:
            told = True
            for process in running:
                process.terminate()  # SIGTERM, which they hear as we do
        ended = [process for process in running if process.exitcode is not None]
        # One that ends by the signal itself had not begun yet.
        n_failed += sum(process.exitcode not in (0, -signal.SIGTERM) for process in ended)
        running = [process for process in running if process not in ended]


def _take(waiting: list[Cell], protocol: Protocol, results: Results) -> Cell | None:
    """Take the first cell that can begin out of `waiting`, with all before it that have a result; none if all wait."""
    for cell in list(waiting):
        if cell.is_done(results, protocol):
            waiting.remove(cell)
        elif cell.is_ready(results, protocol):
            waiting.remove(cell)
            return cell
    return None


def work(job: Job, *, stop: Callable[[], bool], load: Load | None = None) -> int:
    """Run the cells that no other process has claimed, one after the other; returns how many failed.

    Parameters
    ----------
    job : Job
        What to run.
    stop : callable
        Asked before every cell and after every epoch.
    load : callable, optional
        Returns a data set by name; from ``job.data_dir`` when missing.
    """
    results = Results(job.results)
    load = lru_cache(maxsize=1)(load or _Loader(job.data_dir))
    failed: set[str] = set()
    job.scratch.mkdir(parents=True, exist_ok=True)
    advanced = True
    while advanced and not stop():  # again, because a cell may wait for the result of another
        advanced = False
        for cell in job.cells:
            if stop():
                break
            if cell.key in failed or cell.is_done(results, job.protocol) or not cell.is_ready(results, job.protocol):
                continue
            with claim(job.scratch / f"{cell.key}.lock") as mine:
                if mine and not cell.is_done(results, job.protocol):
                    advanced |= _run(cell, job, results, load, stop, failed)
    return len(failed)


def _run(cell: Cell, job: Job, results: Results, load: Load, stop: Callable[[], bool], failed: set[str]) -> bool:
    """Run one claimed cell; tell whether it has a result now."""

    def make(cell: Cell) -> dict[str, Any]:
        checkpoint = job.scratch / f"{cell.key}.safetensors"
        return train(cell, job.protocol, load(cell.data), results, checkpoint, stop)

    outcome = run_cell(cell, results, job.scratch, make, _told)
    if outcome == "failed":
        failed.add(cell.key)
    return outcome == "done"


def _told(done: Mapping[str, Any]) -> str:
    return f"{100 * done['accuracy_last']:.2f}% in {done['cpu_s']:.0f} s ({done['wall_s']:.0f} s of wall)"


@dataclass(frozen=True)
class _Loader:
    folder: Path

    def __call__(self, name: str) -> ImageData:
        return image_data.load(name, self.folder)


def _enter(job: Job) -> None:
    stop = Stop(job.until)
    stop.listen()
    sys.exit(work(job, stop=stop))
