"""Mutation testing: small faults put into a copy of the source, and how many of them the tests notice.

    python tests/mutation/run.py --sample 60 --seed 0

Works on a copy below ``build/mutation``, laid out as the package is installed; the working tree is never touched. Each
room is mutated by cosmic-ray and tested with the fast tests that are about it. ``make mutation`` installs it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

ROOT = Path(__file__).resolve().parents[2]

#: Room → (files, tests). Tests that start processes or take many seconds are left out.
ROOMS = {
    "selection": ("sparsecore/selection", "tests/selection"),
    "removal": ("sparsecore/removal", "tests/removal tests/evolution/test_plan.py"),
    "predictors": (
        "sparsecore/predictors",
        "tests/predictors/test_predictors.py tests/selection/test_selection.py -k 'not brute and not growing'",
    ),
    "evolution": (
        "sparsecore/evolution",
        "tests/evolution/test_plan.py tests/evolution/test_percolation.py tests/evolution/test_history.py "
        "tests/evolution/test_redistribution.py tests/evolution/test_evolution.py tests/evolution/test_methods.py "
        "-k 'not dense'",
    ),
}

#: Mutations that cannot change behaviour (unions in annotations, slices of docstrings) or that no test should notice.
EXCLUDED = ("core/ReplaceBinaryOperator_BitOr", "core/RemoveDecorator", "core/ExceptionReplacer")
TIMEOUT_S = 240


def main() -> None:
    """Mutate a sample of every room and write build/mutation/score.json."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=int, default=60, help="mutants in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rooms", nargs="+", default=list(ROOMS), choices=list(ROOMS))
    chosen = parser.parse_args()
    work = ROOT / "build" / "mutation"
    sessions = {room: _prepare(work / room, room) for room in chosen.rooms}
    n_mutants = {room: _count(session) for room, session in sessions.items()}
    for room, session in sessions.items():
        share = round(chosen.sample * n_mutants[room] / sum(n_mutants.values()))
        _keep_a_sample(session, max(1, share), chosen.seed)
    start = time.monotonic()
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as team:
        scores = dict(zip(sessions, team.map(_execute, sessions.items()), strict=True))
    report = {"mutants": n_mutants, "seconds": round(time.monotonic() - start), "rooms": scores}
    (work / "score.json").write_text(json.dumps(report, indent=2) + "\n")
    for room, score in scores.items():
        _say(f"{room}: {score['killed']} of {score['tried']} noticed ({n_mutants[room]} possible)")
        for survivor in score["survivors"]:
            _say("\n" + survivor)
    tried = sum(score["tried"] for score in scores.values())
    _say(f"all: {sum(score['killed'] for score in scores.values())} of {tried} noticed in {report['seconds']} s")


def _prepare(copy: Path, room: str) -> Path:
    """Copy source and tests, check that the tests pass there, and return the session file with all mutants."""
    shutil.rmtree(copy, ignore_errors=True)
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sparsecore", copy / "sparsecore", ignore=leave)
    shutil.copytree(ROOT / "models", copy / "sparsecore" / "models", ignore=leave)
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=leave)
    shutil.copy(ROOT / "pyproject.toml", copy)
    files, tests = ROOMS[room]
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {tests}"
    config = copy / "mutation.toml"
    config.write_text(
        "[cosmic-ray]\n"
        f"module-path = {json.dumps(files)}\n"
        f"timeout = {TIMEOUT_S}.0\n"
        "excluded-modules = []\n"
        f"test-command = {json.dumps(command)}\n"
        "[cosmic-ray.distributor]\n"
        'name = "local"\n'
    )
    _say(f"{room}: tests of the unchanged copy (kernels are compiled the first time)")
    done = subprocess.run(command, shell=True, cwd=copy, env=_environment(copy), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"Expected passing tests of {room} before any mutation. Got:\n{done.stdout[-3000:]}")
    session = copy / "session.sqlite"
    _cosmic_ray(copy, "init", config.name, session.name)
    return session


def _environment(copy: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{copy}:{os.environ.get('PYTHONPATH', '')}", "HYPOTHESIS_PROFILE": "quick"}


def _cosmic_ray(copy: Path, *arguments: str) -> None:
    code = "from cosmic_ray.cli import main; main()"
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=copy,
        env=_environment(copy),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _wanted(item: object) -> bool:
    return not any(mutation.operator_name.startswith(EXCLUDED) for mutation in item.mutations)  # type: ignore[attr-defined]


def _count(session: Path) -> int:
    with use_db(session, WorkDB.Mode.open) as database:
        return sum(_wanted(item) for item in database.work_items)


def _keep_a_sample(session: Path, n: int, seed: int) -> None:
    """Mark all mutants but `n` as skipped."""
    with use_db(session, WorkDB.Mode.open) as database:
        items = sorted(database.work_items, key=lambda item: str(item.mutations))
        wanted = [item.job_id for item in items if _wanted(item)]
        kept = set(random.Random(seed).sample(wanted, min(n, len(wanted))))
        skipped = WorkResult(worker_outcome=WorkerOutcome.SKIPPED)
        database.set_multiple_results([item.job_id for item in items if item.job_id not in kept], skipped)


def _execute(session_of_room: tuple[str, Path]) -> dict[str, object]:
    """Run the mutants of one room one after the other; return counts and the changes that no test noticed."""
    _, session = session_of_room
    _cosmic_ray(session.parent, "exec", "mutation.toml", session.name)
    killed, survivors = 0, []
    with use_db(session, WorkDB.Mode.open) as database:
        for _, result in database.results:
            if result.worker_outcome == WorkerOutcome.SKIPPED:
                continue
            if result.test_outcome == TestOutcome.SURVIVED:
                survivors.append(result.diff or "")
            else:
                killed += 1
    return {"killed": killed, "tried": killed + len(survivors), "survivors": survivors}


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
