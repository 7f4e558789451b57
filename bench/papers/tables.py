"""Markdown tables of the pages."""

from __future__ import annotations

from collections.abc import Sequence

from sparsecore.bench.papers.ablations import Ablation
from sparsecore.bench.papers.figures import Figure, Runs, Value, difference, figure, summary_field
from sparsecore.bench.papers.printed import Printed, printed
from sparsecore.bench.papers.rows import BASE, TABLES, Table
from sparsecore.engine import area_across_epochs

__all__ = ["TITLES", "ablation_table", "claims_table", "main_table", "markdown_row"]

#: Names of the data sets in headings.
TITLES = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}

_LAST, _BEST = summary_field("accuracy_last", 100), summary_field("accuracy_best_on_test", 100)
_CHOSEN = summary_field("accuracy_at_best_valid", 100)
_COLUMNS = (
    "network", "seeds", "last epoch, %", "chosen on held-out, %", "best on test, %", "printed, %", "gap", "AAE, %",
    "ANP, %", "printed ANP, %", "ITOP, %", "overlap, %", "mean links, %", "CPU, min", "peak, MiB",
)  # fmt: skip


def main_table(runs: Runs, data: str, table: Table) -> str:
    """Return the table of one data set at one density; rows that have not been run say so."""
    lines = [markdown_row(_COLUMNS), markdown_row(["---"] * len(_COLUMNS))]
    for variant in table.rows(data):
        shown = printed(data, variant, table.density)
        main = runs.of(data, variant, table.density)
        held = runs.of(data, variant, table.density, held=True)
        chosen = figure(held, _CHOSEN)
        best = figure(main, _BEST)
        gap = "" if best is None or shown is None else _gap(best, shown, main[0]["n_test"])
        accuracies = [_text(figure(main, _LAST)), _held_text(chosen, len(main)), _text(best)]
        updates = not variant.is_dense and not variant.name.startswith("static")
        lines.append(
            markdown_row(
                [
                    variant.label,
                    str(len(main)) if main else "not run",
                    *accuracies,
                    _printed_text(shown),
                    gap,
                    _text(figure(main, summary_field("aae", 100))),
                    _text(figure(main, summary_field("anp", 100)), 0),
                    "" if shown is None or shown.anp is None else f"{shown.anp:.0f}",
                    _text(figure(main, summary_field("itop", 100)), 1) if updates else "",
                    _text(figure(main, summary_field("overlap", 100)), 0) if updates else "",
                    _text(figure(main, summary_field("mean_density", 100)), 1, spread=False) if updates else "",
                    _text(figure(main, summary_field("cpu_s", 1 / 60)), 1, spread=False),
                    _text(figure(main, summary_field("peak_memory_bytes", 2.0**-20)), 0, spread=False),
                ]
            )
        )
    return "\n".join(lines) + "\n"


def claims_table(runs: Runs) -> str:
    """Return how CHTs compares with its controls at 1% of the links, all after the last epoch."""
    columns = ("data", "CHTs, CH2-L3n, %", "against", "%", "difference, points", "reading")
    lines = [markdown_row(columns), markdown_row(["---"] * len(columns))]
    wanted = ("dense", "dense_weights", "dense_core", "static_csti", "set", "rigl")
    table = TABLES[0]
    for data in runs.protocol.widths:
        ours = runs.of(data, BASE, table.density)
        mine = figure(ours, _LAST)
        for variant in table.variants:
            if variant.name not in wanted:
                continue
            other = figure(runs.of(data, variant, table.density), _LAST)
            if mine is None or other is None:
                compared = ["–", "not run yet"]
            else:
                gap, error = difference(mine, other, ours[0]["n_test"])
                compared = [f"{gap:+.2f} ± {error:.2f}", _reading(gap, error)]
            lines.append(markdown_row([TITLES.get(data, data), _text(mine), variant.label, _text(other), *compared]))
    return "\n".join(lines) + "\n"


def ablation_table(runs: Runs, ablation: Ablation) -> str:
    """Return the table of one choice, the base first; held-out accuracy is what may be chosen by."""
    data, base_variant = ablation.data, ablation.base_variant
    columns = (
        ablation.title, "seeds", "held-out, last epoch, %", "against the base, points", "held-out AAE, %",
        "test, last epoch, %", "ANP, %", "overlap, %", "mean links, %",
    )  # fmt: skip
    lines = [markdown_row(columns), markdown_row(["---"] * len(columns))]
    base_runs = runs.of(data, base_variant, 0.01, held=True)
    base = figure(base_runs, _held_last)
    for variant in (base_variant, *ablation.variants):
        found = runs.of(data, variant, 0.01, held=True)
        held = figure(found, _held_last)
        gap = ""
        if variant is not base_variant and held is not None and base is not None:
            points, error = difference(held, base, runs.protocol.n_held)
            gap = f"{points:+.2f} ± {error:.2f}"
        lines.append(
            markdown_row(
                [
                    f"{ablation.base} (base)" if variant is base_variant else variant.label,
                    str(len(found)) if found else "not run",
                    _text(held),
                    gap,
                    _text(figure(found, _held_area)),
                    _text(figure(found, _LAST)),
                    _text(figure(found, summary_field("anp", 100)), 0),
                    _text(figure(found, summary_field("overlap", 100)), 0),
                    _text(figure(found, summary_field("mean_density", 100)), 1),
                ]
            )
        )
    return "\n".join(lines) + "\n"


_held_last: Value = lambda run: 100 * run["valid_accuracy"]  # noqa: E731
_held_area: Value = lambda run: 100 * area_across_epochs(run["curve"]["valid_accuracy"])  # noqa: E731


def markdown_row(cells: Sequence[str]) -> str:
    """Return a line of a table."""
    return "| " + " | ".join(cells) + " |"


def _text(value: Figure | None, digits: int = 2, *, spread: bool = True) -> str:
    if value is None:
        return "–"
    return value.text(digits) if spread else f"{value.mean:.{digits}f}"


def _held_text(chosen: Figure | None, n_main: int) -> str:
    """Return the held-out-selected accuracy, with its own number of seeds where that differs."""
    if chosen is None:
        return "–"
    return chosen.text() + ("" if chosen.n == n_main else f" ({chosen.n} seed{'s' * (chosen.n > 1)})")


def _printed_text(shown: Printed | None) -> str:
    if shown is None:
        return "not printed"
    return f"{shown.accuracy:.2f}" + ("" if shown.error is None else f" ± {shown.error:.2f}")


def _gap(best: Figure, shown: Printed, n_test: int) -> str:
    """Return ours less theirs, with a star where it is beyond one standard error of ours and theirs together."""
    points, error = difference(best, Figure(shown.accuracy, shown.error or 0.0, 1), n_test)
    return f"{points:+.2f}" + (" *" if abs(points) > error else "")


def _reading(gap: float, error: float) -> str:
    if abs(gap) <= 2 * error:
        return "not told apart"
    return "higher" if gap > 0 else "lower"
