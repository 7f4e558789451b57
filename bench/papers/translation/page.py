"""The page of the translation table, made from the result files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparsecore.bench.papers.results import Results, write_whole
from sparsecore.bench.papers.translation.cells import DENSITIES, SOURCE, TranslationCell, cells, rows
from sparsecore.bench.papers.translation.speed import KEY, speed_table

__all__ = ["write_page"]

_NOTES = re.compile(r"<!-- notes -->\n(.*?)<!-- /notes -->", re.DOTALL)

_HEAD = """# Translation

English to German on Multi30k by an encoder-decoder Transformer whose linear layers are lists of links. Written by
`python -m sparsecore.bench.papers translation --page docs/translation.md` from one file per run in
`bench/results/translation`; {done} of {declared} declared runs are there. Text between the marks of the notes is kept.

```bash
python -m sparsecore.bench.papers translation --data-dir DIR          # runs what is missing; can be stopped and resumed
python -m sparsecore.bench.papers translation --list                  # what is done, begun, missing
```

`DIR` holds `multi30k/train.en.gz`, `val`, `test_2016_flickr` and the same in German. Needs the extra `translation`.
Everything is in `sparsecore.models.translation`: `load_multi30k`, `prepare`, `build` (a trainer whose `advance` takes
one step), `translate`, `bleu`.

## Protocol

- Transformer of 6 + 6 layers, width 512, feed-forward 1024, 8 heads, sinusoidal positions, dropout 0.1 (attention
  too), normalisation before every block. All linear layers of encoder and decoder are sparse; embeddings and output are
  dense.
- Joint vocabulary of 8,000 byte pairs learned from the training sentences; both embeddings and the output share its
  table. The published script has a vocabulary of whole words per language and shares nothing.
- 5,000 steps of at most 1,024 tokens a side, padding counted in; label smoothing 0.1; Adam (0.9, 0.998).
- Learning rate 2 · noam with 1,000 steps of warm-up for the dense network; with another 20 steps of warm-up after
  every update of the links (inoam) for all others. The factor 2 is that of the published IWSLT script.
- An update every 100 steps, ζ 0.3. SET: constant ζ. RigL, CHTs and CHTss: ζ falls to 0 by cosine, as in the published
  translation scripts. First links: uniform; CHTs and CHTss: small world, β = 0.25. CHTs and CHTss remove softly by
  weight magnitude, the temperature ramped as printed (δ from 0.5 to 0.75), percolate, and regrow by CH2-L3n. CHTss
  starts at 50% of the links. Percolation joins the values with the output of an attention, and the two layers of a
  feed-forward block; queries and keys, which have biases, are not joined.
- First values have the variance of Glorot's dense weights over the density, so that sums begin alike at any density.
- Figures are those after the last step; nothing was chosen by them. Beam search of width 2, log-probability per token.
  BLEU by sacrebleu on test_2016: case counted, text as it is. Papers compute theirs on their own tokens, so compare
  differences between methods, not figures across the columns.
- Steps per second are those of processor time on one thread (what else ran on the machine does not count), updates
  included, by the medians of 100 steps each. Runs may come from different processors (below), so how many times faster
  than dense a method is stands in a table of its own, measured in one run.
- Peak memory is the rise of resident memory over building the network and its first four steps, two of them with an
  update; libraries, data and what the allocator keeps unused
  ([more than that](faq.md#why-does-the-process-hold-more-memory-than-the-reported-peak)) are not counted. ANP is the
  share of active neurons, ITOP the share of possible links that ever existed, cost the mean over training of links over
  possible links.

"""

_TABLE = (
    "| method | BLEU | printed | validation BLEU | loss | perplexity | ANP, % | ITOP, % | cost, % | links | steps/s | "
    "peak memory | hours |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def write_page(results: Path, page: Path) -> None:
    """Write the page.

    Parameters
    ----------
    results : Path
        Folder of the result files.
    page : Path
        File to write; notes in it are kept.
    """
    found = {cell.key: results_of for cell in cells() if (results_of := _result(Results(results), cell)) is not None}
    head = _HEAD.format(done=len(found), declared=len(cells()))
    tables = [_table(found, density) for density in DENSITIES]
    speed = Results(results).read(KEY)
    beside = "" if speed is None else speed_table(speed)
    parts = [head, _notes(page), *tables, beside, _examples(found), _where(found)]
    write_whole(page, "".join(parts).rstrip() + "\n")


def _result(results: Results, cell: TranslationCell) -> Mapping[str, Any] | None:
    return results.read(cell.key) if cell.is_done(results) else None


def _notes(page: Path) -> str:
    """Return what was written by hand, marks included."""
    found = _NOTES.search(page.read_text(encoding="utf-8")) if page.is_file() else None
    return f"<!-- notes -->\n{found.group(1) if found else ''}<!-- /notes -->\n\n"


def _table(found: Mapping[str, Mapping[str, Any]], density: float) -> str:
    dense = found.get(TranslationCell("dense", 1.0).key)
    lines = "".join(_row(cell, found.get(cell.key), dense) for cell in rows(density))
    return f"## {100 * (1 - density):g}% sparse\n\n{_TABLE}{lines}\n"


def _row(cell: TranslationCell, result: Mapping[str, Any] | None, dense: Mapping[str, Any] | None) -> str:
    printed = f"{cell.printed:.2f}"
    if result is None:
        return f"| {cell.label} | not run | {printed} |" + " |" * 10 + "\n"
    done = result["summary"]
    speed, memory = f"{done['steps_per_s']:.2f}", f"{done['peak_memory_bytes'] / 2**20:,.0f} MiB"
    if dense is not None and result is not dense:
        memory += f" ({done['peak_memory_bytes'] / dense['summary']['peak_memory_bytes']:.2f}×)"
    shares = [f"{100 * done[name]:.1f}" if name in done else "–" for name in ("anp", "itop", "mean_density")]
    columns = [
        cell.label,
        f"**{done['test_bleu']:.2f}**",
        printed,
        f"{done['valid_bleu']:.2f}",
        f"{done['valid_loss']:.3f}",
        f"{done['valid_perplexity']:.2f}",
        *shares,
        f"{done['links']:,}" if "links" in done else "–",
        speed,
        memory,
        f"{done['wall_s'] / 3600:.2f}",
    ]
    return f"| {' | '.join(columns)} |\n"


def _examples(found: Mapping[str, Mapping[str, Any]]) -> str:
    first = next(iter(found.values()), None)
    if first is None:
        return ""
    rows = "".join(f"| {at['source']} | {at['reference']} | {at['translation']} |\n" for at in first["examples"])
    return (
        f"## First sentences of the test set\n\nBy {first['label']}, "
        f"{100 * first['summary'].get('density', 1.0):.3g}% of the links.\n\n"
        f"| source | reference | translation |\n|---|---|---|\n{rows}\n"
    )


def _where(found: Mapping[str, Mapping[str, Any]]) -> str:
    machines = sorted({f"{run['machine']['cpu']}, commit {run['machine']['commit']}" for run in found.values()})
    signatures = sorted({run["summary"]["signature"] for run in found.values()})
    text = f"## Where\n\nPrinted figures: {SOURCE}."
    return text + (f" sacrebleu: `{'`, `'.join(signatures)}`. Runs: {'; '.join(machines)}.\n" if found else "\n")
