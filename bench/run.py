"""``python -m sparsecore.bench.run SUITE...``: measure, write JSON, write docs/benchmarks.md from all JSON."""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sparsecore.bench.contenders.peers import peer_reports
from sparsecore.bench.gate import is_wrong
from sparsecore.bench.machine import machine
from sparsecore.bench.page import write_page
from sparsecore.bench.registry import DERIVED, ON_REQUEST, SUITES, Setting, suite
from sparsecore.bench.store import Results
from sparsecore.bench.threads import cores, set_threads

__all__ = ["main", "run_suite", "statuses"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run some suites or all; returns 0 if every contender that was measured gave the right result."""
    options = _parser().parse_args(argv)
    warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
    chosen = list(dict.fromkeys(DERIVED.get(name, name) for name in options.suite or _by_default()))
    set_threads(cores())
    about = machine() | {"peers": peer_reports()}
    for name, report in about["peers"].items():
        _say(f"peer {name}: {report}")
    healthy = True
    started = time.perf_counter()
    for name in [] if options.page_only else chosen:
        healthy &= run_suite(name, options.results, about, seconds=options.seconds, again=options.again)
    write_page(options.results, options.page)
    _say(f"{time.perf_counter() - started:.0f} s in all; page: {options.page}")
    return 0 if healthy else 1


def _by_default() -> list[str]:
    return [name for name in SUITES if name not in ON_REQUEST]


def run_suite(
    name: str, folder: Path, about: dict[str, Any], *, seconds: float | None = None, again: bool = False
) -> bool:
    """Measure what is not measured yet of one suite; returns whether all results were right.

    Parameters
    ----------
    name : str
        Of `SUITES`.
    folder : Path
        Of the JSON files; ``NAME.json`` is written after every row.
    about : dict
        `machine` of this run.
    seconds : float, optional
        Time per contender; the suite's own when missing.
    again : bool
        Measure every row anew.
    """
    what = suite(name)
    budget = what.seconds if seconds is None else seconds
    results = Results(folder / f"{name}.json", name, about, budget, again=again)
    settings = what.settings()
    spent, measured = 0.0, 0
    for index, setting in enumerate(settings, 1):
        started = time.perf_counter()
        row = results.kept(setting)
        kept = row is not None
        if row is None:
            row = {"setting": setting, **what.measure(setting, budget)}
        results.add(row)
        spent, measured = spent + time.perf_counter() - started, measured + (not kept)
        took = "kept" if kept else f"{time.perf_counter() - started:.1f} s"
        if measured and index < len(settings):
            took += f", at most {spent / measured * (len(settings) - index):.0f} s left"
        _say(f"{name} {index}/{len(settings)}: {_words(setting)}: {took}")
        for status in filter(is_wrong, statuses(row)):
            _say(f"  {status}")
    return not any(is_wrong(status) for row in results.rows for status in statuses(row))


def statuses(part: Any) -> Iterator[str]:
    """Yield every ``status`` inside a row, however deep."""
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "status":
                yield value
            else:
                yield from statuses(value)
    elif isinstance(part, list):
        for value in part:
            yield from statuses(value)


def _words(setting: Setting) -> str:
    return ", ".join(f"{key} {json.dumps(value)}" for key, value in setting.items())


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sparsecore.bench.run", description=__doc__)
    parser.add_argument("suite", nargs="*", choices=[*SUITES, *DERIVED, []], help="what to run; everything by default")
    parser.add_argument("--seconds", type=float, help="time to spend on each contender; each suite's own by default")
    parser.add_argument("--again", action="store_true", help="measure rows again that still hold")
    parser.add_argument("--page-only", action="store_true", help="measure nothing, write the page from what is there")
    parser.add_argument("--results", type=Path, default=Path("bench/results"), help="folder of the JSON files")
    parser.add_argument("--page", type=Path, default=Path("docs/benchmarks.md"), help="page to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
