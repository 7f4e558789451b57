"""Works through the cells: claims, budget, signals, and any number of processes on one folder."""

from __future__ import annotations

import math
import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from sparsecore.bench.papers.cells import Cell, Protocol
from sparsecore.bench.papers.process import Stop, StoppedError, claim, say
from sparsecore.bench.papers.results import Results
from sparsecore.bench.papers.training import train
from sparsecore.models import data as image_data
from sparsecore.models.data import ImageData

__all__ = ["Job", "Outcome", "run_all", "work"]

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


@dataclass(frozen=True)
class Outcome:
    """What a process got done.

    Attributes
    ----------
    done : int
        Cells that have a result now.
    failed : frozenset of str
        Keys of cells that ended in an error.
    """

    done: int
    failed: frozenset[str]


def run_all(job: Job, *, workers: int = 1) -> int:
    """Run all cells, `workers` at a time, each in a process of its own; returns how many failed.

    What an earlier run left in the heap of its process would count as memory of a later one. A signal to end, or the
    end of the budget, stops every run after its present epoch; its checkpoint stays.
    """
    stop = Stop(job.until)
    stop.listen()
    failed: frozenset[str] = frozenset()
    told = False
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        tasks = {pool.submit(_enter, job, failed) for _ in range(workers)}
        while tasks:
            ended, tasks = wait(tasks, timeout=0.2, return_when=FIRST_COMPLETED)
            if stop.signalled and not told:
                told = True
                for process in multiprocessing.active_children():
                    process.terminate()  # SIGTERM, which they hear as we do
            for outcome in (task.result() for task in ended):
                failed |= outcome.failed
                if (outcome.done or outcome.failed) and not stop():
                    tasks.add(pool.submit(_enter, job, failed))
    return len(failed)


def work(
    job: Job,
    *,
    stop: Callable[[], bool],
    load: Load | None = None,
    failed: frozenset[str] = frozenset(),
    most: float = math.inf,
) -> Outcome:
    """Run the cells that no other process has claimed, one after the other.

    Parameters
    ----------
    job : Job
        What to run.
    stop : callable
        Asked before every cell and after every epoch.
    load : callable, optional
        Returns a data set by name; from ``job.data_dir`` when missing.
    failed : frozenset of str
        Keys of cells that have failed before and are not tried again.
    most : float
        Cells to run at most.
    """
    results = Results(job.results)
    load = lru_cache(maxsize=1)(load or _Loader(job.data_dir))
    done, broken = 0, set(failed)
    job.scratch.mkdir(parents=True, exist_ok=True)
    advanced = True
    while advanced and not stop():  # again, because a cell may wait for the result of another
        advanced = False
        for cell in job.cells:
            if stop() or done + len(broken - failed) >= most:
                return Outcome(done, frozenset(broken - failed))
            if cell.key in broken or cell.is_done(results, job.protocol) or not cell.is_ready(results):
                continue
            with claim(job.scratch / f"{cell.key}.lock") as mine:
                if mine and not cell.is_done(results, job.protocol) and _run(cell, job, results, load, stop, broken):
                    done, advanced = done + 1, True
    return Outcome(done, frozenset(broken - failed))


def _run(cell: Cell, job: Job, results: Results, load: Load, stop: Callable[[], bool], failed: set[str]) -> bool:
    """Run one claimed cell; tell whether it has a result now."""
    checkpoint = job.scratch / f"{cell.key}.safetensors"
    say(f"{cell.key} begins")
    try:
        result = train(cell, job.protocol, load(cell.data), results, checkpoint, stop)
    except StoppedError:
        say(f"{cell.key} stops, to be resumed")
        return False
    except Exception:  # one cell must not end the others
        failed.add(cell.key)
        say(f"{cell.key} failed\n{traceback.format_exc()}")
        return False
    results.write(cell.key, result)
    checkpoint.unlink(missing_ok=True)
    done = result["summary"]
    say(f"{cell.key} {100 * done['accuracy_last']:.2f}% in {done['cpu_s']:.0f} s ({done['wall_s']:.0f} s of wall)")
    return True


@dataclass(frozen=True)
class _Loader:
    folder: Path

    def __call__(self, name: str) -> ImageData:
        return image_data.load(name, self.folder)


def _enter(job: Job, failed: frozenset[str]) -> Outcome:
    stop = Stop(job.until)
    stop.listen()
    return work(job, stop=stop, failed=failed, most=1)
