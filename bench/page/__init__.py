"""Writes docs/benchmarks.md and its pictures from the JSON of the last runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sparsecore.bench.page.goals import goal_table
from sparsecore.bench.page.kernels import crossover_section, kernels_section
from sparsecore.bench.page.layers import evolution_section, memory_section
from sparsecore.bench.page.machine import machine_line
from sparsecore.bench.page.overview import draw_overview
from sparsecore.bench.page.plots import draw_all
from sparsecore.bench.page.quotes import write_quotes
from sparsecore.bench.page.scaling import scaling_section
from sparsecore.bench.page.step import step_section
from sparsecore.bench.registry import DERIVED, SUITES
from sparsecore.bench.store import read_rows

__all__ = ["pages_with_quotes", "write_page"]

_HEAD = """# Benchmarks

Written by `make bench` (`python -m sparsecore.bench.run`) from `bench/results/*.json`; do not edit by hand.

How it is measured. Every contender first has to give the right numbers (losses of three steps, products at sampled
places in float64, exact link counts); one that does not is listed with what is wrong and is never timed, and a library
that does not import is listed with its reason. Contenders run in turns within one process; times are medians with
quartiles over rounds, ratios are medians of the ratios within a round. In whole steps everyone runs at the number of
threads that suits it best. The hand-over time (one word from core to core and back, halved) around each row tells which
speed mode the machine was in.
"""

_SECTIONS = {
    "step": step_section,
    "kernels": kernels_section,
    "crossover": crossover_section,
    "evolution": evolution_section,
    "memory": memory_section,
    "scaling": scaling_section,
}


def write_page(results: Path, page: Path) -> None:
    """Write the page and its pictures from all result files that exist."""
    found = {name: read_rows(results / f"{name}.json") for name in SUITES}
    abouts = {name: _about(results / f"{name}.json") for name, rows in found.items() if rows}
    pictures = page.parent / "images" / "benchmarks"
    drawn = draw_all(found, pictures) if abouts else {}
    draw_overview(found, pictures / "overview.svg")
    links = {name: path.relative_to(page.parent).as_posix() for name, path in drawn.items()}
    parts = [_HEAD, goal_table(found)]
    for name, section in _SECTIONS.items():
        source = DERIVED.get(name, name)
        rows = found[source]
        if rows:
            parts.append(section(rows, links))
            parts.append(machine_line(name, abouts[source], rows))
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n".join(parts))
    write_quotes(results, pages_with_quotes(page.parent))


def pages_with_quotes(docs: Path) -> list[Path]:
    """Return those of the README beside a folder, its pages and its how-to pages that quote figures."""
    pages = [docs.parent / "README.md", *sorted(docs.glob("*.md")), *sorted(docs.glob("howto/*.md"))]
    return [page for page in pages if page.is_file() and "<!--q " in page.read_text(encoding="utf-8")]


def _about(path: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads(path.read_text())["machine"]
    return about
